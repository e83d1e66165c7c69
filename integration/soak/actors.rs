//! One process of the soak as its makers see it: who watches it, who reads it, what its runs have written down.

use std::fs::{self, File};
use std::path::PathBuf;

use crate::harness::{Farm, Program, Terminal, live_with_argument, parent_of};

use super::model::{Fate, Made};
use super::writer::{Diary, Stream};

/// A process, from its start to its removal.
pub(super) struct Actor {
    pub(super) made: Made,
    pub(super) name: String,
    pub(super) fate: Fate,
    /// Its watcher, where that stands in the foreground.
    pub(super) program: Option<Program>,
    /// The terminal of that one, with `-it`.
    pub(super) console: Option<Terminal>,
    pub(super) followers: Vec<Follower>,
    pub(super) viewers: Vec<Viewer>,
}

/// A `zvctl logs -f --raw` of one stream.
pub(super) struct Follower {
    pub(super) program: Program,
    pub(super) of: Stream,
    pub(super) read: PathBuf,
    pub(super) said: PathBuf,
}

/// A `zvctl attach` in a terminal that nobody looks at.
pub(super) struct Viewer {
    pub(super) terminal: Terminal,
    pub(super) program: Program,
}

/// The processes of zvwatch that stand behind a name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    pub(super) guard: i32,
    pub(super) watcher: i32,
    /// With `-it`.
    pub(super) front: Option<i32>,
}

impl Actor {
    pub(super) fn new(made: Made, name: String) -> Actor {
        let (fate, followers, viewers) = (Fate::default(), Vec::new(), Vec::new());
        Actor { made, name, fate, program: None, console: None, followers, viewers }
    }

    /// What its runs have written down, from the first.
    pub(super) fn diaries(&self, farm: &Farm) -> Vec<Diary> {
        let nth = |run: u32| fs::read_to_string(farm.path(&format!("{}.{run}", self.name))).ok();
        (1..).map_while(nth).map(|text| Diary::of(&text)).collect()
    }

    /// Its present run and the main process of it, while that lives and has not said its last word.
    pub(super) fn present(&self, farm: &Farm) -> Option<(u32, i32)> {
        let diaries = self.diaries(farm);
        let last = diaries.last().filter(|diary| diary.end.is_none())?;
        let pid = last.pid.filter(|pid| live_with_argument(&self.name).contains(pid))?;
        Some((u32::try_from(diaries.len()).unwrap(), pid))
    }

    /// Whoever watches it now.
    pub(super) fn family(&self) -> Option<Family> {
        let is_zvwatch = |pid: &i32| {
            fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.starts_with(env!("CARGO_BIN_EXE_zvwatch")))
        };
        let all: Vec<i32> = live_with_argument(&self.name).into_iter().filter(is_zvwatch).collect();
        let parent = |pid: i32| parent_of(pid).filter(|parent| all.contains(parent));
        let is_last = |pid: &i32| parent(*pid).is_some() && !all.iter().any(|other| parent(*other) == Some(*pid));
        let watcher = all.iter().copied().find(is_last)?;
        let guard = parent(watcher)?;
        Some(Family { guard, watcher, front: parent(guard) })
    }

    /// Starts its watcher in the foreground.
    pub(super) fn watch(&mut self, farm: &Farm, words: &[&str]) {
        if self.made.console {
            let terminal = Terminal::new(80, 24);
            self.program = Some(terminal.run(&farm.watch_command(words)));
            self.console = Some(terminal);
        } else {
            self.program = Some(farm.watch(words));
        }
    }

    pub(super) fn follow(&mut self, farm: &Farm) {
        let of = self.made.streams()[0];
        let number = self.followers.len();
        let file = |what: &str| farm.path(&format!("{}.{what}.{number}", self.name));
        let (read, said) = (file("followed"), file("follower"));
        let mut command = farm.ctl_command(&["logs", "-f", "--raw", "--stream", of.name(), &self.name]);
        command.stdout(File::create(&read).unwrap()).stderr(File::create(&said).unwrap());
        self.followers.push(Follower { program: Program::start_as_is(&mut command), of, read, said });
    }

    pub(super) fn view(&mut self, farm: &Farm, cols: u16) {
        let terminal = Terminal::new(cols, 24);
        let program = terminal.run(&farm.ctl_command(&["attach", "--timeout", "10s", &self.name]));
        self.viewers.push(Viewer { terminal, program });
    }

    /// Removes the files it left in the farm.
    pub(super) fn forget(&self, farm: &Farm) {
        let prefix = format!("{}.", self.name);
        let entries = fs::read_dir(farm.dir()).unwrap().flatten();
        for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)) {
            fs::remove_file(entry.path()).unwrap();
        }
    }
}
