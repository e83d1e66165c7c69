//! Finding out what a log holds when it is opened.
//!
//! ```text
//! a sealed segment:  seal in the index fits the file ──> trusted unread
//!                    otherwise ──> read from the last index point, index rebuilt
//! the newest one:    read from the last index point; bytes behind the last good record are cut
//! ```
//! Damage with good records behind it is served around and reported, never cut.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::error::{Damage, JournalError};
use super::index::{self, Index, IndexWriter, Point};
use super::scan::{Scan, scan};
use super::segment::{HeaderFound, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::shared::{SegmentInfo, Shared};
use super::walk::read_full;

/// What opening a log found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Sequence number and time (µs since 1970) of the last good record.
    pub last: Option<(u64, u64)>,
    /// The torn tail that was cut, if there was one.
    pub torn: Option<Torn>,
    /// Damage in the middle, as far as segments had to be read. Nothing was deleted: readers serve
    /// what is around it, and name it in passing. A newest segment without one readable record is
    /// renamed to `.seg.bad`.
    pub damaged: Vec<Damage>,
    /// Indexes that were missing or wrong and have been rebuilt.
    pub indexes_rebuilt: usize,
    /// Segments in the log.
    pub segments: usize,
    /// Bytes in them.
    pub bytes: u64,
}

/// A tail that was never completely written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Torn {
    /// First sequence number of the segment, which is its file name.
    pub segment: u64,
    /// The last good record before it, in this segment.
    pub after_seq: Option<u64>,
    /// Bytes cut off.
    pub bytes: u64,
}

/// Whether files may be changed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Repair,
    ReadOnly,
}

/// The newest segment, to be written on.
pub(super) struct ActiveFound {
    pub(super) file: File,
    pub(super) info: SegmentInfo,
    pub(super) index: IndexWriter,
}

pub(super) struct Found {
    pub(super) segments: Vec<SegmentInfo>,
    pub(super) active: Option<ActiveFound>,
    pub(super) recovery: Recovery,
}

/// Creates `dir` (0700) with its parents; whether it was missing.
pub(super) fn create_dir(dir: &Path) -> Result<bool, JournalError> {
    if dir.is_dir() {
        return Ok(false);
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|e| JournalError::io("create", dir, e))?;
    Ok(true)
}

/// What the first bytes of a segment say.
struct Head {
    path: PathBuf,
    first_seq: u64,
    len: u64,
    salt: u32,
    header: Option<SegmentHeader>,
}

/// Makes sure that the newest segment in `dir`, if there is any, is not of a format this program does not know. Nothing is touched. What cannot
/// be read is none of its business: opening the log says so.
///
/// # Errors
/// [`JournalError::NewerFormat`].
pub fn refuse_newer(dir: &Path) -> Result<(), JournalError> {
    let Ok(Listed { segments, .. }) = list(dir) else { return Ok(()) };
    let Some(newest) = segments.last() else { return Ok(()) };
    let shared = Shared::new(dir.to_path_buf(), 0, Vec::new());
    let survey = Survey { shared, mode: Mode::ReadOnly, segments: Vec::new(), recovery: Recovery::default() };
    match survey.head(*newest) {
        Err(error @ JournalError::NewerFormat { .. }) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Reads the log in `dir`; in [`Mode::Repair`] also makes it ready to be written.
pub(super) fn recover(dir: &Path, index_every: u64, mode: Mode) -> Result<Found, JournalError> {
    let shared = Shared::new(dir.to_path_buf(), index_every, Vec::new());
    let Listed { segments: names, indexes, copies } = list(dir)?;
    let mut survey = Survey { shared, mode, segments: Vec::new(), recovery: Recovery::default() };
    // All heads before anything is changed: a newer program's log is left alone as a whole.
    let mut heads = Vec::with_capacity(names.len());
    for &first_seq in &names {
        heads.extend(survey.head(first_seq)?);
    }
    let newest = heads.pop();
    for (i, head) in heads.iter().enumerate() {
        let next = heads.get(i + 1).or(newest.as_ref()).and_then(|next| next.header);
        survey.sealed(head, next)?;
    }
    let active = match newest {
        Some(head) => survey.newest(&head)?,
        None => None,
    };
    if mode == Mode::Repair {
        for orphan in indexes.iter().filter(|i| names.binary_search(i).is_err()) {
            let _ = std::fs::remove_file(survey.shared.index_path(*orphan));
        }
        // Their originals are still in place: kept, they only take room.
        copies.iter().for_each(|copy| drop(std::fs::remove_file(copy)));
    }
    let Survey { segments, mut recovery, .. } = survey;
    recovery.last = segments.last().map(|s| (s.last_seq, s.last_at_us));
    recovery.segments = segments.len();
    recovery.bytes = segments.iter().map(|s| s.end).sum();
    Ok(Found { segments, active, recovery })
}

/// The files of a log.
struct Listed {
    /// First seqs of its segments, sorted.
    segments: Vec<u64>,
    /// First seqs of the segments that its indexes are of.
    indexes: Vec<u64>,
    /// Copies of a mend that did not come to its end.
    copies: Vec<PathBuf>,
}

fn list(dir: &Path) -> Result<Listed, JournalError> {
    let fail = |e| JournalError::io("list", dir, e);
    let (mut segments, mut indexes, mut copies) = (Vec::new(), Vec::new(), Vec::new());
    for entry in std::fs::read_dir(dir).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name();
        let Some((stem, kind)) = name.to_str().and_then(|n| n.split_once('.')) else {
            continue;
        };
        if stem.len() != 20 || !stem.bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        let Ok(seq) = stem.parse() else {
            continue;
        };
        match kind {
            "seg" => segments.push(seq),
            "idx" => indexes.push(seq),
            "mend" => copies.push(dir.join(format!("{seq:020}.mend"))),
            _ => {}
        }
    }
    segments.sort_unstable();
    Ok(Listed { segments, indexes, copies })
}

struct Survey {
    shared: Shared,
    mode: Mode,
    segments: Vec<SegmentInfo>,
    recovery: Recovery,
}

impl Survey {
    /// Opens a segment and reads its head. None if it has gone meanwhile.
    fn head(&self, first_seq: u64) -> Result<Option<Head>, JournalError> {
        let path = self.shared.segment_path(first_seq);
        let fail = |op| move |e| (op, e);
        let file = match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && self.mode == Mode::ReadOnly => return Ok(None),
            opened => opened.map_err(|e| JournalError::io("open", &path, e))?,
        };
        let mut bytes = [0; 48];
        let read = file.metadata().map_err(fail("stat")).and_then(|m| {
            read_full(&file, &mut bytes, 0).map_err(fail("read"))?;
            Ok(m.len())
        });
        let len = read.map_err(|(op, e)| JournalError::io(op, &path, e))?;
        let (salt, header) = match SegmentHeader::decode(&bytes) {
            HeaderFound::Good(header) if header.first_seq == first_seq => {
                // A floor above the first record would have readers told of an expired stretch for ever.
                (header.salt, Some(SegmentHeader { floor: header.floor.min(first_seq), ..header }))
            }
            HeaderFound::Good(header) => (header.salt, None),
            HeaderFound::Damaged { salt } => (salt, None),
            HeaderFound::Newer(found) => return Err(JournalError::NewerFormat { path, found }),
        };
        Ok(Some(Head { path, first_seq, len, salt, header }))
    }

    /// A segment that is not written any more; `next` is the header of the one behind it.
    fn sealed(&mut self, head: &Head, next: Option<SegmentHeader>) -> Result<(), JournalError> {
        if let Some(header) = head.header
            && let Some(seal) = index::load_seal(&self.shared.index_path(head.first_seq), head.first_seq, head.salt)
            && seal.offset == head.len
        {
            let info = info_of(head, &header, seal.seq, seal.at_us, seal.offset);
            self.segments.push(info);
            return Ok(());
        }
        let (scan, _, _) = self.scan_from_index(head)?;
        if head.header.is_none() {
            self.recovery.damaged.push(head_damage(head, scan.first_seq));
        }
        self.recovery.damaged.extend(&scan.damaged);
        self.recovery.damaged.extend(scan.tail);
        let header = self.header_or_guess(head, &scan);
        let (mut seq, at_us) = scan.last.unwrap_or((header.first_seq, header.created_us));
        if let (Some(_), Some(next)) = (scan.tail, next) {
            // What the damaged tail held is told as damage, not once more as expired.
            seq = seq.max(next.floor.saturating_sub(1));
        }
        // Up to the end of the file: a reader is to meet a damaged tail and name it.
        let info = info_of(head, &header, seq, at_us, head.len);
        self.segments.push(info);
        if self.mode == Mode::Repair {
            let seal = Point { seq, at_us, offset: head.len };
            self.rewrite_index(head, &scan.points, Some(seal));
        }
        Ok(())
    }

    /// The newest segment: cut to its last good record and taken over for writing.
    fn newest(&mut self, head: &Head) -> Result<Option<ActiveFound>, JournalError> {
        if head.len < SEGMENT_HEADER_BYTES {
            self.remove_torn(head)?;
            return Ok(None);
        }
        let (scan, index, file) = self.scan_from_index(head)?;
        let Some((last_seq, last_at_us)) = scan.last else {
            self.set_aside(head, &scan)?;
            return Ok(None);
        };
        self.recovery.damaged.extend(&scan.damaged);
        if let Some(tail) = scan.tail {
            let cut = if self.mode == Mode::Repair { file.set_len(tail.start) } else { Ok(()) };
            cut.map_err(|e| JournalError::io("cut", &head.path, e))?;
            self.recovery.torn =
                Some(Torn { segment: head.first_seq, after_seq: tail.after_seq, bytes: tail.end - tail.start });
        }
        let header = self.header_or_guess(head, &scan);
        let info = info_of(head, &header, last_seq, last_at_us, scan.good_end);
        self.segments.push(info);
        if self.mode == Mode::Repair && (index.points != scan.points || !index.whole || index.seal.is_some()) {
            self.rewrite_index(head, &scan.points, None);
        }
        if head.header.is_none() {
            // Its records are served, but nothing is to be added under a damaged head.
            self.recovery.damaged.push(head_damage(head, scan.first_seq));
            return Ok(None);
        }
        let last_point = scan.points.last().map_or(SEGMENT_HEADER_BYTES, |p| p.offset);
        let index = IndexWriter::new(scan.points.len(), last_point);
        Ok(Some(ActiveFound { file, info, index }))
    }

    /// Reads the part of a segment that its index does not vouch for.
    fn scan_from_index(&self, head: &Head) -> Result<(Scan, Index, File), JournalError> {
        let opened = OpenOptions::new().read(true).write(self.mode == Mode::Repair).open(&head.path);
        let file = opened.map_err(|e| JournalError::io("open", &head.path, e))?;
        let index = index::load(&self.shared.index_path(head.first_seq), head.first_seq, head.salt);
        let mut points = index.points.clone();
        points.retain(|p| p.offset < head.len);
        let (from, first) = match points.last() {
            Some(point) => (*point, Some(point.seq)),
            None => (Point { seq: head.first_seq, at_us: 0, offset: SEGMENT_HEADER_BYTES }, None),
        };
        let scan = |points, from| {
            scan(&file, head.first_seq, head.salt, from, head.len, self.shared.index_every, points)
                .map_err(|e| JournalError::io("read", &head.path, e))
        };
        let mut scanned = scan(points, from.offset)?;
        if first.is_some() && scanned.first_seq != first {
            // The last point lies: believe none of them.
            scanned = scan(Vec::new(), SEGMENT_HEADER_BYTES)?;
        }
        Ok((scanned, index, file))
    }

    fn header_or_guess(&mut self, head: &Head, scan: &Scan) -> SegmentHeader {
        head.header.unwrap_or(SegmentHeader {
            first_seq: head.first_seq,
            floor: self.segments.last().map_or(0, |s| s.last_seq.saturating_add(1)),
            created_us: scan.first_at_us.unwrap_or(0),
            salt: head.salt,
        })
    }

    fn rewrite_index(&mut self, head: &Head, points: &[Point], seal: Option<Point>) {
        let path = self.shared.index_path(head.first_seq);
        // A disk too full for an index must not keep the log shut.
        if index::rewrite(&path, head.first_seq, head.salt, points, seal).is_ok() {
            self.recovery.indexes_rebuilt += 1;
        }
    }

    /// A newest segment without one good record: the first write into it was torn, or its head is
    /// damaged so that nothing in it can be told.
    fn set_aside(&mut self, head: &Head, scan: &Scan) -> Result<(), JournalError> {
        if head.header.is_some() {
            return self.remove_torn(head);
        }
        self.recovery.damaged.push(scan.tail.unwrap_or(head_damage(head, None)));
        if self.mode == Mode::Repair {
            let aside = head.path.with_extension("seg.bad");
            std::fs::rename(&head.path, aside).map_err(|e| JournalError::io("rename", &head.path, e))?;
        }
        Ok(())
    }

    fn remove_torn(&mut self, head: &Head) -> Result<(), JournalError> {
        self.recovery.torn = Some(Torn { segment: head.first_seq, after_seq: None, bytes: head.len });
        if self.mode == Mode::Repair {
            std::fs::remove_file(&head.path).map_err(|e| JournalError::io("remove", &head.path, e))?;
            let _ = std::fs::remove_file(self.shared.index_path(head.first_seq));
        }
        Ok(())
    }
}

fn info_of(head: &Head, header: &SegmentHeader, last_seq: u64, last_at_us: u64, end: u64) -> SegmentInfo {
    SegmentInfo {
        first_seq: head.first_seq,
        floor: header.floor,
        last_seq,
        first_at_us: header.created_us,
        last_at_us,
        end,
        salt: head.salt,
    }
}

fn head_damage(head: &Head, next_seq: Option<u64>) -> Damage {
    Damage { segment: head.first_seq, start: 0, end: SEGMENT_HEADER_BYTES.min(head.len), after_seq: None, next_seq }
}
