//! What can go wrong for zvctl, each with its exit status and its one line.

use std::io;

use zerovisor_core::wire::{Failure, Refused, VERSIONS};

use crate::net::{DialError, Endpoint};

/// Exit statuses beside 0.
pub mod status {
    /// It failed.
    pub const ERROR: u8 = 1;
    /// It was asked for wrongly.
    pub const USAGE: u8 = 2;
    /// The process is there and does not run.
    pub const NOT_RUNNING: u8 = 3;
    /// There is no such process.
    pub const NO_SUCH: u8 = 4;
    /// Not every node answered.
    pub const PARTIAL: u8 = 5;
    /// No zerovisor, or the link to it is gone.
    pub const TRANSPORT: u8 = 255;
}

/// Why a verb ended early. The message is the line on standard error.
#[derive(Debug, thiserror::Error)]
pub enum CtlError {
    /// Arguments that cannot be.
    #[error("{0}")]
    Usage(String),
    /// Nobody answers at the endpoint.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// A zerovisor that does not want to talk.
    #[error("the zerovisor at {endpoint} refuses: {} (zvctl speaks {VERSIONS}, it speaks {})", .refused.reason, .refused.versions)]
    Refused {
        /// Where.
        endpoint: Endpoint,
        /// Its words.
        refused: Box<Refused>,
    },
    /// The link ended, or nothing was heard for three heartbeats.
    #[error("the link to the zerovisor at {endpoint} is lost: {why}")]
    LinkLost {
        /// Where.
        endpoint: Endpoint,
        /// How.
        why: String,
    },
    /// It is linked and does not answer.
    #[error("no answer from the zerovisor at {endpoint} within {within}: try again, or allow more with --timeout")]
    NoAnswer {
        /// Where.
        endpoint: Endpoint,
        /// How long was waited.
        within: String,
    },
    /// What it said is not the protocol.
    #[error("the zerovisor at {endpoint} broke the protocol: {why}")]
    Violation {
        /// Where.
        endpoint: Endpoint,
        /// What was wrong.
        why: String,
    },
    /// It answered that it cannot.
    #[error("{0}")]
    Failed(Failure),
    /// Anything else in one line, with its status.
    #[error("{line}")]
    Told {
        /// The line.
        line: String,
        /// The exit status.
        status: u8,
    },
    /// Everything was said already.
    #[error("exit status {0}")]
    Silent(u8),
    /// Who read our output has gone: the end, and no failure.
    #[error("nobody reads the output")]
    ReaderGone,
    /// Writing or reading something of our own failed.
    #[error("cannot {what}: {source}")]
    Io {
        /// The operation and its object.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

impl CtlError {
    /// An error of our own side.
    pub fn io(what: impl Into<String>, source: io::Error) -> CtlError {
        CtlError::Io { what: what.into(), source }
    }

    /// The exit status for it.
    pub fn status(&self) -> u8 {
        match self {
            CtlError::Usage(_) => status::USAGE,
            CtlError::Dial(_)
            | CtlError::Refused { .. }
            | CtlError::LinkLost { .. }
            | CtlError::NoAnswer { .. }
            | CtlError::Violation { .. } => status::TRANSPORT,
            CtlError::Failed(failure) => failure_status(failure),
            CtlError::Told { status, .. } | CtlError::Silent(status) => *status,
            CtlError::ReaderGone => 0,
            CtlError::Io { .. } => status::ERROR,
        }
    }

    /// Whether there is still something to be said about it.
    pub fn is_silent(&self) -> bool {
        match self {
            CtlError::Silent(_) | CtlError::ReaderGone => true,
            CtlError::Usage(_)
            | CtlError::Dial(_)
            | CtlError::Refused { .. }
            | CtlError::LinkLost { .. }
            | CtlError::NoAnswer { .. }
            | CtlError::Violation { .. }
            | CtlError::Failed(_)
            | CtlError::Told { .. }
            | CtlError::Io { .. } => false,
        }
    }

    /// Whether dialling again may help: the zerovisor went away, or is not back yet.
    pub fn is_transient(&self) -> bool {
        match self {
            CtlError::Dial(_) | CtlError::LinkLost { .. } | CtlError::NoAnswer { .. } => true,
            CtlError::Usage(_)
            | CtlError::Refused { .. }
            | CtlError::Violation { .. }
            | CtlError::Failed(_)
            | CtlError::Told { .. }
            | CtlError::Silent(_)
            | CtlError::ReaderGone
            | CtlError::Io { .. } => false,
        }
    }
}

/// The exit status for a request that has no answer.
pub fn failure_status(failure: &Failure) -> u8 {
    match failure {
        Failure::Unknown(_) => status::NO_SUCH,
        Failure::NotRunning(_) => status::NOT_RUNNING,
        Failure::Ambiguous(..) | Failure::TimedOut(_) | Failure::TooMany(_) | Failure::Other(_) => status::ERROR,
    }
}
