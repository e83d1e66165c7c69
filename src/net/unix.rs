//! A unix stream that wakes us only for what is waited for.
//!
//! The runtime's own streams are watched in both directions: each message that the other side has taken then wakes the one who sent it, only
//! to say that there is room for more. Here a stream is watched for reading; for room only once there was none.
//!
//! (Taking a read that brings less than was asked for as the end of what is there would save another call a message. It was tried: bulk
//! came at half the rate, since a record's head then cost a turn of the runtime before its body.)

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;

use super::sys::watched;

/// A connected, non-blocking unix stream.
#[derive(Debug)]
pub(crate) struct Stream {
    reader: AsyncFd<OwnedFd>,
    /// Another descriptor of it, since the first write that found no room.
    writer: OnceLock<AsyncFd<OwnedFd>>,
}

impl Stream {
    /// Takes over a stream of the runtime's.
    ///
    /// # Errors
    /// The runtime cannot watch it.
    pub(crate) fn new(stream: UnixStream) -> io::Result<Stream> {
        let reader = watched(stream.into_std()?.into(), Interest::READABLE)?;
        Ok(Stream { reader, writer: OnceLock::new() })
    }

    /// Waits until there may be something to read. Cancel-safe.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.reader.readable().await?.retain_ready();
        Ok(())
    }

    /// Waits until there may be room, once a write has found none. Cancel-safe.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        if let Some(writer) = self.writer.get() {
            writer.writable().await?.retain_ready();
        }
        Ok(())
    }

    /// Reads what is there. 0: the end.
    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.try_io(Interest::READABLE, |fd| Ok(nix::unistd::read(fd, buffer)?))
    }

    /// Writes what there is room for.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.try_out(|fd| Ok(nix::unistd::write(fd, bytes)?))
    }

    /// Does something that reads from it.
    pub(crate) fn try_in<T>(&self, mut act: impl FnMut(BorrowedFd<'_>) -> io::Result<T>) -> io::Result<T> {
        self.reader.try_io(Interest::READABLE, |fd| act(fd.as_fd()))
    }

    /// Does something that writes to it: at once, and where there is no room by the runtime's way, so that it knows what is waited for.
    pub(crate) fn try_out<T>(&self, mut act: impl FnMut(BorrowedFd<'_>) -> io::Result<T>) -> io::Result<T> {
        match act(self.reader.get_ref().as_fd()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
        self.writer()?.try_io(Interest::WRITABLE, |fd| act(fd.as_fd()))
    }

    fn writer(&self) -> io::Result<&AsyncFd<OwnedFd>> {
        if let Some(writer) = self.writer.get() {
            return Ok(writer);
        }
        let writer = watched(self.reader.get_ref().try_clone()?, Interest::WRITABLE)?;
        Ok(self.writer.get_or_init(|| writer))
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.get_ref().as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Stream, Stream) {
        let (a, b) = UnixStream::pair().unwrap();
        (Stream::new(a).unwrap(), Stream::new(b).unwrap())
    }

    #[tokio::test]
    async fn what_comes_is_waited_for_and_comes() {
        let (ours, theirs) = pair();
        let mut buffer = [0; 16];
        for round in 0..100_u8 {
            assert_eq!(theirs.try_write(&[round; 3]).unwrap(), 3);
            ours.readable().await.unwrap();
            assert_eq!(ours.try_read(&mut buffer).unwrap(), 3);
            assert_eq!(buffer[..3], [round; 3]);
            assert_eq!(ours.try_read(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        }
        drop(theirs);
        ours.readable().await.unwrap();
        assert_eq!(ours.try_read(&mut buffer).unwrap(), 0);
    }

    #[tokio::test]
    async fn a_full_socket_is_waited_for_until_there_is_room() {
        let (ours, theirs) = pair();
        let total = 8 << 20;
        let write = async {
            let (mut left, bytes) = (total, vec![7; 64 << 10]);
            while left > 0 {
                match ours.try_write(&bytes[..left.min(bytes.len())]) {
                    Ok(written) => left -= written,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => ours.writable().await.unwrap(),
                    Err(error) => panic!("{error}"),
                }
            }
        };
        let read = async {
            let (mut read, mut buffer) = (0, vec![0; 100_000]);
            while read < total {
                theirs.readable().await.unwrap();
                match theirs.try_read(&mut buffer) {
                    Ok(bytes) => read += bytes,
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
            }
            read
        };
        assert_eq!(tokio::join!(write, read).1, total);
    }
}
