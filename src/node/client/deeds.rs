//! What a client can have done to processes, and wait for.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use zerovisor_core::address::Selection;
use zerovisor_core::fact::State;
use zerovisor_core::wire::{Answer, Deed, Failure, Outcome, Until};

use super::answers::{Answers, Stop};
use super::chosen::chosen;
use crate::node::calls::{Call, OrderCall, WeakCalls};
use crate::node::hub::Target;
use crate::node::session::Node;

/// How long an order may take to be obeyed when the client names no time.
const ORDER_WITHIN: Duration = Duration::from_secs(30);
/// How often it is looked whether the watcher of a removed process has left.
const LEFT_LOOK: Duration = Duration::from_millis(10);

/// Has a deed done to each process of a selection.
///
/// # Errors
/// [`Stop`].
pub(super) async fn act(
    node: &Node,
    select: Selection,
    deed: &Deed,
    payload: Option<&Bytes>,
    answers: &Answers,
) -> Result<(), Stop> {
    for target in chosen(node, select).await? {
        let outcome = match (deed, &target.orders) {
            (Deed::Remove { force }, _) => remove(node, &target, *force).await,
            (Deed::Start { .. } | Deed::Restart, Some(_)) if target.rival.is_some() => {
                let holder = target.rival.clone().unwrap_or_default();
                Outcome::Denied(format!("the live process {holder} has its name by now: stop that one first"))
            }
            (_, Some(_)) => order(&target, deed.clone(), payload.cloned()).await,
            (_, None) => without_watcher(&target, deed),
        };
        answers.send(Answer::Done { id: target.id, name: target.name, outcome }, None).await?;
    }
    Ok(())
}

fn without_watcher(target: &Target, deed: &Deed) -> Outcome {
    let state = *target.state.borrow();
    match (state, deed) {
        (State::Unreachable, _) => Outcome::Denied("its watcher cannot be reached".into()),
        (_, Deed::Stop { .. }) => Outcome::Already,
        (_, Deed::Start { .. } | Deed::Restart) => {
            Outcome::NotRunning(format!("it is {state} and has no watcher any more"))
        }
        (_, Deed::Signal(_) | Deed::Input { .. } | Deed::Keys { .. } | Deed::Remove { .. }) => {
            Outcome::NotRunning(format!("it is {state}"))
        }
    }
}

/// Hands a deed to the watcher and waits for the outcome.
async fn order(target: &Target, deed: Deed, payload: Option<Bytes>) -> Outcome {
    let Some(orders) = target.orders.as_ref().and_then(WeakCalls::upgrade) else {
        return Outcome::Denied("its watcher has just gone".into());
    };
    let (reply, outcome) = oneshot::channel();
    let obeyed = async move {
        if orders.send(Call::Order(OrderCall { deed, payload, reply })).await.is_err() {
            return Outcome::Denied("its watcher has just gone".into());
        }
        drop(orders);
        outcome.await.unwrap_or_else(|_| Outcome::Denied("its watcher went before it answered".into()))
    };
    match tokio::time::timeout(ORDER_WITHIN, obeyed).await {
        Ok(outcome) => outcome,
        Err(_) => Outcome::Denied(format!("its watcher did not answer within {} s", ORDER_WITHIN.as_secs())),
    }
}

/// First the watcher, if there is one, which ends its run and leaves; then the journal.
async fn remove(node: &Node, target: &Target, force: bool) -> Outcome {
    if let Some(orders) = &target.orders {
        let outcome = order(target, Deed::Remove { force }, None).await;
        if let Outcome::Denied(_) = outcome {
            return outcome;
        }
        // The watcher ends its run, hands over the last records and says goodbye: only then is its journal nobody's.
        if tokio::time::timeout(ORDER_WITHIN, left(orders)).await.is_err() {
            return Outcome::Denied(format!("its watcher did not leave within {} s", ORDER_WITHIN.as_secs()));
        }
    }
    node.hub.remove(target.id, force).await
}

/// Resolves once the link of these calls has ended. Looked at, and not waited for at the channel: that would keep the link alive.
async fn left(orders: &WeakCalls) {
    let mut look = tokio::time::interval(LEFT_LOOK);
    while orders.upgrade().is_some_and(|orders| !orders.is_closed()) {
        look.tick().await;
    }
}

/// Waits for each process of a selection.
///
/// # Errors
/// [`Stop`].
pub(super) async fn wait(node: &Node, select: Selection, until: Until, answers: &Answers) -> Result<(), Stop> {
    for mut target in chosen(node, select).await? {
        let reached = |state: &State| match until {
            Until::Running => *state == State::Running || !state.is_live(),
            Until::Ended => !state.is_live(),
        };
        let state = tokio::select! {
            state = target.state.wait_for(reached) => state.map(|state| *state),
            () = answers.unwanted() => return Err(Stop::Gone),
        };
        let known = node.hub.known(target.id).await;
        let (Ok(state), Some(known)) = (state, known) else {
            return Err(Failure::Other(format!("'{}' was removed", target.name)).into());
        };
        let reached = Answer::Reached { id: target.id, name: target.name, state, status: known.shell_status };
        answers.send(reached, None).await?;
    }
    Ok(())
}
