//! The sparse index: a sidecar of a segment that spares reading it from the start.
//!
//! `<first seq>.idx`, little-endian. 16 bytes of head: magic `ZVIDX\0`, version u16 = 1, first seq
//! u64. Then entries of 32 bytes:
//!
//! | bytes | field | |
//! |---|---|---|
//! | 0..8 | seq u64 | of the record that begins at `offset` |
//! | 8..16 | `at_us` u64 | its time |
//! | 16..24 | offset u64 | in the segment file |
//! | 24..28 | tag u32 | 0 a point; 1 the seal: seq and time are those of the *last* record and offset is the end of the file |
//! | 28..32 | crc u32 | crc32c of bytes 0..28, continued from the segment's salt |
//!
//! The first record has no entry (the segment's header says it all), so a small log has no index
//! file. Only a sealed segment has a seal, as its last entry: with it the segment is trusted
//! unread. The index is never synced and never needed: what is wrong in it is rebuilt.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::segment::{u32_at, u64_at};

const MAGIC: &[u8; 8] = b"ZVIDX\0\x01\0";
const HEAD: usize = 16;
const ENTRY: usize = 32;
/// An index file longer than this is not ours: a segment of 64 MiB has one of 8 KiB.
const MAX_INDEX_BYTES: u64 = 64 << 20;

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) seq: u64,
    pub(super) at_us: u64,
    pub(super) offset: u64,
}

/// What an index file says, as far as its checksums hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    pub(super) points: Vec<Point>,
    pub(super) seal: Option<Point>,
    /// The file holds exactly this, nothing behind; a missing one holds nothing.
    pub(super) whole: bool,
}

/// Reads an index. A missing or foreign file is an empty index: it is only a help.
pub(super) fn load(path: &Path, first_seq: u64, salt: u32) -> Index {
    let mut index = Index::default();
    let bytes = match read_bounded(path) {
        Ok(bytes) => bytes,
        Err(e) => {
            index.whole = e.kind() == io::ErrorKind::NotFound;
            return index;
        }
    };
    if bytes.get(..HEAD) != Some(&head(first_seq)[..]) {
        return index;
    }
    let mut entries = bytes[HEAD..].chunks_exact(ENTRY);
    index.whole = entries.remainder().is_empty();
    while let Some(entry) = entries.next() {
        match decode(entry, salt) {
            Some((point, false))
                if index.points.last().is_none_or(|p| p.offset < point.offset && p.seq < point.seq) =>
            {
                index.points.push(point);
            }
            Some((seal, true)) => {
                index.seal = Some(seal);
                index.whole &= entries.next().is_none();
                break;
            }
            _ => {
                index.whole = false;
                break;
            }
        }
    }
    index
}

/// The seal of a segment, read alone.
pub(super) fn load_seal(path: &Path, first_seq: u64, salt: u32) -> Option<Point> {
    let file = File::open(path).ok()?;
    let len = file.metadata().ok()?.len();
    let at = len.checked_sub(ENTRY as u64)?;
    if at < HEAD as u64 || !(at - HEAD as u64).is_multiple_of(ENTRY as u64) {
        return None;
    }
    let (mut top, mut entry) = ([0; HEAD], [0; ENTRY]);
    file.read_exact_at(&mut top, 0).ok()?;
    file.read_exact_at(&mut entry, at).ok()?;
    let (seal, is_seal) = decode(&entry, salt)?;
    (is_seal && top == head(first_seq)).then_some(seal)
}

/// Replaces the whole index. Without points and seal there is to be no file.
pub(super) fn rewrite(path: &Path, first_seq: u64, salt: u32, points: &[Point], seal: Option<Point>) -> io::Result<()> {
    if points.is_empty() && seal.is_none() {
        return match std::fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        };
    }
    let file = open_for_write(path)?;
    let bytes = encode_all(first_seq, salt, points, seal, true);
    file.write_all_at(&bytes, 0)?;
    file.set_len(bytes.len() as u64)
}

/// The index of the segment being written: entries wait here until they are in the file, so that
/// a full disk delays them instead of losing them.
#[derive(Debug)]
pub(super) struct IndexWriter {
    written: u64,
    last_offset: u64,
    pending: Vec<Point>,
}

impl IndexWriter {
    /// Continues a file of `written` points, the last of them at `last_offset`.
    pub(super) fn new(written: usize, last_offset: u64) -> Self {
        Self { written: written as u64, last_offset, pending: Vec::new() }
    }

    /// File offset of the newest point, or of the first record.
    pub(super) fn last_offset(&self) -> u64 {
        self.last_offset
    }

    /// Takes points whose records are in the segment.
    pub(super) fn push(&mut self, points: &[Point]) {
        if let Some(last) = points.last() {
            self.last_offset = last.offset;
            self.pending.extend_from_slice(points);
        }
    }

    /// Writes what is pending, and the seal if given, at its place: trying again overwrites. The
    /// file is opened for this only, once in hundreds of KiB: an idle log costs no descriptor.
    pub(super) fn flush(&mut self, path: &Path, first_seq: u64, salt: u32, seal: Option<Point>) -> io::Result<()> {
        if self.pending.is_empty() && seal.is_none() {
            return Ok(());
        }
        let fresh = self.written == 0;
        let bytes = encode_all(first_seq, salt, &self.pending, seal, fresh);
        let at = if fresh { 0 } else { HEAD as u64 + self.written * ENTRY as u64 };
        open_for_write(path)?.write_all_at(&bytes, at)?;
        self.written += self.pending.len() as u64;
        self.pending = Vec::new();
        Ok(())
    }
}

fn encode_all(first_seq: u64, salt: u32, points: &[Point], seal: Option<Point>, with_head: bool) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + ENTRY * (points.len() + 1));
    if with_head {
        bytes.extend_from_slice(&head(first_seq));
    }
    for point in points {
        bytes.extend_from_slice(&encode(point, false, salt));
    }
    if let Some(seal) = seal {
        bytes.extend_from_slice(&encode(&seal, true, salt));
    }
    bytes
}

fn head(first_seq: u64) -> [u8; HEAD] {
    let mut b = [0; HEAD];
    b[..8].copy_from_slice(MAGIC);
    b[8..].copy_from_slice(&first_seq.to_le_bytes());
    b
}

fn encode(point: &Point, seal: bool, salt: u32) -> [u8; ENTRY] {
    let mut b = [0; ENTRY];
    b[..8].copy_from_slice(&point.seq.to_le_bytes());
    b[8..16].copy_from_slice(&point.at_us.to_le_bytes());
    b[16..24].copy_from_slice(&point.offset.to_le_bytes());
    b[24] = u8::from(seal);
    let crc = crc32c::crc32c_append(salt, &b[..28]);
    b[28..].copy_from_slice(&crc.to_le_bytes());
    b
}

/// A point, and whether it is the seal; None if the checksum or the tag is wrong.
fn decode(b: &[u8], salt: u32) -> Option<(Point, bool)> {
    let seal = match u32_at(b, 24) {
        0 => false,
        1 => true,
        _ => return None,
    };
    let point = Point { seq: u64_at(b, 0), at_us: u64_at(b, 8), offset: u64_at(b, 16) };
    (crc32c::crc32c_append(salt, &b[..28]) == u32_at(b, 28)).then_some((point, seal))
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    if len > MAX_INDEX_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    let got = super::walk::read_full(&file, &mut bytes, 0)?;
    bytes.truncate(got);
    Ok(bytes)
}

fn open_for_write(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}
