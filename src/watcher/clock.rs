//! The wall clock, and randomness: what the core wants passed in.

use std::fs::File;
use std::io::{self, Read};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use zerovisor_core::units::{Timestamp, micros};

/// What is due within so short a time is done now: one wake-up instead of two.
pub(super) const TOGETHER: Duration = Duration::from_millis(5);

/// Now, by the wall clock.
pub(super) fn timestamp() -> Timestamp {
    Timestamp(micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()))
}

/// Random bytes that nobody can guess.
pub(super) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The whole multiple of `every` on the wall clock that comes next, half an `every` away at least: what happens at the same
/// intervals in many watchers of a host happens together, and never twice.
pub(super) fn next_whole(now: Instant, every: Duration) -> Instant {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now + until_whole(wall, every)
}

fn until_whole(wall: Duration, every: Duration) -> Duration {
    let (period, half) = (every.as_nanos().max(1), every.as_nanos() / 2);
    let past = (wall.as_nanos() + half) % period;
    Duration::from_nanos(u64::try_from(half + period - past).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_next_is_whole_and_neither_at_once_nor_far() {
        let second = Duration::from_secs(1);
        for (wall_ms, until_ms) in [(0, 1000), (1, 999), (499, 501), (500, 1500), (999, 1001), (1000, 1000)] {
            let until = until_whole(Duration::from_millis(7_000 + wall_ms), second);
            assert_eq!(until, Duration::from_millis(until_ms), "{wall_ms}");
        }
        assert_eq!(until_whole(Duration::from_millis(1_730), Duration::from_millis(250)), Duration::from_millis(270));
    }
}
