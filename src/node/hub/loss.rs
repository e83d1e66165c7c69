//! Links that end, and watchers that are found dead.
//!
//! ```text
//!          mourn            look begins           look over             all it sent is written
//!   live --------> found ---------------> sought -----------> waited for ----------------------> LOST, or how it ended
//!                    ^                      |
//!                    +--- not taken yet ----+
//! ```
//! What a watcher left on disk is taken in before its process is called LOST, since it may tell how that ended, and tells where the
//! unknown begins.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use zerovisor_core::fact::State;
use zerovisor_core::id::Id;
use zerovisor_core::view::Happening;

use super::HubTask;

/// So long at most it is waited for a look at what watchers left: a disk that hangs may hold it for ever.
const LOOK_WITHIN: Duration = Duration::from_secs(10);

/// Whose watchers are dead, on the way to being LOST. At most one entry a process.
#[derive(Debug, Default)]
pub(super) struct Deaths {
    /// What they left is to be looked for; when they were found.
    found: HashMap<Id, Instant>,
    /// It is being looked for.
    sought: HashMap<Id, Instant>,
    /// What they sent may still be on its way to the journal.
    waited_for: HashSet<Id>,
    /// Who is to hear of the end of that wait: whoever takes in what a watcher left, one at a time.
    heirs: HashMap<Id, oneshot::Sender<()>>,
}

impl Deaths {
    /// Whoever was found dead by now is looked for.
    pub(super) fn look_begins(&mut self) {
        self.sought.extend(self.found.drain());
    }

    /// Somebody is to hear when all that this one sent is written.
    pub(super) fn answer_when_buried(&mut self, id: Id, heir: oneshot::Sender<()>) {
        self.heirs.insert(id, heir);
    }

    /// All that it sent is written, and what follows from that done.
    fn buried(&mut self, id: Id) {
        self.waited_for.remove(&id);
        if let Some(heir) = self.heirs.remove(&id) {
            // It may have gone meanwhile.
            let _ = heir.send(());
        }
    }

    /// A watcher is dead. False: that is known.
    fn find(&mut self, id: Id) -> bool {
        let known = self.waited_for.contains(&id) || self.sought.contains_key(&id) || self.found.contains_key(&id);
        !known && self.found.insert(id, Instant::now()).is_none()
    }

    /// The look is over; these have left what cannot be taken yet. Returns the others.
    fn look_ended(&mut self, waiting: &HashSet<Id>) -> Vec<Id> {
        let (again, over): (Vec<Id>, Vec<Id>) =
            self.sought.drain().map(|(id, _)| id).partition(|id| waiting.contains(id));
        self.found.extend(again.into_iter().map(|id| (id, Instant::now())));
        over
    }

    /// Whose look takes too long.
    fn overdue(&self) -> Vec<Id> {
        let late = |(_, at): &(&Id, &Instant)| at.elapsed() >= LOOK_WITHIN;
        self.found.iter().chain(&self.sought).filter(late).map(|(id, _)| *id).collect()
    }
}

impl HubTask {
    /// A link ended.
    pub(super) fn unlink(&mut self, id: Id, generation: u64, farewell: bool, heard: Instant) {
        let alive = self.registry.get(id).and_then(|entry| self.host.is_alive(&entry.meta.host, entry.meta.local));
        // One that is dead is not LOST before all it sent is written: that may tell how it ended.
        match self.registry.unlink(id, generation, farewell, heard) {
            Some(_) if alive == Some(false) => self.mourn(id),
            Some(change) => self.note(id, change),
            None => {}
        }
        while let Some(ghost) = self.registry.forget_ghost() {
            self.scribe.remove_empty(ghost);
        }
        self.close_if_ended(id);
    }

    /// A watcher is dead: what it left is looked for at once.
    fn mourn(&mut self, id: Id) {
        if self.deaths.find(id) {
            self.inbox.deaths.notify_one();
        }
    }

    /// What watchers left is in the journal, but for what these left.
    pub(super) fn look_ended(&mut self, waiting: &HashSet<Id>) {
        self.deaths.look_ended(waiting).into_iter().for_each(|id| self.bury_behind(id));
    }

    /// A watcher is dead and has left nothing more: waits for the end of what it sent.
    pub(super) fn bury_behind(&mut self, id: Id) {
        self.deaths.found.remove(&id);
        self.deaths.sought.remove(&id);
        if self.deaths.waited_for.insert(id) {
            self.scribe.mourn(id);
        }
    }

    /// All that it sent is written.
    pub(super) fn mourned(&mut self, id: Id, last_seq: u64) {
        if self.registry.bury(id) {
            self.note_of(id, Happening::LostAfter { seq: last_seq });
            self.scribe.mark_lost(id);
        }
        self.deaths.buried(id);
        self.close_if_ended(id);
    }

    pub(super) fn close_if_ended(&self, id: Id) {
        // What has ended for good is not written any more: its descriptors are free for others.
        let ended = |state: State| !state.is_live();
        if self.registry.get(id).is_some_and(|entry| entry.orders().is_none() && ended(entry.shown_state())) {
            self.scribe.close(id);
        }
    }

    /// Which of the unreachable watchers are dead.
    pub(super) fn look_for_proof(&mut self) {
        for id in self.registry.unreachable() {
            let alive = self.registry.get(id).and_then(|entry| self.host.is_alive(&entry.meta.host, entry.meta.local));
            if alive == Some(false) {
                self.mourn(id);
            }
        }
        self.deaths.overdue().into_iter().for_each(|id| self.bury_behind(id));
    }
}
