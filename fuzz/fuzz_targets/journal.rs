//! A log's directory as a crash, a bad disk or somebody else left it: opening it never fails, reading comes to an end, and what is read is
//! what was once written, in order. Of what a writer of ours and any damage can leave, a repair changes nothing that can be read, and the
//! log is clean then and goes on.
#![no_main]

use std::path::Path;

use bytes::Bytes;
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use zerovisor::journal::{JournalError, LogConfig, LogReader, Record, RecordMeta, SegmentLog};
use zerovisor_fuzz::segments::{Damaged, damaged_log, key};
use zerovisor_fuzz::with_directory;

const CONFIG: LogConfig =
    LogConfig { segment_bytes: 4096, retain_bytes: None, retain_age_us: None, index_every_bytes: 4096 };

/// All that comes, to the end. Steps are counted: each takes a record, an expired stretch or damage away.
fn drained(mut reader: LogReader) -> Vec<Record> {
    let (mut all, mut last) = (Vec::new(), String::new());
    for _ in 0..1000 {
        match reader.next_batch(4096) {
            Ok(batch) if batch.is_empty() => return all,
            Ok(batch) => all.extend(batch),
            Err(error @ (JournalError::Damaged(_) | JournalError::Expired { .. })) => last = error.to_string(),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("reading does not come to an end after {} records: {last}", all.len())
}

fn is_newer(error: &JournalError) -> bool {
    matches!(error, JournalError::NewerFormat { .. })
}

fn seqs(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.meta.seq).collect()
}

fn held_to_its_promises(dir: &Path, u: &mut Unstructured) -> Result<()> {
    let Damaged { written, honest } = damaged_log(u, dir)?;
    let reader = match LogReader::open(dir) {
        Ok((reader, _)) => reader,
        Err(error) => {
            assert!(is_newer(&error), "{error}");
            return Ok(());
        }
    };
    let mut back: Vec<Record> = Vec::new();
    for block in reader.blocks_back() {
        back.extend(block.expect("a block").read().expect("a block is read"));
    }
    let before = drained(reader);
    for record in back.into_iter().chain(before.iter().cloned()) {
        let seq = record.meta.seq;
        assert!(written.contains(&key(record)), "record {seq} was never written so");
    }
    assert!(seqs(&before).is_sorted_by(|a, b| a < b), "{:?}", seqs(&before));
    let (mut log, recovery) = SegmentLog::open(dir, CONFIG).expect("a log that can be read can be opened");
    let repaired = drained(log.reader());
    assert!(!honest || seqs(&repaired) == seqs(&before), "a repair changes nothing that can be read: {recovery:?}");
    let last = log.last().map_or(0, |(seq, _)| seq);
    assert!(!honest || before.last().is_none_or(|record| record.meta.seq <= last));
    let Some(seq) = last.checked_add(1).filter(|seq| *seq < u64::MAX) else { return Ok(()) };
    let added = Record {
        meta: RecordMeta { seq, at_us: 5, run: 2, kind: 1, offset: 0 },
        payload: Bytes::from_static(b"goes on"),
    };
    log.append(&[added]).expect("a repaired log goes on");
    drop(log);
    let (log, recovery) = SegmentLog::open(dir, CONFIG).expect("it opens again");
    let after = drained(log.reader());
    if honest {
        assert_eq!((recovery.torn, recovery.last.map(|(seq, _)| seq)), (None, Some(seq)));
        assert_eq!(seqs(&after), [seqs(&before), vec![seq]].concat());
    }
    let (mut reader, _) = LogReader::open(dir).expect("it is read beside its writer");
    reader.seek_time(u.arbitrary()?);
    drained(reader);
    let (mut reader, _) = LogReader::open(dir).expect("it is read beside its writer");
    reader.seek_seq(u.arbitrary()?);
    drained(reader);
    Ok(())
}

fuzz_target!(|input: &[u8]| {
    with_directory(|dir| {
        // An input that ends early was made good use of until then.
        let _short = held_to_its_promises(dir, &mut Unstructured::new(input));
    });
});
