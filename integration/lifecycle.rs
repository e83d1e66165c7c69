//! Starting, stopping and removing: done by hand, done once, and refused in words.

use crate::harness::{Farm, SOON, alive, live_with_argument, until};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

fn pid_of(row: &Value) -> i32 {
    i32::try_from(row["pid"].as_i64().unwrap_or_else(|| panic!("no pid: {row}"))).unwrap()
}

#[test]
fn a_process_that_ignores_term_is_killed_after_its_grace() {
    let farm = Farm::new();
    let ignoring = "trap '' TERM; echo deaf; while :; do sleep 1000; done";
    farm.watched(&["--name", "deaf", "--stop-timeout", "300ms", "-d", "sh", "-c", ignoring]).ok();
    farm.wrote("deaf", "deaf");
    farm.ctl(&["stop", "deaf"]).ok();
    let row = farm.row("deaf");
    assert_eq!((&row["state"], &row["exit"]["signal"]), (&json!("STOPPED"), &json!(9)), "{row}");
    let events = farm.events("deaf");
    let at = |what: &str| events.iter().position(|event| event == what).unwrap_or_else(|| panic!("{what}: {events:?}"));
    assert!(at("stopping") < at("killed") && at("killed") < at("ended") && at("ended") < at("stopped"), "{events:?}");
}

#[test]
fn the_stop_signal_is_the_one_asked_for() {
    let farm = Farm::new();
    let script = "trap 'echo got USR1; exit 5' USR1; echo ready; while :; do sleep 0.01; done";
    farm.watched(&["--name", "polite", "--stop-signal", "USR1", "-d", "sh", "-c", script]).ok();
    farm.wrote("polite", "ready");
    farm.ctl(&["stop", "polite"]).ok();
    let row = farm.row("polite");
    assert_eq!((&row["state"], &row["exit"]["code"]), (&json!("STOPPED"), &json!(5)), "{row}");
    assert!(farm.ctl(&["logs", "polite"]).ok().out().contains("got USR1"));
}

#[test]
fn stop_without_grace_kills_at_once() {
    let farm = Farm::new();
    farm.watched(&["--name", "deaf", "-d", "sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1000; done"]).ok();
    farm.wrote("deaf", "deaf");
    farm.ctl_within(&["stop", "--kill", "deaf"], std::time::Duration::from_secs(5)).ok();
    assert_eq!(farm.row("deaf")["exit"]["signal"], 9);
}

#[test]
fn what_a_run_leaves_is_stopped_before_it_counts_as_ended() {
    let farm = Farm::new();
    let mark = mark(&farm, "left");
    farm.script("loiter", "echo $1 > up\nwhile :; do sleep 1000; done\n");
    let script = format!("(setsid sh loiter {mark} &)\nwhile [ ! -e up ]; do :; done\n");
    farm.script("leave", &script);
    farm.watched(&["--name", "leaver", "sh", "leave"]).ok();
    assert_eq!(live_with_argument(&mark), Vec::<i32>::new());
    assert_eq!(farm.row("leaver")["state"], "EXITED");
}

#[test]
fn leftovers_are_waited_for_where_that_was_asked() {
    let farm = Farm::new();
    farm.script("later", "while [ ! -e go ]; do sleep 0.01; done; echo later\n");
    farm.script("leave", "(setsid sh later &)\nwhile [ ! -e leave-now ]; do sleep 0.01; done\nexit 4\n");
    let watched = farm.watch(&["--name", "parent", "--start-secs", "10ms", "--leftovers", "wait", "sh", "leave"]);
    let main = pid_of(&farm.reaches("parent", "RUNNING"));
    std::fs::write(farm.path("leave-now"), "").unwrap();
    until("the main process ends", SOON, || (!alive(main)).then_some(()));
    assert_eq!(farm.row("parent")["state"], "RUNNING", "the run goes on while its tree lives");
    assert!(watched.ended().is_none());
    std::fs::write(farm.path("go"), "").unwrap();
    assert_eq!(watched.end(SOON).code(), 4, "the status is the main process's");
    assert_eq!(farm.ctl(&["logs", "parent"]).ok().out(), "later\n");
}

#[test]
fn a_run_whose_leftovers_are_waited_for_counts_as_running_however_early_its_main_process_left() {
    let farm = Farm::new();
    farm.script("later", "while [ ! -e go ]; do sleep 0.01; done\n");
    let args = ["--name", "parent", "--start-secs", "100ms", "--leftovers", "wait", "sh", "-c", "(setsid sh later &)"];
    let watched = farm.watch(&args);
    farm.reaches("parent", "RUNNING");
    std::fs::write(farm.path("go"), "").unwrap();
    watched.end(SOON).ok();
}

fn mark(farm: &Farm, what: &str) -> String {
    format!("{what}-{}", farm.dir().file_name().unwrap().to_string_lossy())
}

#[test]
fn a_watcher_without_a_command_waits_for_one() {
    let farm = Farm::new();
    farm.watched(&["--name", "empty", "-d"]).ok();
    let row = farm.reaches("empty", "WAITING");
    assert_eq!((&row["pid"], &row["run"]), (&Value::Null, &json!(0)), "{row}");
    farm.ctl(&["start", "empty"]).refused(1, &["empty", "command"]);
    farm.ctl(&["start", "empty", "--", "sh", "-c", "echo $0 \"$@\"; exec sleep 1d", "a b", "c"]).ok();
    farm.wrote("empty", "a b c");
    let row = farm.reaches("empty", "RUNNING");
    assert_eq!(row["command"][0], "sh", "{row}");
    farm.ctl(&["stop", "empty"]).ok();
}

#[test]
fn a_detached_process_can_be_stopped_started_and_restarted() {
    let farm = Farm::new();
    farm.watched(&["--name", "day", "--start-secs", "10ms", "-d", "sh", "-c", "echo run $ZV_RUN; exec sleep 1d"]).ok();
    let first = farm.reaches("day", "RUNNING");
    farm.ctl(&["start", "day"]).ok();
    assert_eq!(farm.row("day")["run"], 1, "it runs already");
    farm.ctl(&["stop", "day"]).ok();
    assert!(!alive(pid_of(&first)));
    assert_eq!(farm.row("day")["state"], "STOPPED");
    farm.ctl(&["stop", "day"]).ok();
    farm.ctl(&["start", "day"]).ok();
    farm.ctl(&["wait", "--for", "running", "day"]).ok();
    let second = farm.row("day");
    assert_eq!((&second["run"], &second["id"]), (&json!(2), &first["id"]), "the same process, another run");
    farm.ctl(&["restart", "day"]).ok();
    let third = until("the third run", SOON, || {
        Some(farm.row("day")).filter(|row| row["run"] == 3 && row["state"] == "RUNNING")
    });
    assert!(!alive(pid_of(&second)) && alive(pid_of(&third)));
    assert_eq!(farm.ctl(&["logs", "day"]).ok().out(), "run 1\nrun 2\nrun 3\n");
    farm.ctl(&["stop", "day"]).ok();
}

#[test]
fn a_live_process_is_removed_only_by_force() {
    let farm = Farm::new();
    farm.watched(&["--name", "day", "-d", "sleep", "1d"]).ok();
    let row = farm.reaches("day", "RUNNING");
    farm.ctl(&["rm", "day"]).refused(1, &["day", "-f"]);
    assert_eq!(farm.row("day")["state"], "RUNNING");
    farm.ctl(&["rm", "-f", "day"]).ok();
    until("it is gone", SOON, || farm.rows("day").is_empty().then_some(()));
    until("its process is dead", SOON, || (!alive(pid_of(&row))).then_some(()));
    farm.ctl(&["logs", "day"]).refused(4, &["day"]);
}

#[test]
fn the_watcher_of_a_stopped_process_ends_when_it_is_removed() {
    let farm = Farm::new();
    farm.watched(&["--name", "day", "-d", "sleep", "1d"]).ok();
    farm.reaches("day", "RUNNING");
    let watcher = farm.json(&["inspect", "day"])["processes"][0]["watcher_pid"].as_i64().unwrap();
    let watcher = i32::try_from(watcher).unwrap();
    farm.ctl(&["stop", "day"]).ok();
    assert!(alive(watcher), "it stays so that start works");
    farm.ctl(&["rm", "day"]).ok();
    until("the watcher ends", SOON, || (!alive(watcher)).then_some(()));
    until("only the zerovisor is left", SOON, || (farm.members() == [farm.node_pid()]).then_some(()));
}

#[test]
fn starting_what_has_no_watcher_fails_and_says_what_to_type() {
    let farm = Farm::new();
    farm.watched(&["--name", "past", "echo", "hello there"]).ok();
    let line = farm.ctl(&["start", "past"]).refused(3, &["past", "zvwatch"]);
    assert!(line.contains("echo 'hello there'"), "{line}");
}

#[test]
fn a_signal_to_a_foreground_watcher_stops_its_child_and_a_second_one_kills_it() {
    let farm = Farm::new();
    let watched = farm.watch(&["--name", "soft", "sleep", "1d"]);
    farm.reaches("soft", "RUNNING");
    watched.signal(Signal::SIGTERM);
    assert_eq!(watched.end(SOON).code(), 128 + 15);
    assert_eq!(farm.row("soft")["state"], "STOPPED");

    let watched = farm.watch(&["--name", "hard", "sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1000; done"]);
    farm.wrote("hard", "deaf");
    watched.signal(Signal::SIGINT);
    until("it is being stopped", SOON, || farm.events("hard").contains(&"stopping".into()).then_some(()));
    watched.signal(Signal::SIGINT);
    assert_eq!(watched.end(SOON).code(), 128 + 9);
}
