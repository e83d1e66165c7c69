//! The count at the end: what is left of processes, cgroups, sockets and spools.

use std::fs;
use std::path::{Path, PathBuf};

use zerovisor::spool::{Left, Place};
use zerovisor_core::id::Id;

use crate::harness::parent_of;

/// The cgroups whose names have this in them, in all hierarchies.
pub(super) fn cgroups(having: &str) -> Vec<PathBuf> {
    let (mut found, mut left) = (Vec::new(), vec![PathBuf::from("/sys/fs/cgroup")]);
    while let Some(dir) = left.pop() {
        let below = fs::read_dir(&dir).into_iter().flatten().flatten();
        for dir in below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()) {
            if dir.file_name().is_some_and(|name| name.to_string_lossy().contains(having)) {
                found.push(dir);
            } else {
                left.push(dir);
            }
        }
    }
    found
}

/// The sockets that lie in a directory.
pub(super) fn sockets(dir: &Path) -> Vec<String> {
    use std::os::unix::fs::FileTypeExt;
    let is_socket = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_socket());
    let entries = fs::read_dir(dir).unwrap().flatten().filter(is_socket);
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Whether a process is one of these or descends from one.
pub(super) fn stems_from(pid: i32, those: &[i32]) -> bool {
    let mut at = Some(pid);
    while let Some(pid) = at.filter(|pid| *pid > 1) {
        if those.contains(&pid) {
            return true;
        }
        at = parent_of(pid);
    }
    false
}

/// A process for people: its command line.
pub(super) fn shown(pid: i32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    format!("{pid}: {}", String::from_utf8_lossy(&line).replace('\0', " "))
}

/// The spools of a place, and whether their watchers are gone. One that is being made or removed may not count.
pub(super) fn spools(place: &Place) -> Vec<(Id, bool)> {
    let is_left = |id: Id| Left::take(place, id).is_ok_and(|left| left.is_some());
    Left::ids(place).unwrap_or_default().into_iter().map(|id| (id, is_left(id))).collect()
}
