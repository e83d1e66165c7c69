//! A spool whose watcher is gone, being taken in.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use nix::fcntl::Flock;
use zerovisor_core::id::Id;
use zerovisor_core::record::Record;

use super::error::SpoolError;
use super::meta::Meta;
use super::place::Place;
use super::{LOCK, LOG, front, private, read, writer};
use crate::journal::LogReader;

/// A spool that nobody holds: its lock could be taken, and is held by this. Nothing in it is changed until it is removed.
#[derive(Debug)]
pub struct Left {
    place: PathBuf,
    dir: PathBuf,
    _lock: Flock<File>,
    meta: Meta,
    front: Vec<Record>,
    /// None: there is no log that could be read.
    log: Option<LogReader>,
    kept_from: u64,
}

impl Left {
    /// The processes of which there are spools here, held or not, in order; none where there is no directory.
    ///
    /// # Errors
    /// The place cannot be read, or is not ours.
    pub fn ids(place: &Place) -> Result<Vec<Id>, SpoolError> {
        if !private::check_dir(place.dir())? {
            return Ok(Vec::new());
        }
        let entries = fs::read_dir(place.dir()).map_err(SpoolError::io("read the directory", place.dir()))?;
        let mut ids: Vec<Id> = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
        ids.sort();
        Ok(ids)
    }

    /// Takes one; none: its watcher lives, another zerovisor has it, or it is gone by now.
    ///
    /// # Errors
    /// It is not ours, damaged beyond use, of a newer version, or cannot be read; it is still there.
    pub fn take(place: &Place, id: Id) -> Result<Option<Left>, SpoolError> {
        let dir = place.dir().join(id.to_string());
        if !private::check_dir(place.dir())? || !private::check_dir(&dir)? {
            return Ok(None);
        }
        let options = &mut OpenOptions::new();
        let Some(lock) = private::lock(&dir.join(LOCK), options.read(true).write(true))? else { return Ok(None) };
        let path = dir.join(super::META);
        let meta = Meta::read(&dir)?.ok_or_else(|| SpoolError::bad(&path, "it is missing"))?;
        if meta.hello.id != id {
            return Err(SpoolError::bad(&path, format!("it is of process {}", meta.hello.id)));
        }
        let log = dir.join(LOG);
        // Made with the first record that was to be written.
        let mut log = private::check_dir(&log)?.then(|| LogReader::open(&log)).transpose()?.map(|(reader, _)| reader);
        let front = front::read(&dir)?;
        // Of what the log does not begin with nothing was lost here: it was dropped, for which the front stands, or acknowledged.
        let oldest = log.as_mut().filter(|_| !front.is_damaged).map_or(0, oldest);
        let kept_from = meta.hello.first_seq.max(oldest);
        let front = front.records;
        Ok(Some(Left { place: place.dir().to_path_buf(), dir, _lock: lock, meta, front, log, kept_from }))
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What its watcher declared.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The first record that was kept: one before it that is missing, and that nothing here stands for, was acknowledged.
    #[must_use]
    pub fn kept_from(&self) -> u64 {
        self.kept_from
    }

    /// The next records with a sequence number above `after`, about `max_bytes` of them, in order: first what stands for what was
    /// dropped, then the log. None: that is all. Where a record does not follow the one before it, and does not stand for what lies
    /// between, that is damaged and lost.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn next_batch(&mut self, after: u64, max_bytes: usize) -> Result<Vec<Record>, SpoolError> {
        let from = self.front.partition_point(|record| record.head.seq <= after);
        let mut room = max_bytes;
        let fits = |record: &&Record| {
            let had = room;
            room = room.saturating_sub(record.payload.len().max(1));
            had > 0
        };
        let batch: Vec<Record> = self.front[from..].iter().take_while(fits).cloned().collect();
        if !batch.is_empty() {
            return Ok(batch);
        }
        let Some(log) = &mut self.log else { return Ok(Vec::new()) };
        let wanted = after.saturating_add(1);
        if log.next_seq() != wanted {
            log.seek_seq(wanted);
        }
        read(log, max_bytes)
    }

    /// Everything in it is somewhere else now: nothing of it stays, nor the place, if it is empty.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub fn remove(self) -> Result<(), SpoolError> {
        writer::remove(&self.place, &self.dir)
    }
}

/// The first record of the oldest segment; 0: there is none.
fn oldest(log: &mut LogReader) -> u64 {
    log.seek_first();
    log.next_seq()
}
