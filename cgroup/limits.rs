//! What a run may use at most.

use crate::error::CgroupError;
use crate::place::{Controller, Places, Version};
use crate::resource::Resource;

/// The period over which CPU is rationed, in µs: the kernel's default.
const PERIOD_US: u64 = 100_000;

/// The period for less than 10 thousandths of a CPU, in µs: the kernel's longest, since a ration is at least 1 ms.
const LONG_PERIOD_US: u64 = 1_000_000;

/// Limits of a run, for all its processes together. `None` leaves a limit as it is; [`Limits::LIFTED`] lifts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory with page cache, in bytes, rounded down to pages; beyond it the kernel reclaims, then kills.
    pub memory_bytes: Option<u64>,
    /// CPU time in thousandths of one CPU: 1500 is one and a half.
    pub cpu_millis: Option<u64>,
    /// Processes and threads at one time; beyond it fork fails with EAGAIN.
    pub pids: Option<u64>,
}

impl Limits {
    /// The value of a limit that is none.
    pub const LIFTED: u64 = u64::MAX;

    /// What these limits need, each with its value and unit.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = (Resource, u64, &'static str)> {
        let all = [
            (Resource::Memory, self.memory_bytes, "bytes"),
            (Resource::Cpu, self.cpu_millis, "thousandths of a CPU"),
            (Resource::Pids, self.pids, "processes"),
        ];
        all.into_iter().filter_map(|(resource, value, unit)| value.map(|value| (resource, value, unit)))
    }
}

/// That each limit is one that can be kept.
pub(crate) fn check(limits: &Limits, places: &Places) -> Result<(), CgroupError> {
    for (resource, value, unit) in limits.wanted() {
        if value == 0 {
            return Err(CgroupError::Zero { unit });
        }
        places.holder(resource)?;
    }
    Ok(())
}

/// Writes each limit where its controller is.
pub(crate) fn apply(limits: &Limits, places: &Places) -> Result<(), CgroupError> {
    check(limits, places)?;
    for (resource, value, _) in limits.wanted() {
        let place = places.holder(resource)?;
        for (file, text) in settings(place.version, resource.controller(), value) {
            place.set(file, &text)?;
        }
    }
    Ok(())
}

/// The files to be written for one limit, in order.
fn settings(version: Version, controller: Controller, value: u64) -> Vec<(&'static str, String)> {
    let lifted = value == Limits::LIFTED;
    let or = |none: &str| if lifted { none.to_owned() } else { value.to_string() };
    let (quota, period) = ration(value);
    match (controller, version) {
        (Controller::Memory, Version::V2) => vec![("memory.max", or("max"))],
        (Controller::Memory, Version::V1) => vec![("memory.limit_in_bytes", or("-1"))],
        (Controller::Pids, _) => vec![("pids.max", or("max"))],
        (Controller::Cpu, Version::V2) if lifted => vec![("cpu.max", "max".to_owned())],
        (Controller::Cpu, Version::V2) => vec![("cpu.max", format!("{quota} {period}"))],
        (Controller::Cpu, Version::V1) if lifted => vec![("cpu.cfs_quota_us", "-1".to_owned())],
        // The quota is lifted between the two: period and old quota together may be more than the parent allows.
        (Controller::Cpu, Version::V1) => vec![
            ("cpu.cfs_quota_us", "-1".to_owned()),
            ("cpu.cfs_period_us", period.to_string()),
            ("cpu.cfs_quota_us", quota.to_string()),
        ],
        (Controller::Io | Controller::Cpuacct | Controller::Freezer, _) => Vec::new(),
    }
}

/// Quota and period, in µs, of so many thousandths of a CPU.
fn ration(cpu_millis: u64) -> (u64, u64) {
    let period = if cpu_millis < 10 { LONG_PERIOD_US } else { PERIOD_US };
    (cpu_millis.saturating_mul(period / 1000), period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_what_the_kernel_reads() {
        let text = |version, controller, value| {
            let lines = settings(version, controller, value).into_iter().map(|(file, text)| format!("{file}={text}"));
            lines.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(text(Version::V2, Controller::Memory, 1 << 20), "memory.max=1048576");
        assert_eq!(text(Version::V1, Controller::Memory, Limits::LIFTED), "memory.limit_in_bytes=-1");
        assert_eq!(text(Version::V2, Controller::Cpu, 1500), "cpu.max=150000 100000");
        assert_eq!(text(Version::V2, Controller::Cpu, 1), "cpu.max=1000 1000000");
        assert_eq!(text(Version::V2, Controller::Cpu, Limits::LIFTED), "cpu.max=max");
        let v1 = "cpu.cfs_quota_us=-1 cpu.cfs_period_us=100000 cpu.cfs_quota_us=25000";
        assert_eq!(text(Version::V1, Controller::Cpu, 250), v1);
        assert_eq!(text(Version::V1, Controller::Pids, 7), "pids.max=7");
    }
}
