//! The relay between a terminal's watcher and its viewers.
//!
//! ```text
//!   the task of the watcher's link                                the task of the client's link
//!   session --- Relay --- number -> Viewer ======= answers =======> client -----> client
//!      ^          records at arrival,  |  \                           |  typed, resized, granted
//!      |          before the journal   |   \ a call, where one of     |
//!      |                               |    \ them would have to wait v
//!      +======= calls =================+---- the request's task: attach
//! ```
//! A double line is a channel. What the program writes crosses one, `answers`; what is typed crosses one, `calls`: both ends hold the
//! [`Viewer`] and act on it where they stand. Only what has to wait (for room in a channel, for the time of the next frame) and what
//! ends the view is done by the task of the request.
//!
//! - A viewer subscribes to the stream in the same step in which it is announced to the watcher: nothing can come in between.
//! - [`lane`] decides, purely, what it is sent: the stream, exact from a picture on, or pictures alone.
//! - A viewer that does not take what it is sent costs [`lane::VIEWER_LAG_BYTES`] and one picture; nobody waits for it.

mod attach;
mod lane;
mod relay;
mod screen;
mod viewer;

pub(super) use attach::attach;
pub(super) use relay::{Numbers, Relay, Seat};
pub(super) use screen::screen;
pub(super) use viewer::{TypingViolation, Viewer};
