//! How long to wait before dialing again.

use std::time::Duration;

/// First wait of a watcher or a peer whose zerovisor went away.
pub const RECONNECT_MIN: Duration = Duration::from_millis(100);
/// Longest wait: a zerovisor that comes back is found within this.
pub const RECONNECT_MAX: Duration = Duration::from_secs(5);
/// Longest wait where nothing listens on a socket of this machine: to find that out costs three system calls, as little as the sample
/// that a watcher takes each second anyway, and a thousand watchers are back a second after their zerovisor.
pub const RECONNECT_HERE_MAX: Duration = Duration::from_secs(1);

/// Capped exponential backoff with jitter: each wait is drawn from the upper half of a span that doubles from `min`
/// to `max`, so that a thousand watchers of a restarted zerovisor do not come back in step. Pure; no clock.
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    span: Duration,
    state: u64,
}

impl Backoff {
    /// A backoff between `min` and `max` (at least `min`). `seed` must differ between processes: a process id will do.
    #[must_use]
    pub fn new(min: Duration, max: Duration, seed: u64) -> Self {
        Self { min, max: max.max(min), span: min, state: seed }
    }

    /// The wait before the next attempt: between half the present span and the whole of it, never less than half
    /// of `min`, never more than `max`.
    #[must_use = "a wait nobody waits for is none"]
    #[expect(clippy::should_implement_trait, reason = "endless, and an iterator would hide reset")]
    pub fn next(&mut self) -> Duration {
        self.next_within(self.max)
    }

    /// As [`Backoff::next`], but of a span of at most `most`. Spans grow on from there.
    #[must_use = "a wait nobody waits for is none"]
    pub fn next_within(&mut self, most: Duration) -> Duration {
        let span = self.span.min(most);
        self.span = span.saturating_mul(2).min(self.max);
        let half = span / 2;
        half + half.mul_f64(self.fraction())
    }

    /// The attempt succeeded: the next failure waits `min` again.
    pub fn reset(&mut self) {
        self.span = self.min;
    }

    /// splitmix64, the upper 32 bits of it as a fraction below 1.
    fn fraction(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let upper = u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap_or(0);
        f64::from(upper) / 4_294_967_296.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_with_jitter() {
        let mut backoff = Backoff::new(RECONNECT_MIN, RECONNECT_MAX, 7);
        let mut span = RECONNECT_MIN;
        for _ in 0..20 {
            let wait = backoff.next();
            assert!(wait >= span / 2 && wait <= span, "{wait:?} of {span:?}");
            span = (span * 2).min(RECONNECT_MAX);
        }
        backoff.reset();
        assert!(backoff.next() <= RECONNECT_MIN);
    }

    #[test]
    fn a_shorter_cap_holds_for_as_long_as_it_is_asked_for() {
        let mut backoff = Backoff::new(RECONNECT_MIN, RECONNECT_MAX, 7);
        assert!((0..20).all(|_| backoff.next_within(RECONNECT_HERE_MAX) <= RECONNECT_HERE_MAX));
        assert!(backoff.next_within(RECONNECT_HERE_MAX) >= RECONNECT_HERE_MAX / 2);
        assert!(backoff.next() >= RECONNECT_HERE_MAX, "from there on");
    }

    #[test]
    fn two_seeds_do_not_walk_in_step() {
        let waits = |seed| {
            let mut backoff = Backoff::new(RECONNECT_MIN, RECONNECT_MAX, seed);
            (0..8).map(|_| backoff.next()).collect::<Vec<_>>()
        };
        assert_ne!(waits(1), waits(2));
        assert_eq!(waits(3), waits(3));
    }

    #[test]
    fn extremes_do_not_overflow() {
        let mut backoff = Backoff::new(Duration::MAX, Duration::ZERO, 0);
        for _ in 0..4 {
            assert!(backoff.next() <= Duration::MAX);
        }
        assert_eq!(Backoff::new(Duration::ZERO, Duration::ZERO, 1).next(), Duration::ZERO);
    }
}
