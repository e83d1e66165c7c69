//! The standard input of a run: a bounded queue before a pipe that is never waited for.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

use bytes::{Buf, Bytes};
use tokio::net::unix::pipe;

/// The most input that waits for a program to read it, in bytes; more is refused.
pub(super) const INPUT_QUEUE_BYTES: usize = 1 << 20;
/// Input of the console is taken only while less than this waits, in bytes: a program that does not read makes it wait.
const CONSOLE_BELOW_BYTES: usize = 64 << 10;

/// Why input was not taken. None of it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InputDenial {
    /// Too much is waiting.
    #[error("its input is full: it has not read the {} KiB that wait; send again later", .0 >> 10)]
    Full(usize),
    /// It was closed by us or by the program.
    #[error("its input is closed")]
    Closed,
}

/// The input of one run.
#[derive(Debug)]
pub(super) struct Input {
    pipe: Option<pipe::Sender>,
    queue: VecDeque<Bytes>,
    waiting: usize,
    ending: bool,
    written: u64,
}

impl Input {
    /// Takes over the writing end of a pipe, which must be non-blocking.
    pub(super) fn new(pipe: OwnedFd) -> io::Result<Input> {
        let pipe = Some(pipe::Sender::from_owned_fd(pipe)?);
        Ok(Input { pipe, queue: VecDeque::new(), waiting: 0, ending: false, written: 0 })
    }

    /// Bytes the pipe has taken.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Whether the console may add to it.
    pub(super) fn has_room(&self) -> bool {
        self.waiting < CONSOLE_BELOW_BYTES
    }

    /// Whether nothing more can be offered.
    pub(super) fn is_ending(&self) -> bool {
        self.pipe.is_none() || self.ending
    }

    /// Queues input, and its end behind it.
    ///
    /// # Errors
    /// Nothing was taken.
    pub(super) fn offer(&mut self, bytes: Bytes, eof: bool) -> Result<(), InputDenial> {
        if self.pipe.is_none() || self.ending {
            return Err(InputDenial::Closed);
        }
        if self.waiting + bytes.len() > INPUT_QUEUE_BYTES {
            return Err(InputDenial::Full(self.waiting));
        }
        self.waiting += bytes.len();
        self.ending = eof;
        if !bytes.is_empty() {
            self.queue.push_back(bytes);
        }
        Ok(())
    }

    /// Waits until something can be written or the end can be made; for ever if there is nothing to do. Cancel-safe: it writes nothing.
    pub(super) async fn writable(&self) {
        match &self.pipe {
            Some(_) if self.queue.is_empty() && self.ending => {}
            // An error is told by the write.
            Some(pipe) if !self.queue.is_empty() => drop(pipe.writable().await),
            Some(_) | None => std::future::pending().await,
        }
    }

    /// Writes what goes. True when this closed the input.
    pub(super) fn write(&mut self) -> bool {
        let Some(pipe) = &self.pipe else { return false };
        while let Some(first) = self.queue.front_mut() {
            match pipe.try_write(first) {
                Ok(bytes) => {
                    first.advance(bytes);
                    self.waiting -= bytes;
                    self.written += bytes as u64;
                    if first.is_empty() {
                        self.queue.pop_front();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                // The program does not want it any more.
                Err(_) => return self.close(),
            }
        }
        self.ending && self.close()
    }

    fn close(&mut self) -> bool {
        self.queue = VecDeque::new();
        self.waiting = 0;
        self.pipe.take().is_some()
    }
}
