//! The form of our cgroups' names: `NAME-ID.PID.START`, with the inode of the pid namespace as a fourth component where it is
//! not the initial one.
//!
//! The form decides what a sweep may kill, so it is parsed strictly: an id of exactly 32 digits is nothing another program
//! would give by chance.

use std::fmt::Write as _;

/// The longest name of a process within a cgroup's name, in bytes; what is longer is cut. With all else at its longest the
/// whole stays below the kernel's 255.
const NAME_MAX_BYTES: usize = 60;

/// Digits of an id.
const ID_DIGITS: usize = 32;

/// The inode of the initial pid namespace: `PROC_PID_INIT_INO` of the kernel.
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// The watcher a cgroup belongs to, told from every other process that ever had its pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its pid in its own pid namespace.
    pub pid: i32,
    /// Its start time in clock ticks since boot, field 22 of `/proc/PID/stat`.
    pub start_ticks: u64,
    /// The inode of `/proc/PID/ns/pid`.
    pub pid_namespace: u64,
}

/// The process a cgroup is made for.
#[derive(Clone, Copy, Debug)]
pub struct ProcessCgroup<'a> {
    /// Its name; what cannot stand in a file name is replaced, what is too long is cut.
    pub name: &'a str,
    /// Its id.
    pub id: [u8; 16],
    /// Its watcher.
    pub owner: Owner,
}

/// The name of a cgroup of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupName {
    text: String,
    owner: Owner,
}

impl GroupName {
    pub(crate) fn new(process: &ProcessCgroup<'_>) -> GroupName {
        let Owner { pid, start_ticks, pid_namespace } = process.owner;
        let mut text = plain(process.name);
        text.push('-');
        for byte in process.id {
            // Writing to a String cannot fail.
            let _infallible = write!(text, "{byte:02x}");
        }
        let _infallible = write!(text, ".{pid}.{start_ticks}");
        if pid_namespace != INITIAL_PID_NAMESPACE {
            let _infallible = write!(text, ".{pid_namespace}");
        }
        GroupName { text, owner: process.owner }
    }

    /// The name, if it is exactly one that [`GroupName::new`] gives.
    pub(crate) fn parse(text: &str) -> Option<GroupName> {
        let (name, rest) = text.rsplit_once('-')?;
        let mut parts = rest.split('.');
        let id = parts.next()?;
        let is_id = id.len() == ID_DIGITS && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let pid = i32::try_from(number(parts.next()?)?).ok()?;
        let start_ticks = number(parts.next()?)?;
        let pid_namespace = match parts.next() {
            Some(inode) => number(inode).filter(|inode| *inode != INITIAL_PID_NAMESPACE)?,
            None => INITIAL_PID_NAMESPACE,
        };
        let ours = is_id && pid > 0 && plain(name) == name && parts.next().is_none();
        ours.then(|| GroupName { text: text.to_owned(), owner: Owner { pid, start_ticks, pid_namespace } })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn owner(&self) -> Owner {
        self.owner
    }
}

/// Decimal as we write it: no sign, no leading zero.
fn number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}

/// A process's name as a part of a file name: ASCII letters, digits and `_+@:.-`, no dot at the front, never empty.
fn plain(name: &str) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() || "_+@:.-".contains(c) { c } else { '_' };
    let mut plain: String = name.chars().map(kept).take(NAME_MAX_BYTES).collect();
    if plain.is_empty() || plain.starts_with('.') {
        plain.insert(0, '_');
        plain.truncate(NAME_MAX_BYTES);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner = Owner { pid: 4711, start_ticks: 98_765, pid_namespace: INITIAL_PID_NAMESPACE };

    fn named(name: &str, owner: Owner) -> GroupName {
        GroupName::new(&ProcessCgroup { name, id: [0xa5; 16], owner })
    }

    #[test]
    fn a_name_tells_its_owner() {
        let name = named("web", OWNER);
        assert_eq!(name.as_str(), format!("web-{}.4711.98765", "a5".repeat(16)));
        assert_eq!(GroupName::parse(name.as_str()), Some(name));
        let contained = named("web", Owner { pid_namespace: 4_026_532_001, ..OWNER });
        assert!(contained.as_str().ends_with(".98765.4026532001"));
        assert_eq!(GroupName::parse(contained.as_str()).unwrap().owner().pid_namespace, 4_026_532_001);
    }

    #[test]
    fn any_name_becomes_one_that_a_directory_can_have_and_that_is_known_again() {
        for odd in
            ["", ".", "..", "../../etc", "a b\n/c", "-", "a-b.c-1", "ünï", "cgroup.procs", &"x".repeat(300), "..x"]
        {
            let name = named(odd, OWNER);
            assert!(!name.as_str().contains(['/', '\n', ' ']) && !name.as_str().starts_with('.'), "{odd:?}");
            assert!(name.as_str().len() < 255 && name.as_str().is_ascii());
            assert_eq!(GroupName::parse(name.as_str()).as_ref(), Some(&name), "{odd:?}");
        }
    }

    #[test]
    fn what_others_make_is_never_ours() {
        let id = "a5".repeat(16);
        for foreign in [
            "user.slice".to_owned(),
            "session-1.scope".to_owned(),
            "zv-leaf".to_owned(),
            format!("docker-{}.scope", "a5".repeat(32)),
            format!("web-{id}"),
            format!("web-{id}.1"),
            format!("web-{id}.1.2.3.4"),
            format!("web-{id}.1.2."),
            format!("web-{id}.0.2"),
            format!("web-{id}.01.2"),
            format!("web-{id}.+1.2"),
            format!("web-{id}.-1.2"),
            format!("web-{id}.99999999999.2"),
            format!("web-{id}.1.99999999999999999999999"),
            format!("web-{id}.1.2.{INITIAL_PID_NAMESPACE}"),
            format!("web-{}.1.2", "A5".repeat(16)),
            format!("web-{}.1.2", "a5".repeat(15)),
            format!("-{id}.1.2"),
            format!("a b-{id}.1.2"),
            format!(".x-{id}.1.2"),
            format!("{}-{id}.1.2", "x".repeat(61)),
        ] {
            assert_eq!(GroupName::parse(&foreign), None, "{foreign}");
        }
    }
}
