//! What a run uses, sampled: from its cgroup where it has one, else from /proc. The sample is the watcher's heartbeat too.
//!
//! The first sample comes soon after the start, the others at whole multiples of the interval on the wall clock, so that the many
//! watchers of a host wake together. What costs more is looked at every ten seconds and told with every sample.

#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod kills;
mod main_process;
mod stat;
mod walk;

use std::time::{Duration, Instant};

use zerovisor_cgroup::{Leaf, Reading};
use zerovisor_core::exit::Usage;
use zerovisor_core::stats::{Pressure, Sample};
use zerovisor_core::units::Timestamp;

use kills::Kills;
use main_process::MainProcess;
use walk::{Found, Walk};

use super::clock;

/// After the start: what is short-lived is seen once at least, and the first rate is known a second later.
const FIRST_AFTER: Duration = Duration::from_millis(100);
/// What costs more than a pread or two is looked at so often.
const COSTLY_EVERY: Duration = Duration::from_secs(10);

/// Samples one run.
#[derive(Debug)]
pub(super) struct Sampler {
    run: u32,
    every: Option<Duration>,
    next_at: Option<Instant>,
    costly_at: Instant,
    /// CPU in microseconds, and when it was read.
    before: Option<(u64, Instant)>,
    most: Most,
    oom_kills: Kills,
    slow: Slow,
    main: Option<MainProcess>,
    walk: Option<Walk>,
    ticks_per_second: u64,
}

/// What never steps back.
#[derive(Clone, Copy, Debug, Default)]
struct Most {
    user_us: u64,
    system_us: u64,
    memory_bytes: Option<u64>,
}

/// What is looked at now and then.
#[derive(Clone, Copy, Debug, Default)]
struct Slow {
    reading: Reading,
    open_files: Option<u64>,
}

/// CPU in microseconds.
#[derive(Clone, Copy, Debug)]
struct Cpu {
    user_us: u64,
    system_us: u64,
}

impl Sampler {
    /// Of a run that has just begun; without an interval nothing is sampled.
    pub(super) fn new(now: Instant, every: Option<Duration>, run: u32, main_pid: i32) -> Sampler {
        Sampler {
            run,
            every,
            next_at: every.map(|_| now + FIRST_AFTER),
            costly_at: now,
            before: None,
            most: Most::default(),
            oom_kills: Kills::new(now),
            slow: Slow::default(),
            main: every.map(|_| MainProcess::new(main_pid)),
            walk: None,
            ticks_per_second: procfs::ticks_per_second(),
        }
    }

    /// When [`Sampler::take`] wants to be called.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.next_at
    }

    /// How many processes the kernel had killed for want of memory when the main process had not been killed, should it end now.
    pub(super) fn oom_kills_before(&self) -> u64 {
        self.oom_kills.before()
    }

    /// The most memory that was found without a cgroup, in bytes.
    pub(super) fn most_memory_bytes(&self) -> Option<u64> {
        self.most.memory_bytes
    }

    /// Takes a sample if it is time. `reaped` is what those of the tree used that are no more.
    pub(super) fn take(
        &mut self,
        now: Instant,
        at: Timestamp,
        leaf: Option<&mut Leaf>,
        reaped: &Usage,
    ) -> Option<Sample> {
        let every = self.every?;
        if self.next_at.is_none_or(|next| now + clock::TOGETHER < next) {
            return None;
        }
        self.next_at = Some(clock::next_whole(now, every));
        let costly = now + clock::TOGETHER >= self.costly_at;
        let fast = leaf.and_then(|leaf| self.read(leaf, costly)).unwrap_or_default();
        if let Some(kills) = fast.oom_kills {
            self.oom_kills.on_sample(now, kills);
        }
        let stat = self.main.as_ref().and_then(MainProcess::stat);
        if costly {
            self.costly_at = now + COSTLY_EVERY;
            self.slow.open_files = self.main.as_ref().and_then(MainProcess::open_files);
        }
        // What the cgroup does not tell, /proc does.
        let found = match (fast.cpu_user_us, fast.memory_bytes) {
            (Some(_), Some(_)) => None,
            (Some(_) | None, Some(_) | None) => Some(self.walk.get_or_insert_with(|| Walk::new(now)).look(now)?),
        };
        let cpu = self.cpu(&fast, found.as_ref(), reaped);
        let (percent, peak) = (self.percent(now, cpu), self.peak(&fast, found.as_ref()));
        let slow = &self.slow.reading;
        let pressure = slow.pressure.map(|pressure| Pressure {
            cpu: Some(pressure.cpu_percent),
            memory: Some(pressure.memory_percent),
            io: Some(pressure.io_percent),
        });
        Some(Sample {
            at,
            run: self.run,
            cpu_percent: percent,
            cpu_user_us: cpu.user_us,
            cpu_system_us: cpu.system_us,
            throttled_us: fast.throttled_us,
            memory_bytes: fast.memory_bytes.or(found.and_then(|found| found.memory_bytes)),
            memory_peak_bytes: peak,
            anon_bytes: fast.anon_bytes,
            file_bytes: fast.file_bytes,
            swap_bytes: slow.swap_bytes,
            oom_kills: fast.oom_kills,
            pids: slow.pids.or(found.map(|found| found.tasks)),
            read_bytes: slow.io_read_bytes,
            written_bytes: slow.io_written_bytes,
            pressure: pressure.unwrap_or_default(),
            main_threads: stat.map(|stat| stat.threads),
            main_fds: self.slow.open_files,
            main_state: stat.map(|stat| stat.state),
        })
    }

    /// One that cannot be read, as when somebody removed the cgroup, counts as telling nothing.
    fn read(&mut self, leaf: &mut Leaf, costly: bool) -> Option<Reading> {
        if !costly {
            return leaf.sample().ok();
        }
        let reading = leaf.sample_costly().ok()?;
        self.slow.reading = reading;
        Some(reading)
    }

    fn cpu(&mut self, fast: &Reading, found: Option<&Found>, reaped: &Usage) -> Cpu {
        let from_ticks = |ticks: u64| ticks.saturating_mul(1_000_000) / self.ticks_per_second.max(1);
        let cpu = match (fast.cpu_user_us, found) {
            (Some(user_us), _) => Cpu { user_us, system_us: fast.cpu_system_us.unwrap_or(0) },
            (None, Some(found)) => Cpu {
                user_us: reaped.cpu_user_us.saturating_add(from_ticks(found.user_ticks)),
                system_us: reaped.cpu_system_us.saturating_add(from_ticks(found.system_ticks)),
            },
            (None, None) => Cpu { user_us: reaped.cpu_user_us, system_us: reaped.cpu_system_us },
        };
        // A process whose parent never waits for it takes its CPU with it.
        self.most.user_us = self.most.user_us.max(cpu.user_us);
        self.most.system_us = self.most.system_us.max(cpu.system_us);
        Cpu { user_us: self.most.user_us, system_us: self.most.system_us }
    }

    /// Of one core, since the sample before.
    fn percent(&mut self, now: Instant, cpu: Cpu) -> Option<f64> {
        let total = cpu.user_us.saturating_add(cpu.system_us);
        let (before, then) = self.before.replace((total, now))?;
        let span = now.saturating_duration_since(then).as_secs_f64();
        let used = Duration::from_micros(total.saturating_sub(before)).as_secs_f64();
        (span > 0.0).then(|| used / span * 100.0)
    }

    fn peak(&mut self, fast: &Reading, found: Option<&Found>) -> Option<u64> {
        let told = fast.memory_peak_bytes.max(self.slow.reading.memory_peak_bytes);
        if fast.memory_bytes.is_none() {
            self.most.memory_bytes = self.most.memory_bytes.max(found.and_then(|found| found.memory_bytes));
        }
        told.or(self.most.memory_bytes)
    }
}
