//! The spool: where a watcher keeps on disk what no zerovisor takes, and where the next zerovisor finds what a watcher has left.
//!
//! ```text
//! PLACE/                     one directory an endpoint, found without any setting by whoever binds it: place.rs
//! PLACE/ID/                  what the watcher of process ID keeps, 0700
//! PLACE/ID/lock              held (flock) by the watcher while it lives, then by whoever takes the spool in
//! PLACE/ID/meta              what the watcher declares of its process: meta.rs
//! PLACE/ID/front             the gaps and facts that stand for what was dropped, older than all of the log: front.rs
//! PLACE/ID/log/              a log of ordinary records
//! PLACE/ID/claim             how much of the user's total may be written before it is looked at again: total.rs
//! PLACE/ID/reserve           room for the front when the disk has none left
//! PLACE/ID.new  PLACE/ID.gone   one that is being made or removed: never taken in, and swept by the next that is made
//! ```
//! A watcher killed at any instant leaves a spool that can be read: what was handed to the kernel is there, a torn end is cut off by
//! the reader, and meta and front are replaced whole. Nothing here reads a clock or starts a thread.
//!
//! Everything is private to its user: directories 0700, files 0600, and what belongs to another user than us or root, or what others
//! may write, is neither read nor written. A symbolic link is never followed below the place.

mod error;
mod front;
mod left;
mod meta;
mod place;
mod private;
mod read;
#[cfg(test)]
mod tests;
mod total;
mod writer;

pub use error::SpoolError;
pub use left::Left;
pub use meta::Meta;
pub use place::Place;
pub use writer::{Limit, Spool};

use read::read;

const LOCK: &str = "lock";
const META: &str = "meta";
const FRONT: &str = "front";
const LOG: &str = "log";
const RESERVE: &str = "reserve";
const CLAIM: &str = "claim";
/// Behind the name of a directory that is not complete yet.
const NEW: &str = "new";
/// Behind the name of a directory that nobody wants any more.
const GONE: &str = "gone";
