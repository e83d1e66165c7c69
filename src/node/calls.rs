//! What a watcher's link is called upon to do by requests.

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use zerovisor_core::wire::{Deed, Outcome, ViewerAct};

use super::viewers::Seat;

/// Calls that wait for one link, at most; whoever has one more waits. And orders that are not obeyed yet: more are refused as too busy.
pub(super) const CALLS_MAX: usize = 64;

/// An order on its way to a watcher.
#[derive(Debug)]
pub(super) struct OrderCall {
    /// What to do.
    pub deed: Deed,
    /// Input that goes with it.
    pub payload: Option<Bytes>,
    /// Where the outcome goes; dropped if the link ends first.
    pub reply: oneshot::Sender<Outcome>,
}

/// One call.
#[derive(Debug)]
pub(super) enum Call {
    /// An order for its watcher.
    Order(OrderCall),
    /// Somebody comes to see its terminal.
    View {
        /// Who is told what the watcher answers.
        seat: Seat,
        /// The first act.
        act: ViewerAct,
        /// Where the number goes; dropped if there will be none.
        number: oneshot::Sender<u64>,
    },
    /// A viewer does something.
    Act {
        /// Its number.
        viewer: u64,
        /// What.
        act: ViewerAct,
        /// What it typed.
        payload: Option<Bytes>,
    },
}

/// Where a link takes its calls from. Nobody keeps one for longer than a call takes: their end says that the link is to end.
pub(super) type Calls = mpsc::Sender<Call>;

/// Calls as they are kept for longer: none are left once the link has ended, or a newer one of the same watcher took over.
pub(super) type WeakCalls = mpsc::WeakSender<Call>;
