//! The hub: the task that owns the registry. Links and the scribe tell it what happened; clients ask it.

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use zerovisor_core::address::Selection;
use zerovisor_core::fact::{Fact, State};
use zerovisor_core::id::Id;
use zerovisor_core::name::{NodeName, ProcessName};
use zerovisor_core::record::Head;
use zerovisor_core::stats::Sample;
use zerovisor_core::units::Timestamp;
use zerovisor_core::view::{Happening, ProcessRow, Story};
use zerovisor_core::wire::{Failure, Outcome, Refusal, WatcherHello};

use super::calls::{Calls, WeakCalls};
use super::registry::{Change, Registry};
use super::samples::Totals;
use super::scribe::{Scribe, Written, now_us};
use super::store::{Meta, Store};
use crate::host::Host;

/// How often proof is looked for that an unreachable watcher is dead.
const PROOF_EVERY: Duration = Duration::from_secs(1);
/// What a link needs after its hello.
#[derive(Debug)]
pub(super) struct Declared {
    /// Tells this link from others of the same watcher.
    pub generation: u64,
    /// The name the process goes by.
    pub name: ProcessName,
    /// Where the scribe publishes how far the log is written.
    pub written: watch::Sender<Written>,
}

/// One process that is meant, with what it takes to act on it and to follow it.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// Its id.
    pub id: Id,
    /// Its name.
    pub name: ProcessName,
    /// Where orders go, if its watcher has a link.
    pub orders: Option<WeakCalls>,
    /// How far its log is written.
    pub written: watch::Receiver<Written>,
    /// Its state; the channel closes when it is removed.
    pub state: watch::Receiver<State>,
    /// The short id of another, live process of the same name: this one must not become live beside it.
    pub rival: Option<String>,
}

/// What is known of a process but not in its row.
#[derive(Debug, Clone)]
pub(super) struct Known {
    /// Its row.
    pub row: ProcessRow,
    /// What was declared.
    pub meta: Meta,
    /// What its facts tell.
    pub story: Story,
    /// The status a shell would show for its last run.
    pub shell_status: Option<u8>,
    /// The latest sample of the present run.
    pub sample: Option<Sample>,
}

enum Message {
    Declare { hello: Box<WatcherHello>, local: bool, orders: Calls, reply: oneshot::Sender<Result<Declared, Refusal>> },
    Opened { id: Id, story: Box<Story> },
    Journaled { id: Id, facts: Vec<(Head, Fact)> },
    Sampled { id: Id, generation: u64, sample: Box<Sample> },
    LinkEnded { id: Id, generation: u64, farewell: bool, heard: Instant },
    Rows { select: Selection, ended: bool, reply: oneshot::Sender<Result<Vec<ProcessRow>, Failure>> },
    Targets { select: Selection, reply: oneshot::Sender<Result<Vec<Target>, Failure>> },
    Totals { reply: oneshot::Sender<Totals> },
    Known { id: Id, reply: oneshot::Sender<Option<Box<Known>>> },
    Remove { id: Id, force: bool, reply: oneshot::Sender<Outcome> },
}

/// The handle of the hub.
#[derive(Clone)]
pub(super) struct Hub {
    // Unbounded: links await each answer, facts are bounded by the credit of their watchers, and samples come at most every
    // SAMPLES_APART from each.
    messages: mpsc::UnboundedSender<Message>,
}

/// The hub's end of the channel, before its task runs.
pub(super) struct HubInbox(mpsc::UnboundedReceiver<Message>);

/// A handle and its inbox; the handle can be given away before the task runs.
pub(super) fn channel() -> (Hub, HubInbox) {
    let (messages, inbox) = mpsc::unbounded_channel();
    (Hub { messages }, HubInbox(inbox))
}

impl Hub {
    async fn ask<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Message) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.tell(message(reply));
        answer.await.ok()
    }

    fn tell(&self, message: Message) {
        // The hub ends last, with the runtime.
        let _ = self.messages.send(message);
    }

    /// A watcher says hello; `local`: over a unix socket. None: the node is ending.
    pub(super) async fn declare(
        &self,
        hello: Box<WatcherHello>,
        local: bool,
        orders: Calls,
    ) -> Option<Result<Declared, Refusal>> {
        self.ask(|reply| Message::Declare { hello, local, orders, reply }).await
    }

    /// The journal of a declared process was opened.
    pub(super) fn opened(&self, id: Id, story: Story) {
        self.tell(Message::Opened { id, story: Box::new(story) });
    }

    /// Facts are in the journal.
    pub(super) fn journaled(&self, id: Id, facts: Vec<(Head, Fact)>) {
        self.tell(Message::Journaled { id, facts });
    }

    /// A sample came over a link.
    pub(super) fn sampled(&self, id: Id, generation: u64, sample: Box<Sample>) {
        self.tell(Message::Sampled { id, generation, sample });
    }

    /// A link ended, after a goodbye or not; when it was last heard of.
    pub(super) fn link_ended(&self, id: Id, generation: u64, farewell: bool, heard: Instant) {
        self.tell(Message::LinkEnded { id, generation, farewell, heard });
    }

    /// The rows of a selection. None: the node is ending.
    pub(super) async fn rows(&self, select: Selection, ended: bool) -> Option<Result<Vec<ProcessRow>, Failure>> {
        self.ask(|reply| Message::Rows { select, ended, reply }).await
    }

    /// The processes of a selection. None: the node is ending.
    pub(super) async fn targets(&self, select: Selection) -> Option<Result<Vec<Target>, Failure>> {
        self.ask(|reply| Message::Targets { select, reply }).await
    }

    /// What all processes use together. None: the node is ending.
    pub(super) async fn totals(&self) -> Option<Totals> {
        self.ask(|reply| Message::Totals { reply }).await
    }

    /// Everything known of one process; none if it is not known.
    pub(super) async fn known(&self, id: Id) -> Option<Box<Known>> {
        self.ask(|reply| Message::Known { id, reply }).await.flatten()
    }

    /// Forgets a process whose watcher is gone, and removes its journal.
    pub(super) async fn remove(&self, id: Id, force: bool) -> Outcome {
        let ending = || Outcome::Denied("the zerovisor is ending".into());
        self.ask(|reply| Message::Remove { id, force, reply }).await.unwrap_or_else(ending)
    }
}

/// The task.
pub(super) struct HubTask {
    inbox: HubInbox,
    registry: Registry,
    node: NodeName,
    store: Store,
    scribe: Scribe,
    host: Host,
}

impl HubTask {
    /// With the processes found on disk.
    pub(super) fn new(inbox: HubInbox, node: NodeName, store: Store, scribe: Scribe, host: Host) -> HubTask {
        let mut registry = Registry::new(node.clone());
        for meta in store.processes().unwrap_or_default() {
            let restored = meta.and_then(|meta| store.read_story(meta.id).map(|story| (meta, story)));
            match restored {
                Ok((meta, story)) => registry.restore(meta, story, Instant::now()),
                Err(error) => {
                    tracing::error!(%error, "a process in the data directory cannot be read and is not shown");
                }
            }
        }
        HubTask { inbox, registry, node, store, scribe, host }
    }

    /// How many processes there are, and how many of them are live.
    pub(super) fn counts(&self) -> (usize, usize) {
        self.registry.counts()
    }

    /// Runs until every handle is gone.
    pub(super) async fn run(mut self) {
        let mut proof = tokio::time::interval(PROOF_EVERY);
        loop {
            // Both branches are cancel-safe: a message stays in its channel, a tick in its interval.
            tokio::select! {
                message = self.inbox.0.recv() => match message {
                    Some(message) => self.on_message(message),
                    None => return,
                },
                _ = proof.tick() => self.look_for_proof(),
            }
        }
    }

    fn on_message(&mut self, message: Message) {
        // Whoever asked and went away needs no answer: every reply may fail.
        match message {
            Message::Declare { hello, local, orders, reply } => {
                let _ = reply.send(self.declare(&hello, local, orders));
            }
            Message::Opened { id, story } => self.registry.opened(id, *story),
            Message::Journaled { id, facts } => {
                for (head, fact) in facts {
                    self.registry.tell(id, head.at, &fact, Instant::now(), Timestamp(now_us()));
                }
            }
            Message::Sampled { id, generation, sample } => {
                self.registry.sampled(id, generation, sample, Instant::now());
            }
            Message::LinkEnded { id, generation, farewell, heard } => self.unlink(id, generation, farewell, heard),
            Message::Rows { select, ended, reply } => {
                let rows = self.registry.rows(&select, ended, Instant::now(), Timestamp(now_us()));
                let _ = reply.send(rows);
            }
            Message::Targets { select, reply } => {
                let _ = reply.send(self.targets(&select));
            }
            Message::Totals { reply } => {
                let _ = reply.send(self.registry.totals(Instant::now()));
            }
            Message::Known { id, reply } => {
                let _ = reply.send(self.known(id).map(Box::new));
            }
            Message::Remove { id, force, reply } => self.remove(id, force, reply),
        }
    }

    fn declare(&mut self, hello: &WatcherHello, local: bool, orders: Calls) -> Result<Declared, Refusal> {
        let (generation, change) = self.registry.declare(hello, local, orders).inspect_err(|refusal| {
            tracing::debug!(id = %hello.id, name = %hello.spec.name, %refusal, "a watcher was refused");
        })?;
        let Some(entry) = self.registry.get(hello.id) else {
            return Err(Refusal::Busy("the process was removed just now".into()));
        };
        if !entry.stored
            && let Err(error) = self.store.write_meta(&entry.meta)
        {
            tracing::error!(%error, "a process cannot be taken in");
            // There will be no link behind this entry.
            match change {
                Change::Declared => drop(self.registry.forget(hello.id)),
                Change::Returned | Change::Unreachable | Change::Lost => {
                    self.unlink(hello.id, generation, false, Instant::now());
                }
            }
            return Err(Refusal::Busy(error.to_string()));
        }
        let declared = Declared { generation, name: entry.meta.name.clone(), written: entry.written.clone() };
        self.registry.stored(hello.id);
        self.note(hello.id, change);
        Ok(declared)
    }

    fn note(&self, id: Id, change: Change) {
        let name = self.registry.get(id).map(|entry| (id, entry.meta.name.clone()));
        let what = match change {
            Change::Declared => Happening::Declared,
            Change::Returned => Happening::Returned,
            Change::Unreachable => Happening::Unreachable,
            Change::Lost => Happening::Lost,
        };
        self.scribe.note(Timestamp(now_us()), name, what);
    }

    fn unlink(&mut self, id: Id, generation: u64, farewell: bool, heard: Instant) {
        let alive = self.registry.get(id).and_then(|entry| self.host.is_alive(&entry.meta.host, entry.meta.local));
        if let Some(change) = self.registry.unlink(id, generation, farewell, heard, alive) {
            self.note(id, change);
        }
        while let Some(ghost) = self.registry.forget_ghost() {
            // Whether that came off is told by the disk, if anybody.
            drop(self.scribe.remove(ghost));
        }
        // What has ended for good is not written any more: its descriptors are free for others.
        let ended = |state: State| !state.is_live();
        if self.registry.get(id).is_some_and(|entry| entry.orders().is_none() && ended(entry.shown_state())) {
            self.scribe.close(id);
        }
    }

    fn look_for_proof(&mut self) {
        for id in self.registry.unreachable() {
            let alive = self.registry.get(id).and_then(|entry| self.host.is_alive(&entry.meta.host, entry.meta.local));
            if alive == Some(false)
                && let Some(change) = self.registry.bury(id)
            {
                self.note(id, change);
                self.scribe.close(id);
            }
        }
    }

    fn targets(&self, select: &Selection) -> Result<Vec<Target>, Failure> {
        let ids = self.registry.select(select)?;
        let target = |id: &Id| {
            let entry = self.registry.get(*id)?;
            Some(Target {
                id: *id,
                name: entry.meta.name.clone(),
                orders: entry.orders().map(Calls::downgrade),
                written: entry.written.subscribe(),
                state: entry.state.subscribe(),
                rival: self.registry.rival(*id),
            })
        };
        Ok(ids.iter().filter_map(target).collect())
    }

    fn known(&self, id: Id) -> Option<Known> {
        let entry = self.registry.get(id)?;
        Some(Known {
            row: entry.row(&self.node, Instant::now(), Timestamp(now_us())),
            meta: entry.meta.clone(),
            story: entry.story.clone(),
            shell_status: entry.shell_status(),
            sample: entry.sample().cloned(),
        })
    }

    fn remove(&mut self, id: Id, force: bool, reply: oneshot::Sender<Outcome>) {
        let live = self.registry.get(id).is_some_and(|entry| entry.shown_state().is_live());
        if live && !force {
            let _ = reply.send(Outcome::Denied("it is live: stop it first, or remove it by force with -f".into()));
            return;
        }
        let Some(entry) = self.registry.remove(id) else {
            let _ = reply.send(Outcome::Already);
            return;
        };
        self.scribe.note(Timestamp(now_us()), Some((id, entry.meta.name)), Happening::Removed);
        // Asked for here and now: a watcher that declares the same process next must find the old journal gone, not have its new one go.
        let removed = self.scribe.remove(id);
        tokio::spawn(async move {
            let outcome = match removed.await {
                Ok(Ok(())) => Outcome::Done,
                Ok(Err(error)) => Outcome::Denied(error.to_string()),
                Err(_) => Outcome::Denied("the zerovisor is ending".into()),
            };
            let _ = reply.send(outcome);
        });
    }
}
