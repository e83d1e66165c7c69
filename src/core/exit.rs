//! How a run ended, and the report that is kept of it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::signal::Signal;
use crate::units::{Bytes, Span, Timestamp};

/// How the main process of a run ended, as the kernel told its parent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Exit {
    /// It returned, or called exit with this code, 0 to 255.
    Code(i32),
    /// A signal ended it.
    Signal {
        /// Which.
        signal: Signal,
        /// Whether it left a core dump.
        core: bool,
    },
}

impl Exit {
    /// The status a shell shows for it: the code, or 128 and the signal's number.
    pub fn shell_status(self) -> u8 {
        let status = match self {
            Exit::Code(code) => code & 0xff,
            Exit::Signal { signal, .. } => 128 + signal.number(),
        };
        u8::try_from(status).unwrap_or(u8::MAX)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit code {code}"),
            Exit::Signal { signal, core: false } => write!(f, "{signal}"),
            Exit::Signal { signal, core: true } => write!(f, "{signal}, core dumped"),
        }
    }
}

/// What a run used, summed over its main process and every descendant its watcher reaped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time in user mode, in microseconds.
    pub cpu_user_us: u64,
    /// CPU time in the kernel, in microseconds.
    pub cpu_system_us: u64,
    /// The largest resident set of any one of its processes, in bytes (`ru_maxrss` of wait4(2)).
    pub peak_rss_bytes: u64,
    /// Bytes of output taken from it.
    pub output_bytes: u64,
    /// Bytes of input given to it.
    pub input_bytes: u64,
    /// The most memory its tree had at any time, in bytes, by its cgroup; without one the most that was sampled or that
    /// one of its processes had.
    pub memory_peak_bytes: Option<u64>,
    /// Read from block devices, in bytes, by its cgroup.
    pub read_bytes: Option<u64>,
    /// Written to block devices, in bytes, by its cgroup.
    pub written_bytes: Option<u64>,
    /// Kills by the kernel's OOM killer within its cgroup; none where there is no cgroup to ask.
    pub oom_kills: Option<u64>,
}

/// The exit report: kept, and queryable.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ExitReport {
    /// Code or signal.
    pub exit: Exit,
    /// Whether the kernel's OOM killer did it, told by the cgroup's own counter: it rose within the last seconds, and nobody of ours sent
    /// the kill. None where there is no cgroup to ask.
    pub oom: Option<bool>,
    /// When the run began.
    pub started_at: Timestamp,
    /// When its main process ended.
    pub ended_at: Timestamp,
    /// How long it lived, by the monotonic clock.
    pub runtime: Duration,
    /// What it used.
    pub usage: Usage,
    /// Restarts of the process before this run.
    pub restarts: u32,
}

impl ExitReport {
    /// The most memory it had: of its whole tree where that is known, else of the largest of its processes.
    pub fn peak_bytes(&self) -> u64 {
        self.usage.memory_peak_bytes.unwrap_or(self.usage.peak_rss_bytes)
    }
}

impl fmt::Display for ExitReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cpu = Duration::from_micros(self.usage.cpu_user_us.saturating_add(self.usage.cpu_system_us));
        let peak = Bytes(self.peak_bytes());
        write!(f, "{} after {} (cpu {}, peak {peak})", self.exit, Span(self.runtime), Span(cpu))?;
        match (self.oom, self.usage.oom_kills) {
            (Some(true), _) => f.write_str(", killed for want of memory"),
            (_, Some(kills @ 1..)) => write!(f, ", {kills} of its processes killed for want of memory"),
            (_, Some(0) | None) => Ok(()),
        }
    }
}

/// Why a run could not begin. Distinct from any exit of a program that did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum SpawnFault {
    /// No such program: 127.
    NotFound,
    /// It is there and cannot be executed: 126.
    NotExecutable,
    /// Something before the program: the working directory, a limit, the kernel: 125.
    Own,
}

impl SpawnFault {
    /// The exit status a foreground watcher ends with for it.
    pub fn shell_status(self) -> u8 {
        match self {
            SpawnFault::NotFound => 127,
            SpawnFault::NotExecutable => 126,
            SpawnFault::Own => 125,
        }
    }
}

/// A run that could not begin.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SpawnFailure {
    /// Its class.
    pub fault: SpawnFault,
    /// One line: what failed, on what, why.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shell_status_is_the_code_or_128_and_the_signal() {
        assert_eq!(Exit::Code(7).shell_status(), 7);
        assert_eq!(Exit::Signal { signal: Signal::KILL, core: false }.shell_status(), 137);
    }
}
