//! The user's terminal while a program has it: what is typed, what is shown, the detach keys, the size.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use nix::errno::Errno;
use nix::unistd::{read, write};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use zerovisor_core::detach::{DetachKeys, DetachWatch};
use zerovisor_core::escape::escaped;
use zerovisor_core::queries::QueryFilter;
use zerovisor_core::signal::Signal;
use zerovisor_core::size::Size;

use super::raw::RawMode;
use super::signals::{Signals, Told};
use super::sys::registered;
use super::terminal::UserTerminal;

/// Read from a terminal at most at once, in bytes: it never has more (`N_TTY_BUF_SIZE`).
pub const TYPED_MAX_BYTES: usize = 4096;

/// So much that is written already is kept in front of what is not, in bytes.
const COMPACT_BYTES: usize = 256 << 10;

/// What happens at a console.
#[derive(Debug)]
pub enum ConsoleEvent {
    /// Typed at the program, at most [`TYPED_MAX_BYTES`] and the detach keys that were held back and turned out to be none.
    Typed(Bytes),
    /// The terminal has another size, or is to be drawn again.
    Resized(Size),
    /// Some of what was shown and had to wait has been written: see [`Console::pending`].
    Written,
    /// The detach keys. What was typed before them has been told.
    Detach,
    /// It should come to an end. After a signal there may still be last words to be shown, else there is nothing to be typed or shown any
    /// more.
    Ended(Ended),
}

/// Why a console ended by itself.
#[derive(Debug)]
pub enum Ended {
    /// A signal told this program to end.
    Signal(Signal),
    /// The terminal hung up.
    HungUp,
    /// Reading or writing it failed.
    Failed(io::Error),
}

/// A terminal in raw mode. Dropping it gives the terminal back.
///
/// One task owns it and waits in one `select!`: [`Console::next`] is cancel-safe and moves output that had to wait, too.
#[derive(Debug)]
pub struct Console {
    // Dropped first: the way out is written before the descriptor leaves the runtime.
    raw: RawMode,
    terminal: UserTerminal,
    tty: AsyncFd<Arc<OwnedFd>>,
    signals: Signals,
    detach: DetachWatch,
    queries: QueryFilter,
    pending: Vec<u8>,
    written: usize,
    events: VecDeque<ConsoleEvent>,
    room: usize,
    over: bool,
}

enum Wake {
    Readable,
    Writable,
    Deadline,
    Told(Told),
    Failed(io::Error),
}

impl Console {
    /// Takes the terminal: raw from now on. Needs a runtime. `leave` is what undoes whatever the program sets up ([`super::LEAVE`]).
    ///
    /// # Errors
    /// The terminal refuses, or the runtime cannot wait for it.
    pub fn open(terminal: UserTerminal, keys: DetachKeys, leave: &'static [u8]) -> io::Result<Console> {
        let tty = registered(terminal.tty())?;
        let signals = Signals::start()?;
        let raw = RawMode::enter(&terminal, leave)?;
        Ok(Console {
            raw,
            terminal,
            tty,
            signals,
            detach: DetachWatch::new(keys),
            queries: QueryFilter::new(),
            pending: Vec::new(),
            written: 0,
            events: VecDeque::new(),
            room: TYPED_MAX_BYTES,
            over: false,
        })
    }

    /// The size of the terminal now.
    pub fn size(&self) -> Size {
        self.terminal.size()
    }

    /// So many more bytes may be typed: at 0 the terminal is not read, and the detach keys wait with what was typed before them.
    pub fn set_room(&mut self, bytes: usize) {
        if !self.over {
            self.room = bytes;
        }
    }

    /// Shows what the program wrote, less the queries its terminal has answered already. Never waits: what the terminal does not take now is
    /// [`Console::pending`] and written by [`Console::next`]. Whoever shows bounds it, by granting no more than was written.
    pub fn show(&mut self, output: &[u8]) {
        if !self.over {
            self.queries.filter(output, &mut self.pending);
            self.flush();
        }
    }

    /// What undoes what the program set up, in place of what [`Console::open`] was told.
    pub fn leave_by(&self, leave: &'static [u8]) {
        self.raw.leave_by(leave);
    }

    /// A picture begins, made from nothing: a sequence that was not complete before it never will be.
    pub fn begin_picture(&mut self) {
        self.queries = QueryFilter::new();
    }

    /// Bytes shown that the terminal has not taken yet.
    pub fn pending(&self) -> usize {
        self.pending.len() - self.written
    }

    /// Waits for what happens. Cancel-safe.
    pub async fn next(&mut self) -> ConsoleEvent {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            match self.wake().await {
                Wake::Readable => self.read(),
                Wake::Writable => {
                    self.flush();
                    self.events.push_back(ConsoleEvent::Written);
                }
                Wake::Deadline => {
                    let mut typed = Vec::new();
                    self.detach.on_timer(Instant::now(), &mut typed);
                    self.typed(typed);
                }
                Wake::Told(Told::End(signal)) => self.events.push_back(ConsoleEvent::Ended(Ended::Signal(signal))),
                Wake::Told(Told::Resized) => self.resized(),
                Wake::Told(Told::Continued) => {
                    self.raw.again();
                    self.resized();
                }
                Wake::Failed(error) => self.end(Ended::Failed(error)),
            }
        }
    }

    /// Waits until all that was shown is written, for at most `patience`; nothing that is typed meanwhile matters, but leaving does.
    pub async fn drain(&mut self, patience: Duration) {
        let until = tokio::time::Instant::now() + patience;
        self.set_room(TYPED_MAX_BYTES);
        while self.pending() > 0 {
            match tokio::time::timeout_at(until, self.next()).await {
                Err(_) | Ok(ConsoleEvent::Detach | ConsoleEvent::Ended(_)) => return,
                Ok(ConsoleEvent::Typed(_) | ConsoleEvent::Resized(_) | ConsoleEvent::Written) => {}
            }
        }
    }

    async fn wake(&mut self) -> Wake {
        let (tty, deadline) = (&self.tty, self.detach.deadline());
        tokio::select! {
            biased;
            told = self.signals.next() => Wake::Told(told),
            ready = tty.readable(), if self.room > 0 => ready.map_or_else(Wake::Failed, |_| Wake::Readable),
            ready = tty.writable(), if self.pending.len() > self.written => ready.map_or_else(Wake::Failed, |_| Wake::Writable),
            () = tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now).into()), if deadline.is_some() => Wake::Deadline,
        }
    }

    fn read(&mut self) {
        let mut buffer = [0; TYPED_MAX_BYTES];
        let room = self.room.min(TYPED_MAX_BYTES);
        let read = self.tty.try_io(Interest::READABLE, |tty| Ok(read(tty, &mut buffer[..room])?));
        match read {
            // The end of a terminal is that it is gone: in raw mode no key makes one.
            Ok(0) => self.end(Ended::HungUp),
            Ok(bytes) => {
                let mut typed = Vec::new();
                let detach = self.detach.on_input(Instant::now(), &buffer[..bytes], &mut typed);
                self.typed(typed);
                if detach {
                    self.events.push_back(ConsoleEvent::Detach);
                }
            }
            Err(error) => self.failed(error),
        }
    }

    fn typed(&mut self, typed: Vec<u8>) {
        if !typed.is_empty() {
            self.room = self.room.saturating_sub(typed.len());
            self.events.push_back(ConsoleEvent::Typed(typed.into()));
        }
    }

    fn resized(&mut self) {
        self.events.push_back(ConsoleEvent::Resized(self.terminal.size()));
    }

    /// Writes what can be written now.
    fn flush(&mut self) {
        while self.written < self.pending.len() {
            match self.write() {
                Ok(bytes) => self.written += bytes,
                Err(error) => {
                    self.failed(error);
                    break;
                }
            }
        }
        // A terminal that never quite catches up must not make the buffer grow for ever.
        if self.written == self.pending.len() || self.written > COMPACT_BYTES {
            self.pending.drain(..self.written);
            self.written = 0;
        }
        self.raw.output_is_cut(self.written < self.pending.len());
    }

    /// At once: the runtime learns that a terminal is writable only after its next look, and an echo must not wait for that. Where it is not,
    /// the runtime is told so, by an attempt that it has seen begin.
    fn write(&self) -> io::Result<usize> {
        let rest = &self.pending[self.written..];
        match write(self.tty.get_ref(), rest) {
            Err(Errno::EAGAIN) => self.tty.try_io(Interest::WRITABLE, |tty| Ok(write(tty, rest)?)),
            written => Ok(written?),
        }
    }

    fn failed(&mut self, error: io::Error) {
        match error.raw_os_error().map(Errno::from_raw) {
            _ if error.kind() == io::ErrorKind::WouldBlock => {}
            Some(Errno::EINTR) => {}
            Some(Errno::EIO) => self.end(Ended::HungUp),
            Some(_) | None => self.end(Ended::Failed(error)),
        }
    }

    /// Nothing is read or written from here on: a terminal that is gone stays ready for ever.
    fn end(&mut self, why: Ended) {
        self.over = true;
        self.room = 0;
        self.pending.clear();
        self.written = 0;
        self.events.push_back(ConsoleEvent::Ended(why));
    }
}

/// One line about a terminal that was given back, on standard error. There is nowhere to complain when that fails.
pub fn notice(line: &str) {
    let _ = io::stderr().write_all(format!("[{}]\n", escaped(line)).as_bytes());
}
