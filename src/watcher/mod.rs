//! zvwatch's shell.
//!
//! The process bones: [`guard`] makes the family of processes, [`spawn`] is the one way a program is started,
//! [`pipes`] are its stdio, [`tree`] is everything the run has left alive. None of them knows a runtime.
pub mod guard;
pub mod pipes;
pub mod spawn;
mod spawn_error;
mod sys;
pub mod tree;

#[cfg(test)]
mod tests;
