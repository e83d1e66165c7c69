//! The scribe's thread.

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use zerovisor_core::fact::Fact;
use zerovisor_core::id::Id;
use zerovisor_core::record::{Head, Record};
use zerovisor_core::units::Timestamp;
use zerovisor_core::view::Happening;

use super::declaring::Declarations;
use super::event_log::EventLog;
use super::process::{Process, facts_of};
use super::trouble::Trouble;
use super::{Break, Receipt, Tools, Work, Written, now_us};
use crate::journal::{DataDirLock, SyncWork};
use crate::node::boot::Boot;
use crate::node::catchup::{self, Caught, Finding, Past, Untold};
use crate::node::retention::Sweep;
use crate::node::store::{ProcessLogs, StoreError};
use crate::node::syncer::{SYNC_INTERVAL, SyncMode, Syncer, ToSync};
use crate::node::sys;

/// Payload bytes one batch takes from the queue at most, so that acknowledgements keep coming under load.
const BATCH_BYTES: usize = 4 << 20;
/// How often retention is looked after.
const RETENTION_EVERY: Duration = Duration::from_secs(30);
/// Parked logs, of two descriptors each, from which on every further one has those let go of that nobody reads any more: else they wait for
/// the next [`RETENTION_EVERY`].
pub(super) const PARKED_MAX: usize = 64;

/// How often it is looked whether the data directory is still there.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Everything the thread owns.
pub(super) struct Thread {
    pub(super) tools: Tools,
    pub(super) syncer: Syncer,
    pub(super) sweep: Sweep,
    pub(super) events: EventLog,
    pub(super) declarations: Declarations,
    pub(super) open: HashMap<Id, Process>,
    /// Logs without a link that somebody reads, or that have to be written again.
    pub(super) parked: HashMap<Id, ProcessLogs>,
    pub(super) trouble: Trouble,
    /// What could not be read at the start, of each process.
    pub(super) damaged: HashMap<Id, String>,
    pub(super) lock: DataDirLock,
    /// The data directory is not where it was.
    pub(super) is_gone: bool,
    look_at: Instant,
    pub(super) own_work: Sender<Work>,
    pub(super) unsynced: HashSet<Id>,
    /// A mend has cut one of their logs, and the facts have yet to be made those of the output again.
    pub(super) unaligned: HashSet<Id>,
    sync_at: Option<Instant>,
    retain_at: Instant,
    written_bytes: u64,
    written_at_look: u64,
    holds_free_memory: bool,
}

impl Thread {
    /// Opens the events, and tells those that a killed zerovisor had not; the receiver changes with each event. With what is known of every
    /// process.
    pub(super) fn new(
        tools: Tools,
        lock: DataDirLock,
        own_work: Sender<Work>,
    ) -> Result<(Thread, watch::Receiver<u64>, Vec<Past>), StoreError> {
        let (mut events, seen, found) = EventLog::open(&tools.store, tools.node.clone(), tools.text.clone())?;
        if tools.sync != SyncMode::None {
            tools.store.sync_roots()?;
        }
        let boot = Boot::of(tools.store.root());
        let is_another = boot.is_another();
        let Caught { known, untold, findings, lacks_facts } =
            catchup::catch_up(&tools.store, &events.log, &found, is_another)?;
        if is_another && !lacks_facts {
            boot.remember();
        }
        for Untold { at, about, what } in untold {
            events.tell(at, Some(about), what);
        }
        let damaged = say_findings(findings, &mut events);
        let failed = own_work.clone();
        // The thread that writes lives as long as its queue.
        let on_failure = Box::new(move |why| drop(failed.send(Work::Unsynced(why))));
        let thread = Thread {
            syncer: Syncer::start(tools.sync, on_failure)?,
            sweep: Sweep::new(tools.retention),
            tools,
            events,
            declarations: Declarations::default(),
            open: HashMap::new(),
            parked: HashMap::new(),
            trouble: Trouble::default(),
            damaged,
            lock,
            is_gone: false,
            look_at: Instant::now() + LOOK_EVERY,
            own_work,
            unsynced: HashSet::new(),
            unaligned: HashSet::new(),
            sync_at: None,
            // Not before watchers had time to come back: of what they hold nothing expires.
            retain_at: Instant::now() + RETENTION_EVERY,
            written_bytes: 0,
            written_at_look: 0,
            holds_free_memory: false,
        };
        Ok((thread, seen, known))
    }

    /// Works until told to stop; then everything is on the disk as far as the mode asks for it.
    pub(super) fn run(mut self, queue: &Receiver<Work>) {
        loop {
            let wait = self.keep_house(Instant::now());
            match queue.recv_timeout(wait) {
                Ok(Work::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(Work::Append { id, record }) => {
                    if !self.take_batch(queue, id, record) {
                        break;
                    }
                }
                Ok(work) => self.serve(work),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        self.unsynced.extend(self.open.keys());
        self.sync();
        self.syncer.stop();
    }

    /// Does what is due by the clock; returns how long until the next of it.
    pub(super) fn keep_house(&mut self, now: Instant) -> Duration {
        if now >= self.retain_at {
            self.retain();
            self.release_memory();
            self.retain_at = now + RETENTION_EVERY;
        }
        if now >= self.look_at {
            self.look_at_directory();
            self.look_at = now + LOOK_EVERY;
        }
        if self.trouble.retry_at().is_some_and(|at| now >= at) {
            self.retry_disk();
        }
        let unsynced = !self.unsynced.is_empty() || self.events.is_unsynced();
        if unsynced && self.trouble.disk().is_none() && self.tools.sync != SyncMode::None {
            let due = *self.sync_at.get_or_insert(now + SYNC_INTERVAL);
            if now >= due && self.syncer.is_busy() {
                // A disk that takes longer than a round gets no second one meanwhile: what is unsynced adds up in the logs.
                self.sync_at = Some(now + SYNC_INTERVAL);
            } else if now >= due {
                self.sync();
            }
        } else {
            // Nothing is to be synced, or nothing can be before the disk is tried again.
            self.sync_at = None;
        }
        let next = [self.sync_at, self.trouble.retry_at(), Some(self.look_at)].into_iter().flatten();
        next.fold(self.retain_at, Instant::min).saturating_duration_since(now)
    }

    /// Hands everything that is not yet on the disk to the syncer.
    pub(super) fn sync(&mut self) {
        self.sync_at = None;
        let mut work = ToSync { logs: self.events.dirty().into_iter().collect(), declarations: Vec::new() };
        for id in std::mem::take(&mut self.unsynced) {
            work.declarations.extend(self.declarations.dirty(&self.tools.store, id));
            if let Some(process) = self.open.get_mut(&id) {
                work.logs.extend(process.dirty());
            }
        }
        self.syncer.note(work);
    }

    /// Takes all the records that wait, writes them, and serves whatever stood behind them; false when told to stop.
    fn take_batch(&mut self, queue: &Receiver<Work>, id: Id, record: Record) -> bool {
        let mut bytes = record.payload.len();
        let mut touched = Vec::new();
        self.collect(id, record, &mut touched);
        let after = loop {
            if bytes >= BATCH_BYTES {
                break None;
            }
            match queue.try_recv() {
                Ok(Work::Append { id, record }) => {
                    bytes += record.payload.len();
                    self.collect(id, record, &mut touched);
                }
                Ok(other) => break Some(other),
                Err(_) => break None,
            }
        };
        for id in touched {
            self.write_batch(id);
        }
        match after {
            Some(Work::Stop) => false,
            Some(work) => {
                self.serve(work);
                true
            }
            None => true,
        }
    }

    fn collect(&mut self, id: Id, record: Record, touched: &mut Vec<Id>) {
        // One that is not open was removed or closed: its link is ending too.
        if self.open.get_mut(&id).is_some_and(|process| process.collect(record)) {
            touched.push(id);
        }
    }

    fn write_batch(&mut self, id: Id) {
        let Some(process) = self.open.get_mut(&id) else { return };
        let batch = process.take_batch();
        let bytes: u64 = batch.iter().map(|record| record.payload.len() as u64).sum();
        let taken = (bytes, batch.len());
        let (records, violation) = process.admit(batch);
        let size = process.logs.log.bytes();
        let mut facts = facts_of(&records);
        let written = process.append(&records);
        let end = process.end();
        // Of a batch that failed a beginning may be written; nobody will send it again, so it counts like any other.
        facts.retain(|(head, _)| head.seq <= end);
        self.written_bytes += bytes;
        let over = self.sweep.grown(&process.logs.log, size);
        self.publish(id, facts);
        if over {
            self.retain();
        }
        match written {
            Ok(()) => self.give_receipt(id, taken),
            Err(error) => self.on_disk_error(id, &error),
        }
        if let (Some(why), Some(process)) = (violation, self.open.get_mut(&id)) {
            process.break_off(Break::Violation(why));
        }
    }

    /// Tells everybody here what is written, before the watcher hears of it: once it has, it may leave, and whoever waits for the end of its
    /// process must have been told of that end.
    fn publish(&mut self, id: Id, facts: Vec<(Head, Fact)>) {
        let Some(process) = self.open.get_mut(&id) else { return };
        if process.logs.log.bytes() > self.tools.retention.size {
            self.sweep.only(&mut process.logs.log, now_us());
        }
        if !facts.is_empty() {
            self.tools.hub.journaled(id, facts.clone());
        }
        process.written.send_replace(Written { seq: process.end(), bytes: process.logs.log.bytes() });
        let name = process.name.clone();
        for (head, fact) in facts {
            self.events.tell(head.at, Some((id, name.clone())), Happening::Fact { seq: head.seq, fact });
        }
        self.tools.text.written(id);
    }

    fn give_receipt(&mut self, id: Id, (bytes, records): (u64, usize)) {
        if self.trouble.written(id) {
            self.say_recovered();
        }
        let Some(process) = self.open.get_mut(&id) else { return };
        let (receipts, receipt) = (process.receipts(), Receipt::Journaled { seq: process.end(), bytes, records });
        // A link that is gone needs no receipt: its watcher will ask where the journal ends.
        if self.tools.sync == SyncMode::Always {
            let give = move |synced: Result<(), String>| {
                let _ = receipts.send(synced.map_or_else(|why| Receipt::Broken(Break::Disk(why)), |()| receipt));
            };
            // With what was told of them as events.
            let logs: Vec<SyncWork> = process.dirty().into_iter().chain(self.events.dirty()).collect();
            self.syncer.when_synced(logs.into(), Box::new(give));
        } else {
            let _ = receipts.send(receipt);
            if self.tools.sync == SyncMode::Interval {
                self.unsynced.insert(id);
            }
        }
    }

    /// Nothing is acknowledged any more; the watcher comes again and resumes where the journal ends.
    pub(super) fn on_disk_error(&mut self, id: Id, error: &StoreError) {
        // Removed as a whole, perhaps: then that is what is said.
        self.look_at_directory();
        let why = error.to_string();
        if self.trouble.write_failed(id, why.clone()) {
            self.say_failing(&why);
        }
        if let Some(process) = self.open.get_mut(&id) {
            process.break_off(Break::Disk(why));
        }
    }

    pub(super) fn serve(&mut self, work: Work) {
        match work {
            Work::Declare { meta, news } => self.declarations.put(meta, news),
            Work::Open { opening, reply } => self.open(opening, reply),
            Work::Append { id, record } => {
                let mut touched = Vec::new();
                self.collect(id, record, &mut touched);
                touched.into_iter().for_each(|id| self.write_batch(id));
            }
            Work::Close { id } => self.close(id),
            Work::Remove { id, reply } => {
                let _ = reply.send(self.remove(id));
            }
            Work::KeepLive { id } => self.sweep.is_live(&self.tools.store, id),
            Work::RemoveEmpty { id } => self.remove_empty(id),
            Work::Note { at, about, what } => self.events.tell(at, about, what),
            Work::Mourn { id } => self.tools.hub.mourned(id, self.sizes(id).last_seq),
            Work::MarkLost { id } => self.tools.store.mark_lost(id),
            Work::Reader { which, reply } => {
                let _ = reply.send(self.reader(which));
            }
            Work::Sizes { id, reply } => {
                let _ = reply.send(self.sizes(id));
            }
            Work::Unsynced(why) => self.on_disk_failure(&why),
            Work::Mended(synced) => self.on_mended(synced),
            Work::Stop => {}
        }
    }

    /// Memory that a busy time has left free goes back once a whole round has been quiet.
    fn release_memory(&mut self) {
        let quiet = self.written_bytes == self.written_at_look;
        if quiet && self.holds_free_memory {
            sys::give_memory_back();
        }
        self.holds_free_memory = !quiet;
        self.written_at_look = self.written_bytes;
    }

    fn retain(&mut self) {
        self.let_go_of_idle();
        let open = self.open.iter_mut().map(|(id, process)| (*id, &mut process.logs));
        let open = open.chain(self.parked.iter_mut().map(|(id, logs)| (*id, logs)));
        let open = open.map(|(id, logs)| (id, &mut logs.log)).collect();
        for id in self.sweep.run(&self.tools.store, open, Instant::now(), now_us()) {
            self.tools.hub.expired(id);
        }
        self.sweep.only(&mut self.events.log, now_us());
        for process in self.open.values_mut() {
            self.sweep.only(&mut process.logs.facts, now_us());
        }
    }
}

/// Says what was found, each in a line; what of it concerns which process.
fn say_findings(findings: Vec<Finding>, events: &mut EventLog) -> HashMap<Id, String> {
    let mut damaged: HashMap<Id, String> = HashMap::new();
    for Finding { about, what } in findings {
        let name = about.as_ref().map(|(_, name)| name.to_string());
        tracing::warn!(name, %what, "the journal is not intact");
        if let Some((id, _)) = &about {
            let known = damaged.entry(*id).or_default();
            *known = if known.is_empty() { what.clone() } else { format!("{known}; {what}") };
        }
        events.tell(Timestamp(now_us()), about, Happening::JournalDamaged { what });
    }
    damaged
}
