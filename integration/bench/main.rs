//! The budgets, measured on real binaries: each figure beside what it is held against, in one run.
//!
//! `cargo bench --bench budgets [-- PART...]`, parts: capture chatty sync start spawn restart memory idle ps sampling crowd resume growth
//! relayed echo redraw terminals. Knobs: `RUNS` (5), `MIB` (512: what a capture writes), `CHATTY_MIB` (512) and `SYNC_MIB` (256: what many
//! write together), `PTY_MIB` (64: what is written to a terminal), `MANY` (100: watchers in the memory part), `CROWD` (1000: processes of
//! `ps`, sampling and resume), `RESUME_MIB` (2: the journal of each in resume), `RECORDS` (1,000,000), `LIVES` (1000) and `RESTARTS` (100)
//! of growth, `KEYS` (typed at each client: 600, and 5000 where only the zerovisor is between).
//!
//! Prints `what unit min median max`, and the budget where there is one, which the median is held to; ratios are formed run by run.
//! tmux, dtach and script are measured beside ours in the same run: Debian has them, `scripts/tools bench` installs them, and those that
//! are missing are said to be SKIPPED.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::panic,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::missing_docs_in_private_items,
    clippy::unwrap_used,
    reason = "a bench reports to a person, and stops where it cannot"
)]

mod capture;
mod chatty;
mod crowd;
mod echo;
mod families;
mod growth;
mod lives;
#[allow(dead_code, reason = "what stories say as peers is more than what is measured")]
#[path = "../harness/peer.rs"]
mod peer;
mod redraw;
mod relayed;
mod resume;
mod rig;
mod sampling;
mod sessions;
mod spawn;
mod terminals;
mod typist;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let Some(("kid", rest)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return match rest.split_first() {
            Some((which, _)) if which == "screen" => redraw::kid(),
            Some((which, rest)) if which == "gated" => chatty::gated(rest),
            Some(_) | None => capture::kid(rest),
        };
    }
    let wanted = |part: &str| arguments.is_empty() || arguments.iter().any(|argument| argument == part);
    let parts: [(&str, fn()); 17] = [
        ("capture", capture::measure),
        ("chatty", chatty::measure),
        ("sync", capture::syncing),
        ("start", lives::start),
        ("spawn", spawn::measure),
        ("restart", lives::restart),
        ("memory", lives::memory),
        ("idle", lives::idle),
        ("ps", lives::ps),
        ("sampling", sampling::measure),
        ("crowd", crowd::measure),
        ("resume", resume::measure),
        ("growth", growth::measure),
        ("relayed", relayed::measure),
        ("echo", echo::measure),
        ("redraw", redraw::measure),
        ("terminals", terminals::measure),
    ];
    parts.iter().filter(|(name, _)| wanted(name)).for_each(|(_, measure)| measure());
    ExitCode::SUCCESS
}
