//! Processes that were declared and never told or wrote anything, and whose watchers have gone: nothing is lost with them.

use zerovisor_core::id::Id;
use zerovisor_core::view::Story;

use super::{Entry, Reach, Registry};

/// The most that are kept; beyond it the one that was left first is forgotten, its directory included unless that holds anything. A watcher
/// that comes back declares its process again.
pub(in crate::node) const GHOSTS_MAX: usize = 1024;

impl Registry {
    /// One whose watcher has gone, or that was found on disk; perhaps it never wrote.
    pub(super) fn left(&mut self, id: Id) {
        // A watcher that is refused again and again leaves again and again.
        if self.entries.get(&id).is_some_and(is_ghost) && self.queued.insert(id) {
            self.ghosts.push_back(id);
        }
    }

    /// Forgets one that cannot be written, unless something was before.
    pub(in crate::node) fn forget_unwritten(&mut self, id: Id) {
        if self.entries.get(&id).is_some_and(is_unwritten) {
            self.forget(id);
        }
    }

    /// Forgets one that is too many. None: there are not too many.
    pub(in crate::node) fn forget_ghost(&mut self) -> Option<Id> {
        while self.ghosts.len() > GHOSTS_MAX {
            let id = self.ghosts.pop_front()?;
            self.queued.remove(&id);
            if self.entries.get(&id).is_some_and(is_ghost) {
                self.forget(id);
                return Some(id);
            }
        }
        None
    }
}

fn is_ghost(entry: &Entry) -> bool {
    !matches!(entry.reach, Reach::Linked { .. }) && is_unwritten(entry)
}

fn is_unwritten(entry: &Entry) -> bool {
    !entry.has_past && entry.written.borrow().seq == 0 && entry.story == Story::default()
}
