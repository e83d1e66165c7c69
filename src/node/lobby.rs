//! Links that have shaken hands and not said hello: nobody is known behind them, and each costs three descriptors. So they are few, and the
//! oldest makes room for the newest: an honest hello follows its handshake at once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::AbortHandle;

use super::session::Node;
use crate::net::Link;

/// Links of one endpoint without a hello; one more ends the oldest.
pub(super) const UNANNOUNCED_MAX: usize = 256;

/// Set by a link that has said who it is.
#[derive(Debug, Clone, Default)]
pub(super) struct Announced(Arc<AtomicBool>);

impl Announced {
    /// It has.
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The links of one endpoint that have yet to say hello, oldest first, and some that have.
#[derive(Debug, Default)]
pub(super) struct Lobby(VecDeque<Waiting>);

#[derive(Debug)]
struct Waiting {
    task: AbortHandle,
    announced: Announced,
}

impl Waiting {
    fn is_over(&self) -> bool {
        self.task.is_finished() || self.announced.0.load(Ordering::Relaxed)
    }
}

impl Lobby {
    /// Begins to serve a link, in place of the oldest that waits if there are too many.
    pub(super) fn admit(&mut self, node: &Node, link: Link) {
        while self.0.front().is_some_and(Waiting::is_over) {
            self.0.pop_front();
        }
        if self.0.len() >= UNANNOUNCED_MAX {
            self.0.retain(|waiting| !waiting.is_over());
        }
        let origin = link.peer.origin();
        while self.0.len() >= UNANNOUNCED_MAX {
            let Some(oldest) = self.0.pop_front() else { break };
            oldest.task.abort();
            if node.telling.tells(origin, "no hello before too many others came") {
                tracing::warn!(limit = UNANNOUNCED_MAX, newest = %link.peer, "oldest link without a hello dropped");
            }
        }
        let announced = Announced::default();
        let task = tokio::spawn(node.clone().serve(link, announced.clone())).abort_handle();
        self.0.push_back(Waiting { task, announced });
    }
}
