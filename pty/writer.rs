//! The input of a terminal.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;

use super::watch::Watch;

/// The writing half of a master. Dropping it writes nothing: end of file is a byte like others (`Control::end_of_file_byte`).
#[derive(Debug)]
pub struct Writer {
    fd: Arc<OwnedFd>,
    /// The last attempt found no room.
    full: AtomicBool,
}

impl Writer {
    pub(crate) fn new(fd: Arc<OwnedFd>) -> Writer {
        Writer { fd, full: AtomicBool::new(false) }
    }

    /// Waits until there may be room; at once unless [`Writer::try_write`] has just found none. A terminal that nobody has open counts as
    /// ready, and the write will say so. Cancel-safe.
    ///
    /// The terminal is watched only meanwhile: a watch that stayed would wake us for each key the program reads.
    ///
    /// # Errors
    /// When the kernel or the runtime does not take one more descriptor to watch, and when the runtime ends.
    pub async fn writable(&self) -> io::Result<()> {
        if self.full.load(Ordering::Relaxed) {
            Watch::new(Arc::clone(&self.fd), EpollFlags::EPOLLOUT)?.event().await?;
            self.full.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Writes as many of `bytes` as there is room for, at least one, and returns how many.
    ///
    /// # Errors
    /// `WouldBlock`: no room, the program does not read. `EIO`: nobody has the terminal open just now; nothing was written, and the bytes
    /// are the caller's to keep until the reader sees output again, or to drop.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match nix::unistd::write(&*self.fd, bytes) {
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    *self.full.get_mut() = true;
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                other => return Ok(other?),
            }
        }
    }
}
