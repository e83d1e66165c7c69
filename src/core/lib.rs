//! The pure core of Zerovisor: what is decided, and what is said, without a clock, a file, a socket or a thread.
//!
//! ```text
//! id name units signal        newtypes parsed once, at the edge
//! escape                      foreign text made safe to look at
//! size limits stats           of a terminal; what a run may use, and what it uses
//! restart spec exit fact      what a process is, how a run ended, what happened to it
//! lifecycle                   the state machine of one process: events in, actions out
//! record credit window        the stream: its units, how many bytes may be in flight, what is not yet acknowledged
//! address view                who is meant, and what a table or a JSON object shows
//! size keys                   a terminal's size; keys by name, and the bytes a terminal sends for them
//! detach                      the keys that leave a terminal, found in what is typed
//! viewers                     who views a terminal, who may type into it, whose size it has
//! queries                     a program's output without the questions that a viewer's terminal would answer
//! wire                        the messages and their bytes; the only room that knows the serializer
//! holes                       what was kept for a journal, with a gap in the place of what is gone of it
//! ```
//! Each line uses only those above it. Time is an argument; randomness is a seed.

pub mod address;
pub mod credit;
pub mod detach;
pub mod escape;
pub mod exit;
pub mod fact;
pub mod holes;
pub mod id;
pub mod keys;
pub mod lifecycle;
pub mod limits;
pub mod name;
pub mod queries;
pub mod record;
pub mod restart;
pub mod signal;
pub mod size;
pub mod spec;
pub mod stats;
pub mod units;
pub mod view;
pub mod viewers;
pub mod window;
pub mod wire;
