//! A program that ends while no zerovisor is there and its spool is full: its watcher waits in its place, and nothing is dropped early.

use std::fs;
use std::process::Stdio;

use crate::harness::{Farm, LONG, Missing, Program, assert_accounted, journaled};

/// Three times what its spool may hold, and less than what a watcher holds in memory beside that.
const NUMBERS: u64 = 500_000;
/// Says so in a file, which is not in the way of what its watcher says.
const SAYS: &str = "said";

/// One that has written more than its spool takes while there was no zerovisor, and has ended.
fn ended_with_a_full_spool(farm: &Farm, wait: &str) -> Program {
    farm.script("writer", &format!("while [ ! -e go ]; do sleep 0.01; done\nseq 1 {NUMBERS}\n"));
    let options = ["--name", "writer", "--spool-max", "1M", "--offline-wait", wait, "sh", "writer"];
    let mut command = farm.watch_command(&options);
    let said = fs::File::create(farm.path(SAYS)).unwrap();
    let watcher = Program::start_as_is(command.stdout(Stdio::null()).stderr(said));
    farm.reaches("writer", "RUNNING");
    farm.kill_node();
    fs::write(farm.path("go"), "").unwrap();
    watcher
}

fn written() -> Vec<u8> {
    (1..=NUMBERS).flat_map(|n| format!("{n}\n").into_bytes()).collect()
}

#[test]
fn what_has_ended_with_a_full_spool_waits_for_a_zerovisor_as_its_program_would() {
    let farm = Farm::new();
    let watcher = ended_with_a_full_spool(&farm, "50s");
    farm.file_says(SAYS, "waiting up to 50s for a zerovisor");
    farm.start_node(&[]);
    watcher.end(LONG).ok();
    let missing = assert_accounted(&journaled(&farm, "writer"), &written());
    assert_eq!(missing, Missing::default(), "{}", farm.text(SAYS));
}

#[test]
fn what_has_ended_with_a_full_spool_keeps_its_end_when_it_has_waited_in_vain() {
    let farm = Farm::new();
    let watcher = ended_with_a_full_spool(&farm, "1s");
    watcher.end(LONG).ok();
    assert!(farm.text(SAYS).contains("kept: "), "{}", farm.text(SAYS));
    farm.start_node(&[]);
    farm.reaches("writer", "EXITED");
    let missing = assert_accounted(&journaled(&farm, "writer"), &written());
    assert!(missing.gaps > 0, "the oldest is accounted for: {missing:?}");
}
