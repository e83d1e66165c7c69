//! How often a peer's misbehaviour is told: each time at first, and then as a count, so that a flood of it does not become one of lines.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::wire::Origin;

/// Lines about one reason and one user or address in [`TOLD_EACH`]; the rest of them is one more line, with their number.
pub const TOLD_MAX: u32 = 8;
/// What the lines are counted in, and how late the number of the rest is told.
pub const TOLD_EACH: Duration = Duration::from_secs(10);
/// Reasons and origins told apart; what comes beyond counts as one, so that a peer of many addresses fills neither log nor memory.
pub const TOLD_APART_MAX: usize = 256;

/// Who and why; none: anybody.
type Case = (Option<Origin>, &'static str);

#[derive(Debug)]
struct Tally {
    until: Instant,
    told: u32,
    untold: u64,
}

/// What was told lately. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Telling(Arc<Mutex<HashMap<Case, Tally>>>);

impl Telling {
    /// Whether this is to be told now. If not, it is counted, and the count told when the time is up; that takes a runtime.
    pub(crate) fn tells(&self, origin: Origin, reason: &'static str) -> bool {
        let now = Instant::now();
        let mut cases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cases.len() >= TOLD_APART_MAX {
            // Those with a count are taken out by whoever tells it.
            cases.retain(|_, tally| tally.untold > 0 || tally.until > now);
        }
        let mut case = (Some(origin), reason);
        if cases.len() >= TOLD_APART_MAX && !cases.contains_key(&case) {
            case.0 = None;
        }
        let tally = cases.entry(case).or_insert_with(|| Tally::new(now));
        if tally.until <= now && tally.untold == 0 {
            *tally = Tally::new(now);
        }
        if tally.told < TOLD_MAX {
            tally.told += 1;
            return true;
        }
        tally.untold += 1;
        if tally.untold == 1 {
            tokio::spawn(self.clone().sum_up(case, tally.until));
        }
        false
    }

    /// Tells of the rest, once.
    async fn sum_up(self, case: Case, at: Instant) {
        tokio::time::sleep_until(at).await;
        let tally = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&case);
        let more = tally.map_or(0, |tally| tally.untold);
        let from = case.0.map_or_else(|| "several".to_owned(), |origin| origin.to_string());
        tracing::warn!(%from, reason = case.1, more, "links were dropped for the same reason");
    }
}

impl Tally {
    fn new(now: Instant) -> Tally {
        Tally { until: now + TOLD_EACH, told: 0, untold: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn times(telling: &Telling, origin: Origin, reason: &'static str, attempts: u32) -> u32 {
        (0..attempts).map(|_| u32::from(telling.tells(origin, reason))).sum()
    }

    #[tokio::test]
    async fn each_reason_of_each_origin_is_told_a_few_times() {
        let telling = Telling::default();
        for origin in [Origin::Uid(1), Origin::Uid(2), Origin::Address(IpAddr::from([10, 0, 0, 1]))] {
            for reason in ["noise", "silence"] {
                assert_eq!(times(&telling, origin, reason, 100), TOLD_MAX);
            }
        }
    }

    #[tokio::test]
    async fn many_origins_are_bounded_together() {
        let telling = Telling::default();
        let told: u32 = (0..10_000).map(|uid| times(&telling, Origin::Uid(uid), "noise", 1)).sum();
        assert_eq!(told, u32::try_from(TOLD_APART_MAX).unwrap() + TOLD_MAX);
        assert!(telling.0.lock().unwrap().len() <= TOLD_APART_MAX + 1);
    }
}
