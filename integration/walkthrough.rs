//! The walk-through that must always work, as typed.

use nix::sys::signal::Signal;

use crate::harness::Farm;

#[test]
fn the_walk_through_works_as_typed() {
    let farm = Farm::new();
    let watched = farm.watched(&["echo", "bob", "is", "your", "uncle"]);
    assert_eq!((watched.code(), watched.out(), watched.err()), (0, String::new(), String::new()));

    let log = farm.file_says("zerovisor.log", "exit code 0");
    let at = |text: &str| log.find(text).unwrap_or_else(|| panic!("no '{text}' in:\n{log}"));
    assert!(at("started, pid ") < at("bob is your uncle"), "{log}");
    assert!(at("bob is your uncle") < at("exit code 0"), "{log}");
    let line = log.lines().find(|line| line.contains("bob is your uncle")).unwrap();
    let pid = farm.jsonl(&["events", "echo"]).iter().find_map(|event| event["pid"].as_i64()).unwrap();
    assert!(line.contains(&format!("echo.1[{pid}]")) && line.contains("stdout"), "{line}");

    let table = farm.ctl(&["ps", "-a"]).ok().out();
    let header: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(header, "ID NAME NODE STATE PID UP CPU% MEM PEAK RESTARTS EXIT COMMAND".split(' ').collect::<Vec<_>>());
    let row = table.lines().find(|line| line.contains("echo")).unwrap_or_else(|| panic!("no echo in:\n{table}"));
    assert!(row.contains("EXITED") && row.contains("echo bob is your uncle"), "{row}");
    assert!(!farm.ctl(&["ps"]).ok().out().contains("EXITED"), "ps without -a shows live ones only");
    assert_eq!(farm.ctl(&["logs", "echo"]).ok().out(), "bob is your uncle\n");
}

#[test]
fn a_detached_program_is_seen_and_stopped_from_anywhere() {
    let farm = Farm::new();
    assert_eq!(farm.watched(&["--name", "day", "-d", "sleep", "1d"]).ok().err(), "");
    let row = farm.reaches("day", "RUNNING");
    assert_eq!(row["command"], serde_json::json!(["sleep", "1d"]));
    assert!(row["pid"].as_i64().is_some_and(|pid| crate::harness::alive(i32::try_from(pid).unwrap())), "{row}");
    farm.ctl(&["stop", "day"]).ok();
    let row = farm.row("day");
    assert_eq!((&row["state"], &row["exit"]["signal"]), (&"STOPPED".into(), &15.into()), "{row}");
}

#[test]
fn nothing_is_left_once_all_have_ended() {
    let farm = Farm::new();
    farm.watched(&["true"]).ok();
    assert_eq!(farm.end_node(Signal::SIGTERM).status.code(), Some(0));
    assert!(!farm.path("zerovisor.sock").exists(), "the socket is removed");
    assert_eq!(farm.members(), Vec::<i32>::new());
}
