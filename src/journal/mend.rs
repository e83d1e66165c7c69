//! What is done once a sync has failed.
//!
//! The kernel marks pages it could not write as clean and may drop them at any time, so neither a second sync nor the page cache proves
//! anything about them. What is beyond the last good sync is therefore read back while it can be, held against its checksums, and written
//! to new files; only these are synced, and only when that succeeds is anything acknowledged again.
//!
//! ```text
//! before   |== synced ==|.. in doubt ..|   |.. in doubt ..|
//! copies   |== synced ==|.. in doubt ..|   |.. in doubt ..|   N.mend  M.mend, checked
//! after    |== synced ==|  N.seg           M.seg (renamed over)       the next record begins a segment
//! ```
//! What fails its checksum ends the log there: nothing behind a hole is kept, so whoever sent it can send on from the end, or say that it
//! has it no more. Only a segment that was old when the log was opened stays as it is then: nobody has its records any more. A crash at any point leaves records twice at most, of which readers pass one over.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::error::JournalError;
use super::index::{self, Point};
use super::log::SegmentLog;
use super::scan::{Scan, scan};
use super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use super::shared::{Mark, SegmentInfo};

/// What [`SegmentLog::mend`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mended {
    /// Bytes that were in doubt and are written again.
    pub bytes: u64,
    /// The last record before those that could not be read back, if there are any: the log now ends with it (0: with none).
    pub lost_after: Option<u64>,
}

/// A stretch in doubt, written again and not yet in its place.
struct Copied {
    path: PathBuf,
    info: SegmentInfo,
    points: Vec<Point>,
}

impl SegmentLog {
    /// Whether a sync has failed since the last [`mend`](Self::mend): nothing can be synced before the next.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        self.shared.disk().doubt
    }

    /// The same as an error.
    #[must_use]
    pub fn doubt(&self) -> Option<JournalError> {
        self.is_in_doubt().then(|| JournalError::Doubtful { dir: self.shared.dir.clone() })
    }

    /// Writes again what is in doubt, for the next [`dirty`](Self::dirty) to bring to the disk: segment by segment, so that room for the
    /// largest of them is enough.
    ///
    /// # Errors
    /// It cannot be written. All records are where they were or in a copy, and it may be tried again.
    pub fn mend(&mut self) -> Result<Mended, JournalError> {
        let mark = self.shared.disk().synced;
        let segments = self.shared.segments().clone();
        let (mut first, mut mended) = (None, Mended::default());
        for (at, info) in segments.iter().enumerate() {
            let mark = mark.filter(|m| m.segment >= info.first_seq);
            let from = mark.filter(|m| m.segment == info.first_seq);
            if mark.is_some() && from.is_none_or(|m| m.end >= info.end) {
                continue;
            }
            first.get_or_insert(info.first_seq);
            let copy = self.copy(info, from)?;
            let whole = copy.as_ref().is_some_and(|copy| copy.info.last_seq == info.last_seq);
            if !whole && info.first_seq < self.old_before {
                // Nobody can send what is behind again: it stays, and readers are told of the damage.
                copy.map_or(Ok(()), |copy| remove(&copy.path))?;
                continue;
            }
            if !whole {
                self.give_up(&segments[at + 1..])?;
            }
            mended.bytes += copy.as_ref().map_or(0, |copy| copy.info.end - SEGMENT_HEADER_BYTES);
            self.swap(info, from.map(|mark| shortened(info, &mark)), copy)?;
            if !whole {
                mended.lost_after = Some(self.last().map_or(0, |(seq, _)| seq));
                break;
            }
        }
        self.active = None;
        self.unsynced_from = first;
        (self.dir_unsynced, self.parent_unsynced) = (true, true);
        let mut disk = self.shared.disk();
        disk.doubt = false;
        disk.epoch += 1;
        Ok(mended)
    }

    /// Puts a copy in the place of what it is of: behind the shortened segment, or instead of the whole one.
    fn swap(&self, old: &SegmentInfo, head: Option<SegmentInfo>, copy: Option<Copied>) -> Result<(), JournalError> {
        if let Some(copy) = &copy {
            let path = self.shared.segment_path(copy.info.first_seq);
            std::fs::rename(&copy.path, &path).map_err(|e| JournalError::io("rename", &copy.path, e))?;
        }
        if head.is_none() && copy.is_none() {
            self.forget(old)?;
        }
        {
            // Readers hear of a shorter one before it is cut.
            let mut segments = self.shared.segments();
            let at = segments.partition_point(|s| s.first_seq < old.first_seq);
            let upto = segments.partition_point(|s| s.first_seq <= old.first_seq);
            segments.splice(at..upto, head.into_iter().chain(copy.as_ref().map(|copy| copy.info)));
        }
        // What fails from here on costs a longer look at the next start, no record.
        if let Some(copy) = copy {
            self.seal_as(&copy.info, &copy.points);
        }
        if let Some(head) = head {
            let cut = OpenOptions::new().write(true).open(self.shared.segment_path(head.first_seq));
            let _ = cut.and_then(|file| file.set_len(head.end));
            let mut points = index::load(&self.shared.index_path(head.first_seq), head.first_seq, head.salt).points;
            points.retain(|point| point.offset < head.end);
            self.seal_as(&head, &points);
        }
        Ok(())
    }

    fn seal_as(&self, info: &SegmentInfo, points: &[Point]) {
        let seal = Point { seq: info.last_seq, at_us: info.last_at_us, offset: info.end };
        let _ = index::rewrite(&self.shared.index_path(info.first_seq), info.first_seq, info.salt, points, Some(seal));
    }

    /// Removes what stands behind a record that could not be read back. The newest first, and all of it before the hole is mended: whoever
    /// has to try again still finds the hole, and never a record behind it without those before.
    fn give_up(&self, behind: &[SegmentInfo]) -> Result<(), JournalError> {
        for info in behind.iter().rev() {
            self.forget(info)?;
            self.shared.segments().retain(|s| s.first_seq != info.first_seq);
        }
        Ok(())
    }

    fn forget(&self, info: &SegmentInfo) -> Result<(), JournalError> {
        let _ = std::fs::remove_file(self.shared.index_path(info.first_seq));
        remove(&self.shared.segment_path(info.first_seq))
    }

    /// The records of `info` behind `mark`, or all of them, as a segment of their own, unsynced; none if not even the first can be read.
    fn copy(&self, info: &SegmentInfo, mark: Option<Mark>) -> Result<Option<Copied>, JournalError> {
        let from = mark.map_or(SEGMENT_HEADER_BYTES, |mark| mark.end);
        let floor = mark.map(|mark| mark.last_seq.saturating_add(1));
        let source = self.shared.segment_path(info.first_seq);
        let Some(first) = first_record(&source, info, from)? else { return Ok(None) };
        let path = self.shared.segment_path(first.0).with_extension("mend");
        let header = SegmentHeader {
            first_seq: first.0,
            floor: floor.unwrap_or(info.floor),
            created_us: if floor.is_some() { first.1 } else { info.first_at_us },
            salt: info.salt,
        };
        let copied = copy_bytes(&source, from..info.end, &path, &header).and_then(|(file, len)| {
            let checked = check(&file, &header, len, self.shared.index_every);
            checked.map_err(|e| JournalError::io("write", &path, e))
        });
        let (scanned, end) = copied.inspect_err(|_| drop(std::fs::remove_file(&path)))?;
        let Some((last_seq, last_at_us)) = scanned.last else {
            remove(&path)?;
            return Ok(None);
        };
        let info = SegmentInfo {
            first_seq: first.0,
            floor: header.floor,
            last_seq,
            first_at_us: header.created_us,
            last_at_us,
            end,
            salt: info.salt,
        };
        Ok(Some(Copied { path, info, points: scanned.points }))
    }
}

/// The segment whose beginning is on the disk, cut to that.
fn shortened(info: &SegmentInfo, mark: &Mark) -> SegmentInfo {
    SegmentInfo { end: mark.end, last_seq: mark.last_seq, last_at_us: mark.last_at_us, ..*info }
}

/// Sequence number and time of the record that stands exactly at `from`.
fn first_record(source: &Path, info: &SegmentInfo, from: u64) -> Result<Option<(u64, u64)>, JournalError> {
    let file = match File::open(source) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(|e| JournalError::io("open", source, e))?,
    };
    let mut walk = super::walk::Walk::new(&file, info.salt, from, info.end);
    // What cannot be read back is lost, which is an answer.
    Ok(match walk.next() {
        Ok(super::walk::Item::Record(record, at)) if at == from => Some((record.meta.seq, record.meta.at_us)),
        Ok(_) | Err(_) => None,
    })
}

/// Header and bytes, as far as these can be read; the file and its length.
fn copy_bytes(
    source: &Path,
    range: std::ops::Range<u64>,
    to: &Path,
    header: &SegmentHeader,
) -> Result<(File, u64), JournalError> {
    let write = |e| JournalError::io("write", to, e);
    let mut from = File::open(source).map_err(|e| JournalError::io("open", source, e))?;
    from.seek(SeekFrom::Start(range.start)).map_err(|e| JournalError::io("read", source, e))?;
    let mut options = OpenOptions::new();
    let mut file = options.read(true).write(true).create(true).truncate(true).mode(0o600).open(to).map_err(write)?;
    file.write_all(&header.encode()).map_err(write)?;
    let (mut left, mut buffer) = (range.end - range.start, vec![0; COPY_BYTES]);
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(COPY_BYTES).min(COPY_BYTES);
        let got = match from.read(&mut buffer[..want]) {
            // What the disk does not give back any more ends the copy.
            Ok(0) | Err(_) => break,
            Ok(got) => got,
        };
        file.write_all(&buffer[..got]).map_err(write)?;
        left -= got as u64;
    }
    let len = file.metadata().map_err(write)?.len();
    Ok((file, len))
}

/// Bytes copied at once.
const COPY_BYTES: usize = 256 << 10;

/// Reads a copy back and cuts it in front of the first damage; what is in it, and its end.
fn check(file: &File, header: &SegmentHeader, len: u64, every: u64) -> io::Result<(Scan, u64)> {
    let read = |limit| scan(file, header.first_seq, header.salt, SEGMENT_HEADER_BYTES, limit, every, Vec::new());
    let mut scanned = read(len)?;
    if let Some(damage) = scanned.first_damage() {
        file.set_len(damage)?;
        scanned = read(damage)?;
        return Ok((scanned, damage));
    }
    Ok((scanned, len))
}

fn remove(path: &Path) -> Result<(), JournalError> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(JournalError::io("remove", path, e)),
        _ => Ok(()),
    }
}
