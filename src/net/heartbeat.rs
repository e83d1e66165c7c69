//! When a silent link is dead. Pure: the clock is passed in.

use std::time::{Duration, Instant};

/// How often a link without other traffic pings, and its silence is looked at.
pub const HEARTBEAT: Duration = Duration::from_secs(1);
/// So many heartbeats without a word end a link.
pub const HEARTBEATS_MISSED: u32 = 3;

/// What one side has heard of the other.
#[derive(Clone, Copy, Debug)]
pub struct Heartbeat {
    heard: Instant,
    looked: Instant,
}

impl Heartbeat {
    /// A link that has just spoken.
    pub fn new(now: Instant) -> Heartbeat {
        Heartbeat { heard: now, looked: now }
    }

    /// Something came.
    pub fn on_heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// When the other side was last heard.
    pub fn heard_at(&self) -> Instant {
        self.heard
    }

    /// Called once a [`HEARTBEAT`]: whether the other side still counts as there, after [`HEARTBEATS_MISSED`] without a word.
    pub fn is_alive(&mut self, now: Instant) -> bool {
        self.is_alive_within(now, HEARTBEATS_MISSED)
    }

    /// The same after `missed` heartbeats without a word. If this side itself was away (stopped, suspended),
    /// what the other said meanwhile may be waiting unread, and it gets its time again.
    pub fn is_alive_within(&mut self, now: Instant, missed: u32) -> bool {
        let away = now.saturating_duration_since(self.looked) > 2 * HEARTBEAT;
        self.looked = now;
        if away {
            self.heard = now;
        }
        now.saturating_duration_since(self.heard) <= missed * HEARTBEAT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_misses_are_death_unless_we_slept_ourselves() {
        let start = Instant::now();
        let mut link = Heartbeat::new(start);
        assert!((1..=3).all(|beat| link.is_alive(start + HEARTBEAT * beat)));
        assert!(!link.is_alive(start + HEARTBEAT * 4));
        let mut link = Heartbeat::new(start);
        assert!(link.is_alive(start + HEARTBEAT * 60), "a minute of our own sleep proves nothing");
        assert!(!(61..=64).all(|beat| link.is_alive(start + HEARTBEAT * beat)));
    }
}
