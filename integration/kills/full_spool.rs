//! A spool that is full: whoever waits for room, a program or the watcher of one that has ended, waits until a zerovisor is back or the time
//! is up, and nothing is dropped before. What a program wrote last outlives it, whoever comes, goes, or reads slowly meanwhile.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Farm, LONG, Missing, Program, SOON, assert_accounted, journaled, until};

/// Three times what its spool may hold, and less than what a watcher holds in memory beside that.
const ENDS: u64 = 500_000;
/// More than both of them and a pipe.
const WAITS: u64 = 2_000_000;
/// One that has written nothing for so long waits for room.
const STILL: Duration = Duration::from_millis(500);
/// Longer than a link that takes nothing is waited for by a watcher whose process has ended.
const RETURNS_LATE: Duration = Duration::from_secs(13);
/// Longer than such a one waits where there is no zerovisor.
const GONE_FOR_LONG: Duration = Duration::from_secs(5);
/// Says so in a file, which is not in the way of what its watcher says.
const SAYS: &str = "said";

/// The watcher, and the pid, of one that writes so many numbers while there is no zerovisor, of which its spool takes but the first.
fn with_a_full_spool(farm: &Farm, numbers: u64, wait: &str) -> (Program, i32) {
    farm.script("writer", &format!("while [ ! -e go ]; do sleep 0.01; done\nexec seq 1 {numbers}\n"));
    let options = ["--name", "writer", "--spool-max", "1M", "--offline-wait", wait, "sh", "writer"];
    let mut command = farm.watch_command(&options);
    let said = File::create(farm.path(SAYS)).unwrap();
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

/// Later than a link would have been given up: its time begins when it is made.
#[test]
fn a_zerovisor_that_is_back_late_is_given_all_that_waits_for_room() {
    let farm = Farm::new();
    let (watcher, _) = with_a_full_spool(&farm, ENDS, "50s");
    farm.file_says(SAYS, "waiting up to 50s for a zerovisor");
    std::thread::sleep(RETURNS_LATE);
    farm.start_node(&[]);
    watcher.end(LONG).ok();
    let said = farm.text(SAYS);
    assert!(!said.contains("lost: ") && said.lines().count() < 10, "{} lines: {said:.2000}", said.lines().count());
    let missing = assert_accounted(&journaled(&farm, "writer"), &written(ENDS));
    assert_eq!(missing, Missing::default(), "{said}");
    assert_eq!(farm.reaches("writer", "EXITED")["exit"]["code"], 0);
}

/// What had no room is not told as the fault of a disk that has all it was given.
#[test]
fn what_had_no_room_is_unknown_once_its_watcher_is_killed() {
    let farm = Farm::new();
    let (watcher, _) = with_a_full_spool(&farm, ENDS, "50s");
    farm.file_says(SAYS, "waiting up to 50s for a zerovisor");
    for member in farm.members() {
        // One may have ended with the other.
        let _ = kill(Pid::from_raw(member), Signal::SIGKILL);
    }
    assert_eq!(watcher.end(SOON).status.code(), None, "its guard was killed");
    farm.start_node(&[]);
    farm.reaches("writer", "LOST");
    assert!(farm.told("writer", "gap").is_empty(), "{:?}", farm.told("writer", "gap"));
    let detail = farm.json(&["inspect", "writer"])["processes"][0].clone();
    assert!(detail["unknown_after_seq"].is_u64(), "{detail}");
}

/// Whether anybody holds the lock of the one spool in this place.
fn is_held_by_somebody(place: &Path) -> bool {
    let spool = fs::read_dir(place).unwrap().next().unwrap().unwrap().path();
    let lock = File::options().read(true).write(true).open(spool.join("lock")).unwrap();
    Flock::lock(lock, FlockArg::LockExclusiveNonblock).is_err()
}

#[test]
fn a_spool_is_left_only_once_the_console_has_taken_the_rest() {
    let farm = Farm::new();
    farm.script("writer", "while [ ! -e go ]; do sleep 0.01; done\nexec seq 1 100000\n");
    let (mut console, takes) = std::io::pipe().unwrap();
    let said = File::create(farm.path(SAYS)).unwrap();
    let watcher = {
        let mut command = farm.watch_command(&["-t", "--name", "writer", "sh", "writer"]);
        Program::start_as_is(command.stdout(takes).stderr(said))
    };
    let main = farm.reaches("writer", "RUNNING")["pid"].clone();
    farm.kill_node();
    fs::write(farm.path("go"), "").unwrap();
    until("the program ends", SOON, || (!Path::new(&format!("/proc/{main}")).exists()).then_some(()));
    std::thread::sleep(GONE_FOR_LONG);
    let held = is_held_by_somebody(&farm.path("zerovisor.spool"));
    farm.start_node(&[]);
    until("all is taken", SOON, || (!farm.path("zerovisor.spool").exists()).then_some(()));
    let mut shown = Vec::new();
    console.read_to_end(&mut shown).unwrap();
    watcher.end(LONG).ok();
    assert!(shown == written(100_000), "{} bytes on the console", shown.len());
    assert_eq!(assert_accounted(&journaled(&farm, "writer"), &written(100_000)), Missing::default());
    assert!(held, "a spool was given away while its watcher could still be linked: {}", farm.text(SAYS));
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
