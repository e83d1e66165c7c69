//! What is left of a process when its watcher is gone, as text for the one who cleans up.

use std::fmt::Write as _;
use std::path::{Component, Path};
use std::time::Instant;

use crate::error::CgroupError;
use crate::kill;
use crate::name::GroupName;
use crate::place::{Controller, Place, Places, Version};

/// The longest text of [`Remains`], in bytes: it must fit into one write to a pipe or socket. A site whose paths need more is refused.
pub const REMAINS_MAX_BYTES: usize = 4000;

/// The first line; a change of the format changes it.
const MAGIC: &str = "zerovisor-cgroup 1";

/// The cgroup of a process by its paths alone, for another process of the same host and mounts: the guard, or the next start.
#[derive(Clone, Debug)]
pub struct Remains {
    name: GroupName,
    homes: Places,
}

impl Remains {
    pub(crate) fn of(name: &GroupName, homes: &Places) -> Result<Remains, CgroupError> {
        let remains = Remains { name: name.clone(), homes: homes.clone() };
        let bytes = remains.to_text().len();
        match homes.all.first() {
            Some(home) if bytes > REMAINS_MAX_BYTES => {
                Err(CgroupError::PathTooLong { home: home.dir.clone(), bytes, max: REMAINS_MAX_BYTES })
            }
            Some(_) | None => Ok(remains),
        }
    }

    /// At most [`REMAINS_MAX_BYTES`] of text: a line of format, the name, and a line `KIND HOME` for each hierarchy.
    pub fn to_text(&self) -> String {
        let mut text = format!("{MAGIC}\n{}\n", self.name.as_str());
        for home in &self.homes.all {
            // Writing to a String cannot fail.
            let _infallible = writeln!(text, "{} {}", kind(home), home.dir.display());
        }
        text
    }

    /// Reads what [`Remains::to_text`] wrote.
    ///
    /// # Errors
    /// [`CgroupError::NotRemains`] for anything that does not name a cgroup of our form.
    pub fn parse(text: &str) -> Result<Remains, CgroupError> {
        let wrong = || CgroupError::NotRemains(text.chars().take(120).collect());
        let mut lines = text.lines();
        if text.len() > REMAINS_MAX_BYTES || lines.next() != Some(MAGIC) {
            return Err(wrong());
        }
        let name = lines.next().and_then(GroupName::parse).ok_or_else(wrong)?;
        let all = lines.map(|line| home(line).ok_or_else(wrong)).collect::<Result<Vec<_>, _>>()?;
        if all.is_empty() {
            return Err(wrong());
        }
        Ok(Remains { name, homes: Places { all, refused: [].into() } })
    }

    /// Kills all that lives in the group and removes it; blocks until that is done or the time is up. A group that is gone already
    /// is a success.
    ///
    /// # Errors
    /// [`CgroupError::Stubborn`] when the time was up.
    pub fn kill_and_remove(&self, deadline: Instant) -> Result<(), CgroupError> {
        let places = self.homes.below(self.name.as_str());
        kill::until_empty(&places, &self.name, deadline)?;
        kill::remove(&places)
    }
}

/// What cleaning up must know of a hierarchy.
fn kind(home: &Place) -> &'static str {
    match home.version {
        Version::V2 => "v2",
        Version::V1 if home.has(Controller::Freezer) => "v1-freezer",
        Version::V1 => "v1",
    }
}

fn home(line: &str) -> Option<Place> {
    let (kind, dir) = line.split_once(' ')?;
    let (version, controllers) = match kind {
        "v2" => (Version::V2, Vec::new()),
        "v1-freezer" => (Version::V1, vec![Controller::Freezer]),
        "v1" => (Version::V1, Vec::new()),
        _unknown => return None,
    };
    let dir = Path::new(dir);
    let straight = dir.is_absolute() && dir.components().all(|part| !matches!(part, Component::ParentDir));
    straight.then(|| Place { version, controllers, dir: dir.to_path_buf() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "zerovisor-cgroup 1\nweb-a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5.7.8\nv2 /sys/fs/cgroup/x y\nv1 /m\nv1-freezer /f\n";

    #[test]
    fn remains_are_read_as_they_were_written() {
        let remains = Remains::parse(GOOD).unwrap();
        assert_eq!(remains.to_text(), GOOD);
        assert_eq!(remains.homes.all[0].dir, Path::new("/sys/fs/cgroup/x y"));
        assert!(remains.homes.all[2].has(Controller::Freezer));
    }

    #[test]
    fn only_what_names_a_cgroup_of_ours_is_taken() {
        let replaced = |from: &str, to: &str| GOOD.replace(from, to);
        for bad in [
            String::new(),
            "zerovisor-cgroup 1\n".to_owned(),
            GOOD.lines().take(2).collect::<Vec<_>>().join("\n"),
            replaced("cgroup 1", "cgroup 2"),
            replaced("web-", "../web-"),
            replaced(".7.8", ""),
            replaced("v2 /", "v3 /"),
            replaced("v2 /", "v2 "),
            replaced("/x y", "/../../etc"),
            format!("{GOOD}v1 /{}\n", "x".repeat(REMAINS_MAX_BYTES)),
        ] {
            assert!(matches!(Remains::parse(&bad), Err(CgroupError::NotRemains(_))), "{bad}");
        }
    }
}
