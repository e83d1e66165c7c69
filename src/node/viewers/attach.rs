//! The request of a viewer, from its question to the end of its view.

use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use zerovisor_core::address::Address;
use zerovisor_core::fact::State;
use zerovisor_core::wire::{Answer, AttachAsk, Failure, View, ViewerAct};

use super::lane::{ATTACH_WITHIN, Close, Lane};
use super::relay::Seat;
use super::viewer::{Next, Shown, Viewer};
use crate::node::calls::{Call, Calls};
use crate::node::client::{Stop, one};
use crate::node::session::Node;

/// A process with a terminal, and a watcher to ask about it.
pub(super) struct Terminal {
    /// What it is called.
    pub(super) shown: Shown,
    /// Where acts go.
    pub(super) orders: Calls,
    /// Its state, as the journal tells it.
    pub(super) state: tokio::sync::watch::Receiver<State>,
}

impl Terminal {
    /// The terminal of an address.
    ///
    /// # Errors
    /// There is none, or nobody to ask.
    pub(super) async fn find(node: &Node, address: Address) -> Result<Terminal, Stop> {
        let target = one(node, address).await?;
        let known = node.hub.known(target.id).await.ok_or(Stop::Gone)?;
        let (name, state) = (target.name, target.state);
        if known.meta.spec.terminal.is_none() {
            let why = "it was started without --pty; zvctl logs -f shows what it writes";
            return Err(Failure::Other(format!("'{name}' has no terminal: {why}")).into());
        }
        let now = *state.borrow();
        // Whether a run lives its watcher knows best: what it tells may be on its way to the journal yet.
        let Some(orders) = target.orders.and_then(|orders| orders.upgrade()) else {
            return Err(match now {
                State::Unreachable => Failure::Other(format!("the watcher of '{name}' cannot be reached now")),
                State::Waiting
                | State::Starting
                | State::Running
                | State::Backoff
                | State::Stopping
                | State::Stopped
                | State::Exited
                | State::Fatal
                | State::Lost => not_running(name.as_str(), now),
            }
            .into());
        };
        Ok(Terminal { shown: Shown { id: target.id, name, node: node.name.clone() }, orders, state })
    }

    /// What its watcher's refusal means.
    pub(super) fn denied(name: &str, state: State, why: String) -> Stop {
        if state.has_run() { Failure::Other(why).into() } else { not_running(name, state).into() }
    }
}

fn not_running(name: &str, state: State) -> Failure {
    let why = format!("it has no screen any more; zvctl logs {name} shows what it wrote");
    Failure::NotRunning(format!("'{name}' is {state}: {why}"))
}

/// The watcher went away; the client may try again.
pub(super) fn lost() -> Stop {
    Failure::Other("its watcher's link was lost".into()).into()
}

/// Tells the watcher that a viewer leaves, however its request ends.
struct Leaving<'a>(&'a Arc<Viewer>);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.leave();
        if self.0.acts_wait()
            && let Ok(runtime) = Handle::try_current()
        {
            // One for each seat at most: the link keeps that until the last act.
            runtime.spawn(hand_over(self.0.clone()));
        }
    }
}

/// Hands over what a viewer did before it left.
async fn hand_over(viewer: Arc<Viewer>) {
    while viewer.acts_wait()
        && let Some(orders) = viewer.orders()
        && let Ok(room) = orders.reserve().await
    {
        viewer.send_act(room);
    }
}

/// Attaches a viewer and serves it until the view is over.
///
/// # Errors
/// [`Stop`].
pub(in crate::node) async fn attach(node: &Node, ask: AttachAsk, viewer: &Arc<Viewer>) -> Result<(), Stop> {
    let Terminal { shown, orders, state } = Terminal::find(node, ask.address).await?;
    let name = shown.name.clone();
    viewer.introduce(shown);
    let leaving = Leaving(viewer);
    let act = ViewerAct::Attach { size: ask.size, read_only: ask.read_only, steal: ask.steal };
    let (reply, number) = oneshot::channel();
    let call = Call::View { seat: Seat::Viewer(viewer.clone()), act, number: reply };
    orders.send(call).await.map_err(|_| lost())?;
    // Denied by the link itself, or lost with it: the lane knows.
    match number.await {
        Ok(number) => viewer.bind(&orders, number),
        Err(_) => viewer.on(Lane::on_lost),
    }
    drop(orders);
    let over = watch(viewer).await?;
    drop(leaving);
    let state = *state.borrow();
    let last = match over {
        Close::Ended { status, what } => View::RunEnded { status, what },
        Close::Stolen => View::SentAway("another viewer took the terminal for itself (attach --steal)".into()),
        Close::Denied(why) => return Err(Terminal::denied(name.as_str(), state, why)),
        Close::Lost => return Err(lost()),
        Close::Unanswered => return Err(unanswered()),
    };
    Ok(viewer.answers().send(Answer::View(last), None).await?)
}

/// A watcher that lives and does not answer.
pub(super) fn unanswered() -> Stop {
    Failure::Other(format!("its watcher did not answer within {} s", ATTACH_WITHIN.as_secs())).into()
}

/// Does for a viewer what has to wait, until its view is over.
async fn watch(viewer: &Viewer) -> Result<Close, Stop> {
    loop {
        let Next { over, acts, answers, at } = viewer.next(Instant::now());
        if let Some(over) = over {
            return Ok(over);
        }
        let orders = viewer.orders().filter(|_| acts);
        // All are cancel-safe: room is only asked for, and what it is for stays where it is until there is some.
        tokio::select! {
            () = viewer.changed() => {}
            Some(room) = room_in(orders.as_ref()) => viewer.send_act(room),
            place = viewer.answers().place(), if answers => viewer.send_answer(place?),
            () = at_time(at) => {}
        }
    }
}

/// Room for a call; none if there is nothing to wait for.
async fn room_in(orders: Option<&Calls>) -> Option<tokio::sync::mpsc::Permit<'_, Call>> {
    orders?.reserve().await.ok()
}

async fn at_time(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
