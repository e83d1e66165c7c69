//! Where our own cgroup is in each hierarchy, from the texts of `/proc/self/mountinfo` and `/proc/self/cgroup`. Pure.

use std::path::{Path, PathBuf};

use crate::barrier::Barrier;
use crate::place::{Controller, Version};

/// A mount of a hierarchy, and our own cgroup as seen through it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) version: Version,
    /// What a v1 hierarchy controls, of that which is of use, sorted; empty for v2, which has a file for that.
    pub(crate) controllers: Vec<Controller>,
    pub(crate) mount_point: PathBuf,
    /// The directory of our own cgroup, or why there is none below this mount.
    pub(crate) own: Result<PathBuf, Barrier>,
}

/// Every mount of a hierarchy of use, in the order of `mountinfo`. One hierarchy may be mounted several times.
pub(crate) fn seen(mountinfo: &str, own: &str) -> Vec<Seen> {
    mountinfo.lines().filter_map(Mount::parse).filter_map(|mount| mount.look(own)).collect()
}

/// A line of mountinfo, proc_pid_mountinfo(5).
struct Mount<'a> {
    root: String,
    point: PathBuf,
    read_only: bool,
    version: Version,
    /// v1: the names of controllers are among these.
    super_options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Mount<'a>> {
        let (front, back) = line.split_once(" - ")?;
        let mut front = front.split(' ').skip(3);
        let (root, point, options) = (front.next()?, front.next()?, front.next()?);
        // Joined to paths later, one that is not absolute would lead elsewhere.
        if !root.starts_with('/') || !point.starts_with('/') {
            return None;
        }
        let mut back = back.splitn(3, ' ');
        let version = match back.next()? {
            "cgroup" => Version::V1,
            "cgroup2" => Version::V2,
            _ => return None,
        };
        let super_options = back.nth(1)?;
        // Read-only as a mount, or, for all its mounts, as a file system.
        let read_only = [options, super_options].iter().any(|options| options.split(',').any(|word| word == "ro"));
        Some(Mount { root: unescape(root), point: unescape(point).into(), read_only, version, super_options })
    }

    fn look(self, own: &str) -> Option<Seen> {
        let names: Vec<&str> = match self.version {
            Version::V1 => self.super_options.split(',').collect(),
            Version::V2 => Vec::new(),
        };
        let mut controllers: Vec<_> = names.iter().filter_map(|n| Controller::parse(Version::V1, n)).collect();
        controllers.sort_unstable();
        if self.version == Version::V1 && controllers.is_empty() {
            return None;
        }
        let own = self.own_dir(&names, own);
        Some(Seen { version: self.version, controllers, mount_point: self.point, own })
    }

    fn own_dir(&self, names: &[&str], own: &str) -> Result<PathBuf, Barrier> {
        let unseen = || Barrier::Unseen(self.point.clone());
        if names.contains(&"cpuset") {
            return Err(Barrier::Cpuset(self.point.clone()));
        }
        let path = own.lines().find_map(|line| own_path(line, self.version, names)).ok_or_else(unseen)?;
        // `..` shows what is outside of our cgroup namespace.
        let outside = |path: &str| Path::new(path).components().any(|part| part.as_os_str() == "..");
        if outside(path) || outside(&self.root) || path.ends_with(" (deleted)") {
            return Err(unseen());
        }
        let below = Path::new(path).strip_prefix(&self.root).map_err(|_| unseen())?;
        if self.read_only {
            return Err(Barrier::ReadOnly(self.point.clone()));
        }
        // Such a path could not be passed on as text.
        let dir = if below.as_os_str().is_empty() { self.point.clone() } else { self.point.join(below) };
        let printable = dir.to_str().is_some_and(|path| !path.contains(char::is_control));
        if printable { Ok(dir) } else { Err(unseen()) }
    }
}

/// The path of a line of `/proc/self/cgroup`, cgroups(7), if it is of the hierarchy with one of these controllers.
fn own_path<'a>(line: &'a str, version: Version, names: &[&str]) -> Option<&'a str> {
    let mut parts = line.splitn(3, ':');
    let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let is_it = match version {
        Version::V2 => number == "0" && controllers.is_empty(),
        Version::V1 => {
            controllers.split(',').any(|c| Controller::parse(Version::V1, c).is_some() && names.contains(&c))
        }
    };
    is_it.then_some(path)
}

/// mountinfo writes space, tab, newline and backslash as three octal digits.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        let code = after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(u8::is_ascii);
        match (code, after.get(3..)) {
            (Some(code), Some(after)) => {
                plain.push(char::from(code));
                rest = after;
            }
            (None, _) | (_, None) => {
                plain.push('\\');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests;
