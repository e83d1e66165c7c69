//! What a watcher left on disk while no zerovisor was there is taken in by the next one: by itself, whole, and once.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use zerovisor_core::fact::State;

use crate::harness::{Farm, Kept, LONG, SOON, started_and_taken, until, until_taken};

/// The default place of a farm's spools.
fn place(farm: &Farm) -> PathBuf {
    farm.path("zerovisor.spool")
}

#[test]
fn what_a_watcher_left_is_taken_in_once_by_the_next_zerovisor() {
    let farm = Farm::empty();
    let mut kept = Kept::new(1, "heir");
    kept.begins();
    let output = kept.counts(200_000);
    kept.ends(3);
    let spool = kept.left(&farm, State::Exited);
    farm.start_node(&[]);
    let row = farm.reaches("heir", "EXITED");
    assert_eq!((&row["exit"]["code"], &row["run"]), (&3.into(), &1.into()), "{row}");
    until_taken(&spool);
    until("its place goes with it", SOON, || (!place(&farm).exists()).then_some(()));
    assert!(farm.raw(&["heir"]) == output, "each byte once");
    let took = farm.told("heir", "took_in");
    assert_eq!((took.len(), &took[0]["bytes"]), (1, &output.len().into()), "{took:?}");
    let log = farm.file_says("zerovisor.log", "ended: exit code 3");
    assert!(log.contains(" 199999\n") && log.contains("took in 1.2 MiB of output"), "it is rendered as any other");
    assert!(farm.ctl(&["why", "heir"]).ok().out().contains("exit code 3"));
    let detail = farm.json(&["inspect", "heir"])["processes"][0].clone();
    assert_eq!((&detail["gaps"], &detail["unknown_after_seq"]), (&0.into(), &Value::Null), "{detail}");
    farm.kill_node();
    farm.start_node(&[]);
    assert!(farm.raw(&["heir"]) == output, "not again");
    for event in ["ended", "exited", "took_in", "declared"] {
        assert_eq!(farm.told("heir", event).len(), 1, "{event}");
    }
}

#[test]
fn what_was_left_goes_on_where_the_journal_ends_and_its_process_is_never_called_lost() {
    let farm = Farm::new();
    let mut kept = Kept::new(1, "known");
    kept.begins();
    kept.counts(1000);
    let _watcher = kept.hands_over(&farm);
    farm.wrote("known", "999");
    farm.kill_node();
    kept.writes("the rest\n");
    kept.ends(7);
    let spool = kept.left(&farm, State::Exited);
    started_and_taken(&farm, &spool);
    assert_eq!(farm.reaches("known", "EXITED")["exit"]["code"], 7);
    assert!(farm.raw(&["known"]) == kept.output(), "each byte once");
    assert_eq!((farm.told("known", "took_in")[0]["bytes"].clone(), farm.told("known", "lost").len()), (9.into(), 0));
}

/// As after a kill between the receipt and the removal: the same spool is met again.
#[test]
fn what_is_in_the_journal_already_is_not_taken_in_again() {
    let farm = Farm::empty();
    let mut kept = Kept::new(1, "twice");
    kept.begins();
    let output = kept.counts(1000);
    kept.ends(0);
    let spool = kept.left(&farm, State::Exited);
    farm.start_node(&[]);
    until_taken(&spool);
    let until_again = kept.left(&farm, State::Exited);
    until_taken(&until_again);
    assert!(farm.raw(&["twice"]) == output, "each byte once");
    assert_eq!(farm.reaches("twice", "EXITED")["exit"]["code"], 0);
    for event in ["ended", "took_in", "declared"] {
        assert_eq!(farm.told("twice", event).len(), 1, "{event}");
    }
}

#[test]
fn a_zerovisor_killed_again_and_again_while_it_takes_in_a_large_spool_loses_and_doubles_nothing() {
    let farm = Farm::empty();
    let mut kept = Kept::new(1, "large");
    kept.begins();
    let output = kept.counts(6_000_000);
    kept.ends(0);
    let spool = kept.left(&farm, State::Exited);
    let journal = farm.path("zerovisor.data/processes").join(kept.id().to_string()).join("log");
    let journaled = || {
        let files = fs::read_dir(&journal).into_iter().flatten().flatten();
        files.filter_map(|file| file.metadata().ok()).map(|meta| meta.len()).sum::<u64>()
    };
    let mut interrupted = 0;
    while spool.exists() {
        let before = journaled();
        farm.start_node(&["--log", "none"]);
        until("it is taking in", LONG, || (journaled() > before + (2 << 20) || !spool.exists()).then_some(()));
        farm.kill_node();
        interrupted += u32::from(spool.exists());
    }
    farm.start_node(&["--log", "none"]);
    assert_eq!(farm.row("large")["state"], "EXITED");
    assert!(farm.raw(&["large"]) == output, "each byte once, in order");
    for event in ["started", "ended", "exited", "declared"] {
        assert_eq!(farm.told("large", event).len(), 1, "{event}");
    }
    assert!(interrupted >= 3, "it was not put to the test: {interrupted} times");
}

#[test]
fn what_is_left_while_a_zerovisor_runs_is_taken_in_too() {
    let farm = Farm::new();
    let mut all = [Kept::new(1, "one"), Kept::new(2, "two")];
    for kept in &mut all {
        kept.begins();
        kept.counts(100);
        kept.ends(0);
        until_taken(&kept.left(&farm, State::Exited));
        assert!(farm.raw(&[kept.name()]) == kept.output());
        farm.reaches(kept.name(), "EXITED");
    }
}

#[test]
fn a_watcher_that_is_dead_is_not_lost_while_what_it_left_waits() {
    let farm = Farm::new();
    let mut kept = Kept::new(1, "known");
    kept.begins();
    kept.counts(1000);
    let watcher = kept.hands_over(&farm);
    farm.wrote("known", "999");
    let follower = farm.following(&["logs", "-f", "--raw", "known"]);
    kept.writes("the rest\n");
    kept.ends(7);
    kept.left(&farm, State::Exited);
    watcher.peer.hangs_up();
    let followed = follower.end(SOON).ok();
    assert!(followed.stdout == kept.output(), "a follower waits for the rest: {}", followed.err());
    assert_eq!(farm.reaches("known", "EXITED")["exit"]["code"], 7);
    assert_eq!(farm.told("known", "lost").len(), 0);
}

#[test]
fn a_watcher_that_lives_keeps_its_spool() {
    let farm = Farm::empty();
    let (mut held, mut free) = (Kept::new(1, "lives"), Kept::new(2, "left"));
    held.begins();
    free.begins();
    let lock = held.held(&farm);
    let spool = free.left(&farm, State::Running);
    farm.start_node(&[]);
    until_taken(&spool);
    // The next look comes by both again.
    let again = free.left(&farm, State::Running);
    until_taken(&again);
    assert!(lock.dir().exists() && farm.rows("lives").is_empty(), "it is not touched");
    let dir = lock.dir().to_path_buf();
    drop(lock);
    until_taken(&dir);
    farm.reaches("lives", "LOST");
}

#[test]
fn of_a_killed_watcher_what_it_left_is_there_and_the_rest_is_unknown() {
    let farm = Farm::empty();
    // Nothing but the free lock proves that it is dead.
    let mut kept = Kept::from_elsewhere(1, "killed");
    kept.begins();
    kept.counts(10);
    let last = kept.last_seq();
    started_and_taken(&farm, &kept.left(&farm, State::Running));
    farm.reaches("killed", "LOST");
    let read = farm.ctl(&["logs", "--raw", "killed"]).ok();
    assert!(read.stdout == kept.output());
    assert!(read.err().contains(&format!("after record {last} is unknown")), "{}", read.err());
    let detail = farm.json(&["inspect", "killed"])["processes"][0].clone();
    assert_eq!((&detail["unknown_after_seq"], &detail["gaps"]), (&last.into(), &1.into()), "{detail}");
    assert_eq!(farm.told("killed", "lost")[0]["unknown_after_seq"], last);
    // The lock is gone with the spool, and nothing else proves it.
    farm.kill_node();
    farm.start_node(&[]);
    farm.reaches("killed", "LOST");
    assert_eq!(farm.told("killed", "lost").len(), 1, "it is told once");
}

/// The largest file below a directory with this ending.
fn largest(dir: &Path, ending: &str) -> PathBuf {
    let files = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    let of = files.filter(|path| path.extension().is_some_and(|found| found == ending));
    of.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
}

#[test]
fn a_flipped_bit_costs_a_gap_and_not_the_rest() {
    let farm = Farm::empty();
    let mut kept = Kept::new(1, "bent");
    kept.begins();
    let output = kept.counts(100_000);
    kept.ends(0);
    let spool = kept.left(&farm, State::Exited);
    let segment = largest(&spool.join("log"), "seg");
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&segment, bytes).unwrap();
    started_and_taken(&farm, &spool);
    let row = farm.reaches("bent", "EXITED");
    assert_eq!(row["exit"]["code"], 0, "{row}");
    let read = farm.ctl(&["logs", "--raw", "bent"]).ok();
    assert!(read.err().contains("the spool it was kept in is damaged"), "{}", read.err());
    let lost = output.len() - read.stdout.len();
    assert!(lost > 0 && lost <= 256 << 10, "one record: {lost}");
    let same = output.iter().zip(&read.stdout).take_while(|(wrote, read)| wrote == read).count();
    assert!(output[same + lost..] == read.stdout[same..], "all before it and all behind it");
    let gaps = farm.json(&["inspect", "bent"])["processes"][0]["latest_gaps"].clone();
    assert_eq!((gaps.as_array().unwrap().len(), &gaps[0]["reason"]), (1, &"spool_lost".into()), "{gaps}");
    farm.file_says("zerovisor.log", "the spool it was kept in is damaged");
}

#[test]
fn a_torn_end_is_a_gap_and_how_it_ended_is_not_made_up() {
    let farm = Farm::empty();
    let mut kept = Kept::new(1, "torn");
    kept.begins();
    kept.counts(100);
    kept.ends(0);
    let spool = kept.left(&farm, State::Exited);
    let segment = largest(&spool.join("log"), "seg");
    let length = fs::metadata(&segment).unwrap().len();
    fs::File::options().write(true).open(&segment).unwrap().set_len(length - 10).unwrap();
    started_and_taken(&farm, &spool);
    let read = farm.ctl(&["logs", "--raw", "torn"]).ok();
    assert!(read.stdout == kept.output() && read.err().contains("spool"), "{}", read.err());
    let detail = farm.json(&["inspect", "torn"])["processes"][0].clone();
    assert_eq!((&detail["state"], &detail["latest_gaps"][0]["reason"]), (&"LOST".into(), &"spool_lost".into()));
}

/// The journal had acknowledged the first records, so they are not in the spool; then it was removed.
#[test]
fn what_a_lost_journal_had_is_a_gap_before_what_was_kept() {
    let farm = Farm::empty();
    let mut kept = Kept::new(1, "late");
    kept.begins();
    kept.counts(10);
    kept.forgets();
    let output = kept.counts(10);
    kept.ends(0);
    started_and_taken(&farm, &kept.left(&farm, State::Exited));
    farm.reaches("late", "EXITED");
    let read = farm.ctl(&["logs", "--raw", "late"]).ok();
    assert!(read.stdout == output && read.err().contains("the journal that had it is gone"), "{}", read.err());
}

#[test]
fn a_name_that_a_live_process_has_is_extended() {
    let farm = Farm::new();
    farm.watched(&["--name", "web", "-d", "sleep", "1d"]).ok();
    farm.reaches("web", "RUNNING");
    let mut kept = Kept::new(1, "web");
    kept.names();
    kept.begins();
    let output = kept.counts(10);
    kept.ends(0);
    until_taken(&kept.left(&farm, State::Exited));
    let name = format!("web~{}", kept.id().short());
    farm.reaches(&name, "EXITED");
    assert!(farm.raw(&[&name]) == output);
    assert_eq!(farm.row("web")["state"], "RUNNING");
}

/// Each record is on the disk before its spool goes; of more than is kept the oldest expires, as of any other.
#[test]
fn taking_in_keeps_to_sync_and_retention() {
    let farm = Farm::empty();
    let mut kept = Kept::new(1, "much");
    kept.begins();
    let output = kept.counts(700_000);
    kept.ends(0);
    let spool = kept.left(&farm, State::Exited);
    farm.start_node(&["--sync", "always", "--retain-size", "1M"]);
    until_taken(&spool);
    farm.reaches("much", "EXITED");
    let read = farm.ctl(&["logs", "--raw", "much"]).ok();
    assert!(read.stdout.len() < 2 << 20 && output.ends_with(&read.stdout), "{} bytes", read.stdout.len());
    assert!(read.err().contains("removed by retention"), "{}", read.err());
}

#[test]
fn a_directory_that_is_named_is_looked_at_for_ipc_and_tcp() {
    let farm = Farm::empty();
    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let (bound, written) = (format!("tcp://127.0.0.1:{port}"), format!("tcp://localhost:{port}"));
    let dir = farm.path("spools");
    let (mut by_ipc, mut by_tcp, mut foreign) = (Kept::new(1, "ipc"), Kept::new(2, "tcp"), Kept::new(3, "foreign"));
    for kept in [&mut by_ipc, &mut by_tcp, &mut foreign] {
        kept.begins();
        kept.ends(0);
    }
    let socket = format!("ipc://{}", farm.path("zerovisor.sock").display());
    let spools = [by_ipc.left_at(&socket, &dir, State::Exited), by_tcp.left_at(&written, &dir, State::Exited)];
    let other = foreign.left_at("tcp://elsewhere.invalid:1", &dir, State::Exited);
    let args = ["-e", "ipc://zerovisor.sock", "-e", &bound, "--insecure", "--spool", "spools"];
    farm.start_node(&args);
    spools.iter().for_each(|spool| until_taken(spool));
    for name in ["ipc", "tcp"] {
        farm.reaches(name, "EXITED");
    }
    assert!(other.exists() && farm.rows("foreign").is_empty(), "it is for another zerovisor");
}
