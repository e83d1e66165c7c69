//! A program whose tree does all it can to be left behind, and the family that runs it.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::harness::{Farm, SOON, alive, cgroups_of, live_with_argument, parent_of, until};

/// The name of the process.
pub(super) const NAME: &str = "deep";

/// Stays, whatever it is told.
const LOITER: &str = "trap '' TERM HUP INT QUIT USR1 USR2 ALRM PIPE
echo $1 >> up
while :; do sleep 1000; done
";

/// A child, one in a session of its own, one that was forked twice and is nobody's, and the main process.
const DEEP: &str = "sh loiter $1 &
setsid sh loiter $1 &
(setsid sh -c 'sh loiter $0 & exit' $1 &)
exec sh loiter $1
";
const MEMBERS: usize = 4;

/// Writes the scripts; the command that runs them, and an argument that each process of the tree has and no other.
pub(super) fn scripts(farm: &Farm) -> ([&'static str; 2], String) {
    let mark = format!("mark-{}", farm.dir().file_name().unwrap().to_string_lossy());
    farm.script("loiter", LOITER);
    farm.script("deep", &DEEP.replace("$1", &mark));
    (["sh", "deep"], mark)
}

/// Who is who of a process whose tree is up.
pub(super) struct Family {
    pub(super) id: String,
    pub(super) mark: String,
    pub(super) main: i32,
    pub(super) watcher: i32,
    pub(super) guard: i32,
    /// What `/proc/PID/cgroup` says of the watcher.
    pub(super) home: String,
}

impl Family {
    pub(super) fn found(farm: &Farm, mark: String) -> Family {
        until("all four run", SOON, || (farm.text("up").lines().count() == MEMBERS).then_some(()));
        let row = farm.reaches(NAME, "RUNNING");
        let inspected = farm.json(&["inspect", NAME]);
        let number = |value: &Value| i32::try_from(value.as_i64().unwrap()).unwrap();
        let watcher = number(&inspected["processes"][0]["watcher_pid"]);
        let guard = parent_of(watcher).unwrap();
        let home = std::fs::read_to_string(format!("/proc/{watcher}/cgroup")).unwrap();
        assert_eq!(live_with_argument(&mark).len(), MEMBERS);
        Family { id: row["id"].as_str().unwrap().to_owned(), mark, main: number(&row["pid"]), watcher, guard, home }
    }

    /// Of guard and watcher, whoever else is told beside them, and all they ran, nothing lives, and there is no cgroup.
    pub(super) fn is_gone(&self, others: &[i32]) {
        until("its guard and its watcher are gone", SOON, || {
            let lives = [self.guard, self.watcher].iter().chain(others).any(|pid| alive(*pid));
            (!lives).then_some(())
        });
        until("nothing of its tree keeps running", SOON, || {
            (!alive(self.main) && live_with_argument(&self.mark).is_empty()).then_some(())
        });
        until("no cgroup is left", SOON, || cgroups_of(&self.id).is_empty().then_some(()));
    }
}

pub(super) fn signalled(pids: &[i32], signal: Signal) {
    for pid in pids {
        kill(Pid::from_raw(*pid), signal).unwrap();
    }
}

/// Kills them so that none can act on the end of another. The first is not stopped before: as the job of a shell it would be taken for one
/// that the user has stopped.
pub(super) fn killed_at_once(first: i32, others: &[i32]) {
    signalled(others, Signal::SIGSTOP);
    signalled(&[first], Signal::SIGKILL);
    for other in others {
        // It may have gone with the first.
        let _ = kill(Pid::from_raw(*other), Signal::SIGKILL);
    }
}

/// The process is LOST, and what was last known of it is kept.
pub(super) fn is_lost(farm: &Farm) {
    let row = farm.reaches(NAME, "LOST");
    assert_eq!((&row["run"], &row["exit"]), (&1.into(), &Value::Null), "the last facts are kept: {row}");
    assert!(farm.ctl(&["ps", "-a"]).ok().out().contains("LOST"));
    assert!(farm.ctl(&["why", NAME]).ok().out().contains("watcher"));
    assert!(farm.events(NAME).contains(&"lost".into()));
    farm.ctl(&["start", NAME]).refused(3, &[NAME]);
}

/// It was ended by its watcher because of the guard's end, and that is recorded.
pub(super) fn is_ended_for_its_guard(farm: &Farm) {
    let told = farm.jsonl(&["events", NAME]);
    let stopping = told.iter().find(|event| event["event"] == "stopping").unwrap_or_else(|| panic!("{told:?}"));
    assert_eq!(stopping["cause"], "guard_died", "{stopping}");
    is_ended(farm);
}

/// It has ended, and its watcher has said so.
pub(super) fn is_ended(farm: &Farm) {
    until("its end is recorded", SOON, || {
        ["STOPPED", "EXITED"].contains(&farm.row(NAME)["state"].as_str().unwrap()).then_some(())
    });
}
