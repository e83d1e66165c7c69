//! The registry: every process this node knows, with what its facts and its link say of it. Pure: the hub tells it what happened.

mod ghosts;
mod select;

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Instant;

use tokio::sync::watch;
use zerovisor_core::address::Candidate;
use zerovisor_core::exit::ExitReport;
use zerovisor_core::fact::{Fact, State};
use zerovisor_core::id::Id;
use zerovisor_core::name::{NodeName, ProcessName};
use zerovisor_core::stats::Sample;
use zerovisor_core::units::Timestamp;
use zerovisor_core::view::{ExitSummary, ProcessRow, Story};
use zerovisor_core::wire::{Refusal, WatcherHello};

use super::calls::Calls;
use super::catchup::Past;
use super::removed::REMOVED_MAX;
use super::samples::{Latest, Totals};
use super::scribe::Written;
use super::store::Meta;

/// How a process's watcher stands to this node.
#[derive(Clone, Debug)]
pub(super) enum Reach {
    /// It has a link.
    Linked {
        /// Tells this link from an earlier one of the same watcher.
        generation: u64,
        /// Where orders go.
        orders: Calls,
    },
    /// It said goodbye, or its process had ended: nothing is expected of it.
    Gone,
    /// It has no link and may live.
    Unreachable {
        /// When it was last heard of.
        since: Instant,
    },
    /// It is known to be dead.
    Lost,
}

/// One process.
#[derive(Debug)]
pub(super) struct Entry {
    /// What was declared.
    pub meta: Meta,
    /// It was found on disk, and not seen to hold nothing.
    has_past: bool,
    /// What its facts tell.
    pub story: Story,
    /// The state its watcher said it was in, for as long as no fact tells.
    pub declared: State,
    /// How its watcher stands.
    pub reach: Reach,
    /// How far its log is written.
    pub written: watch::Sender<Written>,
    /// The state people see, for those who wait for it.
    pub state: watch::Sender<State>,
    runtime_from: Option<Instant>,
    sampled: Option<Latest>,
}

impl Entry {
    fn new(meta: Meta, story: Story, declared: State, reach: Reach) -> Entry {
        let (written, _) = watch::channel(Written::default());
        let (state, _) = watch::channel(declared);
        let (has_past, runtime_from, sampled) = (false, None, None);
        let entry = Entry { meta, has_past, story, declared, reach, written, state, runtime_from, sampled };
        entry.publish();
        entry
    }

    /// The state people see.
    pub(super) fn shown_state(&self) -> State {
        let told = self.story.state.unwrap_or(self.declared);
        match self.reach {
            Reach::Linked { .. } if self.is_to_tell() => State::Stopping,
            Reach::Linked { .. } => told,
            Reach::Unreachable { .. } if self.is_to_tell() => State::Unreachable,
            Reach::Gone | Reach::Lost | Reach::Unreachable { .. } if !told.is_live() => told,
            Reach::Unreachable { .. } => State::Unreachable,
            Reach::Gone | Reach::Lost => State::Lost,
        }
    }

    /// Whether it is live by the last that its watcher told, or has yet to tell how it ended.
    fn is_live(&self) -> bool {
        self.is_to_tell() || self.story.state.unwrap_or(self.declared).is_live()
    }

    /// Whether it had ended when its watcher first came here: the facts that say how are on their way.
    fn is_to_tell(&self) -> bool {
        self.story.state.is_none() && !self.declared.is_live()
    }

    /// Where orders go, if there is a link.
    pub(super) fn orders(&self) -> Option<&Calls> {
        match &self.reach {
            Reach::Linked { orders, .. } => Some(orders),
            Reach::Gone | Reach::Unreachable { .. } | Reach::Lost => None,
        }
    }

    fn publish(&self) {
        let state = self.shown_state();
        self.state.send_if_modified(|shown| std::mem::replace(shown, state) != state);
    }

    fn candidate(&self, node: &NodeName) -> Candidate {
        Candidate {
            id: self.meta.id,
            name: self.meta.name.clone(),
            node: node.clone(),
            live: self.shown_state().is_live(),
            at: self.story.changed_at.max(self.meta.created_at),
        }
    }

    /// Its row, as of now.
    pub(super) fn row(&self, node: &NodeName, now: Instant, wall: Timestamp) -> ProcessRow {
        let state = self.shown_state();
        let run_lives = self.story.pid.is_some()
            && matches!(state, State::Starting | State::Running | State::Stopping | State::Unreachable);
        let report = self.story.report.as_ref().filter(|_| !run_lives);
        let used = self.sampled.as_ref().filter(|_| run_lives);
        // Of a run whose watcher is lost, the last that was heard stays.
        let known = self.sampled.as_ref().filter(|_| run_lives || state == State::Lost);
        let started_at = self.story.started_at;
        let monotonic = self.runtime_from.map(|from| now.saturating_duration_since(from));
        ProcessRow {
            id: self.meta.id,
            name: self.meta.name.clone(),
            node: node.clone(),
            state,
            pid: self.story.pid.filter(|_| run_lives),
            run: self.story.run,
            started_at,
            ended_at: report.map(|report| report.ended_at),
            uptime: if run_lives { monotonic.or(started_at.map(|at| wall.since(at))) } else { None },
            cpu_percent: used.and_then(|latest| latest.cpu_percent(now)),
            memory_bytes: used.and_then(Latest::memory_bytes),
            memory_peak_bytes: known.map_or_else(|| report.map(ExitReport::peak_bytes), Latest::peak_bytes),
            restarts: self.story.run.saturating_sub(1),
            exit: report.map(ExitSummary::of),
            command: self.story.command.clone().unwrap_or_else(|| self.meta.spec.command.clone()),
            labels: self.meta.spec.labels.clone(),
            rung: Some(self.meta.placement.rung.to_string()),
            journal_bytes: self.written.borrow().bytes,
            silent: match self.reach {
                Reach::Unreachable { since } if state == State::Unreachable => {
                    Some(now.saturating_duration_since(since))
                }
                Reach::Linked { .. } | Reach::Gone | Reach::Unreachable { .. } | Reach::Lost => None,
            },
        }
    }

    /// The latest sample of the present run.
    pub(super) fn sample(&self) -> Option<&Sample> {
        self.sampled.as_ref().map(Latest::sample)
    }

    /// The shell status of the last run that ended, if any.
    pub(super) fn shell_status(&self) -> Option<u8> {
        let failed = self.story.spawn_failure.as_ref().map(|failure| failure.fault.shell_status());
        failed.or(self.story.report.as_ref().map(|report: &ExitReport| report.exit.shell_status()))
    }
}

/// What changed, for the events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Change {
    /// A process that was not known.
    Declared,
    /// A watcher that was away is back.
    Returned,
    /// A watcher's link ended without a goodbye, and it may live.
    Unreachable,
}

/// All processes.
#[derive(Debug)]
pub(super) struct Registry {
    node: NodeName,
    entries: HashMap<Id, Entry>,
    next_generation: u64,
    /// Whose watchers may not know yet that they were removed.
    removed: VecDeque<Id>,
    /// That may never have written, oldest first.
    ghosts: VecDeque<Id>,
    /// The same, to look them up.
    queued: HashSet<Id>,
}

/// Processes that are known, at most; the watcher of one more is refused until some are removed.
const PROCESSES_MAX: usize = 65_536;

impl Registry {
    /// An empty one.
    pub(super) fn new(node: NodeName) -> Registry {
        Registry {
            node,
            entries: HashMap::new(),
            next_generation: 1,
            removed: VecDeque::new(),
            ghosts: VecDeque::new(),
            queued: HashSet::new(),
        }
    }

    /// The process of this id.
    pub(super) fn get(&self, id: Id) -> Option<&Entry> {
        self.entries.get(&id)
    }

    /// How many there are, and how many of them are live.
    pub(super) fn counts(&self) -> (usize, usize) {
        let live = self.entries.values().filter(|entry| entry.shown_state().is_live()).count();
        (self.entries.len(), live)
    }

    /// Takes in a process found on disk; its watcher, if any, has not been heard of, or is known to be lost.
    pub(super) fn restore(&mut self, past: Past, lost: bool, now: Instant) {
        let Past { meta, story, last_seq: _, is_empty } = past;
        let declared = State::Starting;
        let reach = match (story.state.unwrap_or(declared).is_live(), lost) {
            (true, false) => Reach::Unreachable { since: now },
            (true, true) => Reach::Lost,
            (false, _) => Reach::Gone,
        };
        let id = meta.id;
        self.entries.insert(id, Entry { has_past: !is_empty, ..Entry::new(meta, story, declared, reach) });
        self.left(id);
    }

    /// Takes in which processes were removed before, oldest first.
    pub(super) fn restore_removed(&mut self, ids: Vec<Id>) {
        self.removed = ids.into();
    }

    /// A watcher says hello: its entry, new or known, with a name of its own and this link.
    ///
    /// # Errors
    /// The id is another's, or a given name is taken.
    pub(super) fn declare(
        &mut self,
        hello: &WatcherHello,
        local: bool,
        orders: Calls,
    ) -> Result<(u64, Change), Refusal> {
        if self.removed.contains(&hello.id) {
            return Err(Refusal::Removed);
        }
        let known = self.entries.get(&hello.id).filter(|entry| !entry.meta.is_unknown());
        if known.is_some_and(|entry| entry.meta.secret != hello.secret) {
            return Err(Refusal::NotYours(hello.id));
        }
        if known.is_none() && self.entries.len() >= PROCESSES_MAX {
            let why = format!("{PROCESSES_MAX} processes are known here already: remove some with zvctl rm");
            return Err(Refusal::Busy(why));
        }
        let wanted = known.map_or(&hello.spec.name, |entry| &entry.meta.name);
        let name = self.free_name(hello, wanted)?;
        let generation = self.next_generation;
        self.next_generation += 1;
        let reach = Reach::Linked { generation, orders };
        let change = if known.is_some() { Change::Returned } else { Change::Declared };
        let meta = Meta {
            id: hello.id,
            secret: hello.secret,
            name,
            spec: hello.spec.clone(),
            created_at: hello.created_at,
            host: hello.host.clone(),
            local,
            placement: hello.placement.clone(),
        };
        match self.entries.get_mut(&hello.id) {
            Some(entry) => {
                (entry.meta, entry.reach, entry.declared) = (meta, reach, hello.state);
                entry.publish();
            }
            None => {
                self.entries.insert(hello.id, Entry::new(meta, Story::default(), hello.state, reach));
            }
        }
        Ok((generation, change))
    }

    /// The wanted name if no other live process holds it; else `name~id`, unless the user asked for just that name.
    fn free_name(&self, hello: &WatcherHello, wanted: &ProcessName) -> Result<ProcessName, Refusal> {
        let holder = |name: &ProcessName| {
            let others = self.entries.values().filter(|entry| entry.meta.id != hello.id);
            others.into_iter().find(|entry| entry.meta.name == *name && entry.shown_state().is_live())
        };
        match holder(wanted) {
            None => Ok(wanted.clone()),
            Some(entry) if hello.spec.name_given && !hello.welcomed_before => {
                Err(Refusal::NameTaken { name: wanted.clone(), holder: entry.meta.id.short() })
            }
            Some(_) => Ok((8..=32)
                .step_by(8)
                .map(|len| hello.spec.name.beside(&hello.id.prefix(len)))
                .find(|name| holder(name).is_none())
                .unwrap_or_else(|| hello.spec.name.beside(&hello.id.prefix(32)))),
        }
    }

    /// The short id of another live process that has this one's name.
    pub(crate) fn rival(&self, id: Id) -> Option<String> {
        let name = &self.entries.get(&id)?.meta.name;
        let mut others = self.entries.values().filter(|entry| entry.meta.id != id && entry.meta.name == *name);
        others.find(|entry| entry.shown_state().is_live()).map(|entry| entry.meta.id.short())
    }

    /// The journal of a declared process was opened: what it tells.
    pub(super) fn opened(&mut self, id: Id, story: Story) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.story = story;
            entry.publish();
        }
    }

    /// A fact of a point in time was journaled, perhaps long after it: as of `now`, which is `wall` for people.
    pub(super) fn tell(&mut self, id: Id, at: Timestamp, fact: &Fact, now: Instant, wall: Timestamp) {
        if let Some(entry) = self.entries.get_mut(&id) {
            match fact {
                Fact::Started { run, .. } => {
                    // Where that is before the monotonic clock began, the wall clock says since when.
                    entry.runtime_from = now.checked_sub(wall.since(at));
                    entry.sampled.take_if(|latest| latest.run() < *run);
                }
                Fact::Ended { run, .. } => {
                    entry.runtime_from = None;
                    entry.sampled.take_if(|latest| latest.run() <= *run);
                }
                Fact::Waiting
                | Fact::Steady { .. }
                | Fact::SpawnFailed { .. }
                | Fact::Stopping { .. }
                | Fact::Killed { .. }
                | Fact::Backoff { .. }
                | Fact::Stopped
                | Fact::Exited
                | Fact::Fatal { .. }
                | Fact::Signalled { .. }
                | Fact::Commanded { .. }
                | Fact::Gap(_)
                | Fact::InputClosed { .. }
                | Fact::Resized { .. } => {}
            }
            entry.story.tell(at, fact);
            entry.publish();
        }
    }

    /// A sample came over a link: it is kept if it is of the present run, or of one whose beginning is not journaled yet.
    pub(super) fn sampled(&mut self, id: Id, generation: u64, sample: Box<Sample>, now: Instant) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let linked = matches!(entry.reach, Reach::Linked { generation: present, .. } if present == generation);
        let over = sample.run < entry.story.run || (sample.run == entry.story.run && entry.story.pid.is_none());
        if linked && !over {
            entry.sampled = Some(Latest::new(sample, now, entry.sampled.as_ref()));
        }
    }

    /// What all processes use together.
    pub(super) fn totals(&self, now: Instant) -> Totals {
        let mut totals = Totals::default();
        for entry in self.entries.values() {
            totals.add(entry.shown_state().is_live(), entry.sampled.as_ref(), now);
        }
        totals
    }

    /// A link ended: its process is unreachable, if it is live and its watcher did not say goodbye. None: nothing changed, as when the
    /// link is an older one than the entry's.
    pub(super) fn unlink(&mut self, id: Id, generation: u64, farewell: bool, heard: Instant) -> Option<Change> {
        let entry = self.entries.get_mut(&id)?;
        if !matches!(entry.reach, Reach::Linked { generation: present, .. } if present == generation) {
            return None;
        }
        let gone = farewell || !entry.is_live();
        entry.reach = if gone { Reach::Gone } else { Reach::Unreachable { since: heard } };
        entry.publish();
        self.left(id);
        (!gone).then_some(Change::Unreachable)
    }

    /// The unreachable ones, for which proof of death is to be looked for.
    pub(super) fn unreachable(&self) -> Vec<Id> {
        let is = |entry: &&Entry| matches!(entry.reach, Reach::Unreachable { .. });
        self.entries.values().filter(is).map(|entry| entry.meta.id).collect()
    }

    /// The watcher of an unreachable process is known to be dead, and all that it sent is journaled. False: it is not lost, as how it
    /// ended is known by now.
    pub(super) fn bury(&mut self, id: Id) -> bool {
        let unreachable = |entry: &&mut Entry| matches!(entry.reach, Reach::Unreachable { .. });
        let Some(entry) = self.entries.get_mut(&id).filter(unreachable) else { return false };
        let live = entry.is_live();
        entry.reach = if live { Reach::Lost } else { Reach::Gone };
        entry.publish();
        live
    }

    /// Forgets a process for good: its watcher, if it was away, is told to end when it returns.
    pub(crate) fn remove(&mut self, id: Id) -> Option<Entry> {
        let entry = self.forget(id)?;
        self.removed.push_back(id);
        if self.removed.len() > REMOVED_MAX {
            self.removed.pop_front();
        }
        Some(entry)
    }

    /// Forgets a process; those who wait for it are told by the end of their channels.
    pub(super) fn forget(&mut self, id: Id) -> Option<Entry> {
        self.entries.remove(&id)
    }
}

#[cfg(test)]
mod tests;
