//! The terminal of a run: its output, taken in pieces as large as the load gives them, its size, and its end.
//!
//! The kernel hands over at most 4 KiB a read and holds about 20 KiB, so a terminal is never left alone for long: there is no nap as
//! there is for pipes. What was read in one turn is one record.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use zerovisor_core::size::Size;
use zerovisor_pty::{Control, End, Next, Read, Reader, Writer};

use super::model::Model;
use super::pump::Took;
use super::spawn::{SpawnError, Stage, Stdio};

/// The buffer of the first read after idleness, in bytes.
const BUFFER_START_BYTES: usize = 4 << 10;
/// What is typed for the end of input.
const CTRL_D: u8 = 4;
/// The most one turn reads, in bytes: more would keep a viewer waiting for what is there.
const BUFFER_MAX_BYTES: usize = 64 << 10;

/// The watcher's side of a run's terminal, but for its input.
#[derive(Debug)]
pub(super) struct Terminal {
    reader: Reader,
    control: Control,
    end: End,
    buffer: BytesMut,
    /// The most the next turn reads.
    turn_bytes: usize,
    read_at: Option<Instant>,
    /// By resizes of ours; the program may have set another.
    size: Size,
    /// What it shows, unless nobody wants to know.
    pub(super) model: Option<Model>,
}

impl Terminal {
    /// Opens one: the child's ends, ours, and its input. `screen`: whether it is kept what it shows.
    ///
    /// # Errors
    /// The kernel has no more of them, or of descriptors.
    pub(super) fn open(size: Size, screen: bool) -> Result<(Stdio, Terminal, Writer), SpawnError> {
        let failed = |error: io::Error| SpawnError::own(Stage::Terminal, &error, Path::new("the child"));
        let (master, slave) = zerovisor_pty::open(cells(size)).map_err(|error| failed(io::Error::other(error)))?;
        let slave = std::os::fd::OwnedFd::from(slave);
        let stdin = slave.try_clone().map_err(failed)?;
        let stdout = slave.try_clone().map_err(failed)?;
        let (reader, writer, control) = master.split().map_err(failed)?;
        let terminal = Terminal {
            reader,
            control,
            end: End::default(),
            buffer: BytesMut::new(),
            turn_bytes: BUFFER_START_BYTES,
            read_at: None,
            size,
            model: screen.then(|| Model::new(size)),
        };
        Ok((Stdio { stdin, stdout, stderr: slave }, terminal, writer))
    }

    /// Its size.
    pub(super) fn size(&self) -> Size {
        self.size
    }

    /// Changes its size; the program is told by SIGWINCH.
    ///
    /// # Errors
    /// The kernel says no.
    pub(super) fn resize(&mut self, size: Size) -> io::Result<()> {
        self.control.resize(cells(size)).map_err(io::Error::other)?;
        self.size = size;
        if let Some(model) = &mut self.model {
            model.resize(size);
        }
        Ok(())
    }

    /// The byte that ends input at the beginning of a line. A program that reads keys as they are gets Ctrl-D, which most take for that.
    pub(super) fn end_of_file_byte(&self) -> u8 {
        self.control.end_of_file_byte().unwrap_or(CTRL_D)
    }

    /// Waits until it can be read. Cancel-safe: it takes nothing.
    pub(super) async fn readable(&self) {
        match self.end.next() {
            // An error is told by the read.
            Next::Wait | Next::WaitVacant => drop(self.reader.readable().await),
            Next::Drain => {}
            Next::Ended => std::future::pending().await,
        }
    }

    /// Bytes that may be read now: the screen must keep up.
    pub(super) fn room(&self) -> usize {
        self.model.as_ref().map_or(usize::MAX, Model::room)
    }

    /// Waits until the screen has caught up, if it is behind. Cancel-safe: it takes nothing.
    pub(super) async fn screen_back(&self) {
        match &self.model {
            Some(model) => model.back().await,
            None => std::future::pending().await,
        }
    }

    /// Reads what is there, at most `room` bytes, which must not be 0.
    pub(super) fn take(&mut self, now: Instant, room: usize) -> Took {
        if self.is_closed() {
            return Took::End;
        }
        self.buffer.reserve(self.turn_bytes.min(room));
        let read = self.reader.try_read(&mut self.buffer, self.turn_bytes.min(room));
        let next = match read {
            Ok(read) => self.end.on_read(read),
            // None is expected of a terminal; one that fails like this gives nothing more.
            Err(_) => {
                self.end.on_tree_gone();
                self.end.on_read(Read::Vacant)
            }
        };
        if self.buffer.is_empty() {
            return if next == Next::Ended { Took::End } else { Took::Nothing };
        }
        self.read_at = Some(now);
        if self.buffer.len() >= self.turn_bytes {
            self.turn_bytes = (self.turn_bytes * 4).min(BUFFER_MAX_BYTES);
        }
        let bytes = self.hand_over();
        if let Some(model) = &mut self.model {
            model.feed(bytes.clone());
        }
        Took::Output(bytes)
    }

    /// Without copying, or copied where it would keep a buffer of many times its size from being used again.
    fn hand_over(&mut self) -> Bytes {
        if self.buffer.len() * 4 >= self.buffer.capacity() {
            return self.buffer.split().freeze();
        }
        let copy = Bytes::copy_from_slice(&self.buffer);
        self.buffer.clear();
        copy
    }

    /// Whether all of its output was read.
    pub(super) fn is_closed(&self) -> bool {
        self.end.next() == Next::Ended
    }

    /// The tree is gone: what is there now is the last of its output.
    pub(super) fn on_tree_gone(&mut self) {
        self.end.on_tree_gone();
    }

    /// Gives the buffer back after a while of silence. True if it did.
    pub(super) fn on_heartbeat(&mut self, now: Instant) -> bool {
        if self.read_at.is_none_or(|at| now - at <= Duration::from_millis(500)) {
            return false;
        }
        self.buffer = BytesMut::new();
        self.turn_bytes = BUFFER_START_BYTES;
        self.read_at.take().is_some()
    }
}

/// The device's own measure has the same bounds.
fn cells(size: Size) -> zerovisor_pty::Size {
    zerovisor_pty::Size::new(size.cols(), size.rows()).unwrap_or_default()
}
