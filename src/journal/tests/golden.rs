//! Bytes that a program of November 2026 wrote: whatever the format becomes, they stay readable.

use super::*;

/// Segments of 140 bytes: records 1 and 2, sealed and indexed, then record 5.
const FIRST: &str = "5a5653454700010000000000c35260b00100000000000000000000000000000001e025dafe5b060000000000baa3f1314136\
     c8d2e9b2942a0300000101000000010000000000000001e025dafe5b060007000000000000006f6e65477c4419a3b3d85203\
     00000201000000020000000000000002e025dafe5b06000e0000000000000074776f";
const FIRST_INDEX: &str =
    "5a564944580001000100000000000000020000000000000002e025dafe5b06008600000000000000010000006ea324cf";
const SECOND: &str = "5a56534547000100000000003da91f760500000000000000030000000000000005e025dafe5b060000000000f504b0f5abb1\
     0b12e63f4d740c00001001000000050000000000000005e025dafe5b060023000000000000006120676170206265666f7265";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn written() -> [Record; 3] {
    let meta = |seq, kind| RecordMeta { seq, at_us: 1_790_000_000_000_000 + seq, run: 1, kind, offset: seq * 7 };
    [
        Record { meta: meta(1, 1), payload: bytes_of("one") },
        Record { meta: meta(2, 2), payload: bytes_of("two") },
        Record { meta: meta(5, 16), payload: bytes_of("a gap before") },
    ]
}

#[test]
fn a_journal_of_version_1_is_read_and_written_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    std::fs::create_dir(&path).unwrap();
    for (name, hex) in [("1.seg", FIRST), ("1.idx", FIRST_INDEX), ("5.seg", SECOND)] {
        std::fs::write(path.join(format!("{name:0>24}")), bytes(hex)).unwrap();
    }
    assert_eq!(all(&path), written());
    let (mut log, found) = SegmentLog::open(&path, LogConfig::default()).unwrap();
    assert_eq!((found.torn, found.damaged.len(), found.indexes_rebuilt, found.segments), (None, 0, 0, 2));
    log.append(&[record(6, 100)]).unwrap();
    assert_eq!(seqs(&all(&path)), [1, 2, 5, 6]);
}
