//! How many the kernel has killed for want of memory, as of a while ago: whether it killed one that ends now.

use std::time::{Duration, Instant};

/// The kernel counts a kill before the killed process ends, which on a busy machine takes it this long: what was counted within it may be
/// the very kill that it ends by.
const ENDS_WITHIN: Duration = Duration::from_secs(1);

/// What samples found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kills {
    newest: (Instant, u64),
    before: u64,
}

impl Kills {
    /// Of a run that begins.
    pub(super) fn new(now: Instant) -> Kills {
        Kills { newest: (now, 0), before: 0 }
    }

    /// A sample found so many. Those closer together than [`ENDS_WITHIN`] are passed over.
    pub(super) fn on_sample(&mut self, now: Instant, kills: u64) {
        let (at, found) = self.newest;
        if now >= at + ENDS_WITHIN {
            (self.before, self.newest) = (found, (now, kills));
        }
    }

    /// How many there were [`ENDS_WITHIN`] before the last sample or earlier, when whoever ends now had not been killed.
    pub(super) fn before(&self) -> u64 {
        self.before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_counts_as_that_of_who_ends_within_a_second_of_it_also_with_samples_in_between() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut kills = Kills::new(begun);
        kills.on_sample(at(1000), 0);
        // The kill is at 1.9 s.
        for ms in [2000, 2100, 2900] {
            kills.on_sample(at(ms), 1);
            assert_eq!(kills.before(), 0, "at {ms} ms");
        }
        // Whoever lives on a second later was not the one.
        kills.on_sample(at(3000), 1);
        assert_eq!(kills.before(), 1);
    }
}
