//! What every measurement needs: a zerovisor in a directory of its own, its processes by pid, and a table.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub(crate) const ZEROVISOR: &str = env!("CARGO_BIN_EXE_zerovisor");
pub(crate) const ZVWATCH: &str = env!("CARGO_BIN_EXE_zvwatch");
pub(crate) const ZVCTL: &str = env!("CARGO_BIN_EXE_zvctl");

/// A number from the environment, or its default.
pub(crate) fn knob(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

pub(crate) fn runs() -> usize {
    knob("RUNS", 5)
}

pub(crate) fn head(title: &str) {
    println!("\n# {title}\n{:<52} {:<12} {:>9} {:>9} {:>9}  budget", "what", "unit", "min", "median", "max");
}

/// One line of the table.
pub(crate) fn row(what: &str, unit: &str, values: Vec<f64>) {
    println!("{}", line(what, unit, values).0);
}

/// What the median of a row is held to (DESIGN.md §13).
#[derive(Clone, Copy)]
pub(crate) enum Budget {
    AtMost(f64),
    AtLeast(f64),
}

/// One line of the table with its budget beside it.
pub(crate) fn held(what: &str, unit: &str, values: Vec<f64>, budget: Budget) {
    let (line, median) = line(what, unit, values);
    let (met, said) = match budget {
        Budget::AtMost(most) => (median <= most, format!("at most {most}")),
        Budget::AtLeast(least) => (median >= least, format!("at least {least}")),
    };
    println!("{line}  {said}: {}", if met { "met" } else { "NOT MET" });
}

fn line(what: &str, unit: &str, mut values: Vec<f64>) -> (String, f64) {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    let (min, median, max) = (at(0), at(values.len() / 2), at(values.len().saturating_sub(1)));
    (format!("{what:<52} {unit:<12} {min:>9.3} {median:>9.3} {max:>9.3}"), median)
}

/// Ours over theirs, run by run.
pub(crate) fn ratios(ours: &[f64], theirs: &[f64]) -> Vec<f64> {
    ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect()
}

/// Whether a peer is there to be measured beside; if not, says so.
pub(crate) fn installed(program: &str, what: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    if !found {
        println!("SKIPPED {what} of {program}: it is not installed; scripts/tools bench installs it");
    }
    found
}

/// A zerovisor for one measurement.
pub(crate) struct Rig {
    pub(crate) dir: TempDir,
    pub(crate) node: Child,
}

impl Rig {
    pub(crate) fn start(extra: &[&str]) -> Rig {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let node = spawn(&dir, extra);
        let rig = Rig { dir, node };
        rig.listens();
        rig
    }

    /// Kills the zerovisor, and returns once it is gone.
    pub(crate) fn kill(&mut self) {
        self.node.kill().expect("kill");
        self.node.wait().expect("wait");
    }

    /// Starts another one where the last one was.
    pub(crate) fn start_again(&mut self, extra: &[&str]) {
        self.node = spawn(&self.dir, extra);
        self.listens();
    }

    fn listens(&self) {
        wait_until("zerovisor listens", || self.ctl(&["ping"]).status().is_ok_and(|status| status.success()));
    }

    pub(crate) fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.dir.path()).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::null());
        command
    }

    pub(crate) fn watch(&self, arguments: &[&str]) -> Command {
        self.command(ZVWATCH, arguments)
    }

    pub(crate) fn ctl(&self, arguments: &[&str]) -> Command {
        self.command(ZVCTL, arguments)
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// CPU the zerovisor has used so far.
    pub(crate) fn node_cpu(&self) -> Duration {
        cpu_of(self.node.id())
    }
}

fn spawn(dir: &TempDir, extra: &[&str]) -> Child {
    let mut zerovisor = Command::new(ZEROVISOR);
    zerovisor.args(extra).current_dir(dir.path()).stderr(Stdio::null()).spawn().expect("zerovisor starts")
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = self.node.kill();
        let _ = self.node.wait();
    }
}

/// CPU of all threads of a process, by the scheduler's own count in nanoseconds.
pub(crate) fn cpu_of(pid: u32) -> Duration {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Duration::ZERO };
    let of = |path: &Path| {
        let text = std::fs::read_to_string(path.join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
    };
    Duration::from_nanos(tasks.flatten().map(|task| of(&task.path())).sum())
}

/// Proportional set size of a process in KiB.
pub(crate) fn pss_kib(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Voluntary and involuntary context switches of all threads of a process: each is a wake-up or a preemption.
pub(crate) fn wakeups(pid: u32) -> u64 {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    let of = |path: &Path| {
        let text = std::fs::read_to_string(path.join("status")).unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        count.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    tasks.flatten().map(|task| of(&task.path())).sum()
}

/// Pids of every process whose parent is `pid`.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Waits for a fact, looked at again and again; fails loudly after a minute.
pub(crate) fn wait_until(what: &str, fact: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !fact() {
        assert!(Instant::now() < end, "waited a minute in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
