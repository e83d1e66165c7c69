//! How far one side has come, for the other to wait for.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// A count that only grows: bytes that have left for a peer's socket, messages that were taken.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    count: AtomicU64,
    moved: Notify,
}

impl Progress {
    /// It has come on by so much.
    pub(crate) fn add(&self, count: usize) {
        self.count.fetch_add(count as u64, Ordering::Release);
        self.moved.notify_waiters();
    }

    /// So far.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Waits until it has come so far. Cancel-safe.
    pub(crate) async fn reaches(&self, count: u64) {
        while self.count() < count {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            // Registers before the look, so that no progress slips between the two.
            moved.as_mut().enable();
            if self.count() < count {
                moved.await;
            }
        }
    }
}
