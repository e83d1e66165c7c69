//! What watchers sample: checked where it comes in, the newest of the present run kept, and summed up. Pure.

use std::time::{Duration, Instant};

use zerovisor_core::stats::Sample;

/// For so long a sample says what a process uses now. Watchers sample once a second, and three seconds of silence end a link.
const FRESH_FOR: Duration = Duration::from_secs(5);
/// Samples of one link that come sooner than this after the one before are passed over: they are lossy on purpose, and the registry
/// must not be kept busy by one watcher.
pub(super) const SAMPLES_APART: Duration = Duration::from_millis(50);
/// The most CPU a sample may tell, in percent of one core: 8192 processors (`CONFIG_NR_CPUS` at its largest), and half as much again
/// for a clock read late.
const CPU_PERCENT_MAX: f64 = 8192.0 * 150.0;

/// A sample that no watcher of ours makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sample whose {0} is none")]
pub(super) struct NotASample(&'static str);

/// Bounds that the types of a sample do not carry.
///
/// # Errors
/// Which of its numbers cannot be.
pub(super) fn check(sample: &Sample) -> Result<(), NotASample> {
    let within = |number: f64, most: f64| number.is_finite() && (0.0..=most).contains(&number);
    if sample.cpu_percent.is_some_and(|percent| !within(percent, CPU_PERCENT_MAX)) {
        return Err(NotASample("CPU percentage"));
    }
    let pressure = [sample.pressure.cpu, sample.pressure.memory, sample.pressure.io];
    if pressure.into_iter().flatten().any(|percent| !within(percent.into(), 100.0)) {
        return Err(NotASample("pressure"));
    }
    if sample.main_state.is_some_and(|state| !state.is_ascii_alphabetic()) {
        return Err(NotASample("state of the main process"));
    }
    if sample.run == 0 {
        return Err(NotASample("run"));
    }
    Ok(())
}

/// The newest sample of a run.
#[derive(Debug)]
pub(super) struct Latest {
    sample: Box<Sample>,
    came: Instant,
    peak_bytes: Option<u64>,
}

impl Latest {
    /// The next sample, behind those that came before; none of another run counts.
    pub(super) fn new(sample: Box<Sample>, came: Instant, before: Option<&Latest>) -> Latest {
        let before = before.filter(|before| before.sample.run == sample.run);
        let peak_bytes = sample.memory_peak_bytes.max(before.and_then(|before| before.peak_bytes));
        Latest { sample, came, peak_bytes }
    }

    /// The run it is of.
    pub(super) fn run(&self) -> u32 {
        self.sample.run
    }

    /// The sample itself.
    pub(super) fn sample(&self) -> &Sample {
        &self.sample
    }

    /// CPU in percent of one core; none once it is no news any more.
    pub(super) fn cpu_percent(&self, now: Instant) -> Option<f64> {
        self.sample.cpu_percent.filter(|_| now.saturating_duration_since(self.came) <= FRESH_FOR)
    }

    /// The working set in bytes, as last heard.
    pub(super) fn memory_bytes(&self) -> Option<u64> {
        self.sample.memory_bytes
    }

    /// The most any sample of the run told, in bytes.
    pub(super) fn peak_bytes(&self) -> Option<u64> {
        self.peak_bytes
    }
}

/// What all processes of a node use together.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Totals {
    /// Processes it knows.
    pub processes: u64,
    /// Of these, the live ones.
    pub live: u64,
    /// CPU of the live ones in percent of one core.
    pub cpu_percent: f64,
    /// Their memory in bytes.
    pub memory_bytes: u64,
}

impl Totals {
    /// Counts one process in, and what it uses if it is live.
    pub(super) fn add(&mut self, live: bool, used: Option<&Latest>, now: Instant) {
        self.processes += 1;
        if live {
            self.live += 1;
            self.cpu_percent += used.and_then(|latest| latest.cpu_percent(now)).unwrap_or(0.0);
            self.memory_bytes = self.memory_bytes.saturating_add(used.and_then(Latest::memory_bytes).unwrap_or(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use zerovisor_core::stats::Pressure;

    use super::*;

    fn sample(run: u32, peak_bytes: u64) -> Box<Sample> {
        let numbers = Sample { cpu_percent: Some(50.0), memory_bytes: Some(7), ..Sample::default() };
        Box::new(Sample { run, memory_peak_bytes: Some(peak_bytes), ..numbers })
    }

    #[test]
    fn numbers_that_cannot_be_are_refused() {
        assert_eq!(check(&sample(1, 0)), Ok(()));
        for cpu in [f64::NAN, f64::INFINITY, -0.1, 1e9] {
            assert!(check(&Sample { cpu_percent: Some(cpu), ..*sample(1, 0) }).is_err(), "{cpu}");
        }
        for io in [f32::NAN, -1.0, 100.5] {
            let pressure = Pressure { io: Some(io), ..Pressure::default() };
            assert!(check(&Sample { pressure, ..*sample(1, 0) }).is_err(), "{io}");
        }
        assert!(check(&Sample { main_state: Some('\x1b'), ..*sample(1, 0) }).is_err());
        assert!(check(&sample(0, 0)).is_err(), "before the first run there is nothing to sample");
    }

    #[test]
    fn the_peak_is_of_one_run_and_never_sinks_within_it() {
        let now = Instant::now();
        let first = Latest::new(sample(1, 10), now, None);
        let second = Latest::new(sample(1, 5), now, Some(&first));
        assert_eq!(second.peak_bytes(), Some(10));
        assert_eq!(Latest::new(sample(2, 3), now, Some(&second)).peak_bytes(), Some(3));
    }

    #[test]
    fn an_old_sample_tells_memory_and_no_cpu() {
        let now = Instant::now();
        let latest = Latest::new(sample(1, 10), now, None);
        assert_eq!(latest.cpu_percent(now + FRESH_FOR), Some(50.0));
        let late = now + FRESH_FOR + Duration::from_millis(1);
        assert_eq!((latest.cpu_percent(late), latest.memory_bytes()), (None, Some(7)));
        let mut totals = Totals::default();
        totals.add(true, Some(&latest), late);
        totals.add(false, Some(&latest), now);
        assert_eq!(totals, Totals { processes: 2, live: 1, cpu_percent: 0.0, memory_bytes: 7 });
    }
}
