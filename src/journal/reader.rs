//! Reading a log forwards, while it is being written.
//!
//! A reader remembers the least sequence number and time it still wants, and the place it has come
//! to in an open segment. That file stays readable when retention unlinks it, so a follower is
//! never stopped in the middle of one.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::blocks::BlocksBack;
use super::error::{Damage, JournalError};
use super::index;
use super::recover::{self, Mode, Recovery};
use super::segment::{Record, SEGMENT_HEADER_BYTES};
use super::shared::{SegmentInfo, Shared};
use super::walk::{Item, READ_BYTES, Walk};

/// A segment that retention takes away just when it is opened is looked for again, so often.
const OPEN_TRIES: usize = 8;

/// A cursor over a log: for one thread at a time, and any number of them beside the writer.
#[derive(Debug)]
pub struct LogReader {
    shared: Arc<Shared>,
    want_seq: u64,
    want_at_us: u64,
    open: Option<Open>,
    /// Bytes of the last record seen: reads end where records of this size do.
    stride: usize,
}

#[derive(Debug)]
struct Open {
    file: File,
    first_seq: u64,
    salt: u32,
    pos: u64,
    /// The last record passed in this segment, for telling of damage.
    after_seq: Option<u64>,
}

impl LogReader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let mut reader = Self { shared, want_seq: 0, want_at_us: 0, open: None, stride: 1 };
        reader.seek_first();
        reader
    }

    /// Opens a log without its writer, changing nothing: it is seen as it is now.
    ///
    /// # Errors
    /// I/O errors and [`JournalError::NewerFormat`].
    pub fn open(dir: &Path) -> Result<(Self, Recovery), JournalError> {
        let index_every = super::LogConfig::default().index_every_bytes;
        let found = recover::recover(dir, index_every, Mode::ReadOnly)?;
        let shared = Shared::new(dir.to_path_buf(), index_every, found.segments);
        Ok((Self::new(Arc::new(shared)), found.recovery))
    }

    /// To the first record kept.
    pub fn seek_first(&mut self) {
        let first = self.shared.oldest().map_or(0, |s| s.first_seq);
        self.seek_seq(first);
    }

    /// To the first record with this sequence number or a later one.
    pub fn seek_seq(&mut self, seq: u64) {
        self.want_seq = seq;
        self.want_at_us = 0;
        self.open = None;
    }

    /// As [`seek_seq`](Self::seek_seq), but to none before the newest segments that hold `bytes` together, the newest one always.
    pub fn seek_seq_within(&mut self, seq: u64, bytes: u64) {
        let mut left = bytes;
        let mut first = 0;
        for segment in self.shared.segments().iter().rev() {
            first = segment.first_seq;
            left = left.saturating_sub(segment.end);
            if left == 0 {
                break;
            }
        }
        self.seek_seq(seq.max(first));
    }

    /// To the first record of this time or later, µs since 1970. Of those that are kept: what has
    /// expired before it is not missed.
    pub fn seek_time(&mut self, at_us: u64) {
        // Every record of an earlier segment is older.
        let first = self.shared.locate(0, at_us).map_or(0, |s| s.first_seq);
        self.seek_seq(first);
        self.want_at_us = at_us;
    }

    /// Behind the last record: what comes next is new.
    ///
    /// # Errors
    /// I/O errors.
    pub fn seek_last(&mut self) -> Result<(), JournalError> {
        self.seek_seq(0);
        let Some(newest) = self.shared.newest() else {
            return Ok(());
        };
        self.want_seq = newest.last_seq.saturating_add(1);
        let path = self.shared.segment_path(newest.first_seq);
        let file = File::open(&path).map_err(|e| JournalError::io("open", &path, e))?;
        self.open = Some(Open {
            file,
            first_seq: newest.first_seq,
            salt: newest.salt,
            pos: newest.end,
            after_seq: Some(newest.last_seq),
        });
        Ok(())
    }

    /// The least sequence number the next record can have.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.want_seq
    }

    /// Sequence number and time of the last record committed, for telling how far behind one is.
    #[must_use]
    pub fn last(&self) -> Option<(u64, u64)> {
        self.shared.newest().map(|s| (s.last_seq, s.last_at_us))
    }

    /// The records in index blocks, from the present end backwards. The cursor stays where it is.
    #[must_use]
    pub fn blocks_back(&self) -> BlocksBack {
        BlocksBack::new(Arc::clone(&self.shared))
    }

    /// The next records, about `max_bytes` of them as stored (never much above 256 KiB: that is one
    /// read), at least one; none at the end of the
    /// log, until more is appended. All payloads are slices of one buffer.
    ///
    /// # Errors
    /// [`JournalError::Expired`] and [`JournalError::Damaged`], each said once: the next call goes
    /// on behind. I/O errors: the next call tries again.
    pub fn next_batch(&mut self, max_bytes: usize) -> Result<Vec<Record>, JournalError> {
        if self.shared.is_abandoned() {
            return Err(JournalError::Gone { path: self.shared.dir.clone() });
        }
        loop {
            let Some(open) = self.ensure_open()? else {
                return Ok(Vec::new());
            };
            let (first_seq, salt, pos) = (open.first_seq, open.salt, open.pos);
            let standing = self.shared.standing(first_seq, salt);
            let end = match standing.here {
                Some(here) => here.end,
                None if standing.is_before_all => self.unlinked_end()?,
                None => {
                    // Taken away by a mend: what was in it comes again, or is lost.
                    self.open = None;
                    continue;
                }
            };
            if pos < end {
                let records = self.read_until(end, max_bytes)?;
                if !records.is_empty() {
                    return Ok(records);
                }
            } else if standing.has_next {
                // Damage at its end may have hidden its last records.
                let done = standing.here.map_or(0, |here| here.last_seq.saturating_add(1));
                self.want_seq = self.want_seq.max(done);
                self.open = None;
            } else {
                return Ok(Vec::new());
            }
        }
    }

    /// The end of a segment that retention has dropped: it was sealed, so all of it counts.
    fn unlinked_end(&self) -> Result<u64, JournalError> {
        let Some(open) = &self.open else {
            return Ok(0);
        };
        let stat = open.file.metadata();
        let stat = stat.map_err(|e| JournalError::io("stat", &self.shared.segment_path(open.first_seq), e))?;
        Ok(stat.len())
    }

    /// The segment with the next wanted record, open and near it. None while the log is empty.
    fn ensure_open(&mut self) -> Result<Option<&Open>, JournalError> {
        let mut tries = 0;
        while self.open.is_none() {
            let Some(info) = self.shared.locate(self.want_seq, self.want_at_us) else {
                return Ok(None);
            };
            if self.want_seq < info.floor {
                self.want_seq = info.first_seq;
                return Err(JournalError::Expired { first_available: info.first_seq });
            }
            let path = self.shared.segment_path(info.first_seq);
            match File::open(&path) {
                Ok(file) => self.open = Some(self.placed(file, &info)),
                Err(e) if e.kind() == io::ErrorKind::NotFound && tries < OPEN_TRIES => tries += 1,
                Err(e) => return Err(JournalError::io("open", &path, e)),
            }
        }
        Ok(self.open.as_ref())
    }

    /// At the last index point before which nothing is wanted.
    fn placed(&self, file: File, info: &SegmentInfo) -> Open {
        let mut pos = SEGMENT_HEADER_BYTES;
        if self.want_seq > info.first_seq || self.want_at_us > info.first_at_us {
            let index = index::load(&self.shared.index_path(info.first_seq), info.first_seq, info.salt);
            let points = index.points;
            let behind = points
                .partition_point(|p| (p.seq <= self.want_seq || p.at_us < self.want_at_us) && p.offset < info.end);
            pos = behind.checked_sub(1).and_then(|i| points.get(i)).map_or(pos, |p| p.offset);
        }
        Open { file, first_seq: info.first_seq, salt: info.salt, pos, after_seq: None }
    }

    /// Reads on in the open segment, up to `end`: the wanted ones of the next records. Nothing if
    /// all of those read come before what is wanted.
    fn read_until(&mut self, end: u64, max_bytes: usize) -> Result<Vec<Record>, JournalError> {
        let Some(open) = &mut self.open else {
            return Ok(Vec::new());
        };
        let path = || self.shared.segment_path(open.first_seq);
        let fail = |e| JournalError::io("read", &path(), e);
        let chunk = READ_BYTES.min(max_bytes).div_ceil(self.stride).saturating_mul(self.stride);
        let mut walk = Walk::new(&open.file, open.salt, open.pos, end).chunk(chunk);
        let mut records = Vec::new();
        let mut bytes = 0;
        loop {
            let (start, bad_end) = match walk.next().map_err(fail)? {
                Item::Record(record, _) => {
                    let size = usize::try_from(record.stored_bytes()).unwrap_or(usize::MAX);
                    self.stride = size;
                    open.pos = walk.pos();
                    open.after_seq = Some(record.meta.seq);
                    if record.meta.seq >= self.want_seq && record.meta.at_us >= self.want_at_us {
                        self.want_seq = record.meta.seq.saturating_add(1);
                        records.push(record);
                    }
                    bytes += size;
                    if bytes >= max_bytes || !walk.next_is_loaded() {
                        return Ok(records);
                    }
                    continue;
                }
                Item::Damage { start, end } => (start, end),
                // Shortened by its writer, which writes those records again: see mend.rs.
                Item::End if walk.pos() < end && self.shared.end_of(open.first_seq, open.salt) < end => {
                    if records.is_empty() {
                        self.open = None;
                    }
                    return Ok(records);
                }
                // The file is shorter than what was committed to it: someone has cut it.
                Item::End if walk.pos() < end => (walk.pos(), end),
                Item::End => return Ok(records),
            };
            if !records.is_empty() {
                // First the good ones; the damage is met again.
                return Ok(records);
            }
            let next_seq = walk.peek_seq().map_err(fail)?;
            open.pos = bad_end;
            if next_seq.is_some_and(|next| next <= self.want_seq) {
                return Ok(records);
            }
            return Err(JournalError::Damaged(Damage {
                segment: open.first_seq,
                start,
                end: bad_end,
                after_seq: open.after_seq,
                next_seq,
            }));
        }
    }
}
