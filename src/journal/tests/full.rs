//! A disk that is full stops the log and nothing else.

use std::path::PathBuf;
use std::process::Command;

use super::*;

/// A tmpfs of 1 MiB, unmounted at the end. None where we may not mount.
pub(super) struct Tiny(tempfile::TempDir);

impl Tiny {
    pub(super) fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "zvtest"]).arg(dir.path()).output();
        mount.is_ok_and(|o| o.status.success()).then(|| Self(dir))
    }

    pub(super) fn log(&self) -> PathBuf {
        self.0.path().join("log")
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_keeps_the_log_whole_and_heals_by_itself() {
    let Some(tiny) = Tiny::mount() else {
        // Not a silent pass: `cargo test -- --nocapture` and the CI log show it.
        use std::io::Write;
        writeln!(std::io::stderr(), "\nSKIPPED a full disk: cannot mount a tmpfs").unwrap();
        return;
    };
    let ballast = tiny.0.path().join("ballast");
    std::fs::write(&ballast, vec![1; 300 << 10]).unwrap();
    let mut log = open(&tiny.log(), LogConfig { segment_bytes: 200 << 10, ..LogConfig::default() });
    let records: Vec<_> = (1..80).map(|seq| record(seq, 10_007)).collect();
    let mut done = 0;
    let failed = loop {
        match log.append(&records[done..(done + 3).min(records.len())]) {
            Ok(()) => done += 3,
            Err(e) => break e,
        }
    };
    assert!(failed.is_full(), "{failed}");
    assert!(failed.to_string().contains("log/0000"), "{failed}");
    // Again, and still full: nothing changes, nothing piles up.
    let last = log.last().unwrap().0;
    for _ in 0..3 {
        assert!(log.append(&records[usize::try_from(last).unwrap()..]).unwrap_err().is_full());
    }
    let last = usize::try_from(log.last().unwrap().0).unwrap();
    assert_eq!(drain(&mut log.reader()).0, records[..last]);
    let (_, found) = LogReader::open(&tiny.log()).unwrap();
    assert_eq!((found.torn, found.last), (None, log.last()));
    std::fs::remove_file(ballast).unwrap();
    log.append(&records[last..]).unwrap();
    assert_eq!(drain(&mut log.reader()).0, records);
    let (log, found) = SegmentLog::open(&tiny.log(), LogConfig::default()).unwrap();
    assert_eq!((found.torn, found.damaged.len()), (None, 0));
    assert_eq!(drain(&mut log.reader()).0, records);
}

#[test]
fn a_segment_removed_under_its_writer_takes_no_more_records() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = open(&path, small());
    log.append(&batch(1..=3, 100)).unwrap();
    std::fs::remove_dir_all(&path).unwrap();
    let refused = log.append(&batch(4..=4, 100)).unwrap_err();
    assert!(matches!(refused, JournalError::Gone { .. }), "{refused}");
    assert_eq!(log.last().unwrap().0, 3, "it is not taken for written");
}
