//! A cgroup of its own for each supervised program: finding the rung a process can stand on (v2, v1 and hybrid, none), creating,
//! limiting, measuring and killing.
//!
//! ```text
//! Site    where this process may make cgroups: its own cgroup ("home") in each hierarchy in use
//!  Group  one supervised process: home/NAME-ID.PID.START, in each of those hierarchies
//!   Leaf  one run of it: run-N below that; limits, peaks and counters are a run's own
//! ```
//!
//! A [`Site`] is found once ([`Site::find`]) and may be given controllers ([`Site::enable`]); [`Site::create`] makes the [`Group`],
//! [`Group::run`] a [`Leaf`] for each run. The child is born inside through [`Leaf::entrance`]. What another process needs to
//! clean up after us travels as text ([`Remains`]); what nobody cleaned up is found by [`Site::sweep`].
//!
//! ```no_run
//! # use std::time::{Duration, Instant};
//! # use zerovisor_cgroup::{CgroupError, Limits, Owner, ProcessCgroup, Site};
//! # fn watch(guard: i32, watcher: Owner, id: [u8; 16], is_alive: impl Fn(Owner) -> bool) -> Result<(), CgroupError> {
//! let mut site = Site::find();
//! site.enable(&[guard, watcher.pid]);
//! site.sweep(watcher.pid_namespace, is_alive, Instant::now() + Duration::from_secs(10));
//! let process = ProcessCgroup { name: "web", id, owner: watcher };
//! let for_the_guard = site.remains(&process)?.to_text();
//! let group = site.create(&process)?;
//! let mut leaf = group.run(1, &Limits { pids: Some(500), ..Limits::default() })?;
//! let entrance = leaf.entrance()?;
//! // clone, join, exec
//! drop(entrance);
//! let used = leaf.sample();
//! leaf.kill_until_empty(Instant::now() + Duration::from_secs(10))?;
//! let used_at_the_end = leaf.sample_costly();
//! leaf.remove()?;
//! group.remove()
//! # }
//! ```
//!
//! Nothing outside home is ever touched, and below it only directories of our own form. The crate knows control groups and
//! nothing of terminals or the wire; it is synchronous and blocks only where a function says so.

mod barrier;
mod enable;
mod entrance;
mod error;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod group;
mod hierarchies;
mod kill;
mod leaf;
mod limits;
mod meter;
mod name;
mod parse;
mod place;
mod remains;
mod resource;
mod site;
mod sweep;
mod sys;

#[cfg(test)]
mod tests;

pub use barrier::{Barrier, Refusal};
pub use entrance::Entrance;
pub use error::CgroupError;
pub use group::Group;
pub use leaf::Leaf;
pub use limits::Limits;
pub use meter::{Pressure, Reading};
pub use name::{Owner, ProcessCgroup};
pub use remains::{REMAINS_MAX_BYTES, Remains};
pub use resource::Resource;
pub use site::{Rung, Site};
pub use sweep::Swept;
