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
//! has it no more. A crash at any point leaves records twice at most, of which readers pass one over.

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
    /// Nothing of it failed its checksum.
    whole: bool,
}

impl SegmentLog {
    /// Whether a sync has failed since the last [`mend`](Self::mend): nothing can be synced before the next.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        self.shared.disk().doubt
    }

    /// Writes again what is in doubt, for the next [`dirty`](Self::dirty) to bring to the disk.
    ///
    /// # Errors
    /// It cannot be written. Then nothing has changed, and it may be tried again.
    pub fn mend(&mut self) -> Result<Mended, JournalError> {
        let mark = self.shared.disk().synced;
        let segments = self.shared.segments().clone();
        let sound = segments.iter().filter(|s| mark.is_some_and(|m| s.first_seq < m.segment)).copied();
        let mut kept: Vec<SegmentInfo> = sound.collect();
        let doubtful = &segments[kept.len()..];
        let (copies, whole) = self.copies(doubtful, mark)?;
        let shortened = shortened(doubtful, mark);
        kept.extend(shortened);
        for copy in &copies {
            let path = self.shared.segment_path(copy.info.first_seq);
            std::fs::rename(&copy.path, &path).map_err(|e| JournalError::io("rename", &copy.path, e))?;
            kept.push(copy.info);
        }
        for lost in doubtful.iter().filter(|s| kept.iter().all(|k| k.first_seq != s.first_seq)) {
            remove(&self.shared.segment_path(lost.first_seq))?;
            let _ = std::fs::remove_file(self.shared.index_path(lost.first_seq));
        }
        let last = kept.last().map_or(0, |s| s.last_seq);
        // Readers hear of the shorter one before it is cut.
        *self.shared.segments() = kept;
        self.settle(&copies, shortened);
        let bytes = copies.iter().map(|copy| copy.info.end - SEGMENT_HEADER_BYTES).sum();
        Ok(Mended { bytes, lost_after: (!whole).then_some(last) })
    }

    /// Checked copies of all that is in doubt, up to the first record that cannot be read back; whether there is none.
    fn copies(&self, doubtful: &[SegmentInfo], mark: Option<Mark>) -> Result<(Vec<Copied>, bool), JournalError> {
        let mut copies = Vec::new();
        for info in doubtful {
            let from = mark.filter(|m| m.segment == info.first_seq).map_or(SEGMENT_HEADER_BYTES, |m| m.end);
            if from >= info.end {
                continue;
            }
            let floor = mark.filter(|m| m.segment == info.first_seq).map(|m| m.last_seq.saturating_add(1));
            match self.copy(info, from, floor) {
                Ok(Some(copy)) => copies.push(copy),
                Ok(None) => return Ok((copies, false)),
                Err(e) => {
                    copies.iter().for_each(|copy| drop(std::fs::remove_file(&copy.path)));
                    return Err(e);
                }
            }
            if copies.last().is_some_and(|copy| !copy.whole) {
                return Ok((copies, false));
            }
        }
        Ok((copies, true))
    }

    /// The records of `info` from `from` on as a segment of their own, unsynced; none if not even the first can be read. With a `floor`
    /// it begins in the middle, where the record before it was the one below the floor.
    fn copy(&self, info: &SegmentInfo, from: u64, floor: Option<u64>) -> Result<Option<Copied>, JournalError> {
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
        Ok(Some(Copied { path, info, points: scanned.points, whole: last_seq == self.last_of(info.first_seq) }))
    }

    /// The last record of the segment that holds this one.
    fn last_of(&self, seq: u64) -> u64 {
        let segments = self.shared.segments();
        segments.iter().rev().find(|s| s.first_seq <= seq).map_or(0, |s| s.last_seq)
    }

    /// After the swap: what is left of the old files and indexes is put in order, and everything new is noted as unsynced. What fails here
    /// costs a longer look at the next start, no record.
    fn settle(&mut self, copies: &[Copied], shortened: Option<SegmentInfo>) {
        for copy in copies {
            let seal = Point { seq: copy.info.last_seq, at_us: copy.info.last_at_us, offset: copy.info.end };
            let path = self.shared.index_path(copy.info.first_seq);
            let _ = index::rewrite(&path, copy.info.first_seq, copy.info.salt, &copy.points, Some(seal));
        }
        if let Some(info) = shortened {
            let cut = OpenOptions::new().write(true).open(self.shared.segment_path(info.first_seq));
            let _ = cut.and_then(|file| file.set_len(info.end));
            let path = self.shared.index_path(info.first_seq);
            let mut points = index::load(&path, info.first_seq, info.salt).points;
            points.retain(|point| point.offset < info.end);
            let seal = Point { seq: info.last_seq, at_us: info.last_at_us, offset: info.end };
            let _ = index::rewrite(&path, info.first_seq, info.salt, &points, Some(seal));
        }
        self.active = None;
        let first = shortened.map(|s| s.first_seq).or(copies.first().map(|copy| copy.info.first_seq));
        self.unsynced_from = first;
        (self.dir_unsynced, self.parent_unsynced) = (true, true);
        let mut disk = self.shared.disk();
        disk.doubt = false;
        disk.epoch += 1;
    }
}

/// The segment whose beginning is on the disk, cut to that.
fn shortened(doubtful: &[SegmentInfo], mark: Option<Mark>) -> Option<SegmentInfo> {
    let mark = mark?;
    let info = doubtful.first().filter(|info| info.first_seq == mark.segment)?;
    Some(SegmentInfo { end: mark.end, last_seq: mark.last_seq, last_at_us: mark.last_at_us, ..*info })
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
