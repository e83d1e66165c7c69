//! Those who have nothing to do with it: a program, its watcher, a follower and whoever asks, while somebody misbehaves.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Farm, Program};

/// The longest anything of theirs may take, beginning a program included, on a machine that is busy with other tests.
pub(super) const SERVED_WITHIN: Duration = Duration::from_secs(3);

/// A program that repeats what it reads, and a follower of its output.
pub(super) struct Bystander {
    program: Program,
    follower: Child,
    lines: BufReader<ChildStdout>,
    said: u64,
}

impl Bystander {
    pub(super) fn of(farm: &Farm) -> Bystander {
        let mut command = farm.watch_command(&["--name", "bystander", "-i", "cat"]);
        let program = Program::start(command.stdin(Stdio::piped()));
        farm.reaches("bystander", "RUNNING");
        let mut follower = farm.ctl_command(&["logs", "-f", "bystander"]).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(follower.stdout.take().unwrap());
        let mut bystander = Bystander { program, follower, lines, said: 0 };
        bystander.is_served(farm);
        bystander
    }

    /// Asserts that a line comes through, and that requests are answered, all of it soon.
    pub(super) fn is_served(&mut self, farm: &Farm) {
        let begun = Instant::now();
        self.said += 1;
        let line = format!("{}\n", self.said);
        self.program.write(line.as_bytes());
        let mut shown = String::new();
        self.lines.read_line(&mut shown).unwrap();
        assert_eq!(shown, line);
        self.took(begun, "a line");
        let begun = Instant::now();
        farm.ctl(&["ping"]).ok();
        self.took(begun, "a ping");
        let begun = Instant::now();
        assert!(farm.ctl(&["ps", "bystander"]).ok().out().contains("RUNNING"));
        self.took(begun, "ps");
    }

    /// The same by a line alone.
    pub(super) fn is_served_quickly(&mut self, farm: &Farm) {
        let begun = Instant::now();
        farm.ctl(&["ping"]).ok();
        self.took(begun, "a ping");
    }

    fn took(&self, begun: Instant, what: &str) {
        assert!(begun.elapsed() < SERVED_WITHIN, "{what} took {:?}, the {}th time", begun.elapsed(), self.said);
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.follower.kill();
        let _ = self.follower.wait();
    }
}
