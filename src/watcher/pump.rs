//! Takes the output of a run: from a pipe into records, without copying, in chunks as large as the load asks for.
//!
//! An idle pump owns no buffer. Under load the buffer grows with what is read, up to a record's size, and the pipe with it.
//!
//! The nap: after a short read of a busy pipe the next one waits, so that many small writes become one record. Measured on a bare relay
//! of 100-byte writes, it cut CPU from 3.6 to 1.17 s a GiB. The first bytes after idleness never wait. A busy pipe is taken off the
//! runtime's list: every single write to a listed one wakes us, nap or not (seen as 500 wakes a nap).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use zerovisor_core::record::{Kind, OUTPUT_MAX_BYTES};

use super::pipes;
use super::sys;

/// The buffer of the first read after idleness, in bytes.
const BUFFER_START_BYTES: usize = 4 << 10;
/// A read of so many bytes found a pipe of the default 64 KiB full: pages that small writes left unfilled count too.
const PIPE_FULL_BYTES: usize = 48 << 10;
/// A read of fewer bytes is short: a nap follows if the pipe is busy.
const SHORT_BYTES: usize = 64 << 10;
/// Where the runtime cannot watch a pipe, it is looked at so often.
const POLL: Duration = Duration::from_millis(10);
/// The nap. The runtime's timer rounds it up to the next whole millisecond; a grown pipe takes 3 ms of the fastest small writes.
const NAP: Duration = Duration::from_micros(500);
/// A pipe is busy if it was read so short a time ago.
const BUSY_WITHIN: Duration = Duration::from_millis(3);

/// What a read brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Took {
    /// Output, never empty.
    Output(Bytes),
    /// Nothing is there now.
    Nothing,
    /// The pipe is closed, by the run or by us.
    End,
}

/// The reading end.
#[derive(Debug)]
enum Pipe {
    /// Idle: the runtime tells when there is something.
    Watched(AsyncFd<OwnedFd>),
    /// Busy: it is read without asking, nap by nap, until nothing is there.
    Busy(OwnedFd),
    Closed,
}

/// One output of a run.
#[derive(Debug)]
pub(super) struct Pump {
    /// Which.
    pub(super) kind: Kind,
    pipe: Pipe,
    buffer: BytesMut,
    size: usize,
    read_at: Option<Instant>,
    nap_until: Option<Instant>,
    grown: bool,
    may_nap: bool,
    /// Once the tree is gone: what may still be taken. Whoever outside it holds the pipe is not listened to for ever.
    left: Option<usize>,
}

impl Pump {
    /// Takes over the reading end of a pipe, which must be non-blocking.
    pub(super) fn new(kind: Kind, pipe: OwnedFd) -> io::Result<Pump> {
        let pipe = Pipe::Watched(sys::watch_readable(pipe).map_err(|(_, error)| error)?);
        Ok(Pump {
            kind,
            pipe,
            buffer: BytesMut::new(),
            size: BUFFER_START_BYTES,
            read_at: None,
            nap_until: None,
            grown: false,
            may_nap: true,
            left: None,
        })
    }

    /// Whether all was read.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.pipe, Pipe::Closed)
    }

    /// When the nap ends, if there is one.
    pub(super) fn nap_until(&self) -> Option<Instant> {
        self.nap_until
    }

    /// The time has come; a nap that is over is one no more.
    pub(super) fn on_timer(&mut self, now: Instant) {
        self.nap_until = self.nap_until.filter(|until| now < *until);
    }

    /// Waits until there may be something to read; for ever once closed or during a nap. Cancel-safe: it takes nothing.
    pub(super) async fn readable(&self) {
        match &self.pipe {
            Pipe::Watched(pipe) => {
                // An error means that the runtime ends.
                if let Ok(mut guard) = pipe.readable().await {
                    guard.retain_ready();
                }
            }
            Pipe::Busy(_) if self.nap_until.is_none() => {}
            Pipe::Busy(_) | Pipe::Closed => std::future::pending().await,
        }
    }

    /// Reads once, at most `room` bytes, which must not be 0.
    pub(super) fn take(&mut self, now: Instant, room: usize) -> Took {
        let wanted = self.size.min(room).min(self.left.unwrap_or(usize::MAX));
        let read = match &self.pipe {
            Pipe::Closed => return Took::End,
            Pipe::Watched(pipe) if self.left.is_none() => {
                self.buffer.reserve(wanted);
                pipe.try_io(Interest::READABLE, |pipe| sys::read_into(pipe.as_fd(), &mut self.buffer, wanted))
            }
            // At the end whatever the runtime believes: what it has not been told of is there all the same.
            Pipe::Watched(pipe) => {
                self.buffer.reserve(wanted);
                sys::read_into(pipe.get_ref().as_fd(), &mut self.buffer, wanted)
            }
            Pipe::Busy(pipe) => {
                self.buffer.reserve(wanted);
                sys::read_into(pipe.as_fd(), &mut self.buffer, wanted)
            }
        };
        match read {
            Ok(0) => self.close(),
            Ok(bytes) => {
                self.adapt(now, bytes, wanted);
                let last = self.left.as_mut().is_some_and(|left| {
                    *left = left.saturating_sub(bytes);
                    *left == 0
                });
                let output = self.hand_over(bytes);
                if last {
                    self.close();
                }
                Took::Output(output)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Took::Nothing,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && self.left.is_none() => {
                self.rest(now);
                Took::Nothing
            }
            Err(_) => self.close(),
        }
    }

    /// Nothing is there: a busy pipe is idle again.
    fn rest(&mut self, now: Instant) {
        self.pipe = match std::mem::replace(&mut self.pipe, Pipe::Closed) {
            Pipe::Busy(pipe) => match sys::watch_readable(pipe) {
                Ok(watched) => Pipe::Watched(watched),
                Err((pipe, _)) => {
                    self.nap_until = Some(now + POLL);
                    Pipe::Busy(pipe)
                }
            },
            other @ (Pipe::Watched(_) | Pipe::Closed) => other,
        };
    }

    fn nap(&mut self, now: Instant) {
        self.nap_until = Some(now + NAP);
        self.pipe = match std::mem::replace(&mut self.pipe, Pipe::Closed) {
            Pipe::Watched(pipe) => Pipe::Busy(pipe.into_inner()),
            other @ (Pipe::Busy(_) | Pipe::Closed) => other,
        };
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.pipe {
            Pipe::Watched(pipe) => Some(pipe.get_ref().as_fd()),
            Pipe::Busy(pipe) => Some(pipe.as_fd()),
            Pipe::Closed => None,
        }
    }

    /// The tree is gone: what is in the pipe now is the last of its output. Nothing is slept over any more.
    pub(super) fn on_tree_gone(&mut self) {
        self.nap_until = None;
        if let (Some(pipe), None) = (self.fd(), self.left) {
            // One more than is there, so that a pipe that has ended is read to its end.
            let there = sys::unread_bytes(pipe).unwrap_or(pipes::GROWN_BYTES);
            self.left = Some(there + 1);
        }
    }

    /// Gives the buffer back after a while of silence. True if it did.
    pub(super) fn on_heartbeat(&mut self, now: Instant) -> bool {
        let silent = self.read_at.is_none_or(|at| now - at > Duration::from_millis(500));
        if !silent {
            return false;
        }
        self.buffer = BytesMut::new();
        self.size = BUFFER_START_BYTES;
        self.read_at.take().is_some()
    }

    /// What was read: without copying, or copied where it would keep a buffer of many times its size from being used again.
    fn hand_over(&mut self, bytes: usize) -> Bytes {
        if bytes * 4 >= self.buffer.capacity() {
            return self.buffer.split().freeze();
        }
        let copy = Bytes::copy_from_slice(&self.buffer);
        self.buffer.clear();
        copy
    }

    fn close(&mut self) -> Took {
        self.pipe = Pipe::Closed;
        self.nap_until = None;
        Took::End
    }

    fn adapt(&mut self, now: Instant, bytes: usize, wanted: usize) {
        if bytes == self.size {
            self.size = (self.size * 4).min(OUTPUT_MAX_BYTES);
        }
        if bytes >= PIPE_FULL_BYTES && !self.grown {
            self.grown = true;
            // A pipe that stays small is full before a nap is over, and would hold the writer up.
            self.may_nap = self.fd().is_some_and(|pipe| pipes::grow(pipe).is_ok_and(|size| size >= pipes::GROWN_BYTES));
        }
        let busy = self.read_at.is_some_and(|at| now - at < BUSY_WITHIN);
        self.read_at = Some(now);
        if busy && self.may_nap && bytes < SHORT_BYTES && bytes < wanted && self.left.is_none() {
            self.nap(now);
        }
    }
}
