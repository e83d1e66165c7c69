//! The writer of a log.
//!
//! ```text
//! Idle ──append──> Active ──full──> sealed, next segment Active
//!                    │ └─write fails, cut back──> Active (or Idle, if the segment was new)
//!                    └─the cut fails too──> torn ──next append cuts first──> Active
//! ```

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use super::error::JournalError;
use super::group::{Group, Place};
use super::index::{IndexWriter, Point};
use super::reader::LogReader;
use super::recover::{self, Mode, Recovery};
use super::segment::{MAX_PAYLOAD_BYTES, Record, SEGMENT_HEADER_BYTES, SegmentHeader, new_salt};
use super::shared::{Mark, SegmentInfo, Shared};
use super::sync::SyncWork;

/// How large a log may become, and in which pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogConfig {
    /// Bytes after which a new segment begins; a single record may go beyond.
    pub segment_bytes: u64,
    /// Bytes [`SegmentLog::retain`] keeps at most, in whole segments, the newest always.
    pub retain_bytes: Option<u64>,
    /// Age in µs of a segment's last record past which [`SegmentLog::retain`] drops it.
    pub retain_age_us: Option<u64>,
    /// Bytes from one index point to the next: what a seek may have to read in vain.
    pub index_every_bytes: u64,
}

impl Default for LogConfig {
    /// Segments of 64 MiB with an index point every 256 KiB, kept for ever.
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, retain_bytes: None, retain_age_us: None, index_every_bytes: 256 << 10 }
    }
}

/// A segment that retention has removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropped {
    /// Its first record.
    pub first_seq: u64,
    /// Its last record.
    pub last_seq: u64,
    /// Bytes freed, once no reader has it open any more.
    pub bytes: u64,
    /// Time of its first record, µs since 1970.
    pub first_at_us: u64,
    /// Time of its last record, µs since 1970.
    pub last_at_us: u64,
}

/// What [`SegmentLog::retain`] did.
#[derive(Debug, Default)]
pub struct Retained {
    /// The segments removed, oldest first.
    pub dropped: Vec<Dropped>,
    /// Why the next one could not be; it is tried again the next time.
    pub failed: Option<JournalError>,
}

/// The segment being written.
#[derive(Debug)]
pub(super) struct Active {
    file: Arc<File>,
    first_seq: u64,
    salt: u32,
    end: u64,
    /// Bytes of a failed write may stand behind `end`, and must go before the next one.
    torn: bool,
    index: IndexWriter,
}

/// An append-only log in a directory of its own, with one writer. Idle it costs one descriptor
/// and well below 1 KiB of heap.
#[derive(Debug)]
pub struct SegmentLog {
    pub(super) shared: Arc<Shared>,
    segment_bytes: u64,
    pub(super) retain_bytes: Option<u64>,
    pub(super) retain_age_us: Option<u64>,
    pub(super) active: Option<Active>,
    /// First seq of the oldest segment with bytes no [`SyncWork`] has taken.
    pub(super) unsynced_from: Option<u64>,
    /// Segments before this one were sealed for long when the log was opened: whoever sent them has forgotten them.
    pub(super) old_before: u64,
    pub(super) dir_unsynced: bool,
    pub(super) parent_unsynced: bool,
}

impl SegmentLog {
    /// Opens the log in `dir`, creating it (0700) if missing. Sealed segments are trusted by their
    /// index, the newest is read from its last index point on and a torn tail is cut.
    ///
    /// # Errors
    /// I/O errors; [`JournalError::NewerFormat`], in which case nothing was touched.
    pub fn open(dir: &Path, cfg: LogConfig) -> Result<(Self, Recovery), JournalError> {
        let created = recover::create_dir(dir)?;
        let index_every = cfg.index_every_bytes.max(4096);
        let found = recover::recover(dir, index_every, Mode::Repair)?;
        let active = found.active.map(|a| Active {
            file: Arc::new(a.file),
            first_seq: a.info.first_seq,
            salt: a.info.salt,
            end: a.info.end,
            torn: false,
            index: a.index,
        });
        let is_empty = found.segments.is_empty();
        let log = Self {
            // What a dead process left may be in the page cache only: any number of segments, if they are small.
            unsynced_from: found.segments.first().map(|s| s.first_seq),
            old_before: found.segments.iter().rev().nth(1).map_or(0, |s| s.first_seq),
            active,
            shared: Arc::new(Shared::new(dir.to_path_buf(), index_every, found.segments)),
            segment_bytes: cfg.segment_bytes,
            retain_bytes: cfg.retain_bytes,
            retain_age_us: cfg.retain_age_us,
            // So may the entries of their files, and of the directory itself: a file that is on the disk without them is lost.
            dir_unsynced: created || !is_empty,
            parent_unsynced: created || !is_empty,
        };
        Ok((log, found.recovery))
    }

    /// Appends `batch` in order. Times are raised to the last one where they step back. When it
    /// returns, everything is with the kernel (not necessarily on the disk: see
    /// [`dirty`](Self::dirty)) and visible to readers.
    ///
    /// # Errors
    /// [`JournalError::NotIncreasing`] and [`JournalError::TooLarge`] before anything is written.
    /// On an I/O error a whole prefix of the batch may be in the log: [`last`](Self::last) says up
    /// to which record, and the rest may be appended again at any time.
    pub fn append(&mut self, batch: &[Record]) -> Result<(), JournalError> {
        self.check(batch)?;
        self.cut_torn()?;
        let mut rest = batch;
        while let Some(first) = rest.first() {
            if let Some(active) = &self.active
                && active.end + first.stored_bytes() > self.segment_bytes
            {
                self.seal();
            }
            let count = match self.active {
                Some(_) => self.write_on(rest)?,
                None => self.write_new(rest)?,
            };
            rest = &rest[count..];
        }
        Ok(())
    }

    /// Sequence number and time (µs since 1970) of the last record.
    #[must_use]
    pub fn last(&self) -> Option<(u64, u64)> {
        self.shared.newest().map(|s| (s.last_seq, s.last_at_us))
    }

    /// Sequence number of the first record kept.
    #[must_use]
    pub fn first_seq(&self) -> Option<u64> {
        self.shared.oldest().map(|s| s.first_seq)
    }

    /// The oldest segment, if it can be dropped: the newest stays.
    #[must_use]
    pub fn oldest(&self) -> Option<Dropped> {
        let segments = self.shared.segments();
        let oldest = segments.first().filter(|_| segments.len() > 1)?;
        Some(Dropped {
            first_seq: oldest.first_seq,
            last_seq: oldest.last_seq,
            bytes: oldest.end,
            first_at_us: oldest.first_at_us,
            last_at_us: oldest.last_at_us,
        })
    }

    /// Bytes of all segments, without their indexes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.shared.segments().iter().map(|s| s.end).sum()
    }

    /// What has been written since the last call, for another thread to bring to the disk.
    pub fn dirty(&mut self) -> Option<SyncWork> {
        let from = self.unsynced_from.take();
        let dir = std::mem::take(&mut self.dir_unsynced);
        let parent = std::mem::take(&mut self.parent_unsynced);
        if from.is_none() && !dir && !parent {
            return None;
        }
        let active = self.active.as_ref().filter(|_| from.is_some());
        let active_seq = active.map(|a| a.first_seq);
        let sealed = match from {
            Some(from) => self.sealed_since(from, active_seq),
            None => Vec::new(),
        };
        Some(SyncWork {
            shared: Arc::clone(&self.shared),
            sealed,
            active: active.map(|a| Arc::clone(&a.file)),
            active_seq: active_seq.unwrap_or(0),
            dir,
            parent,
            last_seq: self.last().map_or(0, |(seq, _)| seq),
            mark: self.shared.newest().as_ref().map(Mark::end_of),
            epoch: self.shared.disk().epoch,
        })
    }

    /// Whether any reader of this log lives.
    #[must_use]
    pub fn is_read(&self) -> bool {
        Arc::strong_count(&self.shared) > 1
    }

    /// Lets go of a log whose directory has gone: its readers get [`JournalError::Gone`] from now on.
    pub fn abandon(self) {
        self.shared.abandon();
    }

    /// A reader at the first record, for any thread.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        LogReader::new(Arc::clone(&self.shared))
    }

    fn sealed_since(&self, from: u64, active: Option<u64>) -> Vec<u64> {
        let segments = self.shared.segments();
        let names = segments.iter().map(|s| s.first_seq);
        names.filter(|&seq| seq >= from && Some(seq) != active).collect()
    }

    fn check(&self, batch: &[Record]) -> Result<(), JournalError> {
        let mut last = self.last().map(|(seq, _)| seq);
        for record in batch {
            let got = record.meta.seq;
            if let Some(last) = last.filter(|&last| got <= last) {
                return Err(JournalError::NotIncreasing { last, got });
            }
            let bytes = record.payload.len();
            if bytes > MAX_PAYLOAD_BYTES {
                return Err(JournalError::TooLarge { seq: got, bytes });
            }
            last = Some(got);
        }
        Ok(())
    }

    /// Removes what a failed write left behind the end.
    fn cut_torn(&mut self) -> Result<(), JournalError> {
        let Some(active) = self.active.as_mut().filter(|a| a.torn) else {
            return Ok(());
        };
        let cut = active.file.set_len(active.end);
        cut.map_err(|e| JournalError::io("cut", &self.shared.segment_path(active.first_seq), e))?;
        active.torn = false;
        Ok(())
    }

    /// Writes the first records of `rest` to the active segment; how many.
    fn write_on(&mut self, rest: &[Record]) -> Result<usize, JournalError> {
        let (Some(active), Some(last)) = (self.active.as_mut(), self.shared.newest()) else {
            return Ok(0);
        };
        let place = Place {
            start: active.end,
            limit: self.segment_bytes,
            header: None,
            salt: active.salt,
            last_at_us: last.last_at_us,
            last_point: active.index.last_offset(),
            index_every: self.shared.index_every,
        };
        let path = || self.shared.segment_path(active.first_seq);
        // Only the newest segment is written, and nobody here removes that: 0.3 µs that keep us from acknowledging what
        // somebody else's rm took away.
        let meta = active.file.metadata().map_err(|e| JournalError::io("stat", &path(), e))?;
        if meta.nlink() == 0 {
            return Err(JournalError::Gone { path: path() });
        }
        let group = Group::gather(rest, &place);
        if let Err(e) = group.write(&active.file, active.end) {
            let error = JournalError::io("append to", &self.shared.segment_path(active.first_seq), e);
            active.torn = true;
            // If even this fails the next append tries again, and says so.
            let _ = self.cut_torn();
            return Err(error);
        }
        active.end = group.end;
        let last_seq = rest[group.count - 1].meta.seq;
        if let Some(newest) = self.shared.segments().last_mut() {
            *newest = SegmentInfo { last_seq, last_at_us: group.last_at_us, end: group.end, ..*newest };
        }
        self.committed(&group.points);
        Ok(group.count)
    }

    /// Begins a segment with the first records of `rest`; how many. Header and records are one
    /// write: a segment without a record does not exist.
    fn write_new(&mut self, rest: &[Record]) -> Result<usize, JournalError> {
        let Some(first) = rest.first() else {
            return Ok(0);
        };
        let last = self.last();
        let header = SegmentHeader {
            first_seq: first.meta.seq,
            floor: last.map_or(0, |(seq, _)| seq.saturating_add(1)),
            created_us: last.map_or(0, |(_, at_us)| at_us).max(first.meta.at_us),
            salt: new_salt(),
        };
        let place = Place {
            start: 0,
            limit: self.segment_bytes,
            header: Some(&header),
            salt: header.salt,
            last_at_us: header.created_us,
            last_point: SEGMENT_HEADER_BYTES,
            index_every: self.shared.index_every,
        };
        let group = Group::gather(rest, &place);
        let file = self.create_with(&header, &group)?;
        self.shared.segments().push(SegmentInfo {
            first_seq: header.first_seq,
            floor: header.floor,
            last_seq: rest[group.count - 1].meta.seq,
            first_at_us: header.created_us,
            last_at_us: group.last_at_us,
            end: group.end,
            salt: header.salt,
        });
        self.active = Some(Active {
            file: Arc::new(file),
            first_seq: header.first_seq,
            salt: header.salt,
            end: group.end,
            torn: false,
            index: IndexWriter::new(0, SEGMENT_HEADER_BYTES),
        });
        self.dir_unsynced = true;
        self.committed(&group.points);
        Ok(group.count)
    }

    fn create_with(&self, header: &SegmentHeader, group: &Group<'_>) -> Result<File, JournalError> {
        let path = self.shared.segment_path(header.first_seq);
        let mut options = OpenOptions::new();
        // Truncate: the only file that may stand here is one whose removal failed below.
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(&path).map_err(|e| JournalError::io("create", &path, e))?;
        if let Err(e) = group.write(&file, 0) {
            // Emptied first: what cannot be removed must not be taken for records later.
            let _ = file.set_len(0).and_then(|()| std::fs::remove_file(&path));
            return Err(JournalError::io("append to", &path, e));
        }
        Ok(file)
    }

    /// Notes what is to be synced, and writes index points that have come up.
    fn committed(&mut self, points: &[Point]) {
        let Some(active) = &mut self.active else {
            return;
        };
        self.unsynced_from.get_or_insert(active.first_seq);
        if points.is_empty() {
            return;
        }
        active.index.push(points);
        let path = self.shared.index_path(active.first_seq);
        // The index is only a help: it is tried again with the next point, or rebuilt on open.
        let _ = active.index.flush(&path, active.first_seq, active.salt, None);
    }

    /// Ends the active segment; the next record begins a new one.
    fn seal(&mut self) {
        let (Some(mut active), Some(last)) = (self.active.take(), self.shared.newest()) else {
            return;
        };
        let seal = Point { seq: last.last_seq, at_us: last.last_at_us, offset: active.end };
        let path = self.shared.index_path(active.first_seq);
        // Without a seal the next open reads the segment and writes one.
        let _ = active.index.flush(&path, active.first_seq, active.salt, Some(seal));
    }
}
