//! The one promise about a descriptor that the runtime cannot check.
#![allow(unsafe_code, reason = "AsyncFd takes a descriptor on trust")]

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdRegisterError};

/// Has the runtime wait for both directions of a terminal.
pub(super) fn registered(tty: Arc<OwnedFd>) -> io::Result<AsyncFd<Arc<OwnedFd>>> {
    // SAFETY: an `Arc<OwnedFd>` is a valid open descriptor, the same one at each call, for as long as the `AsyncFd` owns its share of it;
    // nobody can take the `OwnedFd` out or close it meanwhile.
    let registered = unsafe { AsyncFd::register_with_interest(tty, Interest::READABLE | Interest::WRITABLE) };
    registered.map_err(|error| AsyncFdRegisterError::into_parts(error).1)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use nix::pty::openpty;
    use nix::unistd::{read, write};

    use super::*;

    #[tokio::test]
    async fn a_terminal_is_waited_for_also_when_others_let_go_of_its_descriptor() {
        let ends = openpty(None, None).unwrap();
        let (master, slave) = (Arc::new(ends.master), Arc::new(ends.slave));
        let tty = registered(Arc::clone(&slave)).unwrap();
        drop(slave);
        tty.writable().await.unwrap().retain_ready();
        write(master.as_fd(), b"x\n").unwrap();
        tty.readable().await.unwrap().retain_ready();
        assert_eq!(read(tty.get_ref(), &mut [0; 8]), Ok(2));
    }
}
