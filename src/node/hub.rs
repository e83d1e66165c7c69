//! The hub: the task that owns the registry. Links and the scribe tell it what happened; clients ask it.

mod inherit;
mod loss;
mod removal;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, oneshot, watch};
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
use super::catchup::Past;
use super::registry::{Change, Registry};
use super::removed::Removed;
use super::samples::Totals;
use super::scribe::{Scribe, Written, now_us};
use super::store::{Meta, Store};
use crate::host::Host;
use loss::Deaths;

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
    /// When it was first declared.
    pub created_at: Timestamp,
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
    Inherit { hello: Box<WatcherHello>, reply: oneshot::Sender<Result<Declared, Refusal>> },
    LookBegins { reply: oneshot::Sender<()> },
    LookEnded { waiting: HashSet<Id> },
    Undeclared { id: Id },
    Mourned { id: Id, last_seq: u64 },
    Inherited { id: Id, generation: u64, whole: bool, reply: oneshot::Sender<()> },
    Expired { id: Id },
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
    deaths: Arc<Notify>,
}

/// The hub's end of the channel, before its task runs.
pub(super) struct HubInbox {
    messages: mpsc::UnboundedReceiver<Message>,
    deaths: Arc<Notify>,
}

/// A handle and its inbox; the handle can be given away before the task runs.
pub(super) fn channel() -> (Hub, HubInbox) {
    let (messages, inbox) = mpsc::unbounded_channel();
    let deaths = Arc::new(Notify::new());
    (Hub { messages, deaths: Arc::clone(&deaths) }, HubInbox { messages: inbox, deaths })
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

    /// A watcher left what it would have said and sent: as [`Hub::declare`], without a link. None: the node is ending.
    ///
    /// # Errors
    /// [`Refusal::Busy`] while a link of the same watcher has not ended, and as for a watcher.
    pub(super) async fn inherit(&self, hello: Box<WatcherHello>) -> Option<Result<Declared, Refusal>> {
        self.ask(|reply| Message::Inherit { hello, reply }).await
    }

    /// What was inherited is in the journal, as a whole or for now; its watcher is dead, since its lock could be had. Answered once that it
    /// is LOST, if so, would outlive us: what was inherited may go then. None: the node is ending.
    pub(super) async fn inherited(&self, id: Id, generation: u64, whole: bool) -> Option<()> {
        self.ask(|reply| Message::Inherited { id, generation, whole, reply }).await
    }

    /// Of a process whose watcher is dead all that it sent is written, up to this record.
    pub(super) fn mourned(&self, id: Id, last_seq: u64) {
        self.tell(Message::Mourned { id, last_seq });
    }

    /// Waits until a watcher is found dead: what it has left tells more of its end than its link did. Cancel-safe: a death stays noted.
    pub(super) async fn death(&self) {
        self.deaths.notified().await;
    }

    /// What watchers have left is to be looked for. Answered once it is known whose death that look is for: of one that is found later it
    /// may have passed the place. None: the node is ending.
    pub(super) async fn look_begins(&self) -> Option<()> {
        self.ask(|reply| Message::LookBegins { reply }).await
    }

    /// All that was there was inherited, but for what these have left, which the journal does not take yet.
    pub(super) fn look_ended(&self, waiting: HashSet<Id>) {
        self.tell(Message::LookEnded { waiting });
    }

    /// What was declared of a process cannot be written: there will be no link behind it.
    pub(super) fn undeclared(&self, id: Id) {
        self.tell(Message::Undeclared { id });
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

    /// Retention has come to the last of a process that is not written: forgets it, unless it is live or its watcher is here.
    pub(super) fn expired(&self, id: Id) {
        self.tell(Message::Expired { id });
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
    scribe: Scribe,
    host: Host,
    removed: Removed,
    deaths: Deaths,
}

impl HubTask {
    /// With the processes found on disk.
    pub(super) fn new(inbox: HubInbox, node: NodeName, store: &Store, scribe: Scribe, known: Vec<Past>) -> HubTask {
        let host = Host::here();
        let mut registry = Registry::new(node.clone());
        for past in known {
            let lost = store.is_lost(past.meta.id);
            registry.restore(past, lost, Instant::now());
        }
        let (removed, ids) = Removed::load(store.root());
        registry.restore_removed(ids);
        HubTask { inbox, registry, node, scribe, host, removed, deaths: Deaths::default() }
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
                message = self.inbox.messages.recv() => match message {
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
            Message::Inherit { hello, reply } => {
                let _ = reply.send(self.inherit(&hello));
            }
            Message::LookBegins { reply } => {
                self.deaths.look_begins();
                let _ = reply.send(());
            }
            Message::LookEnded { waiting } => self.look_ended(&waiting),
            Message::Mourned { id, last_seq } => self.mourned(id, last_seq),
            Message::Inherited { id, generation, whole, reply } => self.inherited(id, generation, whole, reply),
            Message::Undeclared { id } => self.registry.forget_unwritten(id),
            Message::Expired { id } => self.expire(id),
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
        let (declared, change) = self.enter(hello, local, orders).inspect_err(|refusal| {
            tracing::debug!(id = %hello.id, name = %hello.spec.name, %refusal, "a watcher was refused");
        })?;
        self.note(hello.id, change);
        Ok(declared)
    }

    /// Its entry with this link. Its declaration goes to the scribe from here and now: behind a removal that came before, before one that
    /// comes next.
    fn enter(&mut self, hello: &WatcherHello, local: bool, orders: Calls) -> Result<(Declared, Change), Refusal> {
        let (generation, change) = self.registry.declare(hello, local, orders)?;
        let Some(entry) = self.registry.get(hello.id) else {
            return Err(Refusal::Busy("the process was removed just now".into()));
        };
        self.scribe.declare(entry.meta.clone(), (change == Change::Declared).then(|| Timestamp(now_us())));
        let declared = Declared { generation, name: entry.meta.name.clone(), written: entry.written.clone() };
        Ok((declared, change))
    }

    fn note(&self, id: Id, change: Change) {
        let what = match change {
            // Told by the scribe, once it is written.
            Change::Declared => return,
            Change::Returned => Happening::Returned,
            Change::Unreachable => Happening::Unreachable,
        };
        self.note_of(id, what);
    }

    fn note_of(&self, id: Id, what: Happening) {
        let name = self.registry.get(id).map(|entry| (id, entry.meta.name.clone()));
        self.scribe.note(Timestamp(now_us()), name, what);
    }

    fn targets(&self, select: &Selection) -> Result<Vec<Target>, Failure> {
        let ids = self.registry.select(select)?;
        let target = |id: &Id| {
            let entry = self.registry.get(*id)?;
            Some(Target {
                id: *id,
                name: entry.meta.name.clone(),
                created_at: entry.meta.created_at,
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
}
