//! What a run may use at most.

use crate::barrier::{Barrier, Refusal};
use crate::error::CgroupError;
use crate::place::{Place, Places, Version};
use crate::resource::Resource;

/// The period over which CPU is rationed, in µs: the kernel's default.
const PERIOD_US: u64 = 100_000;

/// The period for less than 10 thousandths of a CPU, in µs: the kernel's longest, since a ration is at least 1 ms.
const LONG_PERIOD_US: u64 = 1_000_000;

/// The weight of a cgroup that was given none: the kernel's default on v2.
const DEFAULT_WEIGHT: u64 = 100;

/// The largest weight: the kernel's, `CGROUP_WEIGHT_MAX`.
const WEIGHT_MAX: u64 = 10_000;

/// What v1 calls a weight of 100: `cpu.shares` by default.
const DEFAULT_SHARES: u64 = 1024;

/// Limits of a run, for all its processes together. `None` leaves a limit as it is; [`Limits::LIFTED`] lifts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory with page cache, in bytes, rounded down to pages; beyond it the kernel reclaims, then kills.
    pub memory_bytes: Option<u64>,
    /// Memory with page cache, in bytes, beyond which it is slowed down and reclaimed from, but not killed. v2 only.
    pub memory_high_bytes: Option<u64>,
    /// Swap, in bytes; 0 for none at all. v2 only.
    pub swap_bytes: Option<u64>,
    /// CPU time in thousandths of one CPU: 1500 is one and a half.
    pub cpu_millis: Option<u64>,
    /// Its share where others want the CPU too, 1 to 10000, against 100 of who was given none.
    pub cpu_weight: Option<u64>,
    /// Processes and threads at one time; beyond it fork fails with EAGAIN.
    pub pids: Option<u64>,
}

/// One limit of those.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    Memory(u64),
    MemoryHigh(u64),
    Swap(u64),
    Cpu(u64),
    CpuWeight(u64),
    Pids(u64),
}

impl Limits {
    /// The value of a limit that is none.
    pub const LIFTED: u64 = u64::MAX;

    /// What must be controlled to keep them.
    #[cfg(test)]
    pub(crate) fn resources(&self) -> impl Iterator<Item = Resource> {
        self.wanted().map(Limit::resource)
    }

    fn wanted(&self) -> impl Iterator<Item = Limit> {
        let all = [
            self.memory_bytes.map(Limit::Memory),
            self.memory_high_bytes.map(Limit::MemoryHigh),
            self.swap_bytes.map(Limit::Swap),
            self.cpu_millis.map(Limit::Cpu),
            self.cpu_weight.map(Limit::CpuWeight),
            self.pids.map(Limit::Pids),
        ];
        all.into_iter().flatten()
    }
}

impl Limit {
    fn resource(self) -> Resource {
        match self {
            Limit::Memory(_) | Limit::MemoryHigh(_) | Limit::Swap(_) => Resource::Memory,
            Limit::Cpu(_) | Limit::CpuWeight(_) => Resource::Cpu,
            Limit::Pids(_) => Resource::Pids,
        }
    }

    /// That it is a value with which a program can run and that the kernel takes.
    fn check_range(self) -> Result<(), CgroupError> {
        let out_of_range = |limit, given, range| Err(CgroupError::OutOfRange { limit, given, range });
        match self {
            Limit::Memory(0) | Limit::MemoryHigh(0) => out_of_range("memory", 0, "at least 1 byte"),
            Limit::Cpu(0) => out_of_range("CPU time", 0, "at least 1 thousandth of a CPU"),
            Limit::Pids(0) => out_of_range("processes", 0, "at least 1"),
            Limit::CpuWeight(weight) if weight != Limits::LIFTED && !(1..=WEIGHT_MAX).contains(&weight) => {
                out_of_range("CPU weight", weight, "1 to 10000")
            }
            Limit::Memory(_)
            | Limit::MemoryHigh(_)
            | Limit::Swap(_)
            | Limit::Cpu(_)
            | Limit::CpuWeight(_)
            | Limit::Pids(_) => Ok(()),
        }
    }

    /// The files to be written for it, in order; none where that version has no such limit.
    fn settings(self, version: Version) -> Vec<(&'static str, String)> {
        match (self, version) {
            (Limit::Memory(bytes), Version::V2) => vec![("memory.max", or("max", bytes))],
            (Limit::Memory(bytes), Version::V1) => vec![("memory.limit_in_bytes", or("-1", bytes))],
            (Limit::MemoryHigh(bytes), Version::V2) => vec![("memory.high", or("max", bytes))],
            (Limit::Swap(bytes), Version::V2) => vec![("memory.swap.max", or("max", bytes))],
            (Limit::MemoryHigh(_) | Limit::Swap(_), Version::V1) => Vec::new(),
            (Limit::Cpu(millis), _) => ration(version, millis),
            (Limit::CpuWeight(Limits::LIFTED), _) => Limit::CpuWeight(DEFAULT_WEIGHT).settings(version),
            (Limit::CpuWeight(weight), Version::V2) => vec![("cpu.weight", weight.to_string())],
            (Limit::CpuWeight(weight), Version::V1) => {
                let shares = weight.saturating_mul(DEFAULT_SHARES) / DEFAULT_WEIGHT;
                vec![("cpu.shares", shares.to_string())]
            }
            (Limit::Pids(count), _) => vec![("pids.max", or("max", count))],
        }
    }
}

/// That each limit is one that can be kept.
pub(crate) fn check(limits: &Limits, places: &Places) -> Result<(), CgroupError> {
    limits.wanted().try_for_each(|limit| limit.check_range().and_then(|()| place_of(limit, places).map(|_| ())))
}

/// Writes each limit where its controller is.
pub(crate) fn apply(limits: &Limits, places: &Places) -> Result<(), CgroupError> {
    check(limits, places)?;
    for limit in limits.wanted() {
        let place = place_of(limit, places)?;
        limit.settings(place.version).iter().try_for_each(|(file, text)| place.set(file, text))?;
    }
    Ok(())
}

fn place_of(limit: Limit, places: &Places) -> Result<&Place, CgroupError> {
    let resource = limit.resource();
    let place = places.holder(resource)?;
    if limit.settings(place.version).is_empty() {
        let barrier = Barrier::OnlyV2(place.dir.clone());
        return Err(Refusal { resource, barrier, advice: None }.into());
    }
    Ok(place)
}

fn or(none: &str, value: u64) -> String {
    if value == Limits::LIFTED { none.to_owned() } else { value.to_string() }
}

/// So many thousandths of a CPU as quota and period.
fn ration(version: Version, millis: u64) -> Vec<(&'static str, String)> {
    let period = if millis < 10 { LONG_PERIOD_US } else { PERIOD_US };
    let quota = millis.saturating_mul(period / 1000);
    match version {
        Version::V2 if millis == Limits::LIFTED => vec![("cpu.max", "max".to_owned())],
        Version::V2 => vec![("cpu.max", format!("{quota} {period}"))],
        Version::V1 if millis == Limits::LIFTED => vec![("cpu.cfs_quota_us", "-1".to_owned())],
        // The quota is lifted between the two: period and old quota together may be more than the parent allows.
        Version::V1 => vec![
            ("cpu.cfs_quota_us", "-1".to_owned()),
            ("cpu.cfs_period_us", period.to_string()),
            ("cpu.cfs_quota_us", quota.to_string()),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_what_the_kernel_reads() {
        let text = |version, limit: Limit| {
            let lines = limit.settings(version).into_iter().map(|(file, text)| format!("{file}={text}"));
            lines.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(text(Version::V2, Limit::Memory(1 << 20)), "memory.max=1048576");
        assert_eq!(text(Version::V1, Limit::Memory(Limits::LIFTED)), "memory.limit_in_bytes=-1");
        assert_eq!(text(Version::V2, Limit::Swap(0)), "memory.swap.max=0");
        assert_eq!(text(Version::V2, Limit::MemoryHigh(Limits::LIFTED)), "memory.high=max");
        assert_eq!(text(Version::V1, Limit::MemoryHigh(1)), "", "v1 has none");
        assert_eq!(text(Version::V2, Limit::Cpu(1500)), "cpu.max=150000 100000");
        assert_eq!(text(Version::V2, Limit::Cpu(1)), "cpu.max=1000 1000000");
        assert_eq!(text(Version::V2, Limit::Cpu(Limits::LIFTED)), "cpu.max=max");
        let v1 = "cpu.cfs_quota_us=-1 cpu.cfs_period_us=100000 cpu.cfs_quota_us=25000";
        assert_eq!(text(Version::V1, Limit::Cpu(250)), v1);
        assert_eq!(text(Version::V2, Limit::CpuWeight(Limits::LIFTED)), "cpu.weight=100");
        assert_eq!(text(Version::V1, Limit::CpuWeight(50)), "cpu.shares=512");
        assert_eq!(text(Version::V1, Limit::Pids(7)), "pids.max=7");
    }

    #[test]
    fn what_lets_nothing_run_is_out_of_range() {
        for bad in [Limit::Memory(0), Limit::Cpu(0), Limit::Pids(0), Limit::CpuWeight(0), Limit::CpuWeight(10_001)] {
            assert!(bad.check_range().is_err(), "{bad:?}");
        }
        for good in [Limit::Swap(0), Limit::Pids(1), Limit::CpuWeight(10_000), Limit::CpuWeight(Limits::LIFTED)] {
            assert!(good.check_range().is_ok(), "{good:?}");
        }
    }
}
