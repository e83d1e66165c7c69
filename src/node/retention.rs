//! Retention: how much is kept, of each process and of all together.

use std::time::{Duration, Instant};

use nix::sys::statvfs::statvfs;
use zerovisor_core::id::Id;
use zerovisor_core::units::micros;

use super::store::Store;
use crate::journal::{LogConfig, SegmentLog};

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
    pub(crate) fn run(&mut self, store: &Store, mut open: Vec<(Id, &mut SegmentLog)>, now: Instant, now_us: u64) {
        for (_, log) in &mut open {
            self.only(log, now_us);
        }
        let mut closed = Vec::new();
        if self.closed_due.is_none_or(|due| now >= due) {
            self.closed_due = Some(now + CLOSED_EVERY);
            closed = closed_sizes(store, &open);
            if self.retention.age.is_some() {
                closed.iter_mut().for_each(|(id, bytes)| *bytes = self.age(store, *id, now_us).unwrap_or(*bytes));
            }
            self.closed_bytes = closed.iter().map(|(_, bytes)| *bytes).sum();
        }
        let live: u64 = open.iter().map(|(_, log)| log.bytes()).sum();
        self.shrink(store, &mut open, closed, live + self.closed_bytes);
    }

    /// Drops what is too old of a process that is not written; its size then.
    fn age(&self, store: &Store, id: Id, now_us: u64) -> Option<u64> {
        let mut logs = store.open_known(id).ok()?;
        self.only(&mut logs.log, now_us);
        Some(logs.log.bytes())
    }

    fn shrink(&mut self, store: &Store, open: &mut [(Id, &mut SegmentLog)], closed: Vec<(Id, u64)>, total: u64) {
        let mut excess = total.saturating_sub(self.retention.total);
        if excess == 0 {
            return;
        }
        let open = open.iter_mut().map(|(_, log)| (log.bytes(), Kept::Open(log)));
        let mut all: Vec<(u64, Kept<'_>)> =
            open.chain(closed.into_iter().map(|(id, bytes)| (bytes, Kept::Closed(id)))).collect();
        while excess > 0 {
            let Some((bytes, largest)) = all.iter_mut().max_by_key(|(bytes, _)| *bytes).filter(|(bytes, _)| *bytes > 0)
            else {
                let limit = self.retention.total;
                return tracing::warn!(
                    total,
                    limit,
                    "more is kept than --retain-total: only the newest segments are left"
                );
            };
            let freed = match largest {
                Kept::Open(log) => drop_oldest(log),
                Kept::Closed(id) => store.open_known(*id).ok().and_then(|mut logs| drop_oldest(&mut logs.log)),
            };
            if let Kept::Closed(_) = largest {
                self.closed_bytes = self.closed_bytes.saturating_sub(freed.unwrap_or(0));
            }
            // One that has no more to give is not asked again.
            *bytes = freed.map_or(0, |freed| bytes.saturating_sub(freed));
            excess = excess.saturating_sub(freed.unwrap_or(0));
        }
    }

    /// One log by its own size and age.
    pub(super) fn only(&self, log: &mut SegmentLog, now_us: u64) {
        if let Some(error) = log.retain(now_us).failed {
            tracing::warn!(%error, "retention could not remove a segment");
        }
    }
}

/// A log that counts towards the total.
enum Kept<'a> {
    Open(&'a mut SegmentLog),
    Closed(Id),
}

/// The bytes of the oldest segment, which is gone; none if there is only one.
fn drop_oldest(log: &mut SegmentLog) -> Option<u64> {
    match log.drop_oldest() {
        Ok(dropped) => dropped.map(|dropped| dropped.bytes),
        Err(error) => {
            tracing::warn!(%error, "retention could not remove a segment");
            None
        }
    }
}

/// What the logs without a writer take, by their directories: opening thousands of them would hold up everybody's acknowledgements.
fn closed_sizes(store: &Store, open: &[(Id, &mut SegmentLog)]) -> Vec<(Id, u64)> {
    let size = |id: Id| -> u64 {
        let files = std::fs::read_dir(store.log_dir(id)).into_iter().flatten().flatten();
        files.filter_map(|file| file.metadata().ok()).map(|meta| meta.len()).sum()
    };
    let metas = store.processes().unwrap_or_default();
    let closed = metas.into_iter().filter(|meta| !open.iter().any(|(id, _)| *id == meta.id));
    closed.map(|meta| (meta.id, size(meta.id))).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use zerovisor_core::spec::Spec;
    use zerovisor_core::units::Timestamp;
    use zerovisor_core::wire::HostProof;

    use super::super::store::Meta;
    use crate::journal::{Record, RecordMeta};
    use zerovisor_core::stats::{Placement, Rung};

    use super::*;

    fn meta(id: Id) -> Meta {
        let spec = Spec::new("p".parse().unwrap(), vec![]);
        Meta {
            id,
            secret: [0; 32],
            name: spec.name.clone(),
            spec,
            created_at: Timestamp(1),
            host: HostProof::default(),
            local: true,
            placement: Placement { rung: Rung::None, why: "no cgroup".into() },
        }
    }

    fn fill(log: &mut SegmentLog, records: u64) {
        for seq in 1..=records {
            let meta = RecordMeta { seq, at_us: seq, run: 1, kind: 1, offset: 0 };
            log.append(&[Record { meta, payload: Bytes::from(vec![b'x'; 32 << 10]) }]).unwrap();
        }
    }

    #[test]
    fn all_together_stay_within_the_total_whether_written_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let retention = Retention { size: 1 << 20, total: 1 << 20, age: None };
        let store = Store::open(dir.path(), retention.log_config()).unwrap();
        let ids = [1, 2, 3].map(|n| Id::from_random([n; 16]));
        let mut open = ids.map(|id| {
            store.write_meta(&meta(id)).unwrap();
            let mut logs = store.open_process(id).unwrap();
            fill(&mut logs.log, 31);
            logs
        });
        let [written, ..] = &mut open;
        let size = |log: &SegmentLog| log.bytes();
        assert!(size(&written.log) > 900 << 10);
        Sweep::new(retention).run(&store, vec![(ids[0], &mut written.log)], Instant::now(), 100);
        let closed: u64 = ids[1..].iter().map(|id| store.open_process(*id).unwrap().log.bytes()).sum();
        let kept = closed + size(&written.log);
        assert!(kept <= 1 << 20, "{kept}");
        assert!(kept > 800 << 10, "no more than needed: {kept}");
    }
}
