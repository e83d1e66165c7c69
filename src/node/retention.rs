//! Retention: how much is kept, of each process and of all together.

use std::time::{Duration, Instant};

use nix::sys::statvfs::statvfs;
use zerovisor_core::id::Id;
use zerovisor_core::units::micros;

use super::journal::{LogConfig, SegmentLog};
use super::store::Store;

/// Smallest and largest segment: retention works in whole ones, and each costs an open file while it is written.
const SEGMENT_BYTES: (u64, u64) = (64 << 10, 64 << 20);

/// Bytes between two points of the index: what a seek may read in vain, and each costs three system calls to write.
const INDEX_EVERY_BYTES: u64 = 1 << 20;

/// How much is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Retention {
    /// Of one process, in bytes.
    pub size: u64,
    /// Of all together, in bytes.
    pub total: u64,
    /// For how long; none: for ever.
    pub age: Option<Duration>,
}

impl Retention {
    /// A tenth of the file system that holds `path`, in bytes; a GiB where it cannot be asked.
    pub(super) fn default_total(path: &std::path::Path) -> u64 {
        statvfs(path).map_or(1 << 30, |fs| fs.blocks().saturating_mul(fs.fragment_size()) / 10)
    }

    /// The limits of one process's log: segments of a sixteenth of what is kept, so that dropping one drops little.
    pub(super) fn log_config(self) -> LogConfig {
        LogConfig {
            segment_bytes: (self.size / 16).clamp(SEGMENT_BYTES.0, SEGMENT_BYTES.1),
            retain_bytes: Some(self.size),
            retain_age_us: self.age.map(micros),
            index_every_bytes: INDEX_EVERY_BYTES,
        }
    }
}

/// How often the journals of ended processes are looked at: they do not grow, so only age and the others' growth concern them.
const CLOSED_EVERY: Duration = Duration::from_secs(600);

/// Looks after retention each time it is called.
pub(super) struct Sweep {
    retention: Retention,
    closed_due: Option<Instant>,
    closed_bytes: u64,
}

impl Sweep {
    /// With these limits.
    pub(super) fn new(retention: Retention) -> Sweep {
        Sweep { retention, closed_due: None, closed_bytes: 0 }
    }

    /// Each process by size and age, then all together: the largest gives way first, segment by segment.
    pub(super) fn run(&mut self, store: &Store, open: Vec<(Id, &mut SegmentLog)>, now: Instant, now_us: u64) {
        let live: u64 = open.iter().map(|(_, log)| log.bytes()).sum();
        let over = live + self.closed_bytes > self.retention.total;
        let due = self.closed_due.is_none_or(|due| now >= due);
        let mut closed = Vec::new();
        if due || over {
            self.closed_due = Some(now + CLOSED_EVERY);
            closed = closed_logs(store, &open);
        }
        let mut all: Vec<&mut SegmentLog> = open.into_iter().map(|(_, log)| log).chain(closed.iter_mut()).collect();
        for log in &mut all {
            self.only(log, now_us);
        }
        if due || over {
            self.shrink(&mut all);
            drop(all);
            self.closed_bytes = closed.iter().map(SegmentLog::bytes).sum();
        }
    }

    fn shrink(&self, all: &mut [&mut SegmentLog]) {
        let mut total: u64 = all.iter().map(|log| log.bytes()).sum();
        while total > self.retention.total {
            let Some(largest) = all.iter_mut().max_by_key(|log| log.bytes()) else { return };
            match largest.drop_oldest() {
                Ok(Some(dropped)) => total -= dropped.bytes,
                Ok(None) => {
                    let limit = self.retention.total;
                    tracing::warn!(
                        total,
                        limit,
                        "more is kept than --retain-total: only segments being written are left"
                    );
                    return;
                }
                Err(error) => return tracing::warn!(%error, "retention could not remove a segment"),
            }
        }
    }

    /// One log by its own size and age.
    pub(super) fn only(&self, log: &mut SegmentLog, now_us: u64) {
        if let Some(error) = log.retain(now_us).failed {
            tracing::warn!(%error, "retention could not remove a segment");
        }
    }
}

fn closed_logs(store: &Store, open: &[(Id, &mut SegmentLog)]) -> Vec<SegmentLog> {
    let mut closed = Vec::new();
    for meta in store.processes().unwrap_or_default().into_iter().flatten() {
        if open.iter().any(|(id, _)| *id == meta.id) {
            continue;
        }
        match SegmentLog::open(&store.log_dir(meta.id), store.config()) {
            Ok((log, _)) => closed.push(log),
            Err(error) => tracing::warn!(id = %meta.id, %error, "retention passes over a journal it cannot open"),
        }
    }
    closed
}
