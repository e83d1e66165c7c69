//! Opening a terminal.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::termios::{InputFlags, SetArg, tcgetattr, tcsetattr};
use portable_pty::{MasterPty, NativePtySystem, PtySize, PtySystem};

use super::control::Control;
use super::error::PtyError;
use super::reader::Reader;
use super::size::Size;
use super::sys;
use super::writer::Writer;

/// The watcher's end of a terminal: non-blocking, close-on-exec.
pub struct Master {
    device: Box<dyn MasterPty + Send>,
    /// The same open file by a descriptor of our own: portable-pty keeps its own.
    fd: OwnedFd,
}

/// The child's end of a terminal, to become its 0, 1 and 2. It blocks, as programs expect, and is close-on-exec.
///
/// Drop it as soon as the child has it: while it is open, the master never says that nobody has the terminal.
#[derive(Debug)]
pub struct Slave {
    fd: OwnedFd,
}

/// Opens a terminal of `size` with the kernel's own settings, and erasing by whole UTF-8 characters (`IUTF8`).
///
/// No other thread may start a program meanwhile: `openpty` makes its ends close-on-exec only after it has made them, and a program that
/// got them would hold the terminal open.
pub fn open(size: Size) -> Result<(Master, Slave), PtyError> {
    let pair = NativePtySystem::default().openpty(cells(size)).map_err(|error| PtyError::Open(error.into()))?;
    let fd = sys::duplicate(pair.master.as_ref()).map_err(PtyError::set_up("dup of the master"))?;
    let slave = sys::open_peer(fd.as_fd()).map_err(PtyError::set_up("TIOCGPTPEER"))?;
    // Only now, so that the terminal is not vacant meanwhile.
    drop(pair.slave);
    unblock(&fd).map_err(PtyError::set_up("O_NONBLOCK"))?;
    erase_by_character(&slave).map_err(PtyError::set_up("tcsetattr"))?;
    Ok((Master { device: pair.master, fd }, Slave { fd: slave }))
}

/// Pixels are not known to anybody here; programs take 0 for that.
pub(crate) fn cells(size: Size) -> PtySize {
    PtySize { cols: size.cols(), rows: size.rows(), pixel_width: 0, pixel_height: 0 }
}

/// A flag of the open file, which all descriptors for it share.
fn unblock(fd: &OwnedFd) -> nix::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop)
}

fn erase_by_character(slave: &OwnedFd) -> nix::Result<()> {
    let mut termios = tcgetattr(slave)?;
    termios.input_flags |= InputFlags::IUTF8;
    tcsetattr(slave, SetArg::TCSANOW, &termios)
}

impl Master {
    /// The two directions and the rest, each for a task of its own. Needs a tokio runtime with I/O, and panics without one.
    ///
    /// # Errors
    /// When the kernel or the runtime does not take one more descriptor to watch.
    pub fn split(self) -> io::Result<(Reader, Writer, Control)> {
        let fd = Arc::new(self.fd);
        let reader = Reader::new(Arc::clone(&fd))?;
        Ok((reader, Writer::new(Arc::clone(&fd)), Control::new(self.device, fd)))
    }
}

impl fmt::Debug for Master {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Master").field("fd", &self.fd).finish_non_exhaustive()
    }
}

impl AsFd for Slave {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Slave> for OwnedFd {
    fn from(slave: Slave) -> OwnedFd {
        slave.fd
    }
}
