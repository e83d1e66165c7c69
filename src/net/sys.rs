//! The one promise about a descriptor that the runtime cannot check.
#![allow(unsafe_code, reason = "AsyncFd takes a descriptor on trust")]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdRegisterError};

/// Has the runtime wait for one direction of a socket.
pub(super) fn watched(socket: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` names the same open descriptor for its whole life, and the `AsyncFd` takes it off the runtime's list before it
    // closes it.
    let watched = unsafe { AsyncFd::register_with_interest(socket, interest) };
    watched.map_err(|error| AsyncFdRegisterError::into_parts(error).1)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[tokio::test]
    async fn a_socket_is_waited_for_in_the_direction_asked_for() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let reader = watched(ours.try_clone().unwrap().into(), Interest::READABLE).unwrap();
        let writer = watched(ours.into(), Interest::WRITABLE).unwrap();
        writer.writable().await.unwrap().retain_ready();
        theirs.write_all(b"x").unwrap();
        reader.readable().await.unwrap().retain_ready();
    }
}
