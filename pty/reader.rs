//! The output of a terminal.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use bytes::BytesMut;
use nix::sys::epoll::EpollFlags;

use super::sys;
use super::watch::Watch;

/// The most the kernel hands over in one read, in bytes: the buffer of its line discipline (`N_TTY_BUF_SIZE`).
const READ_BYTES: usize = 4 << 10;

/// What an attempt to read brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Read {
    /// So many bytes, at least one. There may be more.
    Bytes(usize),
    /// Nothing is there now, but somebody has the terminal open.
    Empty,
    /// Nothing is there, and nobody has the terminal open just now (EIO). Whoever knows its path can open it again.
    Vacant,
}

/// The reading half of a master.
#[derive(Debug)]
pub struct Reader {
    fd: Arc<OwnedFd>,
    watch: Watch,
}

impl Reader {
    pub(crate) fn new(fd: Arc<OwnedFd>) -> io::Result<Reader> {
        let watch = Watch::new(Arc::clone(&fd), EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP)?;
        Ok(Reader { fd, watch })
    }

    /// Waits until there may be something new: output, or that the last process with the terminal open has closed it. Returns at once as
    /// long as [`Reader::try_read`] has not said [`Read::Empty`] or [`Read::Vacant`]; after that it sleeps until the kernel has news,
    /// also on a vacant terminal, where the first bytes after a new open are that. Cancel-safe: it takes nothing.
    ///
    /// # Errors
    /// Only when the runtime ends.
    pub async fn readable(&self) -> io::Result<()> {
        self.watch.ready().await
    }

    /// Appends what is there to `buffer`, at most `max` bytes (at least 1), without waiting. The kernel's small pieces are put together.
    ///
    /// # Errors
    /// Those of read(2) but EIO, which is [`Read::Vacant`]; none is expected of a terminal.
    pub fn try_read(&mut self, buffer: &mut BytesMut, max: usize) -> io::Result<Read> {
        let mut taken = 0;
        while taken < max {
            match self.read_once(buffer, max - taken) {
                Ok(Read::Bytes(bytes)) => taken += bytes,
                Ok(Read::Empty) => {
                    self.watch.spend();
                    return Ok(if taken == 0 { Read::Empty } else { Read::Bytes(taken) });
                }
                // Is told by the next call, and found again by it.
                Ok(Read::Vacant) | Err(_) if taken > 0 => break,
                Ok(Read::Vacant) => {
                    self.watch.spend();
                    return Ok(Read::Vacant);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Read::Bytes(taken))
    }

    fn read_once(&self, buffer: &mut BytesMut, max: usize) -> io::Result<Read> {
        let most = max.min(READ_BYTES);
        buffer.reserve(most);
        loop {
            match sys::read_into(self.fd.as_fd(), buffer, most) {
                // A master that was hung up, which only an unmounted devpts does.
                Ok(0) => return Ok(Read::Vacant),
                Ok(bytes) => return Ok(Read::Bytes(bytes)),
                Err(error) if error.raw_os_error() == Some(libc::EIO) => return Ok(Read::Vacant),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Read::Empty),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// How many bytes a read would bring at once (FIONREAD): at most 4 KiB, and not what is on its way there. So 0 does not mean that
    /// all was read; [`Read::Empty`] does.
    pub fn unread_bytes(&self) -> io::Result<usize> {
        sys::unread_bytes(self.fd.as_fd())
    }
}
