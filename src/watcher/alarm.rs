//! The one alarm of a watcher, a timerfd.
//!
//! The runtime's own timers wake an idle watcher twice for each deadline, once to move it to a finer wheel, and write to an event
//! descriptor each time the next deadline comes nearer, as it does whenever the last one has passed.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::unix::AsyncFd;

use super::sys;

/// It rings at the end of the millisecond, as the runtime's timers do: deadlines that are so near to each other pass together.
const GRAIN: Duration = Duration::from_millis(1);
/// As soon as it can: nothing would disarm it.
const AT_ONCE: Duration = Duration::from_nanos(1);

/// Rings once when it is time.
#[derive(Debug)]
pub(super) struct Alarm {
    timer: TimerFd,
    /// The same, as the runtime watches it.
    watched: AsyncFd<OwnedFd>,
    /// What it is set to; none when it has rung.
    at: Option<Instant>,
}

impl Alarm {
    /// One that is not set.
    ///
    /// # Errors
    /// No descriptors, most likely.
    pub(super) fn new() -> io::Result<Alarm> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        // The clock of `Instant`.
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        let watched = sys::watch_readable(timer.as_fd().try_clone_to_owned()?).map_err(|(_, error)| error)?;
        Ok(Alarm { timer, watched, at: None })
    }

    /// Sets it, instead of what it was set to.
    ///
    /// # Errors
    /// None that the kernel is known to give for a time that is not negative.
    pub(super) fn set(&mut self, at: Instant) -> io::Result<()> {
        if self.at == Some(at) {
            return Ok(());
        }
        let left = at.saturating_duration_since(Instant::now());
        let after = if left.is_zero() { AT_ONCE } else { left.max(GRAIN) };
        self.timer.set(Expiration::OneShot(TimeSpec::from_duration(after)), TimerSetTimeFlags::empty())?;
        self.at = Some(at);
        Ok(())
    }

    /// Waits until it rings. Cancel-safe. It may also ring for a time to which it was set before.
    pub(super) async fn rung(&mut self) {
        // An error means that the runtime ends.
        if let Ok(mut guard) = self.watched.readable().await {
            // Not read: setting it again takes back what it counted, and each ringing is told of anew.
            guard.clear_ready();
        }
        self.at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alone<T>(story: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap().block_on(story)
    }

    #[test]
    fn it_rings_when_it_is_time_and_not_before_again_and_again() {
        alone(async {
            let mut alarm = Alarm::new().unwrap();
            for after in [30, 5, 0, 0, 1] {
                let at = Instant::now() + Duration::from_millis(after);
                alarm.set(at).unwrap();
                // What is set already may be set again.
                alarm.set(at).unwrap();
                alarm.rung().await;
                assert!(Instant::now() >= at, "{after} ms");
            }
        });
    }

    #[test]
    fn a_time_that_has_passed_rings_each_time_it_is_set() {
        alone(async {
            let mut alarm = Alarm::new().unwrap();
            let past = Instant::now();
            for _ in 0..3 {
                alarm.set(past).unwrap();
                alarm.rung().await;
            }
        });
    }

    #[test]
    fn it_can_be_set_to_an_earlier_time() {
        alone(async {
            let mut alarm = Alarm::new().unwrap();
            let begun = Instant::now();
            alarm.set(begun + Duration::from_secs(3600)).unwrap();
            alarm.set(begun + Duration::from_millis(10)).unwrap();
            alarm.rung().await;
            assert!(begun.elapsed() < Duration::from_secs(60));
        });
    }
}
