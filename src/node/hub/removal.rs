//! Processes that go: removed by somebody, or expired.

use tokio::sync::oneshot;
use zerovisor_core::id::Id;
use zerovisor_core::units::Timestamp;
use zerovisor_core::view::Happening;
use zerovisor_core::wire::Outcome;

use super::HubTask;
use crate::node::registry::Entry;
use crate::node::scribe::now_us;

impl HubTask {
    /// Forgets a process and has its journal removed; the outcome is told once that is done.
    pub(super) fn remove(&mut self, id: Id, force: bool, reply: oneshot::Sender<Outcome>) {
        let live = self.registry.get(id).is_some_and(|entry| entry.shown_state().is_live());
        if live && !force {
            let _ = reply.send(Outcome::Denied("it is live: stop it first, or remove it by force with -f".into()));
            return;
        }
        let Some(entry) = self.registry.remove(id) else {
            let _ = reply.send(Outcome::Already);
            return;
        };
        self.removed.add(id);
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

    /// Forgets a process and its journal, unless it is live or its watcher is here. Nobody asked for that: a watcher that was away brings
    /// it back, and so does what a watcher left on disk.
    pub(super) fn expire(&mut self, id: Id) {
        let stays = |entry: &Entry| entry.orders().is_some() || entry.shown_state().is_live();
        if self.registry.get(id).is_some_and(stays) {
            self.scribe.keep_live(id);
            return;
        }
        let Some(entry) = self.registry.forget(id) else { return };
        self.scribe.note(Timestamp(now_us()), Some((id, entry.meta.name)), Happening::Removed);
        // What is left of it if that fails is found by the next start, and expires again.
        drop(self.scribe.remove(id));
    }
}
