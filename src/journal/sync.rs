//! Bringing a log to the disk from another thread, while the writer goes on.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::error::JournalError;
use super::shared::{Mark, Shared};

/// What has been written since the last [`dirty`](super::SegmentLog::dirty): hand it to a thread
/// that may wait for the disk. Dropped without [`sync`](Self::sync), its promise is lost.
#[derive(Debug)]
pub struct SyncWork {
    pub(super) shared: Arc<Shared>,
    /// Sealed segments, by first seq: opened by name, so that a log that is never synced does not
    /// collect descriptors. One that retention has removed is nobody's concern.
    pub(super) sealed: Vec<u64>,
    pub(super) active: Option<Arc<File>>,
    pub(super) active_seq: u64,
    pub(super) dir: bool,
    pub(super) parent: bool,
    pub(super) last_seq: u64,
    /// The end of the log when this was taken.
    pub(super) mark: Option<Mark>,
    pub(super) epoch: u64,
}

impl SyncWork {
    /// Once [`sync`](Self::sync) has returned without error, every record up to this sequence
    /// number survives a power cut.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Whether both are about the same log, so that one can [`absorb`](Self::absorb) the other.
    #[must_use]
    pub fn is_same_log(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Takes on what `newer`, of the same log and taken later, is about: one wait for the disk then serves both.
    pub fn absorb(&mut self, newer: Self) {
        if self.epoch != newer.epoch {
            // Everything in doubt was written again in between, and the newer work is about all of that.
            *self = newer;
            return;
        }
        if self.active.is_some() && newer.active.is_some() && self.active_seq != newer.active_seq {
            // Sealed in between: from now on by name, like the others.
            self.sealed.push(self.active_seq);
        }
        self.sealed.extend(newer.sealed);
        self.sealed.sort_unstable();
        self.sealed.dedup();
        if newer.active.is_some() {
            (self.active, self.active_seq) = (newer.active, newer.active_seq);
        }
        self.dir |= newer.dir;
        self.parent |= newer.parent;
        self.last_seq = self.last_seq.max(newer.last_seq);
        self.mark = newer.mark;
    }

    /// Waits for the disk: fdatasync of each file, fsync of the directory if a file is new in it.
    ///
    /// # Errors
    /// The first that fails, and from then on [`JournalError::Doubtful`] until [`SegmentLog::mend`](super::SegmentLog::mend) has written
    /// again what is in doubt: what the kernel could not write may be gone from its cache too, and trying again proves nothing.
    pub fn sync(&self) -> Result<(), JournalError> {
        {
            let disk = self.shared.disk();
            if disk.doubt || disk.epoch != self.epoch {
                return Err(JournalError::Doubtful { dir: self.shared.dir.clone() });
            }
        }
        let done = self.wait();
        let mut disk = self.shared.disk();
        if disk.epoch == self.epoch {
            match &done {
                Ok(()) => disk.synced = self.mark.or(disk.synced),
                Err(_) => disk.doubt = true,
            }
        }
        done
    }

    fn wait(&self) -> Result<(), JournalError> {
        for &first_seq in &self.sealed {
            let path = self.shared.segment_path(first_seq);
            match File::open(&path).and_then(|file| file.sync_data()) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                done => done.map_err(|e| JournalError::io("sync", &path, e))?,
            }
        }
        if let Some(file) = &self.active {
            file.sync_data().map_err(|e| JournalError::io("sync", &self.shared.segment_path(self.active_seq), e))?;
        }
        if self.dir {
            sync_dir(&self.shared.dir)?;
        }
        if self.parent
            && let Some(parent) = self.shared.dir.parent()
        {
            sync_dir(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })?;
        }
        Ok(())
    }
}

/// Brings the entries of a directory to the disk. One that was removed meanwhile has nothing left to lose.
///
/// # Errors
/// The disk does not take them.
pub fn sync_dir(dir: &Path) -> Result<(), JournalError> {
    match File::open(dir).and_then(|d| d.sync_all()) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done.map_err(|e| JournalError::io("sync", dir, e)),
    }
}
