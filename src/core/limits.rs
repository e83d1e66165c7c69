//! What a run may use at most, and how much of a cgroup is asked for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::units::Bytes;

/// Below this no program gets as far as its main function: loader, libc and stack take this much.
const MEMORY_MIN_BYTES: u64 = 1 << 20;
/// The kernel's smallest quota is 1 ms of a period of 100 ms (`kernel/sched/core.c`, `min_cfs_quota_period`).
const CPU_MIN_MILLIS: u32 = 10;
/// More processors than any machine has.
const CPU_MAX_MILLIS: u32 = 8192 * 1000;
/// `PID_MAX_LIMIT` of a 64-bit kernel.
const PIDS_MAX: u32 = 4 << 20;

/// What a run may use at most. None: no limit of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Limits {
    /// Memory of the whole tree, in bytes.
    pub memory_bytes: Option<u64>,
    /// CPU of the whole tree, in thousandths of one CPU.
    pub cpu_millis: Option<u32>,
    /// Processes and threads.
    pub pids: Option<u32>,
}

impl Limits {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Limits::default()
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = self.memory_bytes.map(|bytes| format!("memory {}", Bytes(bytes)));
        let cpus = self.cpu_millis.map(|millis| format!("cpus {}", CpuLimit(millis)));
        let pids = self.pids.map(|pids| format!("pids {pids}"));
        let all: Vec<String> = [memory, cpus, pids].into_iter().flatten().collect();
        f.write_str(&all.join(", "))
    }
}

/// How much of a cgroup is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum CgroupMode {
    /// One, where it can be had.
    #[default]
    Auto,
    /// One, or no start.
    Require,
    /// None.
    Off,
}

/// A text that is no limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotALimit {
    /// Not a limit of memory.
    #[error(
        "'{0}' is not a limit of memory: write bytes or a number with K, M, G or T, such as 512M; {min} at least",
        min = Bytes(MEMORY_MIN_BYTES)
    )]
    Memory(String),
    /// Not a number of CPUs.
    #[error("'{0}' is not a number of CPUs: write one such as 0.5 or 2; 0.01 at least")]
    Cpus(String),
    /// Not a number of processes.
    #[error("'{0}' is not a number of processes: write one from 1 to {PIDS_MAX}")]
    Pids(String),
}

/// `--memory`, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryLimit(pub u64);

impl FromStr for MemoryLimit {
    type Err = NotALimit;

    fn from_str(text: &str) -> Result<MemoryLimit, NotALimit> {
        let bytes = text.parse().map(|Bytes(bytes)| bytes).ok().filter(|bytes| *bytes >= MEMORY_MIN_BYTES);
        bytes.map(MemoryLimit).ok_or_else(|| NotALimit::Memory(text.chars().take(40).collect()))
    }
}

/// `--cpus`, in thousandths of one CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CpuLimit(pub u32);

impl FromStr for CpuLimit {
    type Err = NotALimit;

    fn from_str(text: &str) -> Result<CpuLimit, NotALimit> {
        let wrong = || NotALimit::Cpus(text.chars().take(40).collect());
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > 3 || (whole.is_empty() && part.is_empty()) {
            return Err(wrong());
        }
        let number = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u32>().ok() };
        let part = number(&format!("{part:0<3}")).unwrap_or(0);
        let millis = number(whole).and_then(|whole| whole.checked_mul(1000)?.checked_add(part));
        millis.filter(|millis| (CPU_MIN_MILLIS..=CPU_MAX_MILLIS).contains(millis)).map(CpuLimit).ok_or_else(wrong)
    }
}

impl fmt::Display for CpuLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:03}", self.0 / 1000, self.0 % 1000);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// `--pids`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PidsLimit(pub u32);

impl FromStr for PidsLimit {
    type Err = NotALimit;

    fn from_str(text: &str) -> Result<PidsLimit, NotALimit> {
        let pids = text.parse().ok().filter(|pids| (1..=PIDS_MAX).contains(pids));
        pids.map(PidsLimit).ok_or_else(|| NotALimit::Pids(text.chars().take(40).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_or_refused_with_what_to_write() {
        assert_eq!("64M".parse(), Ok(MemoryLimit(64 << 20)));
        for wrong in ["banana", "1", "", "-5M"] {
            assert!(wrong.parse::<MemoryLimit>().is_err(), "{wrong}");
        }
        for (text, millis) in [("1", 1000), ("0.5", 500), (".25", 250), ("2.125", 2125), ("0.01", 10)] {
            assert_eq!(text.parse(), Ok(CpuLimit(millis)), "{text}");
        }
        for wrong in ["0", "0.001", "", ".", "1e3", "-1", "99999", "1.2345", "inf"] {
            assert!(wrong.parse::<CpuLimit>().is_err(), "{wrong}");
        }
        assert_eq!("100".parse(), Ok(PidsLimit(100)));
        assert!("0".parse::<PidsLimit>().is_err());
        let all = Limits { memory_bytes: Some(64 << 20), cpu_millis: Some(1500), pids: None };
        assert_eq!(all.to_string(), "memory 64.0 MiB, cpus 1.5");
    }
}
