//! The count at the end: what is left of processes, cgroups, sockets, descriptors and memory.

use std::fs;
use std::path::{Path, PathBuf};

use zerovisor::spool::{Left, Place};
use zerovisor_core::id::Id;

use crate::harness::parent_of;

/// What a process of ours holds.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Holding {
    pub(super) descriptors: usize,
    pub(super) threads: usize,
    /// Memory of no file (`Pss_Anon`): pages of the program count for less the more others run it.
    pub(super) own_kib: usize,
}

/// What it may hold more than before, though it serves the same two processes again: descriptors than at the start, threads and memory than
/// behind the first, calm round.
#[derive(Clone, Copy)]
pub(super) struct Margin {
    /// What one client's link takes: it may be on its way out when we count.
    pub(super) descriptors: usize,
    pub(super) threads: usize,
    pub(super) own_kib: usize,
}

/// Of a zerovisor: a client's last link; and what the allocator keeps, the index of the events and the tombstones of what was removed.
pub(super) const OF_NODE: Margin = Margin { descriptors: 8, threads: 2, own_kib: 16 << 10 };
/// Of a watcher: what its window and screen took at their most.
pub(super) const OF_WATCHER: Margin = Margin { descriptors: 2, threads: 1, own_kib: 2 << 10 };

impl Holding {
    pub(super) fn of(pid: i32) -> Holding {
        let count = |what: &str| fs::read_dir(format!("/proc/{pid}/{what}")).map_or(0, Iterator::count);
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let own =
            rollup.lines().find_map(|line| line.strip_prefix("Pss_Anon:")?.split_whitespace().next()?.parse().ok());
        Holding { descriptors: count("fd"), threads: count("task"), own_kib: own.unwrap_or(0) }
    }

    pub(super) fn with_descriptors_of(self, other: &Holding) -> Holding {
        Holding { descriptors: other.descriptors, ..self }
    }

    /// Whether it is no more than another, within a margin.
    pub(super) fn is_within(&self, before: &Holding, margin: Margin) -> bool {
        self.descriptors <= before.descriptors + margin.descriptors
            && self.threads <= before.threads + margin.threads
            && self.own_kib <= before.own_kib + margin.own_kib
    }
}

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
