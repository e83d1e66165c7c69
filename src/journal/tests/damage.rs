//! What a crash, a bad disk or a foreign hand leaves behind.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::journal::Recovery;

fn reopen(dir: &Path) -> (SegmentLog, Recovery) {
    SegmentLog::open(dir, small()).unwrap()
}

fn only_segment(dir: &Path) -> PathBuf {
    segment_files(dir, "seg").remove(0)
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_at_the_last_good_record() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), small(), &batch(1..6, 60));
    let path = only_segment(dir.path());
    let whole = fs::read(&path).unwrap();
    for cut in 1..=100 {
        fs::write(&path, &whole[..whole.len() - cut]).unwrap();
        let (mut log, found) = reopen(dir.path());
        let torn = found.torn.map_or(0, |t| t.bytes);
        assert_eq!((found.last.unwrap().0, torn), (4, 100 - cut as u64), "{cut} bytes missing");
        assert_eq!(fs::metadata(&path).unwrap().len(), whole.len() as u64 - 100);
        log.append(&[record(5, 60)]).unwrap();
        assert_eq!(all(dir.path()), batch(1..6, 60));
    }
}

#[test]
fn a_first_write_torn_at_any_byte_leaves_an_empty_log() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), small(), &batch([3], 20));
    let path = only_segment(dir.path());
    let whole = fs::read(&path).unwrap();
    for len in 0..whole.len() {
        fs::write(&path, &whole[..len]).unwrap();
        let (log, found) = reopen(dir.path());
        assert_eq!((log.last(), found.torn.unwrap().bytes), (None, len as u64));
        assert!(segment_files(dir.path(), "seg").is_empty());
    }
}

#[test]
fn a_tail_of_zeros_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), small(), &batch(1..6, 60));
    let path = only_segment(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend([0; 5000]);
    fs::write(&path, &bytes).unwrap();
    let (_, found) = reopen(dir.path());
    assert_eq!((found.last.unwrap().0, found.torn.unwrap().bytes), (5, 5000));
}

#[test]
fn a_flipped_bit_costs_the_record_it_is_in_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), small(), &batch(1..6, 60));
    let path = only_segment(dir.path());
    let whole = fs::read(&path).unwrap();
    let third = 48 + 2 * 100;
    for at in third..third + 100 {
        for bit in [0, 3, 7] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            fs::write(&path, &bytes).unwrap();
            let (log, found) = reopen(dir.path());
            assert_eq!(found.torn, None);
            let [damage] = found.damaged[..] else { panic!("{:?}", found.damaged) };
            assert_eq!((damage.start, damage.end), (third as u64, third as u64 + 100));
            assert_eq!((damage.after_seq, damage.next_seq), (Some(2), Some(4)));
            let (records, told) = drain(&mut log.reader());
            assert_eq!((seqs(&records), told), (vec![1, 2, 4, 5], vec![damage]));
            let mut reader = log.reader();
            reader.seek_seq(4);
            assert_eq!(drain(&mut reader), (batch(4..6, 60), vec![]), "damage before what is wanted");
            assert_eq!(fs::read(&path).unwrap(), bytes, "damage is never rewritten");
        }
    }
}

#[test]
fn a_flipped_bit_in_a_segment_head_costs_nothing_but_its_salt() {
    for at in 0..48 {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path(), small(), &batch(1..6, 60));
        let path = only_segment(dir.path());
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= 0x10;
        fs::write(&path, &bytes).unwrap();
        let (mut log, found) = reopen(dir.path());
        assert_eq!(found.damaged.len(), 1);
        let salt = (12..16).contains(&at);
        assert_eq!(log.last().map(|l| l.0), (!salt).then_some(5), "byte {at}");
        assert_eq!(segment_files(dir.path(), "bad").len(), usize::from(salt));
        log.append(&batch(if salt { 1..7 } else { 6..7 }, 60)).unwrap();
        assert_eq!(seqs(&drain(&mut reopen(dir.path()).0.reader()).0).last(), Some(&6));
    }
}

#[test]
fn a_segment_ruined_in_the_middle_of_the_log_is_told_and_passed() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), small(), &batch(1..40, 1000));
    let files = segment_files(dir.path(), "seg");
    let len = fs::metadata(&files[1]).unwrap().len();
    fs::write(&files[1], vec![0xaa; usize::try_from(len).unwrap()]).unwrap();
    let (log, found) = reopen(dir.path());
    assert!(!found.damaged.is_empty());
    let (records, told) = drain(&mut log.reader());
    assert_eq!(told.len(), 1);
    assert_eq!(seqs(&records), (1..16).chain(31..40).collect::<Vec<_>>());
}

#[test]
fn a_segment_that_is_missing_reads_as_expired() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), small(), &batch(1..40, 1000));
    fs::remove_file(&segment_files(dir.path(), "seg")[1]).unwrap();
    let (log, _) = reopen(dir.path());
    let mut reader = log.reader();
    assert_eq!(reader.next_batch(1 << 20).unwrap().len(), 15);
    assert!(matches!(reader.next_batch(1), Err(JournalError::Expired { first_available: 31 })));
    assert_eq!(seqs(&drain(&mut reader).0), (31..40).collect::<Vec<_>>());
    assert_eq!(segment_files(dir.path(), "idx").len(), 3 - 1, "an index without its segment is removed");
}

#[test]
fn the_payload_cannot_pass_for_a_record() {
    let dir = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    filled(other.path(), small(), &[Record { payload: bytes_of("forged"), ..record(1 << 50, 0) }]);
    let forged = fs::read(only_segment(other.path())).unwrap();
    let outer = Record { payload: forged.into(), ..record(2, 0) };
    filled(dir.path(), small(), &[record(1, 10), outer]);
    let path = only_segment(dir.path());
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    assert_eq!(reopen(dir.path()).0.last().unwrap().0, 1);
}

/// Makes a bad index out of a good one.
type Spoil = fn(&[u8]) -> Vec<u8>;

#[test]
fn a_missing_short_or_garbage_index_is_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    let records = batch(1..100, 400);
    filled(dir.path(), small(), &records);
    let good: Vec<_> = segment_files(dir.path(), "idx").iter().map(|f| (f.clone(), fs::read(f).unwrap())).collect();
    assert!(good.len() >= 3);
    let spoil: [(&str, Spoil); 7] = [
        ("empty", |_| Vec::new()),
        ("short head", |b| b[..7].to_vec()),
        ("no seal", |b| b[..b.len() - 32].to_vec()),
        ("torn", |b| b[..b.len() - 5].to_vec()),
        ("garbage", |b| b.iter().map(|x| x ^ 0x55).collect()),
        ("first entry flipped, seal too", |b| {
            let mut b = b.to_vec();
            let last = b.len() - 20;
            b[20] ^= 1;
            b[last] ^= 1;
            b
        }),
        ("long tail", |b| [b, &[1; 100]].concat()),
    ];
    for (what, spoil) in spoil {
        for (path, bytes) in &good {
            fs::write(path, spoil(bytes)).unwrap();
        }
        check_rebuilt(dir.path(), &records, &good, what);
    }
    for (path, _) in &good {
        fs::remove_file(path).unwrap();
    }
    check_rebuilt(dir.path(), &records, &good, "missing");
}

fn check_rebuilt(dir: &Path, records: &[Record], good: &[(PathBuf, Vec<u8>)], what: &str) {
    let (log, found) = reopen(dir);
    assert!(found.indexes_rebuilt > 0 && found.damaged.is_empty() && found.torn.is_none(), "{what}: {found:?}");
    for (path, bytes) in good {
        assert_eq!(&fs::read(path).unwrap(), bytes, "{what}: {}", path.display());
    }
    assert_eq!(drain(&mut log.reader()).0, records, "{what}");
}

#[test]
fn an_index_that_points_beyond_a_torn_tail_is_cut_with_it() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), small(), &batch(1..30, 400));
    let path = only_segment(dir.path());
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..4000]).unwrap();
    let (mut log, found) = reopen(dir.path());
    assert_eq!((found.last.unwrap().0, found.indexes_rebuilt), (8, 1));
    log.append(&batch(9..30, 400)).unwrap();
    assert_eq!(reopen(dir.path()).1.indexes_rebuilt, 0);
    let blocks: Vec<_> = log.reader().blocks_back().map(|b| b.unwrap().read().unwrap()).collect();
    assert_eq!(blocks.into_iter().rev().flatten().collect::<Vec<_>>(), batch(1..30, 400));
}

#[test]
fn a_newer_format_is_refused_and_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), small(), &batch(1..40, 1000));
    let newest = segment_files(dir.path(), "seg").remove(2);
    let mut bytes = fs::read(&newest).unwrap();
    bytes[6] = 2;
    bytes[44] ^= 0xff;
    bytes.truncate(bytes.len() - 3);
    fs::write(&newest, &bytes).unwrap();
    fs::remove_file(&segment_files(dir.path(), "idx")[0]).unwrap();
    let listing = |kind| segment_files(dir.path(), kind);
    let before = (listing("seg"), listing("idx"));
    let refused = SegmentLog::open(dir.path(), small()).unwrap_err();
    assert!(matches!(refused, JournalError::NewerFormat { found: 2, .. }));
    assert!(refused.to_string().contains("is in journal format 2, this program knows up to 1"));
    assert!(LogReader::open(dir.path()).is_err());
    assert_eq!((fs::read(&newest).unwrap(), before), (bytes, (listing("seg"), listing("idx"))));
}

#[test]
fn a_segment_cut_under_its_readers_is_told_and_passed() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), small());
    log.append(&batch(1..40, 1000)).unwrap();
    let mut reader = log.reader();
    let file = fs::OpenOptions::new().write(true).open(&segment_files(dir.path(), "seg")[1]).unwrap();
    file.set_len(3000).unwrap();
    let (records, told) = drain(&mut reader);
    assert_eq!(seqs(&records), (1..18).chain(31..40).collect::<Vec<_>>());
    assert_eq!((told[0].start, told.last().unwrap().end), (48 + 2 * 1040, 48 + 15 * 1040));
}

#[test]
fn a_segment_cut_within_its_head_hides_none_of_the_others_from_the_end() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), small(), &batch(1..60, 1000));
    let segments = segment_files(dir.path(), "seg");
    assert!(segments.len() > 2);
    fs::OpenOptions::new().write(true).open(&segments[1]).unwrap().set_len(20).unwrap();
    let first = |at: usize| segments[at].file_stem().unwrap().to_str().unwrap().parse::<u64>().unwrap();
    let (reader, _) = LogReader::open(dir.path()).unwrap();
    let blocks: Vec<_> = reader.blocks_back().map(|block| block.unwrap().read().unwrap()).collect();
    let backwards: Vec<_> = blocks.into_iter().rev().flatten().collect();
    assert_eq!(seqs(&backwards), (1..first(1)).chain(first(2)..60).collect::<Vec<_>>());
}

#[test]
fn a_floor_above_the_first_record_stops_no_reader() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), small(), &batch(5..9, 60));
    let path = only_segment(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    bytes[24..32].copy_from_slice(&1000u64.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..44]);
    bytes[44..48].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    let mut reader = LogReader::open(dir.path()).unwrap().0;
    reader.seek_seq(1);
    assert!(matches!(reader.next_batch(1 << 20), Err(JournalError::Expired { first_available: 5 })));
    assert_eq!(seqs(&reader.next_batch(1 << 20).unwrap()), [5, 6, 7, 8]);
}
