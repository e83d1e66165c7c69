//! The options about what a run may use and how that is measured.

use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use zerovisor_core::limits::{CgroupMode, CpuLimit, Limits, MemoryLimit, PidsLimit};
use zerovisor_core::units::{Span, UnitError};

/// Measured more often than this, the measuring would show in what is measured.
const STATS_EVERY_MIN: Duration = Duration::from_millis(100);

/// What a run may use, and how that is measured.
#[derive(Args, Debug)]
#[command(next_help_heading = "Resources")]
pub(super) struct ResourceArgs {
    /// Whether it gets a cgroup of its own
    #[arg(long, value_name = "WHETHER", default_value = "auto")]
    cgroup: CgroupArg,
    /// The most memory of all its processes, such as 512M; beyond it the kernel kills
    #[arg(long, value_name = "SIZE")]
    memory: Option<MemoryLimit>,
    /// The most CPU of all its processes, such as 0.5 or 2
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<CpuLimit>,
    /// The most processes and threads
    #[arg(long, value_name = "NUMBER")]
    pids: Option<PidsLimit>,
    /// How often what it uses is measured; 0: never
    #[arg(long, value_name = "SPAN", default_value = "1s")]
    stats_interval: StatsInterval,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum CgroupArg {
    /// Where it can be had
    Auto,
    /// It does, or is not started
    Require,
    /// It does not
    Off,
}

/// A limit without a cgroup to hold it.
#[derive(Debug, thiserror::Error)]
#[error("{0} needs a cgroup and --cgroup off wants none: leave out one of the two")]
pub struct Contradiction(&'static str);

/// `--stats-interval`; none: never.
#[derive(Clone, Copy, Debug)]
struct StatsInterval(Option<Duration>);

/// A text that is no interval.
#[derive(Debug, thiserror::Error)]
enum NotAnInterval {
    #[error("{0}")]
    Span(#[from] UnitError),
    #[error("'{0}' is too short: write {min} or more, or 0 for never", min = Span(STATS_EVERY_MIN))]
    Short(Span),
}

impl FromStr for StatsInterval {
    type Err = NotAnInterval;

    fn from_str(text: &str) -> Result<StatsInterval, NotAnInterval> {
        let span: Span = text.parse()?;
        match span.0 {
            Duration::ZERO => Ok(StatsInterval(None)),
            every if every < STATS_EVERY_MIN => Err(NotAnInterval::Short(span)),
            every => Ok(StatsInterval(Some(every))),
        }
    }
}

impl ResourceArgs {
    /// That a limit has something to hold it.
    pub(super) fn check(&self) -> Result<(), Contradiction> {
        let memory = self.memory.map(|_| "--memory");
        let limit = memory.or(self.cpus.map(|_| "--cpus")).or(self.pids.map(|_| "--pids"));
        match (self.mode(), limit) {
            (CgroupMode::Off, Some(limit)) => Err(Contradiction(limit)),
            (CgroupMode::Off | CgroupMode::Auto | CgroupMode::Require, _) => Ok(()),
        }
    }

    pub(super) fn mode(&self) -> CgroupMode {
        match self.cgroup {
            CgroupArg::Auto => CgroupMode::Auto,
            CgroupArg::Require => CgroupMode::Require,
            CgroupArg::Off => CgroupMode::Off,
        }
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            memory_bytes: self.memory.map(|MemoryLimit(bytes)| bytes),
            cpu_millis: self.cpus.map(|CpuLimit(millis)| millis),
            pids: self.pids.map(|PidsLimit(pids)| pids),
        }
    }

    pub(super) fn stats_every(&self) -> Option<Duration> {
        self.stats_interval.0
    }
}
