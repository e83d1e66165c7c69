//! A terminal for a program under test: the other end of its pty is ours, as it is a terminal emulator's.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::stat::Mode;
use nix::sys::termios::{Termios, tcgetattr};

use super::run::Program;
use super::wait::SOON;

/// Both ends of a pty, neither of which any program inherits: a terminal hangs up once nobody holds its other end.
fn pty() -> (File, OwnedFd) {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let master = posix_openpt(flags).unwrap();
    grantpt(&master).and_then(|()| unlockpt(&master)).unwrap();
    let slave = open(ptsname_r(&master).unwrap().as_str(), flags, Mode::empty()).unwrap();
    (File::from(OwnedFd::from(master)), slave)
}

/// What a user looks at and types into.
pub(crate) struct Terminal {
    master: Option<File>,
    slave: OwnedFd,
    before: Termios,
    seen: Vec<u8>,
}

impl Terminal {
    pub(crate) fn new(cols: u16, rows: u16) -> Terminal {
        let (master, slave) = pty();
        let before = tcgetattr(&slave).unwrap();
        let terminal = Terminal { master: Some(master), slave, before, seen: Vec::new() };
        terminal.sizes(cols, rows);
        terminal
    }

    /// Has another size from now on.
    pub(crate) fn sizes(&self, cols: u16, rows: u16) {
        let mut stty = Command::new("stty");
        stty.args(["cols", &cols.to_string(), "rows", &rows.to_string()]).stdin(self.slave.try_clone().unwrap());
        assert!(stty.status().unwrap().success());
    }

    /// Runs a command with this as its controlling terminal and as all three of its descriptors.
    pub(crate) fn run(&self, command: &Command) -> Program {
        let end = || Stdio::from(self.slave.try_clone().unwrap());
        let mut inside = Command::new("setsid");
        inside.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        inside.env_clear().current_dir(command.get_current_dir().unwrap());
        inside.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Program::start_as_is(inside.stdin(end()).stdout(end()).stderr(end()))
    }

    pub(crate) fn types(&mut self, keys: &[u8]) {
        self.master.as_mut().expect("a terminal").write_all(keys).unwrap();
    }

    /// Waits until this is shown; everything up to its end that was not waited for before.
    pub(crate) fn shows(&mut self, wanted: &[u8]) -> String {
        let (mut from, deadline) = (0, Instant::now() + SOON);
        loop {
            if let Some(at) = memchr::memmem::find(&self.seen[from..], wanted) {
                let rest = self.seen.split_off(from + at + wanted.len());
                return String::from_utf8_lossy(&std::mem::replace(&mut self.seen, rest)).into_owned();
            }
            from = (self.seen.len() + 1).saturating_sub(wanted.len());
            let master = self.master.as_mut().expect("a terminal");
            let left = PollTimeout::try_from(deadline.saturating_duration_since(Instant::now())).unwrap();
            let ready = poll(&mut [PollFd::new(master.as_fd(), PollFlags::POLLIN)], left).unwrap();
            let wanted = String::from_utf8_lossy(wanted);
            assert!(ready > 0, "no {wanted:?} in {:?}", String::from_utf8_lossy(&self.seen));
            let mut buffer = [0; 4096];
            let bytes = master.read(&mut buffer).unwrap();
            self.seen.extend_from_slice(&buffer[..bytes]);
        }
    }

    /// Whether its modes are those it was made with.
    pub(crate) fn is_itself(&self) -> bool {
        tcgetattr(&self.slave).unwrap() == self.before
    }

    /// What types on its own.
    pub(crate) fn keyboard(&self) -> File {
        self.master.as_ref().expect("a terminal").try_clone().unwrap()
    }

    /// The window is closed.
    pub(crate) fn closes(&mut self) {
        self.master = None;
    }
}
