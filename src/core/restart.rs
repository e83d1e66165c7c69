//! When a new run follows an ended one, and after how long.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::units::SpanRange;

/// Failed runs in a row after which `on-failure` without a number gives up.
pub const ON_FAILURE_DEFAULT: u32 = 3;
/// A run that lived this long makes the next failure the first one again.
pub const RESET_AFTER: Duration = Duration::from_secs(600);

/// `--restart no|on-failure[:N]|always`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// Any end is the end.
    #[default]
    No,
    /// Again after a failure, at most this many times in a row.
    OnFailure(u32),
    /// Again after any end.
    Always,
}

/// A text that is no restart policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a restart policy: write no, on-failure, on-failure:N or always")]
pub struct NotAPolicy(String);

impl FromStr for RestartPolicy {
    type Err = NotAPolicy;

    fn from_str(text: &str) -> Result<RestartPolicy, NotAPolicy> {
        let wrong = || NotAPolicy(text.chars().take(40).collect());
        match text {
            "no" => Ok(RestartPolicy::No),
            "always" => Ok(RestartPolicy::Always),
            "on-failure" => Ok(RestartPolicy::OnFailure(ON_FAILURE_DEFAULT)),
            _ => {
                let times = text.strip_prefix("on-failure:").and_then(|n| n.parse().ok());
                times.map(RestartPolicy::OnFailure).ok_or_else(wrong)
            }
        }
    }
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RestartPolicy::No => f.write_str("no"),
            RestartPolicy::OnFailure(times) => write!(f, "on-failure:{times}"),
            RestartPolicy::Always => f.write_str("always"),
        }
    }
}

/// What follows the end of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Nothing: the process has ended.
    End,
    /// Another run after this delay.
    Again(Duration),
    /// Nothing: it failed too often in a row; this often.
    GiveUp(u32),
}

/// What the policy remembers from run to run.
#[derive(Clone, Debug)]
pub struct Restarts {
    policy: RestartPolicy,
    backoff: SpanRange,
    failures: u32,
    doublings: u32,
    jitter: u64,
}

impl Restarts {
    /// `seed` spreads the delays of many watchers that restart at once.
    pub fn new(policy: RestartPolicy, backoff: SpanRange, seed: u64) -> Restarts {
        Restarts { policy, backoff, failures: 0, doublings: 0, jitter: seed }
    }

    /// Failed runs in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// What follows a run that lived for `runtime` and succeeded or not.
    pub fn after_run(&mut self, runtime: Duration, success: bool) -> Decision {
        if runtime >= RESET_AFTER {
            (self.failures, self.doublings) = (0, 0);
        }
        self.failures = if success { 0 } else { self.failures.saturating_add(1) };
        match self.policy {
            RestartPolicy::No => Decision::End,
            RestartPolicy::OnFailure(_) if success => Decision::End,
            RestartPolicy::OnFailure(max) if self.failures > max => Decision::GiveUp(self.failures),
            RestartPolicy::OnFailure(_) | RestartPolicy::Always => Decision::Again(self.next_delay()),
        }
    }

    /// A start by hand begins anew.
    pub fn forgive(&mut self) {
        (self.failures, self.doublings) = (0, 0);
    }

    /// MIN doubled up to MAX, of which the last quarter is random.
    fn next_delay(&mut self) -> Duration {
        let full = self.backoff.min.saturating_mul(1 << self.doublings.min(20)).min(self.backoff.max);
        self.doublings = self.doublings.saturating_add(1);
        let quarter = full / 4;
        full - quarter.mul_f64(self.next_unit())
    }

    /// A number in [0, 1): SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
    fn next_unit(&mut self) -> f64 {
        self.jitter = self.jitter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.jitter;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        #[expect(clippy::cast_precision_loss, reason = "32 bits fit a double exactly")]
        let unit = ((z ^ (z >> 31)) >> 32) as f64 / 4_294_967_296.0;
        unit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn policy(text: &str) -> Restarts {
        let range = "100ms..1s".parse().unwrap();
        Restarts::new(text.parse().unwrap(), range, 7)
    }

    #[test]
    fn policies_read_as_documented() {
        assert!("sometimes".parse::<RestartPolicy>().is_err());
        assert!("on-failure:x".parse::<RestartPolicy>().is_err());
        assert_eq!("on-failure:0".parse(), Ok(RestartPolicy::OnFailure(0)));
    }

    #[test]
    fn on_failure_gives_up_after_three_restarts() {
        let mut restarts = policy("on-failure");
        for _ in 0..3 {
            assert!(matches!(restarts.after_run(Duration::ZERO, false), Decision::Again(_)));
        }
        assert_eq!(restarts.after_run(Duration::ZERO, false), Decision::GiveUp(4));
        assert_eq!(policy("on-failure").after_run(Duration::ZERO, true), Decision::End);
    }

    #[test]
    fn a_long_life_resets_the_count_and_the_delay() {
        let mut restarts = policy("on-failure:2");
        for _ in 0..100 {
            assert!(
                matches!(restarts.after_run(RESET_AFTER, false), Decision::Again(d) if d <= Duration::from_millis(100))
            );
        }
    }

    proptest! {
        #[test]
        fn delays_stay_within_the_range(min in 0u64..5000, more in 0u64..100_000, seed: u64, runs in 1usize..60) {
            let range = SpanRange { min: Duration::from_millis(min), max: Duration::from_millis(min + more) };
            let mut restarts = Restarts::new(RestartPolicy::Always, range, seed);
            for _ in 0..runs {
                let Decision::Again(delay) = restarts.after_run(Duration::ZERO, false) else { panic!("always restarts") };
                prop_assert!(delay <= range.max && delay >= range.min.mul_f64(0.75) - Duration::from_nanos(1).min(range.min));
            }
        }
    }
}
