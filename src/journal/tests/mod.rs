//! Promises of the journal's storage, each kept against real files.

mod damage;
mod follow;
mod full;
mod golden;
mod lock;
mod store;
mod unsynced;

use std::path::Path;

use bytes::Bytes;

use super::{JournalError, LogConfig, LogReader, Record, RecordMeta, SegmentLog};

/// Small enough that a few records roll.
fn small() -> LogConfig {
    LogConfig { segment_bytes: 16 << 10, index_every_bytes: 4096, ..LogConfig::default() }
}

fn record(seq: u64, len: usize) -> Record {
    let fill = |i: usize| u8::try_from(seq.wrapping_mul(31).wrapping_add(i as u64) % 251).unwrap();
    Record {
        meta: RecordMeta { seq, at_us: 1_000_000 + seq * 10, run: 7, kind: 2, offset: seq ^ 0xff },
        payload: (0..len).map(fill).collect::<Vec<_>>().into(),
    }
}

fn batch(seqs: impl IntoIterator<Item = u64>, len: usize) -> Vec<Record> {
    seqs.into_iter().map(|seq| record(seq, len)).collect()
}

fn open(dir: &Path, cfg: LogConfig) -> SegmentLog {
    SegmentLog::open(dir, cfg).unwrap().0
}

/// A log of `records`, closed again.
fn filled(dir: &Path, cfg: LogConfig, records: &[Record]) {
    open(dir, cfg).append(records).unwrap();
}

/// Everything up to the end; damage that is met on the way is stepped over and returned too.
fn drain(reader: &mut LogReader) -> (Vec<Record>, Vec<super::Damage>) {
    let (mut records, mut damage) = (Vec::new(), Vec::new());
    loop {
        match reader.next_batch(64 << 10) {
            Ok(batch) if batch.is_empty() => return (records, damage),
            Ok(batch) => records.extend(batch),
            Err(JournalError::Damaged(d)) => damage.push(d),
            Err(e) => panic!("{e}"),
        }
    }
}

fn seqs(records: &[Record]) -> Vec<u64> {
    records.iter().map(|r| r.meta.seq).collect()
}

fn all(dir: &Path) -> Vec<Record> {
    drain(&mut LogReader::open(dir).unwrap().0).0
}

fn segment_files(dir: &Path, kind: &str) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == kind));
    files.sort();
    files
}

fn bytes_of(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}
