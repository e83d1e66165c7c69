//! Links that end, and watchers that are found dead.

use std::time::Instant;

use zerovisor_core::fact::State;
use zerovisor_core::id::Id;
use zerovisor_core::view::Happening;

use super::HubTask;

impl HubTask {
    /// A link ended.
    pub(super) fn unlink(&mut self, id: Id, generation: u64, farewell: bool, heard: Instant) {
        let alive = self.registry.get(id).and_then(|entry| self.host.is_alive(&entry.meta.host, entry.meta.local));
        // One that is dead is not LOST before all it sent is written, and all it left: that may tell how it ended.
        match self.registry.unlink(id, generation, farewell, heard) {
            Some(_) if alive == Some(false) && !self.has_left(id) => self.mourn(id),
            Some(change) => self.note(id, change),
            None => {}
        }
        while let Some(ghost) = self.registry.forget_ghost() {
            // Whether that came off is told by the disk, if anybody.
            drop(self.scribe.remove(ghost));
        }
        self.close_if_ended(id);
    }

    /// A watcher is dead: waits for the end of what it sent.
    pub(super) fn mourn(&mut self, id: Id) {
        if self.dying.insert(id) {
            self.scribe.mourn(id);
        }
    }

    /// All that it sent is written.
    pub(super) fn mourned(&mut self, id: Id, last_seq: u64) {
        self.dying.remove(&id);
        if self.registry.bury(id) {
            self.note_of(id, Happening::LostAfter { seq: last_seq });
        }
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
            if alive == Some(false) && !self.has_left(id) {
                self.mourn(id);
            }
        }
    }

    /// Whether the watcher of this process, which is dead, has left something that will be taken in.
    fn has_left(&self, id: Id) -> bool {
        !self.not_inherited.contains(&id) && self.places.iter().any(|place| place.dir().join(id.to_string()).exists())
    }
}
