//! Those who have nothing to do with it: a program, its watcher, a follower and whoever asks, while somebody misbehaves.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use zerovisor_core::wire::{Answer, Ask};

use crate::harness::{Client, Farm, Program};

/// The longest anything of theirs may take: a second is promised, the rest is for a machine that is busy with other tests as well.
const SERVED_WITHIN: Duration = Duration::from_secs(4);

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
        self.took(begun, SERVED_WITHIN, "a line");
        self.is_answered(farm);
        let begun = Instant::now();
        assert!(farm.ctl(&["ps", "bystander"]).ok().out().contains("RUNNING"));
        self.took(begun, SERVED_WITHIN, "ps");
    }

    /// Asserts that somebody new is let in and answered, soon.
    pub(super) fn is_answered(&self, farm: &Farm) {
        let begun = Instant::now();
        let mut client = Client::of(farm);
        client.asks(Ask::Ping);
        assert!(matches!(client.hears().answer, Answer::Here { .. }));
        self.took(begun, SERVED_WITHIN, "a hello and a ping");
    }

    fn took(&self, begun: Instant, within: Duration, what: &str) {
        let took = begun.elapsed();
        assert!(took < within, "{what} took {took:?}, the {}th time", self.said);
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.follower.kill();
        let _ = self.follower.wait();
    }
}
