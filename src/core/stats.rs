//! What a run uses, as its watcher samples it. Lossy on purpose: the newest wins.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::units::Timestamp;

/// The rung of the cgroup ladder a process stands on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Rung {
    /// A cgroup of its own in the unified hierarchy, with controllers.
    V2,
    /// One in the unified hierarchy for tracking, kill and CPU, others in version 1 hierarchies for the rest.
    Hybrid,
    /// Cgroups of its own in version 1 hierarchies.
    V1,
    /// No cgroup: a subreaper and walks of /proc.
    None,
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Rung::V2 => "v2",
            Rung::Hybrid => "hybrid",
            Rung::V1 => "v1",
            Rung::None => "none",
        })
    }
}

/// On which rung a process stands, and why on no better one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Placement {
    /// The rung.
    pub rung: Rung,
    /// One line by name: where its cgroup is and what that holds, or why there is none.
    pub why: String,
}

/// The share of the last ten seconds in which some task waited for a resource, in percent (`avg10` of `some`, PSI).
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Pressure {
    /// For a CPU.
    pub cpu: Option<f32>,
    /// For memory.
    pub memory: Option<f32>,
    /// For a disk.
    pub io: Option<f32>,
}

/// One sample of the whole tree of a run. None: this rung does not tell.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Sample {
    /// When it was taken.
    pub at: Timestamp,
    /// Of which run.
    pub run: u32,
    /// CPU over the time since the sample before, in percent of one core; none in the first.
    pub cpu_percent: Option<f64>,
    /// CPU time in user mode since the run began, in microseconds.
    pub cpu_user_us: u64,
    /// CPU time in the kernel, in microseconds.
    pub cpu_system_us: u64,
    /// Time in which a limit held it back, in microseconds.
    pub throttled_us: Option<u64>,
    /// The working set in bytes: what is charged less inactive file pages; without a cgroup the sum of PSS.
    pub memory_bytes: Option<u64>,
    /// The most that was charged at any time, in bytes; without a cgroup the most that was sampled.
    pub memory_peak_bytes: Option<u64>,
    /// Anonymous memory, in bytes.
    pub anon_bytes: Option<u64>,
    /// Page cache, in bytes.
    pub file_bytes: Option<u64>,
    /// Swapped out, in bytes.
    pub swap_bytes: Option<u64>,
    /// Kills by the kernel's OOM killer.
    pub oom_kills: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Read from block devices, in bytes.
    pub read_bytes: Option<u64>,
    /// Written to block devices, in bytes.
    pub written_bytes: Option<u64>,
    /// Pressure, where the kernel measures it.
    pub pressure: Pressure,
    /// Threads of the main process.
    pub main_threads: Option<u64>,
    /// Open descriptors of the main process.
    pub main_fds: Option<u64>,
    /// State of the main process, as in `/proc/PID/stat`: R, S, D, T, Z ...
    pub main_state: Option<char>,
}
