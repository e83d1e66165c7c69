//! What /proc says about the processes of a farm.

use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Whether a process exists and is no zombie.
pub(crate) fn alive(pid: i32) -> bool {
    stat_field(pid, 0).is_some_and(|state| state != "Z" && state != "X")
}

/// The parent of a process.
pub(crate) fn parent_of(pid: i32) -> Option<i32> {
    stat_field(pid, 1)?.parse().ok()
}

/// The children of a process that has one thread.
pub(crate) fn children_of(pid: i32) -> Vec<i32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Processor time a process has used, its threads included, in clock ticks: hundredths of a second on every Linux.
pub(crate) fn ticks_of(pid: i32) -> u64 {
    let ticks = |index| stat_field(pid, index).and_then(|ticks| ticks.parse::<u64>().ok()).unwrap_or(0);
    ticks(11) + ticks(12)
}

/// A field of /proc/PID/stat, counted from behind the name.
fn stat_field(pid: i32, index: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(index).map(str::to_owned)
}

/// The processes alive that were started with exactly this argument.
pub(crate) fn live_with_argument(argument: &str) -> Vec<i32> {
    let has = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == argument.as_bytes())
    };
    pids().into_iter().filter(|pid| has(pid) && alive(*pid)).collect()
}

/// The processes alive that stand in a directory or carry the mark of its farm, ourselves excepted.
pub(super) fn members(dir: &Path) -> Vec<i32> {
    let mark = [b"FARM=", dir.as_os_str().as_encoded_bytes()].concat();
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let is_member = |pid: &i32| {
        let stands = fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(dir));
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        stands || environment.split(|byte| *byte == 0).any(|variable| variable == mark)
    };
    pids().into_iter().filter(|pid| *pid != own && alive(*pid) && is_member(pid)).collect()
}

/// Kills every member of a farm, those that appear meanwhile too.
pub(super) fn kill_members(dir: &Path) {
    for _ in 0..100 {
        let left = members(dir);
        if left.is_empty() {
            return;
        }
        for pid in left {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::thread::yield_now();
    }
}

fn pids() -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}
