//! What is appended is what is read, by whatever way one gets there.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use proptest::prelude::*;

use super::*;
use crate::journal::MAX_PAYLOAD_BYTES;

#[test]
fn what_is_appended_is_read_back_also_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let mut records = batch([1, 2, 5, 100], 3000);
    records.push(record(101, 0));
    records.push(record(102, 70_000));
    records.push(record(103, MAX_PAYLOAD_BYTES));
    let mut log = open(dir.path(), LogConfig::default());
    assert_eq!((log.last(), log.first_seq(), log.bytes()), (None, None, 0));
    log.append(&records).unwrap();
    assert_eq!(drain(&mut log.reader()).0, records);
    assert_eq!(log.last(), Some((103, records[6].meta.at_us)));
    drop(log);
    let (mut log, found) = SegmentLog::open(dir.path(), LogConfig::default()).unwrap();
    assert_eq!(found.last, log.last());
    assert_eq!((found.torn, found.damaged.len(), found.indexes_rebuilt, found.segments), (None, 0, 0, 1));
    log.append(&[record(104, 10)]).unwrap();
    records.push(record(104, 10));
    assert_eq!(drain(&mut log.reader()).0, records);
    assert_eq!(all(dir.path()), records);
}

#[test]
fn files_are_private() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("a/log");
    filled(&log, small(), &batch(1..100, 1000));
    assert_eq!(std::fs::metadata(&log).unwrap().mode() & 0o777, 0o700);
    for file in std::fs::read_dir(&log).unwrap() {
        assert_eq!(file.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_log_rolls_and_stays_within_its_segment_size() {
    let dir = tempfile::tempdir().unwrap();
    let records = batch(1..200, 1000);
    filled(dir.path(), small(), &records);
    let files = segment_files(dir.path(), "seg");
    assert_eq!(files.len(), 14);
    assert!(files.iter().all(|f| f.metadata().unwrap().len() <= 16 << 10));
    let (log, found) = SegmentLog::open(dir.path(), small()).unwrap();
    assert_eq!((found.indexes_rebuilt, found.segments, found.bytes), (0, 14, log.bytes()));
    assert_eq!(drain(&mut log.reader()).0, records);
}

#[test]
fn a_time_that_steps_back_is_raised() {
    let dir = tempfile::tempdir().unwrap();
    let mut records = batch(1..4, 10);
    records[1].meta.at_us = 5;
    let mut log = open(dir.path(), small());
    log.append(&records).unwrap();
    let mut late = record(9, 20_000);
    late.meta.at_us = 0;
    log.append(&[late]).unwrap();
    let times: Vec<_> = all(dir.path()).iter().map(|r| r.meta.at_us).collect();
    assert_eq!(times, [1_000_010, 1_000_010, 1_000_030, 1_000_030]);
}

#[test]
fn what_does_not_fit_is_refused_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), small());
    log.append(&batch([5], 10)).unwrap();
    let refused = log.append(&batch([6, 6], 10)).unwrap_err();
    assert_eq!(refused.to_string(), "cannot append record 6: the log already ends at 6");
    assert!(matches!(log.append(&batch([5], 1)), Err(JournalError::NotIncreasing { last: 5, got: 5 })));
    let large = [record(7, 1), record(8, MAX_PAYLOAD_BYTES + 1)];
    assert!(matches!(log.append(&large), Err(JournalError::TooLarge { seq: 8, .. })));
    assert_eq!(seqs(&all(dir.path())), [5]);
}

#[test]
fn seeking_finds_the_first_record_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let records = batch((10..2000).step_by(3), 100);
    let mut log = open(dir.path(), small());
    log.append(&records).unwrap();
    let mut reader = log.reader();
    for want in [0, 10, 11, 12, 13, 500, 501, 502, 1996, 1997] {
        let expected = records.iter().find(|r| r.meta.seq >= want).map(|r| r.meta.seq);
        reader.seek_seq(want);
        assert_eq!(reader.next_batch(1).unwrap().first().map(|r| r.meta.seq), expected, "seq {want}");
        reader.seek_time(1_000_000 + want * 10);
        assert_eq!(reader.next_batch(1).unwrap().first().map(|r| r.meta.seq), expected, "time {want}");
    }
    reader.seek_seq(3000);
    assert!(reader.next_batch(1).unwrap().is_empty());
    log.append(&batch([2999, 3000], 5)).unwrap();
    assert_eq!(seqs(&reader.next_batch(1 << 20).unwrap()), [3000]);
    reader.seek_last().unwrap();
    assert!(reader.next_batch(1).unwrap().is_empty());
    log.append(&batch([3001], 5)).unwrap();
    assert_eq!(seqs(&reader.next_batch(1).unwrap()), [3001]);
}

#[test]
fn the_tail_is_found_backwards_reading_only_what_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let records = batch(1..1000, 100);
    let mut log = open(dir.path(), small());
    assert!(log.reader().blocks_back().next().is_none());
    log.append(&records).unwrap();
    let blocks: Vec<_> = log.reader().blocks_back().map(Result::unwrap).collect();
    assert!(blocks.iter().all(|b| b.bytes() <= 4096 + 140));
    let last = blocks[0].read().unwrap();
    assert_eq!(last.last(), records.last());
    assert_eq!((last[0].meta.seq, last[0].meta.at_us), (blocks[0].first_seq, blocks[0].at_us));
    let forwards: Vec<_> = blocks.iter().rev().flat_map(|b| b.read().unwrap()).collect();
    assert_eq!(forwards, records);
}

#[test]
fn retention_drops_whole_old_segments_and_readers_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), LogConfig { retain_bytes: Some(40 << 10), ..small() });
    log.append(&batch(1..200, 1000)).unwrap();
    let mut started = log.reader();
    assert_eq!(seqs(&started.next_batch(1).unwrap()), [1]);
    let mut waiting = log.reader();
    let done = log.retain(0);
    assert!(done.failed.is_none());
    let first = log.first_seq().unwrap();
    assert!(log.bytes() <= 40 << 10);
    assert_eq!(done.dropped[0].first_seq, 1);
    assert_eq!(done.dropped.last().unwrap().last_seq + 1, first);
    let stems = |kind| segment_files(dir.path(), kind).iter().map(|f| f.with_extension("")).collect::<Vec<_>>();
    assert!(stems("idx").iter().all(|f| stems("seg").contains(f)));
    // One in the middle of a dropped segment reads it to its end.
    let rest = done.dropped[0].last_seq - 1;
    assert_eq!(started.next_batch(1 << 20).unwrap().len() as u64, rest);
    let told = |r: &mut LogReader| matches!(r.next_batch(1), Err(JournalError::Expired { first_available }) if first_available == first);
    assert!(told(&mut started) && told(&mut waiting));
    assert_eq!(seqs(&started.next_batch(1).unwrap()), [first]);
    // It is known after a restart as well, and only to who wants the expired.
    let log = open(dir.path(), small());
    let mut again = log.reader();
    assert_eq!(seqs(&again.next_batch(1).unwrap()), [first]);
    again.seek_seq(1);
    assert!(told(&mut again));
}

#[test]
fn age_never_drops_the_newest_segment() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), LogConfig { retain_age_us: Some(100), ..small() });
    log.append(&batch(1..100, 1000)).unwrap();
    assert!(log.retain(1_000_000).dropped.is_empty());
    log.retain(u64::MAX);
    assert_eq!(segment_files(dir.path(), "seg").len(), 1);
    assert_eq!(log.last().unwrap().0, 99);
}

#[test]
fn sync_work_names_what_is_new_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(&dir.path().join("new"), small());
    assert!(log.dirty().is_some_and(|w| w.dir && w.parent && w.active.is_none()));
    assert!(log.dirty().is_none());
    log.append(&batch(1..50, 1000)).unwrap();
    let work = log.dirty().unwrap();
    assert_eq!((work.sealed.len(), work.active.is_some(), work.dir, work.last_seq()), (3, true, true, 49));
    work.sync().unwrap();
    assert!(log.dirty().is_none());
    log.append(&batch([60], 10)).unwrap();
    let work = log.dirty().unwrap();
    assert_eq!((work.sealed.len(), work.active.is_some(), work.dir, work.last_seq()), (0, true, false, 60));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_batches_with_any_reopening_read_back_the_same(
        batches in prop::collection::vec((prop::collection::vec((1u64..4, 0usize..9000), 0..40), any::<bool>()), 1..12),
        from in 0u64..400,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path(), small());
        let mut reader = log.reader();
        let (mut seen, mut written, mut seq) = (Vec::new(), Vec::new(), 0);
        for (shapes, reopen) in batches {
            let records: Vec<_> = shapes.iter().map(|&(step, len)| { seq += step; record(seq, len) }).collect();
            log.append(&records).unwrap();
            written.extend(records);
            seen.extend(drain(&mut reader).0);
            if reopen {
                drop(log);
                let (again, found) = SegmentLog::open(dir.path(), small()).unwrap();
                prop_assert_eq!((found.torn, found.indexes_rebuilt), (None, 0));
                log = again;
                reader = log.reader();
                reader.seek_seq(seq + 1);
            }
        }
        prop_assert_eq!(&seen, &written);
        reader.seek_seq(from);
        let expected: Vec<_> = written.iter().filter(|r| r.meta.seq >= from).cloned().collect();
        prop_assert_eq!(drain(&mut reader).0, expected);
        let mut back: Vec<_> = log.reader().blocks_back().map(|b| b.unwrap().read().unwrap()).collect();
        back.reverse();
        prop_assert_eq!(back.concat(), written);
    }
}

#[test]
fn a_reader_begins_no_earlier_than_the_newest_segments_that_hold_so_many_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), small());
    drop(log);
    filled(dir.path(), small(), &batch(1..=100, 200));
    let log = open(dir.path(), small());
    let starts: Vec<u64> = log.shared.segments().iter().map(|segment| segment.first_seq).collect();
    let bytes: Vec<u64> = log.shared.segments().iter().map(|segment| segment.end).collect();
    let [.., before, newest] = starts[..] else { panic!("{starts:?}") };
    let mut reader = log.reader();
    let mut from = |seq, bytes| {
        reader.seek_seq_within(seq, bytes);
        reader.next_batch(1).unwrap().first().map(|record| record.meta.seq)
    };
    let last = bytes[bytes.len() - 1];
    assert_eq!([0, 1, last].map(|bytes| from(1, bytes)), [Some(newest); 3]);
    assert_eq!(from(1, last + 1), Some(before));
    assert_eq!(from(1, u64::MAX), Some(1));
    assert_eq!((from(100, 0), from(101, 0)), (Some(100), None));
}

#[test]
fn what_is_opened_again_is_synced_with_its_entries() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    filled(&path, small(), &batch(1..=3, 10));
    let mut log = open(&path, small());
    let work = log.dirty().unwrap();
    assert!(work.dir && work.parent, "whoever wrote it may have died before it synced them");
    assert!(log.dirty().is_none());
    log.append(&batch(4..=4, 10)).unwrap();
    let work = log.dirty().unwrap();
    assert!(!work.dir && !work.parent, "no file is new");
    log.append(&batch(5..=100, 200)).unwrap();
    assert!(log.dirty().unwrap().dir, "segments are new");
}
