//! Retention: how much is kept, of each process and of all together.

use std::collections::{HashSet, VecDeque};
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

    /// The limits of one process's log: segments of a sixteenth of what is kept of it, or of all, so that dropping one drops little.
    pub(super) fn log_config(self) -> LogConfig {
        LogConfig {
            segment_bytes: (self.size.min(self.total) / 16).clamp(SEGMENT_BYTES.0, SEGMENT_BYTES.1),
            retain_bytes: Some(self.size),
            retain_age_us: self.age.map(micros),
            index_every_bytes: INDEX_EVERY_BYTES,
        }
    }
}

/// How often the journals of ended processes are looked at: they do not grow, so only age and what was done to them by hand concerns them.
const CLOSED_EVERY: Duration = Duration::from_secs(600);

/// The log of a process that nobody writes.
#[derive(Debug)]
struct Closed {
    id: Id,
    /// When each of its segments was written last, in µs since 1970, and its bytes; oldest first.
    segments: VecDeque<(u64, u64)>,
}

/// Looks after retention each time it is called.
pub(super) struct Sweep {
    retention: Retention,
    closed_due: Option<Instant>,
    closed: Vec<Closed>,
    /// What all together took at the last look, and what has been written since.
    kept_bytes: u64,
    /// Why the last look could not bring all together within the total.
    stuck: Option<Stuck>,
    /// Processes that nobody writes, and that are live all the same: what is left of each stays.
    live: HashSet<Id>,
}

/// Why nothing more can be dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stuck {
    /// Only newest segments are left, until one of them is no longer the newest.
    OnlyNewest,
    /// A segment could not be removed. The next round tries again.
    Failed,
}

impl Sweep {
    /// With these limits.
    pub(super) fn new(retention: Retention) -> Sweep {
        let (closed, live) = (Vec::new(), HashSet::new());
        Sweep { retention, closed_due: None, closed, kept_bytes: 0, stuck: None, live }
    }

    /// This log was so many bytes large before something was written; true if all together are now above the total, and something of it
    /// may be dropped.
    pub(super) fn grown(&mut self, log: &SegmentLog, before: u64) -> bool {
        self.kept_bytes = self.kept_bytes.saturating_add(log.bytes().saturating_sub(before));
        let may_drop = match self.stuck {
            None => true,
            Some(Stuck::OnlyNewest) => log.oldest().is_some(),
            Some(Stuck::Failed) => false,
        };
        may_drop && self.kept_bytes > self.retention.total
    }

    /// Nobody writes this process any more.
    pub(super) fn closed(&mut self, store: &Store, id: Id) {
        self.reopened(id);
        self.closed.extend(look(store, id));
    }

    /// Somebody writes it again, or it was removed.
    pub(super) fn reopened(&mut self, id: Id) {
        self.closed.retain(|closed| closed.id != id);
        self.live.remove(&id);
    }

    /// Nobody writes this process, and it is not live any more.
    pub(super) fn ended(&mut self, id: Id) {
        self.live.remove(&id);
    }

    /// Nothing was to stay of this process, and it is live: what is left of it counts, and stays for as long as that.
    pub(super) fn is_live(&mut self, store: &Store, id: Id) {
        self.closed(store, id);
        self.live.insert(id);
        let left = self.closed.iter().find(|closed| closed.id == id).map_or(0, Closed::bytes);
        self.kept_bytes = self.kept_bytes.saturating_add(left);
    }

    /// Each process by size and age, then all together: the oldest goes first, segment by segment. Returns the processes nobody writes of
    /// which nothing is to stay: they are to be forgotten.
    pub(crate) fn run(
        &mut self,
        store: &Store,
        mut open: Vec<(Id, &mut SegmentLog)>,
        now: Instant,
        now_us: u64,
    ) -> Vec<Id> {
        for (_, log) in &mut open {
            self.only(log, now_us);
        }
        if self.closed_due.is_none_or(|due| now >= due) {
            self.closed_due = Some(now + CLOSED_EVERY);
            let ids = store.ids().unwrap_or_default();
            self.closed = ids.into_iter().filter_map(|id| look(store, id)).collect();
        }
        let written: HashSet<Id> = open.iter().map(|(id, _)| *id).collect();
        self.closed.retain(|closed| !written.contains(&closed.id));
        let mut gone = self.age(store, now_us);
        gone.extend(self.shrink(store, &mut open));
        gone
    }

    /// Drops what is too old of processes that are not written.
    fn age(&mut self, store: &Store, now_us: u64) -> Vec<Id> {
        let Some(age) = self.retention.age.map(micros) else { return Vec::new() };
        let (mut gone, live) = (Vec::new(), &self.live);
        self.closed.retain_mut(|closed| {
            while closed.segments.front().is_some_and(|(at_us, _)| at_us.saturating_add(age) < now_us) {
                if closed.segments.len() == 1 && live.contains(&closed.id) {
                    break;
                }
                if closed.segments.len() == 1 {
                    gone.push(closed.id);
                    return false;
                }
                if closed.drop_oldest(store).is_none() {
                    break;
                }
            }
            true
        });
        gone
    }

    /// Drops the oldest segments until all together are within the total.
    fn shrink(&mut self, store: &Store, open: &mut [(Id, &mut SegmentLog)]) -> Vec<Id> {
        let live: u64 = open.iter().map(|(_, log)| log.bytes()).sum();
        let ended: u64 = self.closed.iter().map(Closed::bytes).sum();
        let (mut total, mut gone, mut stuck) = (live + ended, Vec::new(), None);
        while total > self.retention.total {
            let oldest = self.oldest(open);
            let freed = match oldest {
                Some(Oldest::Open(at)) => open.get_mut(at).and_then(|(_, log)| drop_oldest(log)),
                Some(Oldest::Closed(at)) if self.closed.get(at).is_some_and(|closed| closed.segments.len() > 1) => {
                    self.closed.get_mut(at).and_then(|closed| closed.drop_oldest(store))
                }
                Some(Oldest::Closed(at)) => {
                    let closed = self.closed.swap_remove(at);
                    gone.push(closed.id);
                    Some(closed.bytes())
                }
                None => None,
            };
            let Some(freed) = freed else {
                stuck = Some(if oldest.is_some() { Stuck::Failed } else { Stuck::OnlyNewest });
                break;
            };
            total = total.saturating_sub(freed);
        }
        // A failure was told where it was met.
        if stuck == Some(Stuck::OnlyNewest) && stuck != std::mem::replace(&mut self.stuck, stuck) {
            let limit = self.retention.total;
            tracing::warn!(total, limit, "more is kept than --retain-total: only the newest segments are left");
        }
        (self.kept_bytes, self.stuck) = (total, stuck);
        gone
    }

    /// Where the segment stands that was written last the longest ago, of those that may go: a log that is written keeps its newest.
    fn oldest(&self, open: &[(Id, &mut SegmentLog)]) -> Option<Oldest> {
        let open = open.iter().enumerate();
        let open = open.filter_map(|(at, (_, log))| Some((log.oldest()?.last_at_us, Oldest::Open(at))));
        let may_go = |closed: &Closed| closed.segments.len() > 1 || !self.live.contains(&closed.id);
        let closed = self.closed.iter().enumerate().filter(|(_, closed)| may_go(closed));
        let closed = closed.filter_map(|(at, closed)| Some((closed.segments.front()?.0, Oldest::Closed(at))));
        open.chain(closed).min_by_key(|(at_us, _)| *at_us).map(|(_, oldest)| oldest)
    }

    /// One log by its own size and age.
    pub(super) fn only(&self, log: &mut SegmentLog, now_us: u64) {
        if let Some(error) = log.retain(now_us).failed {
            tracing::warn!(%error, "retention could not remove a segment");
        }
    }
}

/// A log that has the oldest segment, by its place among its like.
#[derive(Clone, Copy, Debug)]
enum Oldest {
    Open(usize),
    Closed(usize),
}

impl Closed {
    fn bytes(&self) -> u64 {
        self.segments.iter().map(|(_, bytes)| *bytes).sum()
    }

    /// The bytes of its oldest segment, which is gone; none if that failed. It is not tried again before the next look.
    fn drop_oldest(&mut self, store: &Store) -> Option<u64> {
        let freed = store.open_known(self.id).ok().and_then(|mut logs| drop_oldest(&mut logs.log));
        if freed.is_some() {
            self.segments.pop_front();
        } else {
            self.segments.clear();
        }
        freed
    }
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

/// What the log of a process takes, by its directory: opening thousands of them would hold up everybody's acknowledgements. None if it takes
/// nothing.
fn look(store: &Store, id: Id) -> Option<Closed> {
    let files = std::fs::read_dir(store.log_dir(id)).ok()?.flatten();
    let files = files.filter(|file| file.path().extension().is_some_and(|ending| ending == "seg"));
    let mut segments: Vec<(u64, u64)> = files
        .filter_map(|file| {
            let meta = file.metadata().ok()?;
            let at = meta.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
            Some((micros(at), meta.len()))
        })
        .collect();
    segments.sort_unstable();
    (!segments.is_empty()).then(|| Closed { id, segments: segments.into() })
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

    fn append(log: &mut SegmentLog, seq: u64, at_us: u64, bytes: usize) {
        let meta = RecordMeta { seq, at_us, run: 1, kind: 1, offset: 0 };
        log.append(&[Record { meta, payload: Bytes::from(vec![b'x'; bytes]) }]).unwrap();
    }

    #[test]
    fn what_can_be_dropped_again_is_dropped_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let retention = Retention { size: 1 << 20, total: 1 << 10, age: None };
        let store = Store::open(dir.path(), retention.log_config()).unwrap();
        let id = Id::from_random([1; 16]);
        let mut log = store.open_process(id).unwrap().log;
        let mut sweep = Sweep::new(retention);
        append(&mut log, 1, 1, 20 << 10);
        assert!(sweep.grown(&log, 0));
        sweep.run(&store, vec![(id, &mut log)], Instant::now(), 1);
        let before = log.bytes();
        append(&mut log, 2, 1, 20 << 10);
        assert!(!sweep.grown(&log, before), "the newest segment is all there is");
        let before = log.bytes();
        append(&mut log, 3, 1, 60 << 10);
        assert!(sweep.grown(&log, before), "it is not the newest any more");
        sweep.run(&store, vec![(id, &mut log)], Instant::now(), 1);
        assert_eq!(log.first_seq(), Some(3));
    }

    #[test]
    fn what_is_left_of_a_live_process_stays_and_another_gives_way() {
        let dir = tempfile::tempdir().unwrap();
        let retention = Retention { size: 1 << 20, total: 50 << 10, age: None };
        let store = Store::open(dir.path(), retention.log_config()).unwrap();
        let [away, ended] = [1, 2].map(|n| Id::from_random([n; 16]));
        for id in [away, ended] {
            append(&mut store.open_process(id).unwrap().log, 1, 1, 40 << 10);
            let at = std::time::UNIX_EPOCH + Duration::from_secs(if id == away { 1000 } else { 2000 });
            for file in std::fs::read_dir(store.log_dir(id)).unwrap() {
                std::fs::File::options().write(true).open(file.unwrap().path()).unwrap().set_modified(at).unwrap();
            }
        }
        let mut sweep = Sweep::new(retention);
        let now = Instant::now();
        assert_eq!(sweep.run(&store, vec![], now, 1), [away], "by its age alone it is the first");
        sweep.is_live(&store, away);
        assert!(sweep.kept_bytes > 80 << 10, "what did not go counts");
        assert_eq!(sweep.run(&store, vec![], now, 1), [ended]);
        store.remove(ended).unwrap();
        sweep.closed(&store, away);
        assert_eq!(sweep.run(&store, vec![], now, 1), Vec::<Id>::new(), "within the total");
    }

    #[test]
    fn segments_are_small_beside_the_least_limit() {
        let segment = |size, total| Retention { size, total, age: None }.log_config().segment_bytes;
        assert_eq!(segment(1 << 30, 100 << 30), 64 << 20);
        assert_eq!(segment(1 << 30, 16 << 20), 1 << 20);
        assert_eq!(segment(16 << 20, 1 << 30), 1 << 20);
        assert_eq!(segment(1, 1), 64 << 10);
    }

    #[test]
    fn what_is_oldest_goes_first_and_an_ended_process_goes_with_the_last_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let retention = Retention { size: 1 << 20, total: 700 << 10, age: None };
        let store = Store::open(dir.path(), retention.log_config()).unwrap();
        let [old, young, live] = [1, 2, 3].map(|n| Id::from_random([n; 16]));
        for id in [old, young] {
            store.write_meta(&meta(id)).unwrap();
            fill(&mut store.open_process(id).unwrap().log, 12);
            for file in std::fs::read_dir(store.log_dir(id)).unwrap() {
                let at = std::time::UNIX_EPOCH + Duration::from_secs(if id == old { 1000 } else { 2000 });
                std::fs::File::options().write(true).open(file.unwrap().path()).unwrap().set_modified(at).unwrap();
            }
        }
        store.write_meta(&meta(live)).unwrap();
        let mut written = store.open_process(live).unwrap();
        for seq in 1..=12 {
            let meta = RecordMeta { seq, at_us: 3_000_000_000 + seq, run: 1, kind: 1, offset: 0 };
            written.log.append(&[Record { meta, payload: Bytes::from(vec![b'x'; 32 << 10]) }]).unwrap();
        }
        let mut sweep = Sweep::new(retention);
        let gone = sweep.run(&store, vec![(live, &mut written.log)], Instant::now(), 4_000_000_000);
        assert_eq!(gone, [old], "all of the oldest");
        assert_eq!(store.open_process(live).unwrap().log.first_seq(), Some(1), "nothing of the youngest");
        let first = store.open_process(young).unwrap().log.first_seq().unwrap();
        assert!(first > 1, "some of the one in between: {first}");
        assert!(sweep.kept_bytes <= 700 << 10);
        let before = written.log.bytes();
        assert!(!sweep.grown(&written.log, before), "{}", sweep.kept_bytes);
        // A page more than there is room for, and what each record takes beside its payload.
        let room = (700 << 10) - sweep.kept_bytes;
        append(&mut written.log, 13, 3_000_000_000, usize::try_from(room).unwrap() - 20);
        assert!(sweep.grown(&written.log, before), "{room} bytes of room and {}", written.log.bytes() - before);
    }

    #[test]
    fn what_is_too_old_goes_whole() {
        let dir = tempfile::tempdir().unwrap();
        let retention = Retention { size: 1 << 20, total: 1 << 30, age: Some(Duration::from_secs(60)) };
        let store = Store::open(dir.path(), retention.log_config()).unwrap();
        let id = Id::from_random([1; 16]);
        store.write_meta(&meta(id)).unwrap();
        fill(&mut store.open_process(id).unwrap().log, 8);
        let now_us = crate::node::scribe::now_us();
        assert!(Sweep::new(retention).run(&store, vec![], Instant::now(), now_us).is_empty());
        assert_eq!(Sweep::new(retention).run(&store, vec![], Instant::now(), now_us + 61_000_000), [id]);
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
        let gone = Sweep::new(retention).run(&store, vec![(ids[0], &mut written.log)], Instant::now(), 100);
        gone.into_iter().for_each(|id| store.remove(id).unwrap());
        let closed: u64 = ids[1..].iter().filter_map(|id| look(&store, *id)).map(|closed| closed.bytes()).sum();
        let kept = closed + size(&written.log);
        assert!(kept <= 1 << 20, "{kept}");
        assert!(kept > 800 << 10, "no more than needed: {kept}");
    }
}
