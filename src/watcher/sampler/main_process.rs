//! The main process of a run, beside the tree it heads.

use std::fs::{self, File};

use super::stat::Stat;

/// Where the main process is looked at, until it is gone.
#[derive(Debug)]
pub(super) struct MainProcess {
    pid: i32,
    stat: Option<File>,
}

impl MainProcess {
    pub(super) fn new(pid: i32) -> MainProcess {
        MainProcess { pid, stat: File::open(format!("/proc/{pid}/stat")).ok() }
    }

    /// Its line in /proc; none once it was reaped.
    pub(super) fn stat(&self) -> Option<Stat> {
        Stat::read(self.stat.as_ref()?)
    }

    /// How many descriptors it has open; none where we may not know.
    pub(super) fn open_files(&self) -> Option<u64> {
        let dir = format!("/proc/{}/fd", self.pid);
        // Since Linux 6.2 the directory's size is their number.
        match fs::metadata(&dir).ok()?.len() {
            0 => fs::read_dir(&dir).ok().map(|files| files.count() as u64),
            count => Some(count),
        }
    }
}
