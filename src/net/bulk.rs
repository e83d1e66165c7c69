//! Moves the inside of large frames from socket to socket by splice(2): the kernel passes pages on instead of copying them out and in
//! again. With it a byte of bulk output is copied as often through two gates as without any.
//!
//! The pipe in between belongs to the thread and is borrowed while it holds bytes; idle links own none.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use super::wire::Wire;

/// What makes it worth the extra system calls, in bytes.
pub(crate) const WORTH_BYTES: usize = 32 << 10;
/// Moved at most at once, in bytes: about what a pipe of 16 slots of a socket's 32 KiB pages takes.
const ONCE_BYTES: usize = 512 << 10;
/// Empty pipes a thread keeps for the next to come.
const SPARE_MAX: usize = 4;

/// Both ends of a pipe, which is empty whenever it is spare.
struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
}

thread_local! {
    static SPARE: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

fn borrow_pipe() -> io::Result<Pipe> {
    if let Some(spare) = SPARE.with_borrow_mut(Vec::pop) {
        return Ok(spare);
    }
    let (out, into) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    Ok(Pipe { out, into })
}

fn give_back(pipe: Pipe) {
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < SPARE_MAX {
            spare.push(pipe);
        }
    });
}

/// Which side failed.
pub(crate) enum Broken {
    /// Reading; also for want of descriptors, and `WouldBlock` where nothing is there.
    Source(io::Error),
    /// Writing.
    Sink,
}

/// Moves at most `limit` bytes that are there now; 0 at the end of the source. Waits for the sink to take all of them, and tells `wrote`
/// of each part it took. Not cancel-safe: dropped in the middle, it loses what is in the pipe.
pub(crate) async fn carry(
    source: &Wire,
    sink: &Wire,
    limit: usize,
    mut wrote: impl FnMut(usize),
) -> Result<usize, Broken> {
    let once = limit.min(ONCE_BYTES);
    let pipe = borrow_pipe().map_err(Broken::Source)?;
    let moved = match source.try_splice_into(&pipe.into, once) {
        Ok(moved) => moved,
        Err(error) => {
            give_back(pipe);
            return Err(Broken::Source(error));
        }
    };
    let mut left = moved;
    while left > 0 {
        match sink.try_splice_from(&pipe.out, left) {
            // Never for bytes that are in the pipe; but a loop that could spin must not depend on that.
            Ok(0) => return Err(Broken::Sink),
            Ok(written) => {
                wrote(written);
                left -= written;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                sink.writable().await.map_err(|_| Broken::Sink)?;
            }
            Err(_) => return Err(Broken::Sink),
        }
    }
    give_back(pipe);
    Ok(moved)
}
