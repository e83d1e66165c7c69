//! What can be asked of a terminal and set, beside its output and input.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use nix::sys::termios::{LocalFlags, SpecialCharacterIndices, tcgetattr};
use portable_pty::MasterPty;

use super::error::PtyError;
use super::open::cells;
use super::size::Size;

/// The settings of a terminal.
pub struct Control {
    device: Box<dyn MasterPty + Send>,
    fd: Arc<OwnedFd>,
}

impl Control {
    pub(crate) fn new(device: Box<dyn MasterPty + Send>, fd: Arc<OwnedFd>) -> Control {
        Control { device, fd }
    }

    /// Sets the size. The kernel sends SIGWINCH to the foreground group if it differs from the present one.
    pub fn resize(&self, size: Size) -> Result<(), PtyError> {
        self.device.resize(cells(size)).map_err(|error| PtyError::Resize { size, source: error.into() })
    }

    /// The present size, which the program in the terminal may have set too.
    pub fn size(&self) -> Result<Size, PtyError> {
        let size = self.device.get_size().map_err(|error| PtyError::Size(error.into()))?;
        Ok(Size::new(size.cols, size.rows)?)
    }

    /// The process group that a Ctrl-C would reach; none while no session has the terminal.
    pub fn foreground_group(&self) -> Option<i32> {
        self.device.process_group_leader()
    }

    /// The byte which at the beginning of a line is taken for end of file, usually 4 (Ctrl-D): none while the terminal is not in
    /// canonical mode, or if the program has switched it off.
    pub fn end_of_file_byte(&self) -> Option<u8> {
        let termios = tcgetattr(&*self.fd).ok()?;
        let byte = termios.control_chars[SpecialCharacterIndices::VEOF as usize];
        (termios.local_flags.contains(LocalFlags::ICANON) && byte != libc::_POSIX_VDISABLE).then_some(byte)
    }

    /// The path by which processes open the terminal, such as `/dev/pts/3`; none where devpts is out of sight.
    pub fn path(&self) -> Option<PathBuf> {
        self.device.tty_name()
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("fd", &self.fd).finish_non_exhaustive()
    }
}
