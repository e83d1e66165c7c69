//! What the thread is told: one place for each process, however often it is told of it, and a bounded queue of events.

use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use zerovisor_core::id::Id;
use zerovisor_core::name::ProcessName;
use zerovisor_core::view::Event;

use super::process::Ending;
use crate::journal::LogReader;

/// Events that wait to be written, at most; further ones are counted and left out.
const EVENTS_MAX: usize = 4096;

/// What was told of one process since the thread looked.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// What was known before belongs to a journal that was removed since.
    pub(super) anew: bool,
    /// A reader of its log.
    pub(super) opened: Option<(ProcessName, LogReader)>,
    /// What is to happen at the end of its log; none: as before.
    pub(super) ending: Option<Ending>,
}

/// Everything told since the thread looked.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Of processes.
    pub(super) told: HashMap<Id, Told>,
    /// Of the node.
    pub(super) events: VecDeque<Event>,
    /// Events that found no place.
    pub(super) left_out: u64,
}

#[derive(Debug, Default)]
struct State {
    news: News,
    stop: bool,
    /// The thread waits on the condition; told once, it need not be told again.
    asleep: bool,
    /// The thread is gone.
    ended: bool,
}

/// Between the scribe and the thread. Its lock is held for some instructions at a time.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    changed: Condvar,
}

impl Inbox {
    /// Every change is whole before the lock is let go, so a poisoned one is sound.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        if state.ended {
            return;
        }
        change(&mut state);
        let wake = std::mem::take(&mut state.asleep);
        drop(state);
        if wake {
            self.changed.notify_one();
        }
    }

    fn tell_of(&self, id: Id, change: impl FnOnce(&mut Told)) {
        self.tell(|state| change(state.news.told.entry(id).or_default()));
    }

    pub(super) fn opened(&self, id: Id, name: ProcessName, reader: LogReader) {
        self.tell_of(id, |told| {
            told.anew |= told.ending == Some(Ending::Removed);
            told.opened = Some((name, reader));
            told.ending = Some(Ending::Open);
        });
    }

    pub(super) fn written(&self, id: Id) {
        self.tell_of(id, |_| ());
    }

    pub(super) fn closed(&self, id: Id) {
        self.tell_of(id, |told| {
            if told.ending != Some(Ending::Removed) {
                told.ending = Some(Ending::Closed);
            }
        });
    }

    pub(super) fn removed(&self, id: Id) {
        self.tell_of(id, |told| told.ending = Some(Ending::Removed));
    }

    pub(super) fn event(&self, event: Event) {
        self.tell(|state| {
            if state.news.events.len() < EVENTS_MAX {
                state.news.events.push_back(event);
            } else {
                state.news.left_out += 1;
            }
        });
    }

    pub(super) fn stop(&self) {
        self.tell(|state| state.stop = true);
    }

    /// Nobody will look any more.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        let rest = std::mem::take(&mut state.news);
        drop(state);
        // Readers close files: not under the lock.
        drop(rest);
    }

    /// Takes what there is; waits up to `patience` for something. The second is true once told to stop.
    pub(super) fn wait(&self, patience: Duration) -> (News, bool) {
        let mut state = self.lock();
        if state.news.is_empty() && !state.stop && !patience.is_zero() {
            state = self.sleep(state, patience, |state| state.news.is_empty() && !state.stop);
        }
        (std::mem::take(&mut state.news), state.stop)
    }

    /// Waits for `patience`, or to be told to stop; true then. News wait too.
    pub(super) fn wait_for_stop(&self, patience: Duration) -> bool {
        let state = self.lock();
        self.sleep(state, patience, |state| !state.stop).stop
    }

    fn sleep<'s>(
        &'s self,
        mut state: MutexGuard<'s, State>,
        patience: Duration,
        idle: impl Fn(&State) -> bool,
    ) -> MutexGuard<'s, State> {
        let waited = |state: &mut State| {
            state.asleep = idle(state);
            state.asleep
        };
        state.asleep = true;
        let woken = self.changed.wait_timeout_while(state, patience, waited);
        let (mut state, _) = woken.unwrap_or_else(PoisonError::into_inner);
        state.asleep = false;
        state
    }
}

impl News {
    fn is_empty(&self) -> bool {
        self.told.is_empty() && self.events.is_empty() && self.left_out == 0
    }
}
