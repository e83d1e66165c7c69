//! What the whole machine uses, as /proc tells it.

use std::time::Duration;

use procfs::{Current, CurrentSI};
use tokio::sync::Mutex;
use tokio::time::Instant;
use zerovisor_core::stats::Pressure;

/// Two looks at the processors are at least so far apart: the kernel counts in ticks of 10 ms, ten of which make a tenth.
const LOOKS_APART: Duration = Duration::from_millis(100);
/// A look older than this says what was, not what is: then two new ones are made.
const LOOK_OLD: Duration = Duration::from_secs(5);

/// What the machine uses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Used {
    /// Its processors.
    pub cpus: u32,
    /// CPU in percent of one core, by the difference between two looks; none where the kernel does not tell.
    pub cpu_percent: Option<f64>,
    /// Memory that is not available, in bytes.
    pub memory_used_bytes: Option<u64>,
    /// All of its memory, in bytes.
    pub memory_bytes: Option<u64>,
    /// Pressure, where the kernel measures it.
    pub pressure: Pressure,
}

/// Ticks of all processors together since the machine began.
#[derive(Debug, Clone, Copy, Default)]
struct Ticks {
    busy: u64,
    all: u64,
    cpus: u32,
}

impl Ticks {
    fn now() -> Option<Ticks> {
        let stat = procfs::KernelStats::current().ok()?;
        let of = &stat.total;
        // Guests are counted in user and nice already (proc(5)); what the hypervisor stole was nobody's here.
        let interrupts = of.irq.unwrap_or(0).saturating_add(of.softirq.unwrap_or(0));
        let busy = [of.user, of.nice, of.system, interrupts].into_iter().fold(0, u64::saturating_add);
        let idle = [of.idle, of.iowait.unwrap_or(0), of.steal.unwrap_or(0)].into_iter().fold(0, u64::saturating_add);
        let cpus = u32::try_from(stat.cpu_time.len()).unwrap_or(u32::MAX);
        Some(Ticks { busy, all: busy.saturating_add(idle), cpus })
    }

    /// CPU between two looks in percent of one core. iowait may step back (proc(5)), so a difference may be none.
    #[allow(clippy::cast_precision_loss, reason = "ticks of some seconds: far below 2^52")]
    fn percent_since(self, before: Ticks) -> Option<f64> {
        let all = self.all.checked_sub(before.all).filter(|ticks| *ticks > 0)?;
        let busy = self.busy.saturating_sub(before.busy).min(all);
        Some(busy as f64 / all as f64 * 100.0 * f64::from(self.cpus))
    }
}

/// The last look at the processors, and what it said.
#[derive(Debug, Clone, Copy)]
struct Look {
    at: Instant,
    ticks: Ticks,
    percent: Option<f64>,
}

/// The machine; remembers the last look, so that the next question has a figure at once.
#[derive(Debug, Default)]
pub(super) struct Machine {
    // Held over the pause between two looks: whoever asks meanwhile shares the figure.
    last: Mutex<Option<Look>>,
}

impl Machine {
    /// Looks. Takes [`LOOKS_APART`] where the last look is too old to be a base.
    pub(super) async fn used(&self) -> Used {
        let cpu_percent = self.cpu_percent().await;
        let memory = procfs::Meminfo::current().ok();
        let memory_bytes = memory.as_ref().map(|memory| memory.mem_total);
        let available = memory.as_ref().and_then(|memory| memory.mem_available);
        let pressure = Pressure {
            cpu: procfs::CpuPressure::current().ok().map(|pressure| pressure.some.avg10),
            memory: procfs::MemoryPressure::current().ok().map(|pressure| pressure.some.avg10),
            io: procfs::IoPressure::current().ok().map(|pressure| pressure.some.avg10),
        };
        let cpus = self.last.lock().await.map_or_else(available_parallelism, |look| look.ticks.cpus);
        let memory_used_bytes = memory_bytes.zip(available).map(|(all, free)| all.saturating_sub(free));
        Used { cpus, cpu_percent, memory_used_bytes, memory_bytes, pressure }
    }

    async fn cpu_percent(&self) -> Option<f64> {
        let mut last = self.last.lock().await;
        let base = match *last {
            Some(look) if look.at.elapsed() < LOOKS_APART && look.percent.is_some() => return look.percent,
            Some(look) if (LOOKS_APART..=LOOK_OLD).contains(&look.at.elapsed()) => look.ticks,
            Some(_) | None => {
                let base = Ticks::now()?;
                tokio::time::sleep(LOOKS_APART).await;
                base
            }
        };
        let ticks = Ticks::now()?;
        let percent = ticks.percent_since(base);
        *last = Some(Look { at: Instant::now(), ticks, percent });
        percent
    }
}

fn available_parallelism() -> u32 {
    std::thread::available_parallelism().map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_kernel_tells_what_the_machine_uses() {
        let machine = Machine::default();
        let spinning = std::thread::spawn(|| {
            let until = std::time::Instant::now() + 3 * LOOKS_APART;
            while std::time::Instant::now() < until {}
        });
        let used = machine.used().await;
        spinning.join().unwrap();
        let most = 100.0 * f64::from(used.cpus);
        let percent = used.cpu_percent.unwrap();
        assert!(used.cpus > 0 && percent > 0.0 && percent <= most, "{used:?}");
        assert!(used.memory_used_bytes.unwrap() < used.memory_bytes.unwrap(), "{used:?}");
        let measured = std::path::Path::new("/proc/pressure/cpu").exists();
        assert_eq!(used.pressure.cpu.is_some(), measured, "{used:?}");
    }

    #[tokio::test]
    async fn a_second_question_has_its_figure_at_once() {
        let machine = Machine::default();
        machine.used().await;
        // On a machine busy with other tests one of a few is quick enough to prove that it did not pause.
        let mut quick = false;
        for _ in 0..20 {
            let begun = Instant::now();
            let again = machine.used().await;
            quick |= again.cpu_percent.is_some() && begun.elapsed() < LOOKS_APART;
        }
        assert!(quick, "each of them made two looks");
    }

    #[test]
    fn a_share_of_the_ticks_is_a_share_of_all_processors() {
        let before = Ticks { busy: 100, all: 1000, cpus: 4 };
        assert_eq!(Ticks { busy: 150, all: 1200, cpus: 4 }.percent_since(before), Some(100.0));
        assert_eq!(before.percent_since(before), None, "no time has passed");
        assert_eq!(Ticks { busy: 90, all: 990, cpus: 4 }.percent_since(before), None, "a clock that steps back");
    }
}
