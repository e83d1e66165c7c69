//! zvwatch's shell.
//!
//! The process bones: [`guard`] makes the family of processes, [`spawn`] is the one way a program is started,
//! [`pipes`] are its stdio, [`tree`] is everything the run has left alive. None of them knows a runtime.
//!
//! Around them the watcher proper, one task: [`session`] waits and acts; `process` drives the core's lifecycle with the bones; `pump`,
//! `placement` and `cgroup` hold runs, `sampler` measures them; `input` and `console` carry bytes; `alarm` rings; `uplink` is the
//! connection to the zerovisor, `spooling` what is kept on disk without one. [`cli`] and [`mod@env`] are what the user typed.
mod alarm;
mod cgroup;
pub mod cli;
mod clock;
mod console;
pub mod env;
pub mod front;
pub mod guard;
mod input;
mod model;
pub mod pipes;
mod placement;
mod process;
mod pump;
mod sampler;
pub mod say;
pub mod session;
pub mod spawn;
mod spawn_error;
pub mod spooling;
mod streams;
mod sys;
mod terminal;
mod thread;
pub mod tree;
mod uplink;
mod viewers;

#[cfg(fuzzing)]
#[doc(hidden)]
pub use sampler::fuzzing as sampler_fuzzing;

#[cfg(test)]
mod tests;
