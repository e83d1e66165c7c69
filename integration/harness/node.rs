//! A zerovisor of the farm.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sys::signal::Signal;

use super::run::{Ended, Program};
use super::wait::{SOON, until};

/// A zerovisor that serves.
pub(crate) struct Node {
    program: Program,
    said: PathBuf,
}

impl Node {
    /// Starts one and waits until it says that it serves.
    pub(crate) fn start(dir: &Path, args: &[&str]) -> Node {
        let node = Node::launch(dir, args);
        node.serves();
        node
    }

    /// Starts one and returns at once.
    pub(crate) fn launch(dir: &Path, args: &[&str]) -> Node {
        let said = dir.join(format!("zerovisor.err.{}", fs::read_dir(dir).unwrap().count()));
        let stderr = File::create(&said).unwrap();
        let mut command = Program::command(env!("CARGO_BIN_EXE_zerovisor"), dir);
        let program = Program::start_as_is(command.args(args).stdout(Stdio::null()).stderr(stderr));
        Node { program, said }
    }

    /// Waits until it says that it serves.
    pub(crate) fn serves(&self) {
        until("the zerovisor serves", SOON, || {
            if let Some(ended) = self.program.ended() {
                panic!("the zerovisor ended with {:?}: {}", ended.status, self.said());
            }
            self.said().contains("serving").then_some(())
        });
    }

    pub(crate) fn pid(&self) -> i32 {
        self.program.pid
    }

    /// Everything it has said on standard error.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap_or_default()
    }

    pub(crate) fn kill(self) {
        self.program.signal(Signal::SIGKILL);
        self.program.end(SOON);
    }

    pub(crate) fn end_by(self, signal: Signal) -> Ended {
        self.program.signal(signal);
        self.program.end(SOON)
    }
}
