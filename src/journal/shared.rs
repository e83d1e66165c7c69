//! What a writer publishes to its readers: the list of segments, the newest with its committed end.
//!
//! One small mutex, held for copying some words and never over a system call.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One segment as far as it is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentInfo {
    pub(super) first_seq: u64,
    /// No record at or above this and below `first_seq` was ever written.
    pub(super) floor: u64,
    pub(super) last_seq: u64,
    pub(super) first_at_us: u64,
    pub(super) last_at_us: u64,
    /// Bytes of the file that hold whole records; readers never look beyond.
    pub(super) end: u64,
    pub(super) salt: u32,
}

/// A place behind a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// First seq of the segment it is in.
    pub(super) segment: u64,
    /// File offset.
    pub(super) end: u64,
    /// The record before it.
    pub(super) last_seq: u64,
    pub(super) last_at_us: u64,
}

impl Mark {
    pub(super) fn end_of(info: &SegmentInfo) -> Self {
        Self { segment: info.first_seq, end: info.end, last_seq: info.last_seq, last_at_us: info.last_at_us }
    }
}

/// What is known of the disk: told by whoever syncs, read by the writer.
#[derive(Debug, Default)]
pub(super) struct Disk {
    /// Up to here it has everything.
    pub(super) synced: Option<Mark>,
    /// A sync has failed: the kernel may have dropped what it could not write, and no later success says otherwise (fsync(2)).
    pub(super) doubt: bool,
    /// Counts the times that what was in doubt has been written again; work of an earlier time speaks of files that are gone.
    pub(super) epoch: u64,
}

/// A reader's view of the segment it stands in.
pub(super) struct Standing {
    /// The segment, unless it is gone.
    pub(super) here: Option<SegmentInfo>,
    /// A later one exists: this one is complete.
    pub(super) has_next: bool,
    /// All there are come later: if it is gone, then by retention, which takes the oldest and leaves the newest.
    pub(super) is_before_all: bool,
}

/// Shared by a log and its readers.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) dir: PathBuf,
    /// Bytes between index points.
    pub(super) index_every: u64,
    segments: Mutex<Vec<SegmentInfo>>,
    disk: Mutex<Disk>,
    /// Its files are gone and nothing will ever be added: readers are told instead of waiting.
    abandoned: AtomicBool,
}

impl Shared {
    pub(super) fn new(dir: PathBuf, index_every: u64, segments: Vec<SegmentInfo>) -> Self {
        Self {
            dir,
            index_every,
            segments: Mutex::new(segments),
            disk: Mutex::default(),
            abandoned: AtomicBool::new(false),
        }
    }

    /// What is known of the disk. Every change is one assignment or two that do not fail.
    pub(super) fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The list, oldest first. Every change is one whole assignment, so a poisoned lock is sound.
    pub(super) fn segments(&self) -> MutexGuard<'_, Vec<SegmentInfo>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn oldest(&self) -> Option<SegmentInfo> {
        self.segments().first().copied()
    }

    pub(super) fn newest(&self) -> Option<SegmentInfo> {
        self.segments().last().copied()
    }

    /// The segment in which to look for the first record of `seq` or later and `at_us` or later:
    /// the newest one if all are earlier.
    pub(super) fn locate(&self, seq: u64, at_us: u64) -> Option<SegmentInfo> {
        let segments = self.segments();
        let at = segments.partition_point(|s| s.last_seq < seq || s.last_at_us < at_us);
        segments.get(at).or_else(|| segments.last()).copied()
    }

    /// How the segment named `first_seq` stands now, in one look. One of another salt is another one, in the place of one of which a mend
    /// has left nothing.
    pub(super) fn standing(&self, first_seq: u64, salt: u32) -> Standing {
        let segments = self.segments();
        let at = segments.partition_point(|s| s.first_seq < first_seq);
        Standing {
            here: segments.get(at).filter(|s| s.first_seq == first_seq && s.salt == salt).copied(),
            has_next: segments.last().is_some_and(|s| s.first_seq > first_seq),
            is_before_all: segments.first().is_some_and(|s| s.first_seq > first_seq),
        }
    }

    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    /// How far a segment is committed; one that is not listed counts as whole.
    pub(super) fn end_of(&self, first_seq: u64, salt: u32) -> u64 {
        self.standing(first_seq, salt).here.map_or(u64::MAX, |here| here.end)
    }

    pub(super) fn segment_path(&self, first_seq: u64) -> PathBuf {
        self.dir.join(format!("{first_seq:020}.seg"))
    }

    pub(super) fn index_path(&self, first_seq: u64) -> PathBuf {
        self.dir.join(format!("{first_seq:020}.idx"))
    }
}
