//! Many idle processes, each with its family: a guard and a watcher.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use super::rig::{Rig, ZVCTL, children, wait_until};

/// Starts so many idle processes; their guards and watchers.
pub(crate) fn launch(rig: &Rig, many: usize, options: &[&str]) -> Vec<(u32, u32)> {
    for number in 0..many {
        let name = format!("idle{number}");
        let mut watch = rig.watch(&["-d", "--name", &name, "-l", "bench=1"]);
        let status = watch.args(options).args(["sleep", "100000"]).status();
        assert!(status.expect("zvwatch").success());
    }
    wait_until("all of them run", || rows(rig).len() == many);
    rows(rig)
}

/// Guard and watcher of every process, by the parents of its main process.
fn rows(rig: &Rig) -> Vec<(u32, u32)> {
    let output = rig.command(ZVCTL, &["ps", "-o", "jsonl"]).stdout(Stdio::piped()).output().expect("zvctl");
    let pid = |line: &str| {
        let row: serde_json::Value = serde_json::from_str(line).ok()?;
        (row["state"] == "RUNNING").then(|| row["pid"].as_u64())?
    };
    let family = |pid: u64| {
        let watcher = parent(u32::try_from(pid).ok()?)?;
        Some((parent(watcher)?, watcher))
    };
    BufReader::new(&output.stdout[..]).lines().map_while(Result::ok).filter_map(|line| family(pid(&line)?)).collect()
}

fn parent(pid: u32) -> Option<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let parent: u32 = text.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()?;
    children(parent).contains(&pid).then_some(parent)
}

/// Ends all of them. A thousand take longer than an answer usually may.
pub(crate) fn stop(rig: &Rig) {
    let mut rm = rig.ctl(&["rm", "-f", "-l", "bench=1", "--timeout", "60s"]);
    let output = rm.stderr(Stdio::piped()).output().expect("zvctl");
    assert!(output.status.success(), "zvctl rm: {}", String::from_utf8_lossy(&output.stderr));
}
