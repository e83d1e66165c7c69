//! One holder of a data directory at a time.

use std::os::unix::fs::MetadataExt;

use crate::journal::{LockError, lock_data_dir};

#[test]
fn the_second_to_come_is_told_the_pid_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("zerovisor.data");
    let held = lock_data_dir(&data).unwrap();
    assert_eq!(std::fs::metadata(&data).unwrap().mode() & 0o777, 0o700);
    let refused = lock_data_dir(&data).unwrap_err();
    assert!(matches!(refused, LockError::Held { pid: Some(pid), .. } if pid == std::process::id()));
    assert!(refused.to_string().contains(&format!("is in use by process {}", std::process::id())));
    drop(held);
    lock_data_dir(&data).unwrap();
}

#[test]
fn what_an_earlier_boot_wrote_is_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let held = lock_data_dir(dir.path()).unwrap();
    std::fs::write(dir.path().join("lock"), "pid 1\nboot another\n").unwrap();
    assert!(matches!(lock_data_dir(dir.path()), Err(LockError::Held { pid: None, .. })));
    drop(held);
}
