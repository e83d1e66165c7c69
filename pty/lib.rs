//! Pseudo-terminals for supervised programs: opening, sizing, the asynchronous halves of the master, and when output has ended.
//!
//! What is here is what a watcher needs of a terminal, and nothing of processes, cgroups or the wire. The watcher spawns by itself: it
//! gives the child [`Slave`] as 0, 1 and 2 and makes it the controlling terminal (`setsid`, then `TIOCSCTTY`) before the exec, closes its
//! own [`Slave`], and reads the [`Reader`] half as [`End`] says.
//!
//! ```text
//! open(size) -> Master -- split() --> Reader   output, until `End` says ended
//!            -> Slave                 Writer   input
//!               to the child          Control  size, foreground group, end-of-file character
//! ```
//! [`screen`] is the other half: a model of what such a terminal shows, without a device.

mod control;
mod end;
mod error;
mod open;
mod reader;
pub mod screen;
mod size;
mod sys;
mod watch;
mod writer;

#[cfg(test)]
mod tests;

pub use control::Control;
pub use end::{DRAIN_MAX_BYTES, End, Next};
pub use error::PtyError;
pub use open::{Master, Slave, open};
pub use reader::{Read, Reader};
pub use size::{BadSize, COLS_MAX, ROWS_MAX, Size};
pub use writer::Writer;
