//! A person at a terminal: a pty of 80 by 24 with a program in it, keys typed and what appears.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};
use nix::sys::termios::{LocalFlags, tcgetattr};

use super::rig::wait_until;

/// How long anything may take to appear.
const PATIENCE: Duration = Duration::from_secs(20);

/// The two ends of a new terminal of 80 by 24; neither is inherited.
pub(crate) fn terminal() -> (File, OwnedFd) {
    let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let ends = openpty(&size, None).expect("a pty");
    for end in [&ends.master, &ends.slave] {
        fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).expect("close-on-exec");
    }
    (File::from(ends.master), ends.slave)
}

/// Starts a command on a terminal, which becomes its controlling one and is closed here.
pub(crate) fn start_on(slave: OwnedFd, command: &Command) -> Child {
    let another = || slave.try_clone().expect("the terminal can be duplicated");
    let (stdout, stderr) = (another(), another());
    // setsid(1) opens the session and takes the terminal, then becomes the command.
    let mut seated = Command::new("setsid");
    seated.arg("--ctty").arg(command.get_program()).args(command.get_args());
    if let Some(dir) = command.get_current_dir() {
        seated.current_dir(dir);
    }
    seated.env("TERM", "xterm-256color").env_remove("TMUX");
    seated.stdin(slave).stdout(stdout).stderr(stderr).spawn().expect("the program starts")
}

pub(crate) struct Typist {
    master: File,
    client: Child,
    chunk: [u8; 64 << 10],
}

impl Typist {
    /// Sits down in front of a program.
    pub(crate) fn at(command: &Command) -> Typist {
        let (master, slave) = terminal();
        Typist { master, client: start_on(slave, command), chunk: [0; 64 << 10] }
    }

    /// Waits until the program has taken the terminal over: from here on nothing but the program echoes.
    pub(crate) fn wait_raw(&self) {
        let raw = || tcgetattr(&self.master).is_ok_and(|set| !set.local_flags.contains(LocalFlags::ECHO));
        wait_until("the program makes its terminal raw", raw);
    }

    /// Types one key; how long until it appeared.
    pub(crate) fn echo(&mut self, key: u8) -> Duration {
        let began = Instant::now();
        self.type_key(key);
        while !self.read(PATIENCE).expect("the key is echoed").contains(&key) {}
        began.elapsed()
    }

    pub(crate) fn type_key(&mut self, key: u8) {
        self.master.write_all(&[key]).expect("the terminal takes a key");
    }

    /// Reads until this text has appeared in one piece.
    pub(crate) fn wait_for(&mut self, text: &[u8]) {
        let mut seen = Vec::new();
        while !seen.windows(text.len()).any(|window| window == text) {
            let shown = String::from_utf8_lossy(&seen).into_owned();
            let more = self.read(PATIENCE);
            seen.extend_from_slice(more.unwrap_or_else(|| panic!("{text:?} never appeared; instead: {shown:?}")));
        }
    }

    /// Reads and forgets until nothing more comes for so long.
    pub(crate) fn drain(&mut self, quiet: Duration) {
        while self.read(quiet).is_some() {}
    }

    /// What appears next; nothing if nothing does for so long, or the terminal was hung up.
    fn read(&mut self, within: Duration) -> Option<&[u8]> {
        let timeout = PollTimeout::try_from(within).expect("a short time");
        let ready = poll(&mut [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)], timeout).expect("poll");
        let bytes = if ready == 0 { 0 } else { self.master.read(&mut self.chunk).unwrap_or(0) };
        (bytes > 0).then(|| &self.chunk[..bytes])
    }
}

impl Drop for Typist {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}
