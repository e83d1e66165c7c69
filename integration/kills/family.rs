//! Whoever of a watcher's family is killed, nothing of what it ran keeps running and no cgroup stays; the process shows as what it is.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::rng::Rng;
use super::tree::{self, Family, NAME, is_ended_for_its_guard, is_lost, killed_at_once, signalled};
use crate::harness::{Farm, Program, SOON, alive, cgroups_of, children_of, until};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Foreground,
    Detached,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victims {
    Watcher,
    Guard,
    Both,
}

/// Every start and every victim.
const CASES: [(Start, Victims); 6] = [
    (Start::Foreground, Victims::Watcher),
    (Start::Foreground, Victims::Guard),
    (Start::Foreground, Victims::Both),
    (Start::Detached, Victims::Watcher),
    (Start::Detached, Victims::Guard),
    (Start::Detached, Victims::Both),
];

struct Story {
    farm: Farm,
    family: Family,
    victims: Victims,
    /// Where it is in the foreground.
    guard: Option<Program>,
}

impl Story {
    fn begin(start: Start, victims: Victims, cgroup: &str) -> Story {
        eprintln!("{start:?}, {victims:?}, --cgroup {cgroup}");
        let farm = Farm::new();
        let (command, mark) = tree::scripts(&farm);
        let args = [&["--name", NAME, "--cgroup", cgroup, "--stop-timeout", "300ms"], &command[..]].concat();
        let guard = match start {
            Start::Foreground => Some(farm.watch(&args)),
            Start::Detached => {
                farm.watched(&[&["-d"], &args[..]].concat()).ok();
                None
            }
        };
        let family = Family::found(&farm, mark);
        assert!(cgroup == "auto" || cgroups_of(&family.id).is_empty());
        Story { farm, family, victims, guard }
    }

    fn kill(&mut self) {
        let Family { watcher, guard, .. } = self.family;
        match self.victims {
            Victims::Watcher => killed_at_once(watcher, &[]),
            Victims::Guard => killed_at_once(guard, &[]),
            Victims::Both => killed_at_once(guard, &[watcher]),
        }
        if let Some(program) = self.guard.take() {
            let ended = program.end(SOON);
            match self.victims {
                Victims::Watcher => assert_eq!(ended.code(), 125, "{}", ended.err()),
                Victims::Guard | Victims::Both => assert_eq!(ended.status.signal(), Some(9), "it was the guard"),
            }
        }
    }

    fn shows_as_what_it_is(&self) {
        match self.victims {
            Victims::Watcher | Victims::Both => is_lost(&self.farm),
            Victims::Guard => is_ended_for_its_guard(&self.farm),
        }
    }

    /// The main process does not outlive them; what it left behind does until the next start in the same home sweeps its cgroup.
    fn is_swept(&self) {
        let Family { watcher, guard, main, .. } = self.family;
        until("guard, watcher and main process are gone", SOON, || {
            (!alive(watcher) && !alive(guard) && !alive(main)).then_some(())
        });
        let next = ["--name", "next", "-d", "sleep", "1000"];
        self.farm.watched_beside(&self.family.home, &next).ok();
        self.family.is_gone(&[]);
        let next = self.farm.reaches("next", "RUNNING")["id"].as_str().unwrap().to_owned();
        assert!(!cgroups_of(&next).is_empty(), "what lives is not swept");
        self.farm.ctl(&["rm", "-f", "next"]).ok();
        until("nothing is left of the next one", SOON, || cgroups_of(&next).is_empty().then_some(()));
    }

    /// Of all the farm only its zerovisor lives.
    fn nobody_is_left(self) {
        self.farm.ctl(&["rm", "-f", NAME]).ok();
        assert!(self.farm.rows(NAME).is_empty());
        let node = [self.farm.node_pid()];
        until("only the zerovisor is left", SOON, || (self.farm.members() == node).then_some(()));
    }
}

#[test]
fn whoever_of_a_family_is_killed_nothing_of_it_stays_on_any_rung() {
    for (start, victims) in CASES {
        let mut story = Story::begin(start, victims, "auto");
        let held = !cgroups_of(&story.family.id).is_empty();
        story.kill();
        match (victims, held) {
            (Victims::Watcher | Victims::Guard, _) => story.family.is_gone(&[]),
            (Victims::Both, true) => story.is_swept(),
            (Victims::Both, false) => skip!("without a cgroup nothing finds what is left when both die at once"),
        }
        story.shows_as_what_it_is();
        story.nobody_is_left();
    }
}

#[test]
fn whoever_of_a_family_without_a_cgroup_is_killed_nothing_of_it_stays() {
    for (start, victims) in CASES.into_iter().filter(|(_, victims)| *victims != Victims::Both) {
        let mut story = Story::begin(start, victims, "off");
        story.kill();
        story.family.is_gone(&[]);
        story.shows_as_what_it_is();
        story.nobody_is_left();
    }
}

/// Nothing finds what the main process has left behind: that is said in README.md. But the main process itself does not stay.
#[test]
fn both_of_a_family_without_a_cgroup_take_the_main_process_with_them() {
    let mut story = Story::begin(Start::Detached, Victims::Both, "off");
    story.kill();
    until("the main process does not outlive them", SOON, || (!alive(story.family.main)).then_some(()));
    is_lost(&story.farm);
    let node = story.farm.node_pid();
    let left: Vec<i32> = story.farm.members().into_iter().filter(|pid| *pid != node).collect();
    signalled(&left, Signal::SIGKILL);
    story.family.is_gone(&[]);
    story.nobody_is_left();
}

/// A zerovisor that does not answer holds the start, and with it the front.
#[test]
fn a_front_that_is_killed_while_it_waits_for_the_start_leaves_a_family_in_order() {
    let farm = Farm::new();
    let (command, mark) = tree::scripts(&farm);
    let node = [farm.node_pid()];
    signalled(&node, Signal::SIGSTOP);
    let mut front = farm.watch_command(&[&["--name", NAME, "-d", "--stop-timeout", "300ms"], &command[..]].concat());
    let front = Program::start_as_is(front.stdout(std::process::Stdio::null()));
    until("the front has forked", SOON, || {
        let pid = front.pid;
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        (name == "zvwatch\n" && !children.is_empty()).then_some(())
    });
    assert!(!farm.path("up").exists(), "nothing has begun");
    signalled(&[front.pid], Signal::SIGKILL);
    assert_eq!(front.end(SOON).status.signal(), Some(9));
    signalled(&node, Signal::SIGCONT);
    let family = Family::found(&farm, mark);
    farm.ctl(&["rm", "-f", NAME]).ok();
    family.is_gone(&[]);
    until("only the zerovisor is left", SOON, || (farm.members() == node).then_some(()));
}

/// From before the watcher is forked until after its run has begun, which is some 30 ms for a debug build.
#[test]
fn a_family_killed_at_any_instant_of_its_start_leaves_nothing() {
    let (farm, mut rng) = (Farm::new(), Rng::seeded());
    let (command, mark) = tree::scripts(&farm);
    let node = [farm.node_pid()];
    for n in 0..40 {
        let name = format!("{mark}-{n}");
        let guard = farm.watch(&[&["--name", &name, "--stop-timeout", "300ms"], &command[..]].concat());
        let at = rng.below(Duration::from_millis(30));
        std::thread::sleep(at);
        // Every other time the watcher, if there is one by now.
        let watcher = children_of(guard.pid).first().copied().filter(|_| n % 2 == 0);
        signalled(&[watcher.unwrap_or(guard.pid)], Signal::SIGKILL);
        let ended = guard.end(SOON);
        let what = if watcher.is_some() { "watcher" } else { "guard" };
        until(&format!("nobody is left of a {what} killed after {at:?}: {}", ended.err()), SOON, || {
            (farm.members() == node).then_some(())
        });
        until(&format!("no cgroup is left of a {what} killed after {at:?}"), SOON, || {
            cgroups_of(&name).is_empty().then_some(())
        });
    }
}

/// A zerovisor is restarted, and its processes are removed before their watchers are back.
#[test]
fn what_is_removed_while_its_watcher_is_away_ends_and_does_not_come_back() {
    let Story { farm, family, .. } = Story::begin(Start::Detached, Victims::Watcher, "auto");
    signalled(&[family.watcher], Signal::SIGSTOP);
    farm.kill_node();
    farm.start_node(&[]);
    farm.reaches(NAME, "UNREACHABLE");
    farm.ctl(&["rm", NAME]).refused(1, &["live"]);
    farm.ctl(&["rm", "-f", NAME]).ok();
    assert!(farm.rows(NAME).is_empty());
    signalled(&[family.watcher], Signal::SIGCONT);
    family.is_gone(&[]);
    assert!(farm.rows(NAME).is_empty(), "it did not come back");
}
