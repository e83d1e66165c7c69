//! Stories told against the real binaries: each test is named after the promise it keeps.
//!
//! One farm a test: a temporary directory with a zerovisor, watchers and clients of its own, and nothing left of them afterwards.
//! Tests wait for facts (`Farm::reaches`, an event, the end of a program), and where there is none to wait for, for a condition with a
//! deadline (`until`); none of them sleeps.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that meets what it did not expect has failed and says so"
)]

#[macro_use]
mod harness;

mod adopt;
mod attach;
mod bad_input;
mod cgroups;
mod consoles;
mod crash;
mod disk;
mod disk_damage;
mod exits;
mod followers;
mod gaps;
mod hostile;
mod inheritance;
mod input;
mod kills;
mod left_alone;
mod lifecycle;
mod power;
mod restarts;
mod retention;
mod samples;
mod screens;
mod seats;
mod service;
mod slow;
mod soak;
mod spool;
mod streams;
mod terminals;
mod viewers;
mod views;
mod vm;
mod walkthrough;
