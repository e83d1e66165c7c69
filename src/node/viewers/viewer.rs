//! One viewer: what both links and its request's task share of it. All that is done here is done at once; nothing waits.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::sync::{Notify, mpsc};
use zerovisor_core::id::Id;
use zerovisor_core::name::{NodeName, ProcessName};
use zerovisor_core::size::Size;
use zerovisor_core::wire::{
    Answer, AttachAsk, PICTURE_PART_BYTES, STREAM_WINDOW_BYTES, TYPED_WINDOW_BYTES, View, ViewerAct,
};

use super::lane::{Close, Due, Lane, Part};
use crate::node::calls::{Call, Calls, WeakCalls};
use crate::node::client::{Answers, Place};

/// A client has taken what it was sent when no more than this is ungranted, in bytes: clients may grant in lumps of a part.
const UNTAKEN_BYTES: u64 = PICTURE_PART_BYTES as u64;

/// Sizes of one viewer follow each other by so much at least: each may become a fact in the journal. Of those in between the latest wins.
const SIZES_APART: Duration = Duration::from_millis(200);

/// A client that types without regard to its window, or without the right to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::node) enum TypingViolation {
    /// It does not wait.
    #[error("a viewer typed beyond its window of {TYPED_WINDOW_BYTES} bytes")]
    Bytes,
    /// It said that it never would.
    #[error("a read-only viewer typed")]
    ReadOnly,
}

/// Whose terminal it is.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub(super) id: Id,
    pub(super) name: ProcessName,
    pub(super) node: NodeName,
}

/// What the request's task is to do next.
#[derive(Debug)]
pub(super) struct Next {
    /// The view is over.
    pub(super) over: Option<Close>,
    /// Acts wait for room in the calls of the watcher's link.
    pub(super) acts: bool,
    /// Answers wait for room in the queue of the client's link.
    pub(super) answers: bool,
    /// When to look again, if nothing else happens.
    pub(super) at: Option<Instant>,
}

/// A viewer.
#[derive(Debug)]
pub(in crate::node) struct Viewer {
    answers: Answers,
    read_only: bool,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    lane: Lane,
    shown: Option<Shown>,
    /// The calls of the watcher's link, weakly: their end says that the link is to end. And the number there.
    link: Option<(WeakCalls, u64)>,
    /// Acts for which there was no room yet, in order: at most [`TYPED_WINDOW_BYTES`] of typed bytes, in few pieces, and one size.
    acts: VecDeque<(ViewerAct, BytesMut)>,
    /// A size whose time has not come.
    size: Option<Size>,
    sized_at: Option<Instant>,
    typed_bytes: u64,
    took_bytes: u64,
    crowded: bool,
    left: bool,
}

impl State {
    fn acts_wait(&self) -> bool {
        !self.acts.is_empty() && self.link.is_some()
    }
}

impl Viewer {
    /// Of a request to attach, before anybody knows whether it can be.
    pub(in crate::node) fn new(ask: &AttachAsk, answers: Answers) -> Arc<Viewer> {
        let state = State {
            lane: Lane::new(ask.size, Instant::now()),
            shown: None,
            link: None,
            acts: VecDeque::new(),
            size: None,
            sized_at: None,
            typed_bytes: 0,
            took_bytes: 0,
            crowded: false,
            left: false,
        };
        let (state, changed) = (Mutex::new(state), Notify::new());
        Arc::new(Viewer { answers, read_only: ask.read_only, state, changed })
    }

    // --- from the client's link

    /// The client typed.
    ///
    /// # Errors
    /// It must not, or not yet.
    pub(in crate::node) fn typed(&self, payload: &[u8]) -> Result<(), TypingViolation> {
        if self.read_only {
            return Err(TypingViolation::ReadOnly);
        }
        let mut state = self.state();
        state.typed_bytes = state.typed_bytes.saturating_add(payload.len() as u64);
        if state.typed_bytes.saturating_sub(state.took_bytes) > TYPED_WINDOW_BYTES {
            return Err(TypingViolation::Bytes);
        }
        if !payload.is_empty() {
            self.act(&mut state, ViewerAct::Type, payload);
        }
        Ok(())
    }

    /// The client's terminal has another size, or is to be drawn anew.
    pub(in crate::node) fn resized(&self, size: Size) {
        let mut state = self.state();
        state.size = Some(size);
        if self.take_size(&mut state, Instant::now()).is_some() {
            self.changed.notify_one();
        }
        self.move_on_and_call(&mut state);
    }

    /// The client can take more.
    pub(in crate::node) fn granted(&self) {
        let mut state = self.state();
        self.move_on_and_call(&mut state);
        if state.lane.waits_for_client() {
            self.changed.notify_one();
        }
    }

    // --- from the watcher's link

    /// Something happened to it; what can be sent on is, at once.
    pub(super) fn on(&self, happened: impl FnOnce(&mut Lane, Instant)) {
        let mut state = self.state();
        happened(&mut state.lane, Instant::now());
        self.move_on_and_call(&mut state);
    }

    /// The program's terminal has taken so many of the bytes typed.
    pub(super) fn took(&self, bytes: u64) {
        let mut state = self.state();
        // Never more than was typed: a watcher that says so opens no window.
        state.took_bytes = bytes.clamp(state.took_bytes, state.typed_bytes);
        let took = state.took_bytes;
        state.lane.on_took(took);
        self.move_on_and_call(&mut state);
    }

    /// Whether the watcher has let go of it.
    pub(super) fn is_dismissed(&self) -> bool {
        self.state().lane.is_dismissed()
    }

    /// Whether nobody looks any more, and nobody will say so.
    pub(super) fn has_left(&self) -> bool {
        let state = self.state();
        state.left && (state.acts.is_empty() || state.link.is_none())
    }

    // --- from the task of its request

    /// It is known whose terminal it is.
    pub(super) fn introduce(&self, shown: Shown) {
        self.state().shown = Some(shown);
    }

    /// The watcher's link knows it by a number from now on.
    pub(super) fn bind(&self, orders: &Calls, number: u64) {
        self.state().link = Some((orders.downgrade(), number));
    }

    /// What to do next; asks for a picture if one is due.
    pub(super) fn next(&self, now: Instant) -> Next {
        let mut state = self.state();
        let taken = self.answers.credit_bytes().saturating_add(UNTAKEN_BYTES) >= STREAM_WINDOW_BYTES;
        let mut at = self.take_size(&mut state, now);
        let sooner = |at: Option<Instant>, when| Some(at.map_or(when, |at| at.min(when)));
        match state.lane.ask_due(now, taken) {
            Due::Now => {
                state.lane.on_asked(now);
                self.act(&mut state, ViewerAct::Picture, &[]);
            }
            Due::At(when) => at = sooner(at, when),
            Due::No => {}
        }
        let over = match state.lane.close_due(now) {
            Due::Now => state.lane.closed().cloned(),
            Due::At(when) => {
                at = sooner(at, when);
                None
            }
            Due::No => None,
        };
        if over.is_none() {
            self.move_on(&mut state, None);
        }
        Next { over, acts: state.acts_wait(), answers: state.crowded, at }
    }

    /// Resolves when there is something to do. Cancel-safe: what is missed now is told by the next call.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Where acts go: the calls of the watcher's link; none if it is gone.
    pub(super) fn orders(&self) -> Option<Calls> {
        self.state().link.as_ref().and_then(|(calls, _)| calls.upgrade())
    }

    /// There is room for an act.
    pub(super) fn send_act(&self, room: mpsc::Permit<'_, Call>) {
        let mut state = self.state();
        if let Some(number) = state.link.as_ref().map(|(_, number)| *number)
            && let Some((act, payload)) = state.acts.pop_front()
        {
            room.send(call(number, act, payload.freeze()));
        }
    }

    /// There is a place in the client's queue.
    pub(super) fn send_answer(&self, place: Place<'_>) {
        let mut state = self.state();
        self.move_on(&mut state, Some(place));
    }

    /// Where more places come from.
    pub(super) fn answers(&self) -> &Answers {
        &self.answers
    }

    /// The request is over: the watcher is told now, or by whoever hands over the [acts that wait](Self::acts_wait), or when its link
    /// next looks who is still there. What was typed before goes first.
    pub(super) fn leave(&self) {
        let mut state = self.state();
        state.acts.retain(|(act, _)| *act == ViewerAct::Type);
        self.act(&mut state, ViewerAct::Detach, &[]);
        state.left = true;
    }

    /// Whether acts wait for room in the calls of the watcher's link.
    pub(super) fn acts_wait(&self) -> bool {
        self.state().acts_wait()
    }

    // --- how

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends an act on, or lets it wait behind those that do.
    fn act(&self, state: &mut State, act: ViewerAct, payload: &[u8]) {
        if state.acts.is_empty()
            && let Some((calls, number)) = &state.link
            && let Some(calls) = calls.upgrade()
            && let Ok(room) = calls.try_reserve()
        {
            room.send(call(*number, act, Bytes::copy_from_slice(payload)));
            return;
        }
        let sized = state.acts.iter_mut().find(|(act, _)| matches!(act, ViewerAct::Resize(_)));
        match (act, sized) {
            (ViewerAct::Resize(_), Some((waiting, _))) => *waiting = act,
            (act, _) => match (act, state.acts.back_mut()) {
                (ViewerAct::Type, Some((ViewerAct::Type, typed))) => typed.extend_from_slice(payload),
                (act, _) => state.acts.push_back((act, BytesMut::from(payload))),
            },
        }
        self.changed.notify_one();
    }

    /// The viewer gets the size it wants, if there is one; when its time comes, if it has not.
    fn take_size(&self, state: &mut State, now: Instant) -> Option<Instant> {
        let size = state.size?;
        let at = state.sized_at.map(|last| last + SIZES_APART).filter(|at| now < *at);
        if at.is_none() {
            (state.size, state.sized_at) = (None, Some(now));
            // Together: the watcher draws for the size that the lane believes it does.
            state.lane.on_own_sized(size);
            self.act(state, ViewerAct::Resize(size), &[]);
        }
        at
    }

    /// Sends what the client can take, and calls the request's task if there is something for it to do.
    fn move_on_and_call(&self, state: &mut State) {
        self.move_on(state, None);
        if state.lane.take_call() || state.crowded || state.lane.closed().is_some() {
            self.changed.notify_one();
        }
    }

    /// Sends what the client can take.
    fn move_on(&self, state: &mut State, mut place: Option<Place<'_>>) {
        state.crowded = false;
        while !state.left
            && let Some(cost) = state.lane.next_cost()
        {
            let Some(here) = place.take().or_else(|| self.answers.try_place()) else {
                state.crowded = true;
                break;
            };
            if !self.answers.try_pay(cost) {
                break;
            }
            let part = state.lane.next_part();
            if let Some((view, payload)) = part.and_then(|part| view(part, state.shown.as_ref())) {
                here.send(Answer::View(view), payload);
            }
        }
    }
}

fn call(viewer: u64, act: ViewerAct, payload: Bytes) -> Call {
    Call::Act { viewer, act, payload: Some(payload).filter(|payload| !payload.is_empty()) }
}

fn view(part: Part, shown: Option<&Shown>) -> Option<(View, Option<Bytes>)> {
    Some(match part {
        Part::Attached(run) => {
            let Shown { id, name, node } = shown?.clone();
            (View::Attached { id, name, node, run }, None)
        }
        Part::Took(bytes) => (View::Took { bytes }, None),
        Part::Picture { size, skipped_bytes, last, payload } => {
            (View::Picture { size, skipped_bytes, last }, Some(payload))
        }
        Part::Output(payload) => (View::Terminal, Some(payload)),
    })
}
