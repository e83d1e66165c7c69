//! One program under test: started in a clean environment, waited for with a deadline, killed by its pid if it does not end.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Names of variables every program of a farm may have; everything else of ours stays here, `ZV_*` above all.
const PASSED_ON: [&str; 2] = ["HOME", "LANG"];
/// Where programs are looked for: not where the developer's shell does, whose directories not everybody may search.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How a program ended and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Ended {
    /// Its exit code; a program ended by a signal has none and fails the test.
    pub(crate) fn code(&self) -> i32 {
        match self.status.code() {
            Some(code) => code,
            None => panic!("ended by signal {:?}: {}", self.status.signal(), self.err()),
        }
    }

    pub(crate) fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub(crate) fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Asserts success, and returns itself.
    pub(crate) fn ok(self) -> Ended {
        assert_eq!(self.status.code(), Some(0), "stdout: {}\nstderr: {}", self.out(), self.err());
        self
    }

    /// Asserts this exit code and a single line on standard error that has every one of these words; returns the line.
    pub(crate) fn refused(&self, code: i32, words: &[&str]) -> String {
        let line = self.err();
        assert_eq!(self.status.code(), Some(code), "stdout: {}\nstderr: {line}", self.out());
        assert_eq!(line.trim_end().lines().count(), 1, "one line: {line}");
        for word in words {
            assert!(line.contains(word), "no '{word}' in: {line}");
        }
        line
    }
}

/// A running program.
pub(crate) struct Program {
    pub(crate) pid: i32,
    stdin: Option<ChildStdin>,
    ended: Receiver<Ended>,
}

impl Program {
    /// A command in `dir`, marked as a member of that farm, with nothing of our own environment that could lead it astray.
    pub(crate) fn command(program: impl AsRef<OsStr>, dir: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir(dir).env("PATH", SYSTEM_PATH).env("FARM", dir).stdin(Stdio::null());
        // Each farm is a user of its own, as far as it keeps anything.
        command.env("XDG_STATE_HOME", dir.join("state"));
        for name in PASSED_ON {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
    }

    /// Starts it; its output is collected as it comes, so that it never blocks on us.
    pub(crate) fn start(command: &mut Command) -> Program {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        Program { pid: pid_of(&child), stdin: child.stdin.take(), ended: collected(child) }
    }

    /// Starts it with its output in files, or wherever the command says.
    pub(crate) fn start_as_is(command: &mut Command) -> Program {
        let mut child = command.spawn().expect("the program starts");
        Program { pid: pid_of(&child), stdin: child.stdin.take(), ended: collected(child) }
    }

    /// Writes to its standard input, which the command has made a pipe.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("a pipe");
        stdin.write_all(bytes).and_then(|()| stdin.flush()).expect("it reads");
    }

    /// Ends its standard input.
    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid), signal).expect("the program is there");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// It does not end within `within`; it is killed then.
    pub(crate) fn end(self, within: Duration) -> Ended {
        self.ended.recv_timeout(within).unwrap_or_else(|_| {
            let _ = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
            let said = self.ended.recv_timeout(Duration::from_secs(2));
            panic!("pid {} did not end within {within:?}: {said:?}", self.pid)
        })
    }

    /// Whether it has ended already.
    pub(crate) fn ended(&self) -> Option<Ended> {
        self.ended.try_recv().ok()
    }
}

fn pid_of(child: &Child) -> i32 {
    i32::try_from(child.id()).expect("pids are small")
}

fn collected(child: Child) -> Receiver<Ended> {
    let (tell, ended) = channel();
    std::thread::spawn(move || {
        if let Ok(output) = child.wait_with_output() {
            let _ = tell.send(Ended { status: output.status, stdout: output.stdout, stderr: output.stderr });
        }
    });
    ended
}
