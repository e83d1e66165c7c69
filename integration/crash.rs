//! A zerovisor may die at any instant: children do not notice, and the journal has every byte once and in order.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Farm, LONG, SOON, assert_counted, count, enough, until};

/// Bytes in all files of the data directory.
fn data_bytes(farm: &Farm) -> u64 {
    fn under(dir: &std::path::Path) -> u64 {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let size = |entry: fs::DirEntry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => under(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        };
        entries.map(size).sum()
    }
    under(&farm.path("zerovisor.data"))
}

#[test]
fn a_zerovisor_killed_under_load_has_every_byte_once_and_in_order() {
    let farm = Farm::new();
    let names = ["one", "two", "three"];
    let watched = names.map(|name| count(&farm, name));
    for _ in 0..5 {
        let before = data_bytes(&farm);
        until("the journal grows", LONG, || (data_bytes(&farm) > before + (3 << 20)).then_some(()));
        farm.kill_node();
        farm.start_node(&[]);
    }
    let before = data_bytes(&farm);
    until("the journal grows", LONG, || (data_bytes(&farm) > before + (1 << 20)).then_some(()));
    enough(&farm);
    for watcher in watched {
        let ended = watcher.end(LONG).ok();
        assert_eq!(ended.out(), "", "all of it went to the zerovisor");
    }
    for name in names {
        assert_counted(&farm, name, &farm.raw(&[name]));
        let row = farm.row(name);
        assert_eq!(
            (&row["state"], &row["exit"]["code"], &row["run"]),
            (&"EXITED".into(), &0.into(), &1.into()),
            "{row}"
        );
        assert_eq!(farm.events(name).iter().filter(|event| *event == "ended").count(), 1, "each fact once");
    }
}

#[test]
fn an_end_while_no_zerovisor_was_there_is_known_to_the_next_one() {
    let farm = Farm::new();
    farm.watched(&["--name", "heir", "-d", "sh", "-c", "while [ ! -e go ]; do :; done; echo late; exit 7"]).ok();
    farm.reaches("heir", "RUNNING");
    farm.kill_node();
    fs::write(farm.path("go"), "").unwrap();
    farm.start_node(&[]);
    let row = farm.reaches("heir", "EXITED");
    assert_eq!(row["exit"]["code"], 7, "{row}");
    assert_eq!(farm.ctl(&["logs", "heir"]).ok().out(), "late\n");
}

#[test]
fn a_zerovisor_stopped_and_started_again_takes_its_watchers_back() {
    let farm = Farm::new();
    farm.watched(&["--name", "stays", "-d", "sleep", "1d"]).ok();
    let before = farm.reaches("stays", "RUNNING");
    assert_eq!(farm.end_node(Signal::SIGTERM).status.code(), Some(0));
    farm.start_node(&[]);
    let after = farm.reaches("stays", "RUNNING");
    let same = |row: &serde_json::Value| (row["id"].clone(), row["pid"].clone(), row["run"].clone());
    assert_eq!(same(&before), same(&after));
    farm.ctl(&["stop", "stays"]).ok();
}

#[test]
fn an_old_journal_is_served_by_a_new_zerovisor() {
    let farm = Farm::new();
    farm.watched(&["--name", "old", "echo", "from before"]).ok();
    farm.end_node(Signal::SIGINT);
    farm.start_node(&[]);
    assert_eq!(farm.ctl(&["logs", "old"]).ok().out(), "from before\n");
    assert_eq!(farm.row("old")["state"], "EXITED");
}

#[test]
fn a_watcher_without_a_zerovisor_warns_once_and_delivers_when_one_appears() {
    let farm = Farm::empty();
    let watched = farm.watched(&["--name", "early", "-d", "sh", "-c", "echo early; while [ ! -e go ]; do :; done"]);
    let said = watched.ok().err();
    assert!(said.lines().count() <= 1, "one line: {said}");
    farm.start_node(&[]);
    farm.wrote("early", "early");
    fs::write(farm.path("go"), "").unwrap();
    let row = farm.reaches("early", "EXITED");
    assert_eq!(row["exit"]["code"], 0, "{row}");
}

#[test]
fn a_foreground_watcher_without_a_zerovisor_returns_the_childs_status() {
    let farm = Farm::empty();
    let watched = farm.watch(&["--name", "alone", "sh", "-c", "exit 3"]).end(SOON);
    assert_eq!(watched.code(), 3);
    let said = watched.err();
    assert!(said.contains("zerovisor.sock"), "it says where nobody answers: {said}");
}

#[test]
fn a_zerovisor_that_hangs_for_a_while_loses_nothing() {
    let farm = Farm::new();
    let script = "while [ ! -e go ]; do sleep 0.01; done; seq 1 100000; touch written";
    farm.watched(&["--name", "patient", "-d", "sh", "-c", script]).ok();
    farm.reaches("patient", "RUNNING");
    let node = Pid::from_raw(farm.node_pid());
    kill(node, Signal::SIGSTOP).unwrap();
    fs::write(farm.path("go"), "").unwrap();
    until("all of it is written", SOON, || farm.path("written").exists().then_some(()));
    kill(node, Signal::SIGCONT).unwrap();
    assert_eq!(farm.reaches("patient", "EXITED")["exit"]["code"], 0);
    let lines: String = (1..=100_000).map(|n| format!("{n}\n")).collect();
    assert!(farm.raw(&["patient"]) == lines.as_bytes(), "each byte once");
}

#[test]
fn many_watchers_come_back_to_a_restarted_zerovisor() {
    let farm = Farm::new();
    let names: Vec<String> = (0..30).map(|n| format!("w{n}")).collect();
    for name in &names {
        farm.watched(&["--name", name, "--start-secs", "1ms", "-d", "sleep", "1d"]).ok();
    }
    farm.kill_node();
    farm.start_node(&[]);
    until("all are back", SOON, || {
        let all = farm.jsonl(&["ps"]);
        let running = all.iter().filter(|row| row["state"] == "RUNNING").count();
        (running == names.len()).then_some(())
    });
    let all = farm.jsonl(&["ps", "-a"]);
    assert_eq!(all.len(), names.len(), "none is there twice: {all:?}");
}

#[test]
fn events_are_followed_over_a_killed_zerovisor() {
    let farm = Farm::new();
    let mut command = farm.ctl_command(&["events", "-f", "-o", "jsonl"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut told = lines.map(|line| serde_json::from_str::<serde_json::Value>(&line.unwrap()).unwrap());
    farm.watched(&["--name", "before", "true"]).ok();
    let mut seen: Vec<_> = Vec::new();
    let mut read_to_the_end_of = |name: &str| {
        for event in &mut told {
            seen.push(event["seq"].as_u64().unwrap());
            if event["name"] == name && event["event"] == "exited" {
                return;
            }
        }
        panic!("no end of {name}");
    };
    read_to_the_end_of("before");
    farm.kill_node();
    farm.start_node(&[]);
    farm.watched(&["--name", "after", "true"]).ok();
    read_to_the_end_of("after");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(seen.windows(2).all(|pair| pair[1] == pair[0] + 1), "none missed, none twice: {seen:?}");
}
