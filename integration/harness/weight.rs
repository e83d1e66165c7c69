//! What a process weighs, by /proc.

use std::fs;

/// Memory of a process now, in KiB: what of its pages is in memory (`VmRSS` of proc_pid_status(5)).
pub(crate) fn resident_kib(pid: i32) -> u64 {
    status_kib(pid, "VmRSS:")
}

fn status_kib(pid: i32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.unwrap_or_else(|| panic!("no {field} in {status}")).trim().trim_end_matches(" kB").parse().unwrap()
}

/// Its open descriptors.
pub(crate) fn descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}
