//! A log's directory as a crash, a bad disk or somebody else left it, made of an input: segments of records with good and bad checksums,
//! in any order, with damage between them, and indexes that tell the truth, lie or are rubbish. Checksums are made here, so that what a
//! fuzzer changes is met behind them, too.

use std::collections::HashSet;
use std::path::Path;

use bytes::Bytes;
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use zerovisor::journal::{Record, RecordMeta};
use zerovisor_core::record::Kind;

use crate::put;

const SEGMENTS_MAX: usize = 3;
const RECORDS_MAX: usize = 8;

/// One segment file and its index, and the records in it, damaged ones too: a second flip may undo the first.
#[derive(Default)]
struct Segment {
    bytes: Vec<u8>,
    index: Option<Vec<u8>>,
    records: Vec<Record>,
    /// The index says what no writer would.
    lies: bool,
}

/// Beside the next in order, or anything; never the last number there is, behind which nothing can come.
fn next(u: &mut Unstructured, after: u64) -> Result<u64> {
    let next = if u.ratio(15, 16)? { after.saturating_add(u64::from(u.arbitrary::<u8>()?)) } else { u.arbitrary()? };
    Ok(next.min(u64::MAX >> 1))
}

fn header(first_seq: u64, floor: u64, created_us: u64, salt: u32) -> Vec<u8> {
    let mut bytes = b"ZVSEG\0\x01\0\0\0\0\0".to_vec();
    bytes.extend(salt.to_le_bytes());
    bytes.extend([first_seq, floor, created_us].map(u64::to_le_bytes).concat());
    bytes.extend([0; 4]);
    bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

fn stored(record: &Record, salt: u32) -> Vec<u8> {
    let RecordMeta { seq, at_us, run, kind, offset } = record.meta;
    let mut bytes = crc32c::crc32c(&record.payload).to_le_bytes().to_vec();
    bytes.extend(&(record.payload.len() as u64).to_le_bytes()[..3]);
    bytes.push(kind);
    bytes.extend(run.to_le_bytes());
    bytes.extend([seq, at_us, offset].map(u64::to_le_bytes).concat());
    let crc = crc32c::crc32c_append(salt, &bytes).to_le_bytes();
    [&crc[..], &bytes, &record.payload].concat()
}

fn entry(seq: u64, at_us: u64, offset: u64, tag: u32, salt: u32) -> Vec<u8> {
    let mut bytes = [seq, at_us, offset].map(u64::to_le_bytes).concat();
    bytes.extend(tag.to_le_bytes());
    bytes.extend(crc32c::crc32c_append(salt, &bytes).to_le_bytes());
    bytes
}

fn record(u: &mut Unstructured, seq: u64, at_us: u64) -> Result<Record> {
    let length = if u.ratio(1, 16)? { 5000 } else { u.int_in_range(0..=40)? };
    // Of those that we write, or any number.
    let known = [Kind::Stdout, Kind::Stderr, Kind::Terminal, Kind::Fact].map(u8::from);
    let kind = if u.ratio(3, 4)? { *u.choose(&known)? } else { u.arbitrary()? };
    let payload = match kind == u8::from(Kind::Fact) && u.arbitrary()? {
        true => Bytes::copy_from_slice(u.bytes(u.len().min(length))?),
        false => Bytes::from(vec![u.arbitrary::<u8>()?; length]),
    };
    let (run, offset) = (u.int_in_range(1..=2)?, next(u, seq << 4)?);
    Ok(Record { meta: RecordMeta { seq, at_us, run, kind, offset }, payload })
}

/// A segment that begins with `first`, and the last sequence number and time in it.
fn segment(u: &mut Unstructured, first: u64, floor: u64, since_us: u64) -> Result<(Segment, u64, u64)> {
    let salt = u.arbitrary()?;
    let (mut seq, mut at_us) = (first, since_us);
    let mut made = Segment { bytes: header(first, floor, at_us, salt), ..Segment::default() };
    let mut points = Vec::new();
    for number in 0..u.int_in_range(0..=RECORDS_MAX)? {
        if number > 0 {
            (seq, at_us) = (next(u, seq)?.saturating_add(1), next(u, at_us)?);
        }
        let record = record(u, seq, at_us)?;
        let at = made.bytes.len();
        made.bytes.extend(stored(&record, salt));
        match u.int_in_range(0..=15)? {
            0 => made.bytes[at + 20] ^= 1,
            1 => made.bytes.truncate(made.bytes.len() - 1),
            2 if !record.payload.is_empty() => *made.bytes.last_mut().expect("a payload") ^= 1,
            3 => {
                let garbage = u.int_in_range(1..=60)?;
                made.bytes.splice(at..at, vec![0xaa; garbage]);
            }
            _ => points.push(entry(seq, at_us, at as u64, 0, salt)),
        }
        made.records.push(record);
    }
    let length = made.bytes.len() as u64;
    let head = [&b"ZVIDX\0\x01\0"[..], &first.to_le_bytes()].concat();
    let index = u.int_in_range(0..=5)?;
    made.lies = index == 4;
    made.index = match index {
        0 | 1 => None,
        2 => Some([head, points.concat(), entry(seq, at_us, length, 1, salt)].concat()),
        3 => Some([head, points.concat()].concat()),
        4 => Some(
            [head, entry(u.arbitrary()?, u.arbitrary()?, next(u, 48)?, u.arbitrary::<u8>()?.into(), salt)].concat(),
        ),
        _ => Some(u.bytes(u.len().min(40))?.to_vec()),
    };
    match u.int_in_range(0..=15)? {
        // Cut anywhere; a flipped bit anywhere.
        0 => made.bytes.truncate(u.int_in_range(0..=made.bytes.len())?),
        1 => {
            let at = u.choose_index(made.bytes.len())?;
            made.bytes[at] ^= 1 << u.int_in_range(0..=7)?;
        }
        _ => {}
    }
    Ok((made, seq, at_us))
}

/// What was written into a log.
pub struct Damaged {
    /// Every record that may come back.
    pub written: HashSet<Key>,
    /// Whether a writer of ours could have made the files, before they were damaged.
    pub honest: bool,
}

/// Sequence number, time and payload: what tells a record from another.
pub type Key = (u64, u64, Bytes);

/// Writes a log's files.
///
/// # Errors
/// The input is too short.
pub fn damaged_log(u: &mut Unstructured, dir: &Path) -> Result<Damaged> {
    let (mut written, mut honest): (HashSet<_>, _) = (HashSet::new(), true);
    let (mut last, mut at_us, mut names) = (0u64, 1, HashSet::new());
    for _ in 0..u.int_in_range(1..=SEGMENTS_MAX)? {
        let first = next(u, last)?.saturating_add(1);
        let floor = if u.ratio(15, 16)? { last.saturating_add(1).min(first) } else { u.arbitrary()? };
        honest &= floor == last.saturating_add(1);
        if !names.insert(first) {
            continue;
        }
        let (made, last_seq, last_us) = segment(u, first, floor, at_us)?;
        put(&dir.join(format!("{first:020}.seg")), &made.bytes);
        if let Some(index) = &made.index {
            put(&dir.join(format!("{first:020}.idx")), index);
        }
        let seqs: Vec<u64> = made.records.iter().map(|record| record.meta.seq).collect();
        let times: Vec<u64> = made.records.iter().map(|record| record.meta.at_us).collect();
        honest &= !made.lies && times.is_sorted() && times.first().is_none_or(|first_us| *first_us >= at_us);
        honest &= first > last && seqs.is_sorted_by(|a, b| a < b) && seqs.first() == Some(&first);
        written.extend(made.records.into_iter().map(key));
        (last, at_us) = (last_seq.max(last), last_us);
    }
    Ok(Damaged { written, honest })
}

/// A record's key.
pub fn key(record: Record) -> Key {
    (record.meta.seq, record.meta.at_us, record.payload)
}
