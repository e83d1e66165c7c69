//! The scribe: one thread that owns every open log and is the only one that writes the journal.
//!
//! ```text
//!  links --Append--> scribe --(whole batch: facts, then log, then events)--> write(2)
//!                      |  \--Journaled--> hub            (facts, for the registry)
//!                      |   \--wake--> text log
//!                      \--sync none|interval--> Ack to the link at once
//!                      \--sync always--> syncer thread --fdatasync--> Ack to the link
//! ```
//! While the disk keeps it waiting, records pile up in its queue; links bound them by their credit, and the next batch takes them all.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use zerovisor_core::fact::Fact;
use zerovisor_core::id::Id;
use zerovisor_core::name::{NodeName, ProcessName};
use zerovisor_core::record::{Head, Kind, Record};
use zerovisor_core::units::Timestamp;
use zerovisor_core::view::{Event, Happening, Story};
use zerovisor_core::wire;

use super::catchup::{self, Untold};
use super::hub::Hub;
use super::journal::{LogReader, SegmentLog};
use super::retention::{Retention, Sweep};
use super::store::{ProcessLogs, Store, StoreError, stored, stored_event};
use super::syncer::{SYNC_INTERVAL, SyncMode, Syncer};
use super::sys;
use super::textlog::TextLog;

/// Payload bytes one batch takes from the queue at most, so that acknowledgements keep coming under load.
const BATCH_BYTES: usize = 4 << 20;
/// How often retention is looked after.
const RETENTION_EVERY: Duration = Duration::from_secs(30);

/// What a link learns of its records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Receipt {
    /// All records up to `seq` are in the journal; `bytes` of payload in `records` since the receipt before.
    Journaled {
        /// The last of them.
        seq: u64,
        /// Payload bytes since the receipt before.
        bytes: u64,
        /// Records since then.
        records: usize,
    },
    /// They are not, and the link must end: the watcher will come again and resume.
    Broken(Break),
}

/// Why a link's records cannot be journaled.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Break {
    /// The disk.
    #[error("the journal cannot be written: {0}")]
    Disk(String),
    /// The peer broke the protocol.
    #[error("protocol violation: {0}")]
    Violation(String),
}

/// Where receipts go. Unbounded: there is at most one for each record the credit lets through.
pub(super) type Receipts = mpsc::UnboundedSender<Receipt>;

/// How far a process's log is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Written {
    /// Its last record.
    pub seq: u64,
    /// Its size on disk in bytes.
    pub bytes: u64,
}

/// What the scribe needs to open the logs of a process for a link.
#[derive(Debug)]
pub(super) struct Opening {
    /// The process.
    pub id: Id,
    /// The name it goes by.
    pub name: ProcessName,
    /// Where receipts go.
    pub receipts: Receipts,
    /// Told how far its log is written.
    pub written: watch::Sender<Written>,
}

/// A process whose logs are open.
#[derive(Debug)]
pub(super) struct Opened {
    /// Its last record; 0: none.
    pub journal_end: u64,
    /// Its life so far.
    pub story: Story,
}

enum Work {
    Open { opening: Opening, reply: oneshot::Sender<Result<Opened, StoreError>> },
    Append { id: Id, record: Record },
    Close { id: Id },
    Remove { id: Id, reply: oneshot::Sender<Result<(), StoreError>> },
    Note { at: Timestamp, about: Option<(Id, ProcessName)>, what: Happening },
    Reader { which: Which, reply: oneshot::Sender<Result<LogReader, StoreError>> },
    Sizes { id: Id, reply: oneshot::Sender<Sizes> },
    Stop,
}

/// Which log is to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Which {
    /// The stream of a process.
    Log(Id),
    /// The facts of a process.
    Facts(Id),
    /// The events of the node.
    Events,
}

/// How much of a process is in its log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Sizes {
    /// First record that is kept; 0: none.
    pub first_seq: u64,
    /// Last record; 0: none.
    pub last_seq: u64,
    /// Bytes on disk.
    pub bytes: u64,
}

/// The handle of the scribe.
#[derive(Clone)]
pub(super) struct Scribe {
    work: Sender<Work>,
    events: watch::Receiver<u64>,
}

impl Scribe {
    /// Opens the logs of a process, or takes over those that are open, for a new link.
    ///
    /// # Errors
    /// They cannot be opened; or the scribe is gone, which reads as none.
    pub(super) async fn open(&self, opening: Opening) -> Option<Result<Opened, StoreError>> {
        let (reply, answer) = oneshot::channel();
        self.tell(Work::Open { opening, reply });
        answer.await.ok()
    }

    /// Hands a record over; the receipt comes later.
    pub(super) fn append(&self, id: Id, record: Record) {
        self.tell(Work::Append { id, record });
    }

    /// Lets go of the logs of a process that has ended for good.
    pub(super) fn close(&self, id: Id) {
        self.tell(Work::Close { id });
    }

    /// Removes all there is of a process.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub(super) async fn remove(&self, id: Id) -> Option<Result<(), StoreError>> {
        let (reply, answer) = oneshot::channel();
        self.tell(Work::Remove { id, reply });
        answer.await.ok()
    }

    /// Notes an observation of the node's own as an event.
    pub(super) fn note(&self, at: Timestamp, about: Option<(Id, ProcessName)>, what: Happening) {
        self.tell(Work::Note { at, about, what });
    }

    /// A reader of a log, at its first record.
    pub(super) async fn reader(&self, which: Which) -> Option<Result<LogReader, StoreError>> {
        let (reply, answer) = oneshot::channel();
        self.tell(Work::Reader { which, reply });
        answer.await.ok()
    }

    /// How much of a process is in its log.
    pub(super) async fn sizes(&self, id: Id) -> Sizes {
        let (reply, answer) = oneshot::channel();
        self.tell(Work::Sizes { id, reply });
        answer.await.unwrap_or_default()
    }

    /// Changes whenever an event was written; its number.
    pub(super) fn events(&self) -> watch::Receiver<u64> {
        self.events.clone()
    }

    /// Writes what is queued and ends the thread.
    pub(super) fn stop(&self) {
        self.tell(Work::Stop);
    }

    fn tell(&self, work: Work) {
        // The thread ends only when told to, at the very end: whoever asks later gets no answer and says so.
        let _ = self.work.send(work);
    }
}

/// What the scribe needs of the rest.
pub(super) struct Tools {
    /// Where the logs are.
    pub store: Store,
    /// This node.
    pub node: NodeName,
    /// Told of facts once they are written.
    pub hub: Hub,
    /// Woken when there is something to render.
    pub text: TextLog,
    /// When records count as safe.
    pub sync: SyncMode,
    /// How much is kept.
    pub retention: Retention,
}

/// Starts the thread.
///
/// # Errors
/// The events log cannot be opened, or the thread not be started.
pub(super) fn start(tools: Tools) -> Result<(Scribe, JoinHandle<()>), StoreError> {
    let events = tools.store.open_events()?;
    let next_event = events.last().map_or(1, |(seq, _)| seq + 1);
    let (events_written, events_seen) = watch::channel(next_event - 1);
    let (work, queue) = channel();
    let syncer = Syncer::start(tools.sync)?;
    let sweep = Sweep::new(tools.retention);
    let mut thread = Thread {
        tools,
        syncer,
        sweep,
        events,
        next_event,
        events_written,
        open: HashMap::new(),
        failing: None,
        parked: HashMap::new(),
        written_bytes: 0,
        written_at_look: 0,
        holds_free_memory: false,
        unsynced: HashSet::new(),
        sync_at: None,
        retain_at: Instant::now() + RETENTION_EVERY,
    };
    for Untold { at, about, what } in catchup::untold(&thread.tools.store, &thread.events)? {
        thread.event(at, Some(about), what);
    }
    let thread = std::thread::Builder::new().name("zv-scribe".into()).spawn(move || thread.run(&queue));
    let thread =
        thread.map_err(|source| StoreError::Io { doing: "start a thread for", path: "the journal".into(), source })?;
    Ok((Scribe { work, events: events_seen }, thread))
}

struct Process {
    logs: ProcessLogs,
    name: ProcessName,
    receipts: Receipts,
    written: watch::Sender<Written>,
    /// For each kind the run that wrote last, and where its next byte must be.
    offsets: HashMap<Kind, (u32, u64)>,
    broken: bool,
    batch: Vec<Record>,
}

struct Thread {
    tools: Tools,
    syncer: Syncer,
    sweep: Sweep,
    events: SegmentLog,
    next_event: u64,
    events_written: watch::Sender<u64>,
    open: HashMap<Id, Process>,
    failing: Option<String>,
    /// Logs without a link that somebody reads.
    parked: HashMap<Id, ProcessLogs>,
    written_bytes: u64,
    written_at_look: u64,
    holds_free_memory: bool,
    unsynced: HashSet<Id>,
    sync_at: Option<Instant>,
    retain_at: Instant,
}

impl Thread {
    fn run(mut self, queue: &Receiver<Work>) {
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
    fn keep_house(&mut self, now: Instant) -> Duration {
        if now >= self.retain_at {
            self.retain();
            self.release_memory();
            self.retain_at = now + RETENTION_EVERY;
        }
        if !self.unsynced.is_empty() && self.tools.sync != SyncMode::None {
            let due = *self.sync_at.get_or_insert(now + SYNC_INTERVAL);
            if now >= due {
                self.sync();
            }
        }
        let next = self.sync_at.map_or(self.retain_at, |at| at.min(self.retain_at));
        next.saturating_duration_since(now)
    }

    /// Hands everything that is not yet on the disk to the syncer.
    fn sync(&mut self) {
        self.sync_at = None;
        for id in std::mem::take(&mut self.unsynced) {
            if let Some(process) = self.open.get_mut(&id) {
                self.syncer.note(process.logs.log.dirty());
                self.syncer.note(process.logs.facts.dirty());
            }
        }
        self.syncer.note(self.events.dirty());
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
        let Some(process) = self.open.get_mut(&id) else { return };
        if process.broken {
            return;
        }
        if process.batch.is_empty() {
            touched.push(id);
        }
        process.batch.push(record);
    }

    fn write_batch(&mut self, id: Id) {
        let Some(process) = self.open.get_mut(&id) else { return };
        let batch = std::mem::take(&mut process.batch);
        let bytes: u64 = batch.iter().map(|record| record.payload.len() as u64).sum();
        let taken = (bytes, batch.len());
        let (records, violation) = process.admit(batch);
        let facts = facts_of(&records);
        let written = process.append(&records);
        match written {
            Ok(()) => {
                let seq = process.logs.log.last().map_or(0, |(seq, _)| seq);
                self.after_write(id, seq, taken, facts);
            }
            Err(error) => self.on_disk_error(id, &error),
        }
        if let (Some(why), Some(process)) = (violation, self.open.get_mut(&id)) {
            process.break_off(Break::Violation(why));
        }
    }

    fn after_write(&mut self, id: Id, seq: u64, (bytes, records): (u64, usize), facts: Vec<(Head, Fact)>) {
        self.written_bytes += bytes;
        if self.failing.take().is_some() {
            tracing::info!("the journal is written again");
            self.event(Timestamp(now_us()), None, Happening::JournalRecovered);
        }
        let Some(process) = self.open.get_mut(&id) else { return };
        if process.logs.log.bytes() > self.tools.retention.size {
            self.sweep.only(&mut process.logs.log, now_us());
        }
        process.written.send_replace(Written { seq, bytes: process.logs.log.bytes() });
        let (receipts, receipt) = (process.receipts.clone(), Receipt::Journaled { seq, bytes, records });
        if self.tools.sync == SyncMode::Always {
            let work = [process.logs.log.dirty(), process.logs.facts.dirty()];
            self.syncer.wrote(work, receipts, receipt);
        } else {
            // A link that is gone needs no receipt: its watcher will ask where the journal ends.
            let _ = receipts.send(receipt);
            self.unsynced.insert(id);
        }
        let name = process.name.clone();
        for (head, fact) in &facts {
            let what = Happening::Fact { seq: head.seq, fact: fact.clone() };
            self.event(head.at, Some((id, name.clone())), what);
        }
        if !facts.is_empty() {
            self.tools.hub.journaled(id, facts);
        }
        self.tools.text.written(id);
    }

    /// Nothing is acknowledged any more; the watcher comes again and resumes where the journal ends.
    fn on_disk_error(&mut self, id: Id, error: &StoreError) {
        let why = error.to_string();
        if self.failing.as_ref() != Some(&why) {
            tracing::error!(%why, "the journal cannot be written: output stays with its watchers until it can");
            self.failing = Some(why.clone());
            self.event(Timestamp(now_us()), None, Happening::JournalFailing { why: why.clone() });
        }
        if let Some(process) = self.open.get_mut(&id) {
            process.break_off(Break::Disk(why));
        }
    }

    fn event(&mut self, at: Timestamp, about: Option<(Id, ProcessName)>, what: Happening) {
        let (id, name) = about.unzip();
        let event = Event { seq: self.next_event, at, node: self.tools.node.clone(), id, name, what };
        let written = stored_event(&event).map_err(StoreError::from);
        match written.and_then(|record| Ok(self.events.append(&[record])?)) {
            Ok(()) => {
                self.next_event += 1;
                self.events_written.send_replace(event.seq);
                self.tools.text.event(event);
            }
            Err(error) => tracing::error!(%error, "an event could not be written"),
        }
    }

    fn serve(&mut self, work: Work) {
        match work {
            Work::Open { opening, reply } => {
                // A link that is gone before its answer needs none.
                let _ = reply.send(self.open(opening));
            }
            Work::Append { id, record } => {
                let mut touched = Vec::new();
                self.collect(id, record, &mut touched);
                touched.into_iter().for_each(|id| self.write_batch(id));
            }
            Work::Close { id } => self.close(id),
            Work::Remove { id, reply } => {
                self.open.remove(&id);
                self.parked.remove(&id);
                self.tools.text.removed(id);
                let _ = reply.send(self.tools.store.remove(id));
            }
            Work::Note { at, about, what } => self.event(at, about, what),
            Work::Reader { which, reply } => {
                let _ = reply.send(self.reader(which));
            }
            Work::Sizes { id, reply } => {
                let _ = reply.send(self.sizes(id));
            }
            Work::Stop => {}
        }
    }

    fn open(&mut self, opening: Opening) -> Result<Opened, StoreError> {
        let Opening { id, name, receipts, written } = opening;
        if let Some(process) = self.open.get_mut(&id) {
            (process.name, process.receipts, process.broken) = (name, receipts, false);
            process.batch.clear();
            let journal_end = process.logs.log.last().map_or(0, |(seq, _)| seq);
            return Ok(Opened { journal_end, story: self.tools.store.read_story(id)? });
        }
        let logs = match self.parked.remove(&id) {
            Some(logs) => logs,
            None => self.tools.store.open_process(id)?,
        };
        let journal_end = logs.log.last().map_or(0, |(seq, _)| seq);
        let story = self.tools.store.read_story(id)?;
        written.send_replace(Written { seq: journal_end, bytes: logs.log.bytes() });
        self.tools.text.opened(id, name.clone(), logs.log.reader());
        let process =
            Process { logs, name, receipts, written, offsets: HashMap::new(), broken: false, batch: Vec::new() };
        self.open.insert(id, process);
        Ok(Opened { journal_end, story })
    }

    fn close(&mut self, id: Id) {
        if let Some(mut process) = self.open.remove(&id) {
            self.syncer.note(process.logs.log.dirty());
            self.syncer.note(process.logs.facts.dirty());
            self.tools.text.closed(id);
        }
    }

    /// A reader shares what its log's writer publishes, so the logs it came from are kept until a link opens them or nobody reads.
    fn reader(&mut self, which: Which) -> Result<LogReader, StoreError> {
        let (id, pick): (Id, fn(&ProcessLogs) -> LogReader) = match which {
            Which::Events => return Ok(self.events.reader()),
            Which::Log(id) => (id, |logs| logs.log.reader()),
            Which::Facts(id) => (id, |logs| logs.facts.reader()),
        };
        if let Some(process) = self.open.get(&id) {
            return Ok(pick(&process.logs));
        }
        match self.parked.entry(id) {
            Entry::Occupied(logs) => Ok(pick(logs.get())),
            Entry::Vacant(place) => Ok(pick(place.insert(self.tools.store.open_process(id)?))),
        }
    }

    fn sizes(&self, id: Id) -> Sizes {
        let of = |log: &SegmentLog| Sizes {
            first_seq: log.first_seq().unwrap_or(0),
            last_seq: log.last().map_or(0, |(seq, _)| seq),
            bytes: log.bytes(),
        };
        match (self.open.get(&id), self.parked.get(&id)) {
            (Some(process), _) => of(&process.logs.log),
            (None, Some(logs)) => of(&logs.log),
            (None, None) => self.tools.store.open_process(id).map_or(Sizes::default(), |logs| of(&logs.log)),
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
        self.parked.retain(|_, logs| logs.log.is_read() || logs.facts.is_read());
        let open = self.open.iter_mut().map(|(id, process)| (*id, &mut process.logs));
        let open = open.chain(self.parked.iter_mut().map(|(id, logs)| (*id, logs)));
        let open = open.map(|(id, logs)| (id, &mut logs.log)).collect();
        self.sweep.run(&self.tools.store, open, Instant::now(), now_us());
        self.sweep.only(&mut self.events, now_us());
        for process in self.open.values_mut() {
            self.sweep.only(&mut process.logs.facts, now_us());
        }
    }
}

impl Process {
    /// Those records of a batch that follow the end of the log, and what is wrong with the next one, if anything is.
    fn admit(&mut self, batch: Vec<Record>) -> (Vec<Record>, Option<String>) {
        let mut end = self.logs.log.last().map_or(0, |(seq, _)| seq);
        let mut admitted = Vec::with_capacity(batch.len());
        for record in batch {
            if record.head.seq <= end {
                continue;
            }
            if let Err(why) = self.check(&record, end) {
                return (admitted, Some(why));
            }
            end = record.head.seq;
            admitted.push(record);
        }
        (admitted, None)
    }

    fn check(&mut self, record: &Record, end: u64) -> Result<(), String> {
        let Head { seq, run, kind, offset, .. } = record.head;
        if !kind.is_output() {
            let fact = wire::decode_fact(&record.payload).map_err(|error| format!("record {seq}: {error}"))?;
            let first = if let Fact::Gap(gap) = &fact { gap.first_seq } else { seq };
            return if first == end + 1 { Ok(()) } else { Err(format!("record {first} follows record {end}")) };
        }
        if seq != end + 1 {
            return Err(format!("record {seq} follows record {end}"));
        }
        let next = offset + record.payload.len() as u64;
        match self.offsets.insert(kind, (run, next)) {
            // Only a gap may lie between the two, never a repetition.
            Some((before, expected)) if before == run && offset < expected => {
                Err(format!("{kind} of run {run} repeats from byte {offset}"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Facts first: a crash in between must leave too many of them, never too few.
    fn append(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let facts: Vec<_> = records.iter().filter(|r| r.head.kind == Kind::Fact).map(stored).collect();
        let known = self.logs.facts.last().map_or(0, |(seq, _)| seq);
        let fresh: Vec<_> = facts.into_iter().filter(|fact| fact.meta.seq > known).collect();
        self.logs.facts.append(&fresh)?;
        Ok(self.logs.log.append(&records.iter().map(stored).collect::<Vec<_>>())?)
    }

    fn break_off(&mut self, why: Break) {
        self.broken = true;
        self.batch.clear();
        self.offsets.clear();
        // The link may be gone already.
        let _ = self.receipts.send(Receipt::Broken(why));
    }
}

fn facts_of(records: &[Record]) -> Vec<(Head, Fact)> {
    let fact = |record: &Record| Some((record.head, wire::decode_fact(&record.payload).ok()?));
    records.iter().filter(|record| record.head.kind == Kind::Fact).filter_map(fact).collect()
}

/// The wall clock in microseconds since 1970.
pub(super) fn now_us() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
