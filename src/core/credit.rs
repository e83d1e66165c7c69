//! How many bytes a watcher may have in flight, as its zerovisor grants them.
//!
//! A window starts small, doubles each time the watcher has used it up between two acknowledgements, and comes from one pool, so that
//! a thousand chatty watchers cannot fill the zerovisor's memory together.

/// Where a window starts, in bytes; every watcher gets this much whatever the pool says.
pub const WINDOW_START_BYTES: u64 = 256 << 10;
/// Where it ends: more did not make one stream faster, and it is what a crash may have to send again.
pub const WINDOW_MAX_BYTES: u64 = 4 << 20;
/// What all windows together may grow by beyond their start, in bytes.
pub const POOL_BYTES: u64 = 256 << 20;
/// The most messages in flight, so that no queue of the transport, which counts messages, is ever near full.
pub const IN_FLIGHT_MAX: usize = 256;

/// What is left for windows to grow by.
#[derive(Debug)]
pub struct Pool {
    left: u64,
}

impl Default for Pool {
    fn default() -> Pool {
        Pool { left: POOL_BYTES }
    }
}

/// The window of one watcher.
#[derive(Debug)]
pub struct Credit {
    window: u64,
    since_growth: u64,
}

impl Default for Credit {
    fn default() -> Credit {
        Credit { window: WINDOW_START_BYTES, since_growth: 0 }
    }
}

impl Credit {
    /// The present window in bytes.
    pub fn window(&self) -> u64 {
        self.window
    }

    /// `bytes` were journaled and are about to be acknowledged: grows the window once all of it was used, in acknowledgements of a
    /// quarter or more, which only a watcher that never pauses gets.
    pub fn on_journaled(&mut self, bytes: u64, pool: &mut Pool) {
        self.since_growth = self.since_growth.saturating_add(bytes);
        let wish = self.window.min(WINDOW_MAX_BYTES - self.window);
        if bytes >= self.window / 4 && self.since_growth >= self.window && wish > 0 && pool.left >= wish {
            pool.left -= wish;
            self.window += wish;
            self.since_growth = 0;
        }
    }

    /// Gives back what the window had grown by; call it once, when the link ends.
    pub fn release(&mut self, pool: &mut Pool) {
        pool.left += self.window - WINDOW_START_BYTES;
        *self = Credit::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_busy_window_doubles_up_to_its_end() {
        let (mut credit, mut pool) = (Credit::default(), Pool::default());
        for _ in 0..100 {
            credit.on_journaled(credit.window(), &mut pool);
        }
        assert_eq!(credit.window(), WINDOW_MAX_BYTES);
        credit.release(&mut pool);
        assert_eq!(pool.left, POOL_BYTES);
    }

    #[test]
    fn an_idle_window_stays_small() {
        let (mut credit, mut pool) = (Credit::default(), Pool::default());
        for _ in 0..100_000 {
            credit.on_journaled(100, &mut pool);
        }
        assert_eq!(credit.window(), WINDOW_START_BYTES);
    }

    proptest! {
        #[test]
        fn windows_never_exceed_the_pool(steps in prop::collection::vec((0usize..200, 0u64..8 << 20, any::<bool>()), 0..2000)) {
            let mut pool = Pool::default();
            let mut all: Vec<Credit> = (0..200).map(|_| Credit::default()).collect();
            for (which, bytes, release) in steps {
                if release { all[which].release(&mut pool) } else { all[which].on_journaled(bytes, &mut pool) }
                let grown: u64 = all.iter().map(|credit| credit.window - WINDOW_START_BYTES).sum();
                prop_assert_eq!(grown + pool.left, POOL_BYTES);
                prop_assert!(all.iter().all(|credit| credit.window <= WINDOW_MAX_BYTES));
            }
        }
    }
}
