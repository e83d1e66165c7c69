//! The budgets, measured on real binaries: each figure beside what it is held against, in one run.
//!
//! `cargo bench --bench budgets [-- PART...]`, parts: capture start restart memory idle ps echo. Knobs: `RUNS` (5), `MIB` (512: what a capture
//! writes), `MANY` (100: watchers in the memory part). Prints `what unit min median max`; ratios are formed run by run.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::panic,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::missing_docs_in_private_items,
    clippy::unwrap_used,
    dead_code,
    reason = "a bench reports to a person, and stops where it cannot"
)]

mod capture;
mod echo;
mod lives;
#[path = "../harness/peer.rs"]
mod peer;
mod rig;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.first().is_some_and(|first| first == "kid") {
        return capture::kid(&arguments[1..]);
    }
    let wanted = |part: &str| arguments.is_empty() || arguments.iter().any(|argument| argument == part);
    let parts: [(&str, fn()); 7] = [
        ("capture", capture::measure),
        ("start", lives::start),
        ("restart", lives::restart),
        ("memory", lives::memory),
        ("idle", lives::idle),
        ("ps", lives::ps),
        ("echo", echo::measure),
    ];
    parts.iter().filter(|(name, _)| wanted(name)).for_each(|(_, measure)| measure());
    ExitCode::SUCCESS
}
