//! The family behind a user's terminal: whoever of it is killed, the program's tree ends, and the terminal is the shell's again.

use super::tree::{self, Family, NAME, is_ended, is_ended_for_its_guard, is_lost, killed_at_once};
use crate::harness::{Farm, Tmux};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victims {
    Front,
    Watcher,
    Guard,
    WatcherAndFront,
    GuardAndFront,
}

/// Each with the status that the user's shell sees.
const CASES: [(Victims, i32); 5] = [
    (Victims::Front, 137),
    (Victims::Watcher, 125),
    (Victims::Guard, 137),
    (Victims::WatcherAndFront, 137),
    (Victims::GuardAndFront, 137),
];

#[test]
fn whoever_of_a_family_on_a_console_is_killed_nothing_of_it_stays() {
    for cgroup in ["auto", "off"] {
        for (victims, status) in CASES {
            eprintln!("{victims:?}, --cgroup {cgroup}");
            let farm = Farm::new();
            let Some(user) = Tmux::start(&farm) else {
                skip!("tmux is not installed, which stands for the user's terminal here")
            };
            let (command, mark) = tree::scripts(&farm);
            let before = user.settings("before");
            let options = format!("--cgroup {cgroup} --stop-timeout 300ms");
            user.runs(&format!("zvwatch --pty -it --name {NAME} {options} {}", command.join(" ")));
            let family = Family::found(&farm, mark);
            let front = user.front();
            let Family { watcher, guard, .. } = family;
            match victims {
                Victims::Front => killed_at_once(front, &[]),
                Victims::Watcher => killed_at_once(watcher, &[]),
                Victims::Guard => killed_at_once(guard, &[]),
                Victims::WatcherAndFront => killed_at_once(front, &[watcher]),
                Victims::GuardAndFront => killed_at_once(front, &[guard]),
            }
            family.is_gone(&[front]);
            match victims {
                // Of the guard's end and the hang-up the watcher tells whichever it saw first.
                Victims::Front | Victims::GuardAndFront => is_ended(&farm),
                Victims::Watcher | Victims::WatcherAndFront => is_lost(&farm),
                Victims::Guard => is_ended_for_its_guard(&farm),
            }
            user.status(status);
            if !matches!(victims, Victims::Front | Victims::WatcherAndFront | Victims::GuardAndFront) {
                assert_eq!(user.settings("after"), before, "the terminal is as it was");
            }
        }
    }
}
