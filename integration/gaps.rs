//! What is missing is said: by logs in its place, by inspect, why and the events, and in zerovisor.log.

use std::fs;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use zerovisor_core::fact::{Fact, Gap, GapReason};
use zerovisor_core::id::Id;
use zerovisor_core::units::Timestamp;
use zerovisor_core::wire::HostProof;

use crate::harness::{Farm, LONG, Program, SOON, Watcher, parent_of, until, watcher_hello};

/// Everything about the one process of this name.
fn inspected(farm: &Farm, name: &str) -> Value {
    farm.json(&["inspect", name])["processes"][0].clone()
}

/// Every view says that what this process wrote behind the end of its journal is unknown.
fn assert_tail_is_unknown(farm: &Farm, name: &str) {
    let detail = inspected(farm, name);
    let last = detail["journal"]["last_seq"].as_u64().unwrap();
    let says = format!("what it wrote after record {last} is unknown");
    assert_eq!(detail["unknown_after_seq"], last, "{detail}");
    let gap = detail["latest_gaps"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&gap["reason"], &gap["first_seq"]), (&"watcher_died".into(), &(last + 1).into()), "{gap}");
    for args in [&["logs", name][..], &["logs", "--raw", name], &["logs", "-o", "jsonl", name]] {
        let read = farm.ctl(args).ok();
        assert!(read.err().contains(&says), "{args:?}: {}", read.err());
    }
    let told = farm.jsonl(&["logs", name]);
    let end = told.last().unwrap();
    assert_eq!((&end["reason"], &end["first_seq"]), (&"watcher_died".into(), &(last + 1).into()), "{end}");
    assert!(farm.ctl(&["inspect", name]).ok().out().contains(&says));
    assert!(farm.ctl(&["why", name]).ok().out().to_lowercase().contains(&says));
    let lost = farm.jsonl(&["events", name]).into_iter().rfind(|event| event["event"] == "lost").unwrap();
    assert_eq!(lost["unknown_after_seq"], last, "{lost}");
    farm.file_says("zerovisor.log", &says);
}

#[test]
fn what_a_lost_watcher_had_not_handed_over_is_said_to_be_unknown() {
    let farm = Farm::new();
    farm.watched(&["--name", "gone", "-d", "sh", "-c", "echo said; exec sleep 1d"]).ok();
    farm.reaches("gone", "RUNNING");
    farm.wrote("gone", "said");
    assert_eq!(inspected(&farm, "gone")["unknown_after_seq"], Value::Null, "not while it lives");
    let follower = farm.following(&["logs", "-f", "gone"]);
    kill(Pid::from_raw(watcher_of(&farm, "gone")), Signal::SIGKILL).unwrap();
    farm.reaches("gone", "LOST");
    let followed = follower.end(SOON).ok();
    assert_eq!(followed.out(), "said\n");
    assert!(followed.err().contains("is unknown"), "a follower is told: {}", followed.err());
    assert_tail_is_unknown(&farm, "gone");
    // The next zerovisor finds out for itself.
    farm.kill_node();
    farm.start_node(&[]);
    farm.reaches("gone", "LOST");
    assert_tail_is_unknown(&farm, "gone");
}

fn watcher_of(farm: &Farm, name: &str) -> i32 {
    i32::try_from(inspected(farm, name)["watcher_pid"].as_i64().unwrap()).unwrap()
}

/// Kills a watcher and its guard before either can act on the end of the other.
fn kill_family(watcher: i32) {
    let guard = parent_of(watcher).unwrap();
    kill(Pid::from_raw(watcher), Signal::SIGSTOP).unwrap();
    for pid in [guard, watcher] {
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }
}

#[test]
fn a_family_killed_at_once_is_lost_and_its_rest_is_unknown() {
    let farm = Farm::new();
    farm.watched(&["--name", "gone", "-d", "sh", "-c", "echo said; exec sleep 1d"]).ok();
    farm.reaches("gone", "RUNNING");
    farm.wrote("gone", "said");
    kill_family(watcher_of(&farm, "gone"));
    farm.reaches("gone", "LOST");
    assert_tail_is_unknown(&farm, "gone");
}

/// Nobody was there whom it could have told; whatever it had put on disk is there.
#[test]
fn a_family_killed_at_once_while_no_zerovisor_was_there_is_lost_and_its_rest_is_unknown() {
    let farm = Farm::new();
    farm.watched(&["--name", "gone", "-d", "sh", "-c", "echo said; exec sleep 1d"]).ok();
    farm.reaches("gone", "RUNNING");
    farm.wrote("gone", "said");
    let watcher = watcher_of(&farm, "gone");
    farm.kill_node();
    kill_family(watcher);
    farm.start_node(&[]);
    farm.reaches("gone", "LOST");
    assert_eq!(farm.ctl(&["logs", "gone"]).ok().out(), "said\n");
    assert_tail_is_unknown(&farm, "gone");
}

#[test]
fn of_a_process_whose_end_is_known_nothing_is_unknown() {
    let farm = Farm::new();
    farm.watched(&["--name", "over", "echo", "said"]).ok();
    farm.reaches("over", "EXITED");
    let detail = inspected(&farm, "over");
    assert_eq!((&detail["unknown_after_seq"], &detail["gaps"]), (&Value::Null, &0.into()), "{detail}");
    assert_eq!(detail["latest_gaps"], json!([]));
    assert_eq!(farm.ctl(&["logs", "over"]).ok().err(), "");
    assert!(!farm.ctl(&["why", "over"]).ok().out().contains("unknown"));
}

/// Its watcher is in another pid namespace of this boot, or on another host: this zerovisor cannot look whether it lives.
#[test]
fn a_watcher_whose_life_nobody_can_know_of_is_unreachable_and_not_lost() {
    let farm = Farm::new();
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim().to_owned();
    let elsewhere = HostProof { boot_id, pid_namespace: 1, pid: 1, start_ticks: 1 };
    let mut hello = watcher_hello(Id::from_random([7; 16]), 1, "far");
    hello.host = elsewhere;
    let mut watcher = Watcher::saying(&farm, hello);
    watcher.fact(&Fact::Started { run: 1, pid: 1 });
    watcher.fact(&Fact::Steady { run: 1 });
    farm.reaches("far", "RUNNING");
    watcher.peer.hangs_up();
    for _ in 0..2 {
        farm.reaches("far", "UNREACHABLE");
        let detail = inspected(&farm, "far");
        assert_eq!((&detail["unknown_after_seq"], &detail["gaps"]), (&Value::Null, &0.into()), "{detail}");
        assert_eq!(farm.ctl(&["logs", "far"]).ok().err(), "", "nothing is known to be missing");
        assert!(farm.ctl(&["why", "far"]).ok().out().contains("may well live"));
        assert!(!farm.events("far").contains(&"lost".into()));
        // The next zerovisor knows no more of it.
        farm.kill_node();
        farm.start_node(&[]);
    }
}

#[test]
fn each_recorded_gap_is_shown_by_every_view_with_its_reason() {
    let farm = Farm::new();
    let mut watcher = Watcher::saying(&farm, watcher_hello(Id::from_random([8; 16]), 1, "torn"));
    watcher.fact(&Fact::Started { run: 1, pid: 1 });
    let reasons = [
        (GapReason::Offline, "offline", "no zerovisor took it in time"),
        (GapReason::JournalLost, "journal_lost", "the journal that had it is gone"),
        (GapReason::Expired, "expired", "removed by retention"),
        (GapReason::SpoolLost, "spool_lost", "the spool it was kept in is damaged"),
    ];
    for (reason, ..) in reasons {
        watcher.writes(b"before\n");
        let (first_seq, since, until) = (watcher.seq + 1, Timestamp(1_000_000), Timestamp(9_000_000));
        // It stands for five records.
        watcher.seq += 4;
        watcher.fact(&Fact::Gap(Gap { first_seq, bytes: Some(4096), lines: Some(20), since, until, reason }));
    }
    watcher.writes(b"after\n");
    farm.wrote("torn", "after");
    let (read, log) = (farm.ctl(&["logs", "torn"]).ok(), farm.file_says("zerovisor.log", "spool it was kept in"));
    let (shown, detail) = (farm.ctl(&["inspect", "torn"]).ok().out(), inspected(&farm, "torn"));
    let objects = farm.jsonl(&["logs", "torn"]);
    assert_eq!((read.out().lines().count(), &detail["gaps"]), (5, &4.into()), "{}", read.out());
    for (at, (_, name, says)) in reasons.into_iter().enumerate() {
        for text in [&read.err(), &log, &shown] {
            assert!(text.contains("4.0 KiB of output (20 lines) missing") && text.contains(says), "{says} in {text}");
        }
        for text in [&read.err(), &shown] {
            assert!(
                text.contains("1970-01-01T00:00:01.000000Z to 1970-01-01T00:00:09.000000Z"),
                "its interval: {text}"
            );
        }
        let gap = &detail["latest_gaps"][at];
        let fields = json!([gap["reason"], gap["bytes"], gap["lines"], gap["until"]]);
        assert_eq!(fields, json!([name, 4096, 20, "1970-01-01T00:00:09.000000Z"]), "{gap}");
        assert_eq!((&objects[2 * at]["text"], &objects[2 * at + 1]["reason"]), (&"before".into(), &name.into()));
    }
    let why = farm.ctl(&["why", "torn"]).ok().out();
    assert!(why.contains("4 stretches") && why.contains("spool"), "{why}");
    let told = farm.jsonl(&["events", "torn"]);
    assert_eq!(told.iter().filter(|event| event["event"] == "gap").count(), 4);
}

#[test]
fn what_retention_removed_is_a_gap_in_every_view() {
    let farm = Farm::empty();
    farm.start_node(&["--retain-size", "1M", "--log", "none"]);
    farm.watched(&["--name", "much", "seq", "1", "2000000"]).ok();
    until("the oldest of it is gone", SOON, || {
        (inspected(&farm, "much")["journal"]["first_seq"].as_u64().unwrap() > 1).then_some(())
    });
    let detail = inspected(&farm, "much");
    let first = detail["journal"]["first_seq"].as_u64().unwrap();
    let gap = &detail["latest_gaps"][0];
    assert_eq!(
        (&gap["reason"], &gap["first_seq"], &detail["gaps"]),
        (&"expired".into(), &1.into(), &1.into()),
        "{gap}"
    );
    assert!(gap["since"].as_str().unwrap() < gap["until"].as_str().unwrap(), "{gap}");
    assert!(farm.ctl(&["why", "much"]).ok().out().contains("removed by retention"));
    let whole = farm.json(&["logs", "much"]);
    assert_eq!((&whole["missing"][0]["reason"], &whole["missing"][0]["first_seq"]), (&"expired".into(), &1.into()));
    assert!(whole["lines"][0]["seq"].as_u64().unwrap() >= first);
    let created = detail["created_at"].as_str().unwrap();
    let late = ["logs", "--raw", "--since", "2100-01-01", "much"];
    for (args, missing) in [
        (&["logs", "--raw", "much"][..], true),
        (&["logs", "-o", "jsonl", "much"], true),
        (&["logs", "--raw", "--since", created, "much"], true),
        (&["logs", "--raw", "-n", "3", "much"], false),
        (&late, false),
    ] {
        let said = farm.ctl(args).ok().err();
        assert_eq!(said.contains("removed by retention"), missing, "{args:?}: {said}");
    }
}

#[test]
fn asking_for_events_that_are_still_to_come_is_said() {
    let farm = Farm::new();
    farm.watched(&["--name", "x", "true"]).ok();
    farm.reaches("x", "EXITED");
    let none = farm.ctl(&["events", "--since-seq", "100000"]).ok();
    assert_eq!(none.out(), "");
    assert!(none.err().contains("still to come"), "{}", none.err());
    let last = farm.jsonl(&["events"]).last().unwrap()["seq"].as_u64().unwrap();
    assert_eq!(farm.ctl(&["events", "--since-seq", &last.to_string()]).ok().err(), "", "that one is there");
    // A follower is told before it waits.
    let errors = farm.path("follower.err");
    let mut command = farm.ctl_command(&["events", "-f", "--since-seq", "100000"]);
    let command = command.stdout(Stdio::null()).stderr(fs::File::create(&errors).unwrap());
    let follower = Program::start_as_is(command);
    farm.file_says("follower.err", "still to come");
    follower.signal(Signal::SIGINT);
    follower.end(SOON);
}

/// Where a disk is away for a moment, nothing is missing once it is back.
#[test]
fn what_cannot_be_read_for_a_moment_is_no_gap() {
    let farm = Farm::new();
    farm.script(
        "writer",
        "while [ ! -e go ]; do sleep 0.01; done\nseq 1 100000\nwhile [ ! -e end ]; do sleep 0.01; done\n",
    );
    let said = fs::File::create(farm.path("said")).unwrap();
    let mut command = farm.watch_command(&["--name", "writer", "sh", "writer"]);
    let watcher = Program::start_as_is(command.stdout(Stdio::null()).stderr(said));
    let id = farm.reaches("writer", "RUNNING")["id"].as_str().unwrap().to_owned();
    farm.kill_node();
    fs::write(farm.path("go"), "").unwrap();
    let written: String = (1..=100_000).map(|n| format!("{n}\n")).collect();
    let (log, away) = (farm.path(&format!("zerovisor.spool/{id}/log")), farm.path("away"));
    until("all of it is on the disk", SOON, || {
        let files = fs::read_dir(&log).ok()?.filter_map(|entry| entry.ok()?.metadata().ok());
        (files.map(|meta| meta.len()).sum::<u64>() > written.len() as u64).then_some(())
    });
    fs::rename(&log, &away).unwrap();
    farm.start_node(&[]);
    farm.file_says("said", "cannot be read just now");
    fs::rename(&away, &log).unwrap();
    fs::write(farm.path("end"), "").unwrap();
    watcher.end(LONG).ok();
    assert!(farm.raw(&["writer"]) == written.as_bytes(), "each byte once: {}", farm.text("said"));
    assert!(farm.told("writer", "gap").is_empty(), "{}", farm.text("said"));
}
