//! A spool that is full: whoever waits for room, a program or the watcher of one that has ended, waits until a zerovisor is back or the time
//! is up, and nothing is dropped before.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::harness::{Farm, LONG, Missing, Program, assert_accounted, journaled, until};

/// Three times what its spool may hold, and less than what a watcher holds in memory beside that.
const ENDS: u64 = 500_000;
/// More than both of them and a pipe.
const WAITS: u64 = 2_000_000;
/// One that has written nothing for so long waits for room.
const STILL: Duration = Duration::from_millis(500);
/// Says so in a file, which is not in the way of what its watcher says.
const SAYS: &str = "said";

/// The watcher, and the pid, of one that writes so many numbers while there is no zerovisor, of which its spool takes but the first.
fn with_a_full_spool(farm: &Farm, numbers: u64, wait: &str) -> (Program, i32) {
    farm.script("writer", &format!("while [ ! -e go ]; do sleep 0.01; done\nexec seq 1 {numbers}\n"));
    let options = ["--name", "writer", "--spool-max", "1M", "--offline-wait", wait, "sh", "writer"];
    let mut command = farm.watch_command(&options);
    let said = fs::File::create(farm.path(SAYS)).unwrap();
    let watcher = Program::start_as_is(command.stdout(Stdio::null()).stderr(said));
    let main = i32::try_from(farm.reaches("writer", "RUNNING")["pid"].as_i64().unwrap()).unwrap();
    farm.kill_node();
    fs::write(farm.path("go"), "").unwrap();
    (watcher, main)
}

fn written(numbers: u64) -> Vec<u8> {
    (1..=numbers).flat_map(|n| format!("{n}\n").into_bytes()).collect()
}

/// Waits until a program writes no more, though it is not done.
fn is_held(main: i32) {
    let mut last = (0, Instant::now());
    until("the program waits", LONG, || {
        let io = fs::read_to_string(format!("/proc/{main}/io")).unwrap_or_default();
        let wrote = io.lines().find_map(|line| line.strip_prefix("wchar: ")?.parse::<u64>().ok())?;
        if wrote != last.0 {
            last = (wrote, Instant::now());
        }
        (wrote > 5 << 20 && last.1.elapsed() > STILL).then_some(())
    });
}

#[test]
fn a_full_spool_is_drained_as_soon_as_a_zerovisor_is_back() {
    let farm = Farm::new();
    let (watcher, main) = with_a_full_spool(&farm, WAITS, "50s");
    is_held(main);
    let since = Instant::now();
    farm.start_node(&[]);
    watcher.end(LONG).ok();
    let missing = assert_accounted(&journaled(&farm, "writer"), &written(WAITS));
    assert_eq!(missing, Missing::default(), "after {:?}: {}", since.elapsed(), farm.text(SAYS));
    assert!(!farm.text(SAYS).contains("takes no more"), "the link was of use: {}", farm.text(SAYS));
}

#[test]
fn what_has_ended_with_a_full_spool_waits_for_a_zerovisor_as_its_program_would() {
    let farm = Farm::new();
    let (watcher, _) = with_a_full_spool(&farm, ENDS, "50s");
    farm.file_says(SAYS, "waiting up to 50s for a zerovisor");
    farm.start_node(&[]);
    watcher.end(LONG).ok();
    let missing = assert_accounted(&journaled(&farm, "writer"), &written(ENDS));
    assert_eq!(missing, Missing::default(), "{}", farm.text(SAYS));
}

#[test]
fn what_has_ended_with_a_full_spool_keeps_its_end_when_it_has_waited_in_vain() {
    let farm = Farm::new();
    let (watcher, _) = with_a_full_spool(&farm, ENDS, "1s");
    watcher.end(LONG).ok();
    assert!(farm.text(SAYS).contains("kept: "), "{}", farm.text(SAYS));
    farm.start_node(&[]);
    farm.reaches("writer", "EXITED");
    let missing = assert_accounted(&journaled(&farm, "writer"), &written(ENDS));
    assert!(missing.gaps > 0, "the oldest is accounted for: {missing:?}");
}
