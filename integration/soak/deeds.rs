//! What users do: start, look, type, follow, and tell processes to end.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Terminal, until};

use super::SOON;
use super::actors::Actor;
use super::model::{Made, assert_written};
use super::plan::{Leaving, Look};
use super::reckoning::stems_from;
use super::stage::Soak;

/// The detach keys: Ctrl-] three times.
const DETACH: &[u8] = b"\x1d\x1d\x1d";

impl Soak {
    pub(super) fn starts(&mut self, made: Made) {
        let name = self.name(made.index);
        let mut actor = Actor::new(made, name.clone());
        let (options, command) = (actor.made.options(), actor.made.command(&name));
        let begins_with = if actor.made.told { &[] } else { &command[..] };
        let words = options.iter().chain(begins_with).map(String::as_str);
        let words: Vec<&str> = ["--name", &name].into_iter().chain(words).collect();
        let alone = !self.farm.has_node();
        actor.fate.began_alone = alone;
        if actor.made.detached {
            self.farm.watched(&words).ok();
        } else {
            actor.watch(&self.farm, &words);
        }
        let told = actor.made.told;
        self.actors.insert(actor.made.index, actor);
        if !alone {
            self.told(&["inspect", &name], &[0]);
        }
        if told {
            let words: Vec<&str> =
                ["start", &name, "--"].into_iter().chain(command.iter().map(String::as_str)).collect();
            self.told(&words, &[0]);
        }
    }

    pub(super) fn follows(&mut self, index: usize) {
        if self.told(&["inspect", &self.name(index)], &[0]).code() == 0 {
            self.with(index, Actor::follow);
        }
    }

    pub(super) fn cuts_follower(&mut self, index: usize) {
        self.with(index, |actor, _| {
            if let Some(follower) = actor.followers.pop().filter(|follower| follower.program.ended().is_none()) {
                follower.program.signal(Signal::SIGKILL);
            }
        });
    }

    pub(super) fn views(&mut self, index: usize) {
        let cols = if index.is_multiple_of(2) { 80 } else { 132 };
        self.with(index, |actor, farm| actor.view(farm, cols));
    }

    pub(super) fn leaves(&mut self, index: usize, how: Leaving) {
        self.with(index, |actor, farm| {
            let Some(mut viewer) = actor.viewers.pop() else { return };
            if viewer.program.ended().is_some() {
                return;
            }
            match how {
                Leaving::ByKeys => viewer.terminal.types(DETACH),
                Leaving::WindowClosed => viewer.terminal.closes(),
                Leaving::Killed => {
                    for pid in farm.members().into_iter().filter(|pid| stems_from(*pid, &[viewer.program.pid])) {
                        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                    }
                }
            }
            viewer.program.end(SOON * 2);
            if matches!(how, Leaving::ByKeys) {
                assert!(viewer.terminal.is_itself(), "{}: attach leaves the terminal as it was", actor.name);
            }
        });
    }

    pub(super) fn looks(&mut self, index: usize, look: Look) {
        let name = self.name(index);
        match look {
            Look::Ps => {
                let ended = self.told(&["ps", "-a"], &[0]);
                assert!(ended.out().contains(&name) || self.actors[&index].fate.began_alone, "ps lists {name}");
            }
            Look::Inspect => drop(self.told(&["inspect", &name, "-o", "json"], &[0])),
            Look::Why => drop(self.told(&["why", &name], &[0])),
            Look::Top => drop(self.told(&["top", "-b", "-n", "2", "-d", "0.1"], &[0])),
            Look::Screen => drop(self.told(&["screen", &name], &[0, 3])),
            Look::Logs => self.looks_at_logs(index, &name),
        }
    }

    /// What the present run has written so far is the beginning of what it writes.
    fn looks_at_logs(&mut self, index: usize, name: &str) {
        let Some((run, _)) = self.with(index, |actor, farm| actor.present(farm)) else { return };
        for of in self.actors[&index].made.streams() {
            let number = run.to_string();
            let read = self.farm.ctl_within(&["logs", "--raw", "--run", &number, "--stream", of.name(), name], SOON);
            // Its start may be on its way yet.
            if read.code() == 0 && !self.actors[&index].made.may_drop() {
                let Actor { made, fate, .. } = &self.actors[&index];
                let diaries = self.actors[&index].diaries(&self.farm);
                let diary = &diaries[usize::try_from(run).unwrap() - 1];
                assert_written(made, fate, run, of, diary, &read.stdout, true);
            }
        }
    }

    /// Words that were never typed before.
    fn words(&mut self, index: usize) -> String {
        let actor = &self.actors[&index];
        format!("{} {}", actor.name, actor.fate.typed.len())
    }

    pub(super) fn sends(&mut self, index: usize) {
        let name = self.name(index);
        if self.with(index, |actor, farm| actor.present(farm)).is_none() {
            return;
        }
        let words = self.words(index);
        self.with(index, |actor, _| actor.fate.typed.push(words.clone()));
        self.told(&["send", &name, &words], &[0]);
        self.is_heard(index, &words);
    }

    fn is_heard(&mut self, index: usize, words: &String) {
        until(&format!("{words:?} is heard"), SOON, || {
            let diaries = self.with(index, |actor, farm| actor.diaries(farm));
            diaries.iter().any(|diary| diary.heard.contains(words)).then_some(())
        });
    }

    pub(super) fn visits(&mut self, index: usize) {
        let name = self.name(index);
        if self.with(index, |actor, farm| actor.present(farm)).is_none() {
            return;
        }
        self.told(&["screen", &name], &[0]);
        let words = self.words(index);
        self.with(index, |actor, _| actor.fate.typed.push(words.clone()));
        let mut terminal = Terminal::new(100, 30);
        let attached = terminal.run(&self.farm.ctl_command(&["attach", &name]));
        terminal.shows(b"\x1b[");
        terminal.types(format!("{words}\r").as_bytes());
        terminal.shows(format!("heard {words}").as_bytes());
        terminal.types(DETACH);
        let ended = attached.end(SOON);
        assert_eq!(ended.code(), 0, "{name}: {}", ended.err());
        assert!(terminal.is_itself(), "{name}: attach leaves the terminal as it was");
        self.is_heard(index, &words);
    }

    /// USR1 to a run that has said that it awaits it: the writer writes down each one.
    pub(super) fn signals(&mut self, index: usize) {
        let name = self.name(index);
        if self.with(index, |actor, farm| actor.present(farm)).is_none() {
            return;
        }
        let hits = |soak: &mut Soak| {
            let diaries = soak.with(index, |actor, farm| actor.diaries(farm));
            diaries.iter().map(|diary| diary.hits).sum::<usize>()
        };
        let before = hits(self);
        self.with(index, |actor, _| actor.fate.signalled += 1);
        if self.told(&["signal", "USR1", &name], &[0, 3]).code() == 0 {
            until(&format!("{name} takes its signal"), SOON, || {
                let over = self.with(index, |actor, farm| actor.present(farm)).is_none();
                (over || hits(self) > before).then_some(())
            });
        }
    }

    pub(super) fn interrupts(&mut self, index: usize) {
        self.with(index, |actor, _| {
            let (Some(program), Some(family)) = (&actor.program, actor.family()) else { return };
            if family.guard == program.pid {
                actor.fate.told_to_end = true;
                // It may just be ending by itself.
                let _ = kill(Pid::from_raw(program.pid), Signal::SIGTERM);
            }
        });
    }

    pub(super) fn stops(&mut self, index: usize) {
        self.with(index, |actor, _| actor.fate.told_to_end = true);
        self.told(&["stop", &self.name(index)], &[0, 3]);
    }

    pub(super) fn restarts(&mut self, index: usize) {
        let name = self.name(index);
        self.with(index, |actor, _| actor.fate.restarted = true);
        self.told(&["restart", &name], &[0, 3]);
    }
}
