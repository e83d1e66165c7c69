//! Why there is no link, and what is told of that.

use zerovisor_core::window::Violation;
use zerovisor_core::wire::{Refusal, WireError};

use super::linked::{SILENT_AFTER, WELCOME_WITHIN};
use crate::net::{DialError, Endpoint, HEARTBEAT, LinkError};

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    #[error("{0}")]
    Dial(DialError),
    #[error("{0}")]
    Link(#[from] LinkError),
    #[error("{0}")]
    Wire(#[from] WireError),
    #[error("{0}")]
    Window(#[from] Violation),
    #[error("it broke the protocol: {0}")]
    Protocol(&'static str),
    #[error("it did not answer within {} s", WELCOME_WITHIN.as_secs())]
    NoWelcome,
    #[error("nothing was heard of it for {} s", (HEARTBEAT * SILENT_AFTER).as_secs())]
    Silent,
    #[error("{0}")]
    Refused(Refusal),
    #[error("it takes no more records")]
    Stalled,
}

impl Lost {
    /// What is told of it; `had_link`: there was one.
    pub(super) fn news(&self, at: &Endpoint, had_link: bool) -> String {
        match self {
            Lost::Dial(DialError::NothingThere { endpoint, why }) => format!("no zerovisor at {endpoint} ({why})"),
            Lost::Dial(error) => error.to_string(),
            Lost::Refused(refusal) => format!("the zerovisor at {at} refused: {refusal}"),
            Lost::Link(_)
            | Lost::Wire(_)
            | Lost::Window(_)
            | Lost::Protocol(_)
            | Lost::NoWelcome
            | Lost::Silent
            | Lost::Stalled => {
                let what = if had_link { "lost the zerovisor" } else { "no use in what listens" };
                format!("{what} at {at} ({self})")
            }
        }
    }
}
