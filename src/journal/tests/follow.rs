//! Readers beside a writer that does not wait for them.

use std::sync::mpsc;
use std::thread;

use super::*;

const RECORDS: u64 = 20_000;

/// Batches of sizes that roll often and mix copied with referenced payloads.
fn write_all(log: &mut SegmentLog, mut told: impl FnMut(u64), retain: bool) {
    let mut seq = 1;
    while seq <= RECORDS {
        let next = (seq + 1 + seq % 23).min(RECORDS + 1);
        let records: Vec<_> = (seq..next).map(|s| record(s, usize::try_from(s * 7 % 900).unwrap())).collect();
        log.append(&records).unwrap();
        if retain {
            log.retain(0);
        }
        told(next - 1);
        seq = next;
    }
}

#[test]
fn a_follower_reads_every_byte_once_across_rolls() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), LogConfig { segment_bytes: 64 << 10, ..small() });
    let mut reader = log.reader();
    let (tell, told) = mpsc::channel();
    let writer = thread::spawn(move || write_all(&mut log, |seq| tell.send(seq).unwrap(), false));
    let mut expected = 1;
    // Each word of the writer is a fact to wait for: what it names must be there to read.
    while let Ok(seq) = told.recv() {
        while expected <= seq {
            for got in reader.next_batch(32 << 10).unwrap() {
                assert_eq!(got, record(expected, usize::try_from(expected * 7 % 900).unwrap()));
                expected += 1;
            }
        }
    }
    writer.join().unwrap();
    assert_eq!(expected, RECORDS + 1);
}

#[test]
fn followers_racing_retention_miss_only_what_they_are_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let cfg = LogConfig { segment_bytes: 32 << 10, retain_bytes: Some(64 << 10), ..small() };
    let mut log = open(dir.path(), cfg);
    let readers: Vec<_> = (0..3).map(|_| log.reader()).collect();
    let followers: Vec<_> = readers.into_iter().map(|reader| thread::spawn(move || follow(reader))).collect();
    write_all(&mut log, |_| (), true);
    for follower in followers {
        let (seen, missed) = follower.join().unwrap();
        assert_eq!(seen + missed, RECORDS);
        assert!(seen > 0);
    }
}

/// Reads to the last record; how many were seen and how many expired.
fn follow(mut reader: LogReader) -> (u64, u64) {
    let (mut expected, mut seen, mut missed) = (1, 0, 0);
    while expected <= RECORDS {
        match reader.next_batch(8 << 10) {
            Ok(batch) if batch.is_empty() => thread::yield_now(),
            Ok(batch) => {
                for got in batch {
                    assert_eq!(got, record(expected, usize::try_from(expected * 7 % 900).unwrap()));
                    expected += 1;
                    seen += 1;
                }
            }
            Err(JournalError::Expired { first_available }) => {
                assert!(first_available > expected);
                missed += first_available - expected;
                expected = first_available;
            }
            Err(e) => panic!("{e}"),
        }
    }
    (seen, missed)
}
