//! The input of a terminal.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;

use super::watch::Watch;

/// The writing half of a master. Dropping it writes nothing: end of file is a byte like others (`Control::end_of_file_byte`).
#[derive(Debug)]
pub struct Writer {
    fd: Arc<OwnedFd>,
    /// Only while there is not room for all: it would wake us for each key the program reads.
    watch: Option<Watch>,
}

impl Writer {
    pub(crate) fn new(fd: Arc<OwnedFd>) -> Writer {
        Writer { fd, watch: None }
    }

    /// Waits until there may be room: at once unless the last [`Writer::try_write`] found none. Cancel-safe.
    ///
    /// # Errors
    /// Only when the runtime ends.
    pub async fn writable(&self) -> io::Result<()> {
        match &self.watch {
            Some(watch) => watch.ready().await,
            None => Ok(()),
        }
    }

    /// Writes as many of `bytes` as there is room for, at least one, and returns how many. Needs a tokio runtime with I/O.
    ///
    /// A terminal that nobody has open takes them too, as a keyboard would, and keeps them for whoever opens it next.
    ///
    /// # Errors
    /// `WouldBlock`: no room, the program does not read; wait with [`Writer::writable`]. Any other: nothing was written; it is that of
    /// write(2), none of which is expected of a terminal, or the kernel or the runtime did not take one more descriptor to watch.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match nix::unistd::write(&*self.fd, bytes) {
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    self.wait_for_room()?;
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Ok(written) => {
                    if written == bytes.len() {
                        self.watch = None;
                    }
                    return Ok(written);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn wait_for_room(&mut self) -> io::Result<()> {
        let watch = match self.watch.take() {
            Some(watch) => watch,
            None => Watch::new(Arc::clone(&self.fd), EpollFlags::EPOLLOUT)?,
        };
        self.watch.insert(watch).spend();
        Ok(())
    }
}
