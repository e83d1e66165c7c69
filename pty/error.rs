//! What can fail about a terminal.

use std::error::Error;
use std::io;

use super::size::{BadSize, Size};

/// A call about a terminal that failed. The terminal is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum PtyError {
    /// The kernel gave no pair.
    #[error(
        "cannot open a pseudo-terminal: {0}; see that devpts is mounted and /proc/sys/kernel/pty/max is not reached"
    )]
    Open(#[source] Box<dyn Error + Send + Sync>),
    /// A step after the pair was there.
    #[error("cannot set up a pseudo-terminal: {step} failed: {source}; check the limit of open files (ulimit -n)")]
    SetUp {
        /// The system call.
        step: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The size was not taken.
    #[error("cannot resize the terminal to {size}: {source}")]
    Resize {
        /// The size asked for.
        size: Size,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The size could not be read.
    #[error("cannot read the size of the terminal: {0}")]
    Size(#[source] Box<dyn Error + Send + Sync>),
    /// A program in the terminal has set a size that we would not.
    #[error("the program has set a size of its own: {0}")]
    OddSize(#[from] BadSize),
}

impl PtyError {
    /// For `map_err` on the call named `step`.
    pub(crate) fn set_up<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> PtyError {
        move |source| PtyError::SetUp { step, source: source.into() }
    }
}
