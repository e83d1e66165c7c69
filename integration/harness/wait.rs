//! Waiting for what no program can tell us about.

use std::time::{Duration, Instant};

/// For what should have happened at once, on a machine that is busy with other tests.
pub(crate) const SOON: Duration = Duration::from_secs(10);
/// For what moves many megabytes through debug builds.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Looks until there is something to see, and returns it.
///
/// # Panics
/// There is nothing by the deadline; says what was awaited.
pub(crate) fn until<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}
