//! The text of a terminal's present screen.

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use zerovisor_core::address::Address;
use zerovisor_core::wire::{Answer, ViewerAct};

use super::attach::{Terminal, lost, unanswered};
use super::lane::{ATTACH_WITHIN, PICTURE_PARTS_MAX};
use super::relay::{ScreenPart, Seat};
use crate::node::calls::Call;
use crate::node::client::{Answers, Stop};
use crate::node::session::Node;

/// Asks the watcher for the screen and passes its parts on.
///
/// # Errors
/// [`Stop`].
pub(in crate::node) async fn screen(node: &Node, address: Address, ansi: bool, answers: &Answers) -> Result<(), Stop> {
    let Terminal { shown, orders, state } = Terminal::find(node, address).await?;
    // A place for every part there may be: the watcher's link never waits for this client.
    let (parts, mut read) = mpsc::channel::<ScreenPart>(PICTURE_PARTS_MAX);
    // Nobody needs the number; that somebody could is how the link knows that the request still stands.
    let (number, _stands) = oneshot::channel();
    let call = Call::View { seat: Seat::Reader(parts), act: ViewerAct::Read { ansi }, number };
    orders.send(call).await.map_err(|_| lost())?;
    drop(orders);
    loop {
        let part = timeout(ATTACH_WITHIN, read.recv()).await.map_err(|_| unanswered())?;
        let (shown_now, last, payload) =
            part.ok_or_else(lost)?.map_err(|why| Terminal::denied(shown.name.as_str(), *state.borrow(), why))?;
        answers.send(Answer::Screen { shown: shown_now, last }, Some(payload)).await?;
        if last {
            return Ok(());
        }
    }
}
