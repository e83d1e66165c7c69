//! The bytes of a segment file. All integers are little-endian; nothing is aligned.
//!
//! A segment is named by its first sequence number in 20 decimal digits, `.seg`. It begins with
//! 48 bytes:
//!
//! | bytes | field | |
//! |---|---|---|
//! | 0..6 | magic | `ZVSEG\0` |
//! | 6..8 | version u16 | 1; magic and version stay here in every format to come |
//! | 8..12 | flags u32 | 0; a set bit is a feature this version does not know |
//! | 12..16 | salt u32 | random: the seed of every header checksum in this segment |
//! | 16..24 | first seq u64 | sequence number of the first record, as in the name |
//! | 24..32 | floor u64 | last seq before this segment, plus 1; 0 when the log began here |
//! | 32..40 | created u64 | `at_us` of the first record |
//! | 40..44 | reserved | 0 |
//! | 44..48 | crc u32 | crc32c of bytes 0..44 |
//!
//! Then records follow each other to the end of the file, each of 40 bytes and its payload:
//!
//! | bytes | field | |
//! |---|---|---|
//! | 0..4 | header crc u32 | crc32c of bytes 4..40, continued from the salt (`crc32c_append`) |
//! | 4..8 | payload crc u32 | crc32c of the payload |
//! | 8..11 | length u24 | payload bytes |
//! | 11 | kind u8 | the caller's |
//! | 12..16 | run u32 | the caller's |
//! | 16..24 | seq u64 | above that of the record before |
//! | 24..32 | `at_us` u64 | wall clock in µs since 1970, not below that of the record before |
//! | 32..40 | offset u64 | the caller's |
//!
//! Why two checksums: a header can be judged without its payload, so the next good record behind
//! a damaged stretch is found in one pass. Why the salt: a program chooses the payloads, and must
//! not be able to print something that passes for a record in that search.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use bytes::Bytes;

/// The format written, and the newest one read.
pub(super) const FORMAT_VERSION: u16 = 1;
/// Length of a segment's own header; the first record stands here.
pub(super) const SEGMENT_HEADER_BYTES: u64 = 48;
/// Length of a record's header.
pub(super) const RECORD_HEADER_BYTES: usize = 40;
/// Payload a record may carry: one wire page of 1 MiB and 4 KiB for whatever wraps it.
pub const MAX_PAYLOAD_BYTES: usize = (1 << 20) + 4096;

const MAGIC: &[u8; 6] = b"ZVSEG\0";
const HEADER: usize = 48;

/// Everything about a record but its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordMeta {
    /// Sequence number; grows strictly within a log, with gaps as the caller likes.
    pub seq: u64,
    /// Wall clock in µs since 1970. Never steps back within a log: the writer raises it if need be.
    pub at_us: u64,
    /// Number of the run it belongs to; opaque here.
    pub run: u32,
    /// Stream or fact tag; opaque here.
    pub kind: u8,
    /// Byte offset of the payload in its stream; opaque here.
    pub offset: u64,
}

/// One record. Read back, its payload is a slice of the buffer of the whole batch: whoever keeps
/// a small one for long should copy it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What it is.
    pub meta: RecordMeta,
    /// At most [`MAX_PAYLOAD_BYTES`].
    pub payload: Bytes,
}

impl Record {
    /// Bytes it takes on disk.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        (RECORD_HEADER_BYTES + self.payload.len()) as u64
    }
}

/// The head of a segment file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) first_seq: u64,
    pub(super) floor: u64,
    pub(super) created_us: u64,
    pub(super) salt: u32,
}

/// What the first bytes of a file turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderFound {
    Good(SegmentHeader),
    /// Written by a newer program: not to be touched.
    Newer(u16),
    /// Fails its checksum. The salt as found may still open the records.
    Damaged {
        salt: u32,
    },
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; HEADER] {
        let mut b = [0; HEADER];
        b[..6].copy_from_slice(MAGIC);
        b[6..8].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        b[12..16].copy_from_slice(&self.salt.to_le_bytes());
        b[16..24].copy_from_slice(&self.first_seq.to_le_bytes());
        b[24..32].copy_from_slice(&self.floor.to_le_bytes());
        b[32..40].copy_from_slice(&self.created_us.to_le_bytes());
        let crc = crc32c::crc32c(&b[..44]);
        b[44..].copy_from_slice(&crc.to_le_bytes());
        b
    }

    pub(super) fn decode(b: &[u8; HEADER]) -> HeaderFound {
        let salt = u32_at(b, 12);
        let version = u16::from_le_bytes([b[6], b[7]]);
        if &b[..6] != MAGIC {
            return HeaderFound::Damaged { salt };
        }
        // A flipped bit in the version must not pass for a newer program.
        let mut as_ours = *b;
        as_ours[6..8].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        let sound = crc32c::crc32c(&as_ours[..44]) == u32_at(b, 44);
        match (version.cmp(&FORMAT_VERSION), sound) {
            (std::cmp::Ordering::Greater, false) => HeaderFound::Newer(version),
            (std::cmp::Ordering::Equal, true) if u32_at(b, 8) != 0 => HeaderFound::Newer(version),
            (std::cmp::Ordering::Equal, true) => HeaderFound::Good(Self {
                first_seq: u64_at(b, 16),
                floor: u64_at(b, 24),
                created_us: u64_at(b, 32),
                salt,
            }),
            _ => HeaderFound::Damaged { salt },
        }
    }
}

/// A seed that what is in the payloads cannot know: std's own randomly keyed hasher.
pub(super) fn new_salt() -> u32 {
    let bytes = RandomState::new().build_hasher().finish().to_le_bytes();
    u32_at(&bytes, 0)
}

/// A record's header as read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) meta: RecordMeta,
    pub(super) len: usize,
    payload_crc: u32,
}

impl RecordHeader {
    /// None unless the checksum holds and the length is within bounds.
    pub(super) fn decode(b: &[u8; RECORD_HEADER_BYTES], salt: u32) -> Option<Self> {
        let word = u32_at(b, 8);
        let len = usize::try_from(word & 0x00ff_ffff).ok()?;
        // The bound first: it is what makes the search behind damage cheap.
        if len > MAX_PAYLOAD_BYTES || crc32c::crc32c_append(salt, &b[4..]) != u32_at(b, 0) {
            return None;
        }
        Some(Self {
            meta: RecordMeta {
                seq: u64_at(b, 16),
                at_us: u64_at(b, 24),
                run: u32_at(b, 12),
                kind: b[11],
                offset: u64_at(b, 32),
            },
            len,
            payload_crc: u32_at(b, 4),
        })
    }

    /// Whether these are the bytes that were written with this header.
    pub(super) fn fits(&self, payload: &[u8]) -> bool {
        payload.len() == self.len && crc32c::crc32c(payload) == self.payload_crc
    }

    pub(super) fn total(&self) -> usize {
        RECORD_HEADER_BYTES + self.len
    }
}

/// Bytes a record takes on disk by its header `b`, of at least 12 bytes and not verified.
pub(super) fn stored_len(b: &[u8]) -> usize {
    let word = u32_at(b, 8) & 0x00ff_ffff;
    RECORD_HEADER_BYTES.saturating_add(usize::try_from(word).unwrap_or(usize::MAX))
}

/// The header of `record`, stamped `at_us`. Its payload must be within [`MAX_PAYLOAD_BYTES`].
pub(super) fn encode_record(record: &Record, at_us: u64, salt: u32) -> [u8; RECORD_HEADER_BYTES] {
    let meta = &record.meta;
    let len = (record.payload.len() as u64).to_le_bytes();
    let mut b = [0; RECORD_HEADER_BYTES];
    b[4..8].copy_from_slice(&crc32c::crc32c(&record.payload).to_le_bytes());
    b[8..11].copy_from_slice(&len[..3]);
    b[11] = meta.kind;
    b[12..16].copy_from_slice(&meta.run.to_le_bytes());
    b[16..24].copy_from_slice(&meta.seq.to_le_bytes());
    b[24..32].copy_from_slice(&at_us.to_le_bytes());
    b[32..].copy_from_slice(&meta.offset.to_le_bytes());
    let crc = crc32c::crc32c_append(salt, &b[4..]);
    b[..4].copy_from_slice(&crc.to_le_bytes());
    b
}

/// Little-endian u32 at `at`, which the caller keeps within `b`.
pub(super) fn u32_at(b: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&b[at..at + 4]);
    u32::from_le_bytes(word)
}

/// Little-endian u64 at `at`, which the caller keeps within `b`.
pub(super) fn u64_at(b: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&b[at..at + 8]);
    u64::from_le_bytes(word)
}
