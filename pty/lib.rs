//! Pseudo-terminals for supervised programs: opening, sizing, the controlling terminal and the two asynchronous halves.
//!
//! The room is reserved: programs run on pipes today, and `zvwatch` has no `--pty`. What belongs here is what a watcher needs of a
//! terminal and nothing of processes, cgroups or the wire.

pub mod screen;
