//! A soak: chance starts, kills, follows and disturbs, and a model knows what must be there.
//!
//! All steps follow from a seed, which is told at the start and on failure; how they fall in time is the machine's. `ZV_SOAK_SEED` gives it,
//! `ZV_SOAK_SECONDS` how long the soak goes on (`make soak`: an hour). Steps come in rounds; at the end of each all processes have been
//! judged and removed, and what two residents, a zerovisor and its followers hold is compared with what they held behind the first round.

mod account;
mod actors;
mod casting;
mod chance;
mod deeds;
mod disk;
mod faults;
mod holdings;
mod model;
mod plan;
mod reckoning;
mod settling;
mod stage;
mod writer;

use std::time::{Duration, Instant, SystemTime};

use crate::harness::{Farm, tell, until};

use model::assert_written;
use plan::Plan;
use stage::Soak;
use writer::Diary;

/// For what should have happened at once, on a machine that others keep busy: a link may have been given up meanwhile, and made again.
const SOON: Duration = Duration::from_secs(30);
/// How long it goes on when nobody says.
const SECONDS: u64 = 120;

fn asked(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

#[test]
fn two_minutes_of_chance_lose_nothing_and_leak_nothing() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seed = asked("ZV_SOAK_SEED").unwrap_or(now.as_secs() % 1_000_000 * 1_000 + u64::from(now.subsec_millis()));
    let seconds = asked("ZV_SOAK_SECONDS").unwrap_or(SECONDS);
    tell(&format!("soak: {seconds} s from seed {seed}"));
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut soak = Soak::new(seed);
    for step in Plan::new(seed) {
        // A round that has begun comes to its end, so that everything of it is judged.
        if Instant::now() > until && soak.is_settled() {
            break;
        }
        soak.does(step);
    }
    soak.ends();
}

#[test]
fn a_soak_can_be_had_again_by_its_seed() {
    let steps = |seed| Plan::new(seed).take(2_000).map(|step| format!("{step:?}")).collect::<Vec<_>>();
    assert_eq!(steps(7), steps(7));
    assert_ne!(steps(7), steps(8));
    let all = steps(7).join("\n");
    for kind in [
        "Start",
        "Follow",
        "View",
        "Visit",
        "NodeGoes(Killed)",
        "NodeGoes(Asked)",
        "Remove",
        "DiskFills",
        "SpoolsFill",
        "SpoolsHaveRoom",
        "Linger",
        "Interrupt",
        "synced: true",
        "told: true",
        "Little",
        "SmallDisk",
        "WatcherAndGuard",
        "Front",
    ] {
        assert!(all.contains(kind), "2,000 steps without {kind}");
    }
}

/// The model would otherwise find fault with the writer, and take it for one of the zerovisor.
#[test]
fn the_soak_s_writer_writes_what_its_model_says() {
    use super::harness::Program;
    let farm = Farm::empty();
    stage::scripts(&farm);
    let writing = writer::Writing {
        key: 77,
        lines: 1500,
        batch: 400,
        pace: 0,
        ending: 3,
        errors: true,
        stubborn: false,
        offspring: 0,
    };
    let made = model::Made {
        index: 0,
        role: model::Role::Writer(writing.clone()),
        terminal: false,
        detached: false,
        console: false,
        restart: model::Restart::No,
        cgroup: "off",
        limited: false,
        keep: model::Keep::All,
        told: false,
    };
    let mut command = Program::command("sh", farm.dir());
    command.args(["writer", "alone"]).args(writing.arguments()).env("ZV_RUN", "2").env("LC_ALL", "C");
    let ended = Program::start(&mut command).end(SOON);
    assert_eq!(ended.code(), 3);
    let diary = until("its diary ends", SOON, || {
        Some(Diary::of(&farm.text("alone.2"))).filter(|diary| diary.end == Some((1500, 3)))
    });
    let fate = model::Fate::default();
    assert_written(&made, &fate, 2, writer::Stream::Output, &diary, &ended.stdout, false);
    assert_written(&made, &fate, 2, writer::Stream::Error, &diary, &ended.stderr, false);
}
