//! Whether a user's terminal is there, and how it is opened.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fstat};
use nix::sys::termios::tcgetsid;
use nix::unistd::{getsid, isatty};
use zerovisor_core::size::Size;

/// Why there is no terminal to hand over.
#[derive(Debug, thiserror::Error)]
pub enum NotATerminal {
    /// A descriptor is something else.
    #[error("{0} is not a terminal: zvctl screen shows a screen, zvctl send types, zvctl logs -f follows the output")]
    Descriptor(&'static str),
    /// They are two.
    #[error("standard input and standard output are two terminals: run it in one of them")]
    Two,
    /// It cannot be opened once more.
    #[error(
        "cannot open this terminal once more: {0}: it belongs to another user; su --pty and sudo give you one of your own"
    )]
    Open(io::Error),
}

/// The terminal that standard input and standard output are, opened once more.
#[derive(Clone, Debug)]
pub struct UserTerminal {
    tty: Arc<OwnedFd>,
}

impl UserTerminal {
    /// Opens it. Nothing is changed about it yet.
    ///
    /// # Errors
    /// Standard input or standard output is no terminal, or not the same one, or it belongs to somebody else.
    pub fn open() -> Result<UserTerminal, NotATerminal> {
        UserTerminal::of(io::stdin().as_fd(), io::stdout().as_fd())
    }

    pub(super) fn of(stdin: BorrowedFd<'_>, stdout: BorrowedFd<'_>) -> Result<UserTerminal, NotATerminal> {
        for (fd, name) in [(stdin, "standard input"), (stdout, "standard output")] {
            if !isatty(fd).unwrap_or(false) {
                return Err(NotATerminal::Descriptor(name));
            }
        }
        let device = |fd| fstat(fd).map(|stat| stat.st_rdev).map_err(|error| NotATerminal::Open(error.into()));
        if device(stdin)? != device(stdout)? {
            return Err(NotATerminal::Two);
        }
        let tty = reopen(stdin).map_err(NotATerminal::Open)?;
        Ok(UserTerminal { tty: Arc::new(tty) })
    }

    /// Its size now; what says nothing has the default.
    pub fn size(&self) -> Size {
        let said = terminal_size::terminal_size_of(&self.tty);
        said.map_or(Size::DEFAULT, |(cols, rows)| Size::nearest(cols.0, rows.0))
    }

    /// A descriptor of its own, non-blocking.
    pub(super) fn tty(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.tty)
    }
}

/// A new open file description of the same terminal. `/dev/tty` can be opened by whoever has it as controlling terminal, also behind a
/// change of user; any other terminal needs the rights of its device.
fn reopen(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let controlling = tcgetsid(fd).is_ok_and(|session| getsid(None) == Ok(session));
    let magic = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
    let path = if controlling { Path::new("/dev/tty") } else { Path::new(&magic) };
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    Ok(open(path, flags, Mode::empty())?)
}
