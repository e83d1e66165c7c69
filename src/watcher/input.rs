//! What a run reads: a bounded queue before a pipe or a terminal that is never waited for.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;

use bytes::{Buf, Bytes};
use tokio::net::unix::pipe;
use zerovisor_core::wire::TYPED_WINDOW_BYTES;
use zerovisor_pty::Writer;
use zerovisor_pty::screen::ANSWERS_MAX_BYTES;

/// The most input that waits for a program to read it, in bytes; more is refused. What viewers type does not count, since each has a
/// window, nor do answers.
pub(super) const INPUT_QUEUE_BYTES: usize = 1 << 20;
/// Input of the console is taken only while less than this waits, in bytes: a program that does not read makes it wait.
const CONSOLE_BELOW_BYTES: usize = 64 << 10;
/// What viewers that have left had typed ahead, in bytes; what one leaves beyond that goes nowhere.
const LEFT_MAX_BYTES: usize = 1 << 20;

/// Why input was not taken. None of it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InputDenial {
    /// Too much is waiting.
    #[error("its input is full: it has not read the {} KiB that wait; send again later", .0 >> 10)]
    Full(usize),
    /// It was closed by us or by the program.
    #[error("its input is closed")]
    Closed,
    /// A viewer types faster than it may.
    #[error("{TYPED_WINDOW_BYTES} bytes at most may be typed ahead")]
    Window,
}

/// Where input goes.
#[derive(Debug)]
enum Sink {
    Pipe(pipe::Sender),
    Terminal(Writer),
}

impl Sink {
    async fn writable(&self) {
        // An error is told by the write.
        match self {
            Sink::Pipe(pipe) => drop(pipe.writable().await),
            Sink::Terminal(writer) => drop(writer.writable().await),
        }
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Sink::Pipe(pipe) => pipe.try_write(bytes),
            Sink::Terminal(writer) => writer.try_write(bytes),
        }
    }
}

/// Whose input it is, which says by what it is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The user's console or an operator: [`INPUT_QUEUE_BYTES`] together.
    Sent,
    /// A viewer: [`TYPED_WINDOW_BYTES`] each.
    Viewer(u64),
    /// A viewer that has left since: [`LEFT_MAX_BYTES`] together.
    Left,
    /// The terminal itself: [`ANSWERS_MAX_BYTES`].
    Answer,
}

#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    source: Source,
}

/// The input of one run.
#[derive(Debug)]
pub(super) struct Input {
    sink: Option<Sink>,
    queue: VecDeque<Chunk>,
    /// Of the queue, what was sent, in bytes.
    waiting: usize,
    /// Of the queue, what viewers that have left had typed, in bytes.
    left: usize,
    /// Of the queue, the answers, in bytes.
    answers: usize,
    ending: bool,
    /// Whether its end was offered; on a terminal, where it has none, that is a key typed.
    end_offered: bool,
    written: u64,
    /// What each viewer has typed ahead, in bytes.
    ahead: HashMap<u64, u64>,
    /// What the program's terminal has taken of what viewers typed, and they have not been told of.
    taken: Vec<(u64, u64)>,
}

impl Input {
    /// Takes over the writing end of a pipe, which must be non-blocking.
    pub(super) fn pipe(pipe: OwnedFd) -> io::Result<Input> {
        Ok(Input::new(Sink::Pipe(pipe::Sender::from_owned_fd(pipe)?)))
    }

    /// Takes over the writing half of a terminal.
    pub(super) fn terminal(writer: Writer) -> Input {
        Input::new(Sink::Terminal(writer))
    }

    fn new(sink: Sink) -> Input {
        Input {
            sink: Some(sink),
            queue: VecDeque::new(),
            waiting: 0,
            left: 0,
            answers: 0,
            ending: false,
            end_offered: false,
            written: 0,
            ahead: HashMap::new(),
            taken: Vec::new(),
        }
    }

    /// Bytes the program's end has taken.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Whether the console may add to it.
    pub(super) fn has_room(&self) -> bool {
        self.waiting < CONSOLE_BELOW_BYTES
    }

    /// Whether its end was offered, or it has ended.
    pub(super) fn is_end_offered(&self) -> bool {
        self.end_offered || self.is_ending()
    }

    /// Whether nothing more can be offered.
    pub(super) fn is_ending(&self) -> bool {
        self.sink.is_none() || self.ending
    }

    /// Queues input, and behind it the end of a pipe; a terminal has none.
    ///
    /// # Errors
    /// Nothing was taken.
    pub(super) fn offer(&mut self, bytes: Bytes, eof: bool) -> Result<(), InputDenial> {
        if self.is_ending() {
            return Err(InputDenial::Closed);
        }
        if self.waiting + bytes.len() > INPUT_QUEUE_BYTES {
            return Err(InputDenial::Full(self.waiting));
        }
        self.end_offered |= eof;
        self.ending = eof && matches!(self.sink, Some(Sink::Pipe(_)));
        self.waiting += bytes.len();
        self.push(bytes, Source::Sent);
        Ok(())
    }

    /// Queues what a viewer typed.
    ///
    /// # Errors
    /// It is more than the viewer's window; nothing was taken.
    pub(super) fn type_in(&mut self, viewer: u64, bytes: Bytes) -> Result<(), InputDenial> {
        if self.is_ending() {
            return Err(InputDenial::Closed);
        }
        let before = self.ahead.get(&viewer).copied().unwrap_or(0);
        if before + bytes.len() as u64 > TYPED_WINDOW_BYTES {
            return Err(InputDenial::Window);
        }
        self.ahead.insert(viewer, before + bytes.len() as u64);
        self.push(bytes, Source::Viewer(viewer));
        Ok(())
    }

    /// A viewer has left: what it typed still goes to the program, and its number may be another's from here on.
    pub(super) fn forget(&mut self, viewer: u64) {
        self.taken.retain(|(who, _)| *who != viewer);
        if self.ahead.remove(&viewer).is_none() {
            return;
        }
        let left = &mut self.left;
        self.queue.retain_mut(|chunk| {
            if chunk.source != Source::Viewer(viewer) {
                return true;
            }
            chunk.source = Source::Left;
            let fits = *left + chunk.bytes.len() <= LEFT_MAX_BYTES;
            *left += if fits { chunk.bytes.len() } else { 0 };
            fits
        });
    }

    /// Answers of the terminal itself, which were asked for by the program. One that asks without end and never reads gets no more of them
    /// than [`ANSWERS_MAX_BYTES`]; whoever types does not wait for them.
    pub(super) fn answer(&mut self, bytes: Bytes) {
        if !self.is_ending() && self.answers + bytes.len() <= ANSWERS_MAX_BYTES {
            self.answers += bytes.len();
            self.push(bytes, Source::Answer);
        }
    }

    fn push(&mut self, bytes: Bytes, source: Source) {
        if !bytes.is_empty() {
            self.queue.push_back(Chunk { bytes, source });
        }
    }

    /// Waits until something can be written or the end can be made; for ever if there is nothing to do. Cancel-safe: it writes nothing.
    pub(super) async fn writable(&self) {
        match &self.sink {
            Some(_) if self.queue.is_empty() && self.ending => {}
            Some(sink) if !self.queue.is_empty() => sink.writable().await,
            Some(_) | None => std::future::pending().await,
        }
    }

    /// Writes what goes. True when this closed the input.
    pub(super) fn write(&mut self) -> bool {
        let Some(sink) = &mut self.sink else { return false };
        while let Some(first) = self.queue.front_mut() {
            match sink.try_write(&first.bytes) {
                Ok(bytes) => {
                    first.bytes.advance(bytes);
                    self.written += bytes as u64;
                    match first.source {
                        Source::Sent => self.waiting -= bytes,
                        Source::Left => self.left -= bytes,
                        Source::Answer => self.answers -= bytes,
                        Source::Viewer(viewer) => {
                            take(&mut self.ahead, viewer, bytes as u64);
                            tell(&mut self.taken, viewer, bytes as u64);
                        }
                    }
                    if first.bytes.is_empty() {
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

    /// What was taken of what viewers typed since this was last asked: viewer and bytes.
    pub(super) fn taken(&mut self) -> Vec<(u64, u64)> {
        std::mem::take(&mut self.taken)
    }

    fn close(&mut self) -> bool {
        self.queue = VecDeque::new();
        (self.waiting, self.left, self.answers) = (0, 0, 0);
        self.sink.take().is_some()
    }
}

fn take(ahead: &mut HashMap<u64, u64>, viewer: u64, bytes: u64) {
    if let Some(left) = ahead.get_mut(&viewer) {
        *left = left.saturating_sub(bytes);
        if *left == 0 {
            ahead.remove(&viewer);
        }
    }
}

fn tell(taken: &mut Vec<(u64, u64)>, viewer: u64, bytes: u64) {
    match taken.iter_mut().find(|(who, _)| *who == viewer) {
        Some((_, sum)) => *sum += bytes,
        None => taken.push((viewer, bytes)),
    }
}

#[cfg(test)]
mod tests;
