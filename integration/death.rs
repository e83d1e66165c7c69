//! Whoever of a watcher's family is killed, nothing of what it ran keeps running.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::harness::{Farm, SOON, alive, live_with_argument, parent_of, until};

struct Family {
    farm: Farm,
    mark: String,
    main: i32,
    watcher: i32,
    guard: i32,
}

impl Family {
    fn new() -> Family {
        let farm = Farm::new();
        let mark = format!("mark-{}", farm.dir().file_name().unwrap().to_string_lossy());
        farm.script("loiter", "echo $1 >> up\nwhile :; do sleep 1000; done\n");
        let deep = format!(
            "sh loiter {mark} &\nsetsid sh loiter {mark} &\n(setsid sh -c 'sh loiter {mark} & exit' &)\nsh loiter {mark}\n"
        );
        farm.script("deep", &deep);
        farm.watched(&["--name", "deep", "-d", "sh", "deep"]).ok();
        until("all four run", SOON, || (farm.text("up").lines().count() == 4).then_some(()));
        farm.reaches("deep", "RUNNING");
        let inspected = farm.json(&["inspect", "deep"]);
        let number = |value: &Value| i32::try_from(value.as_i64().unwrap()).unwrap();
        let (main, watcher) =
            (number(&inspected["processes"][0]["pid"]), number(&inspected["processes"][0]["watcher_pid"]));
        let guard = parent_of(watcher).unwrap();
        assert_eq!(live_with_argument(&mark).len(), 4);
        Family { farm, mark, main, watcher, guard }
    }

    fn nothing_keeps_running(&self) {
        until("nothing of its tree keeps running", SOON, || {
            (!alive(self.main) && live_with_argument(&self.mark).is_empty()).then_some(())
        });
        until("nothing of its family keeps running", SOON, || {
            (!alive(self.watcher) && !alive(self.guard)).then_some(())
        });
    }
}

fn killed(pids: &[i32]) {
    for pid in pids {
        kill(Pid::from_raw(*pid), Signal::SIGKILL).unwrap();
    }
}

#[test]
fn a_killed_watcher_takes_its_whole_tree_with_it_and_shows_as_lost() {
    let family = Family::new();
    killed(&[family.watcher]);
    family.nothing_keeps_running();
    let row = family.farm.reaches("deep", "LOST");
    assert_eq!(row["run"], 1, "the last facts are kept: {row}");
    assert_eq!(row["command"], serde_json::json!(["sh", "deep"]), "{row}");
    assert!(family.farm.ctl(&["ps", "-a"]).ok().out().contains("LOST"));
    assert!(family.farm.ctl(&["why", "deep"]).ok().out().contains("watcher"));
    assert!(family.farm.events("deep").contains(&"lost".into()));
    family.farm.ctl(&["start", "deep"]).refused(3, &["deep"]);
    family.farm.ctl(&["rm", "deep"]).ok();
    assert_eq!(family.farm.rows("deep").len(), 0);
}

#[test]
fn a_killed_guard_takes_the_whole_tree_with_it_and_the_watcher_tells_why() {
    let family = Family::new();
    killed(&[family.guard]);
    family.nothing_keeps_running();
    let told = family.farm.jsonl(&["events", "deep"]);
    let stopping = told.iter().find(|event| event["event"] == "stopping").unwrap_or_else(|| panic!("{told:?}"));
    assert_eq!(stopping["cause"], "guard_died", "{stopping}");
    let state = family.farm.row("deep")["state"].as_str().unwrap().to_owned();
    assert!(["STOPPED", "EXITED"].contains(&state.as_str()), "{state}");
}

#[test]
fn watcher_and_guard_killed_at_once_take_the_main_process_with_them() {
    let family = Family::new();
    // Frozen, it cannot act on the end of its guard before its own.
    kill(Pid::from_raw(family.watcher), Signal::SIGSTOP).unwrap();
    killed(&[family.guard, family.watcher]);
    until("the main process does not outlive them", SOON, || (!alive(family.main)).then_some(()));
    family.farm.reaches("deep", "LOST");
}

#[test]
fn a_killed_foreground_watcher_ends_its_guard_with_125() {
    let farm = Farm::new();
    let watched = farm.watch(&["--name", "front", "sleep", "1d"]);
    let row = farm.reaches("front", "RUNNING");
    let main = i32::try_from(row["pid"].as_i64().unwrap()).unwrap();
    let watcher = farm.json(&["inspect", "front"])["processes"][0]["watcher_pid"].as_i64().unwrap();
    assert_eq!(parent_of(i32::try_from(watcher).unwrap()), Some(watched.pid), "the guard is who was started");
    killed(&[i32::try_from(watcher).unwrap()]);
    assert_eq!(watched.end(SOON).code(), 125);
    assert!(!alive(main));
}

/// A zerovisor is restarted, and its processes are removed before their watchers are back.
#[test]
fn what_is_removed_while_its_watcher_is_away_ends_and_does_not_come_back() {
    let family = Family::new();
    let farm = &family.farm;
    let watcher = Pid::from_raw(family.watcher);
    kill(watcher, Signal::SIGSTOP).unwrap();
    farm.kill_node();
    farm.start_node(&[]);
    farm.reaches("deep", "UNREACHABLE");
    farm.ctl(&["rm", "deep"]).refused(1, &["live"]);
    farm.ctl(&["rm", "-f", "deep"]).ok();
    assert!(farm.rows("deep").is_empty());
    kill(watcher, Signal::SIGCONT).unwrap();
    until("its whole family has ended", SOON, || {
        let gone = !alive(family.watcher) && !alive(family.guard) && live_with_argument(&family.mark).is_empty();
        gone.then_some(())
    });
    assert!(farm.rows("deep").is_empty(), "it did not come back");
}
