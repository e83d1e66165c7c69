//! Watchers that are gone and left what they would have said and sent.

use std::time::Instant;

use tokio::sync::{mpsc, oneshot};
use zerovisor_core::fact::State;
use zerovisor_core::id::Id;
use zerovisor_core::wire::{Refusal, WatcherHello};

use super::{Declared, HubTask};
use crate::node::registry::Entry;

impl HubTask {
    /// As a hello, of a watcher that is gone.
    pub(super) fn inherit(&mut self, hello: &WatcherHello) -> Result<Declared, Refusal> {
        if self.registry.get(hello.id).and_then(Entry::orders).is_some() {
            return Err(Refusal::Busy("its watcher's link has not ended".into()));
        }
        // Nobody takes orders.
        let (orders, _) = mpsc::channel(1);
        // How it ended is told by its records, once they are journaled.
        let hello = &WatcherHello { state: State::Starting, ..hello.clone() };
        // What changed is not told: its watcher is not back.
        let (declared, _) = self.enter(hello, true, orders)?;
        Ok(declared)
    }

    /// All of it is in the journal, or for now no more. Answered once that it is LOST, if so, is on record.
    pub(super) fn inherited(&mut self, id: Id, generation: u64, whole: bool, reply: oneshot::Sender<()>) {
        let live = self.registry.unlink(id, generation, false, Instant::now()).is_some();
        // One that is tried again and again is LOST once it is whole.
        if live && whole {
            self.deaths.answer_when_buried(id, reply);
            self.bury_behind(id);
        } else {
            // It may have gone meanwhile.
            let _ = reply.send(());
        }
        self.close_if_ended(id);
    }
}
