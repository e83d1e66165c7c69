//! The terminal of whoever typed the command: `zvctl attach` and `zvwatch -it` hand it to a program and give it back as it was.
//!
//! ```text
//! terminal      is there one, how large is it; a descriptor of its own that never blocks
//! raw leave     raw mode with every way out of it; what a program may have left behind, undone
//! signals       those that end, those that resize
//! console       all of it in one: what is typed, what is shown, the detach keys
//! ```
//! Descriptors 0 to 2 share their flags with the shell and every other program started from it: nothing here makes them non-blocking.
//! The terminal is opened once more instead, which gives a description of our own. One epoll then serves both directions; a thread that
//! reads and one that writes would cost each keystroke two more wake-ups.

mod console;
mod leave;
mod raw;
mod signals;
mod sys;
mod terminal;

pub use console::{Console, ConsoleEvent, Ended, TYPED_MAX_BYTES, notice};
pub use leave::{LEAVE, LEAVE_ALTERNATE, LEAVE_IN_PLACE};
pub use raw::RawMode;
pub use terminal::{NotATerminal, UserTerminal};

#[cfg(test)]
#[allow(clippy::wildcard_enum_match_arm, reason = "a test that meets what it did not expect fails, whatever it is")]
mod tests;
