//! What a run reads and writes, on pipes or on a terminal: its outputs and its input, as one.

use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use zerovisor_core::record::Kind;
use zerovisor_core::size::Size;

use super::input::{Input, InputDenial};
use super::pipes::{self, Stdin};
use super::pump::{Pump, Took};
use super::spawn::{SpawnError, Stage, Stdio};
use super::terminal::Terminal;

/// The watcher's ends of a run's standard streams.
#[derive(Debug)]
pub(super) struct Streams {
    outputs: Outputs,
    input: Input,
}

/// What terminal a run gets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    /// The size it begins with.
    pub(super) size: Size,
    /// Whether it is kept what it shows.
    pub(super) screen: bool,
    /// Whether the user's own terminal is the first to show it.
    pub(super) console: bool,
}

#[derive(Debug)]
enum Outputs {
    Pipes(Box<Pipes>),
    Terminal(Box<Terminal>),
}

#[derive(Debug)]
struct Pipes {
    stdout: Pump,
    stderr: Pump,
}

impl Streams {
    /// Makes the streams of one run: the child's ends and ours. With a size they are a terminal.
    ///
    /// # Errors
    /// No descriptors, most likely.
    pub(super) fn open(terminal: Option<Setup>) -> Result<(Stdio, Streams), SpawnError> {
        match terminal {
            Some(Setup { size, screen, .. }) => {
                let (child, terminal, writer) = Terminal::open(size, screen)?;
                let outputs = Outputs::Terminal(Box::new(terminal));
                Ok((child, Streams { outputs, input: Input::terminal(writer) }))
            }
            None => Streams::pipes(),
        }
    }

    fn pipes() -> Result<(Stdio, Streams), SpawnError> {
        let (child, ends) = pipes::stdio(Stdin::Pipe)?;
        let own = |error| SpawnError::own(Stage::Pipe, &error, Path::new("the child"));
        let closed = || std::io::Error::from_raw_os_error(nix::errno::Errno::EBADF as i32);
        let stdout = Pump::new(Kind::Stdout, ends.stdout).map_err(own)?;
        let stderr = Pump::new(Kind::Stderr, ends.stderr).map_err(own)?;
        let input = ends.stdin.ok_or_else(closed).and_then(Input::pipe).map_err(own)?;
        Ok((child, Streams { outputs: Outputs::Pipes(Box::new(Pipes { stdout, stderr })), input }))
    }

    /// The input.
    pub(super) fn input(&mut self) -> &mut Input {
        &mut self.input
    }

    /// The terminal, if it is one.
    pub(super) fn terminal(&mut self) -> Option<&mut Terminal> {
        match &mut self.outputs {
            Outputs::Terminal(terminal) => Some(terminal),
            Outputs::Pipes(_) => None,
        }
    }

    /// Bytes of output that may be read now.
    pub(super) fn room(&self) -> usize {
        match &self.outputs {
            Outputs::Pipes(_) => usize::MAX,
            Outputs::Terminal(terminal) => terminal.room(),
        }
    }

    /// Waits until the screen has caught up, if it is behind. Cancel-safe: it takes nothing.
    pub(super) async fn screen_back(&self) {
        match &self.outputs {
            Outputs::Pipes(_) => std::future::pending().await,
            Outputs::Terminal(terminal) => terminal.screen_back().await,
        }
    }

    /// Queues input from outside, and its end: on a terminal that is what a user would type.
    ///
    /// # Errors
    /// Nothing was taken.
    pub(super) fn offer(&mut self, bytes: Bytes, eof: bool) -> Result<(), InputDenial> {
        let end = match &self.outputs {
            Outputs::Terminal(terminal) if eof => terminal.end_of_file_byte(),
            Outputs::Terminal(_) | Outputs::Pipes(_) => None,
        };
        let bytes = match end {
            Some(byte) => [&bytes[..], &[byte]].concat().into(),
            None => bytes,
        };
        self.input.offer(bytes, eof)
    }

    /// When [`Streams::on_timer`] wants to be called.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.outputs {
            Outputs::Pipes(pipes) => [pipes.stdout.nap_until(), pipes.stderr.nap_until()].into_iter().flatten().min(),
            Outputs::Terminal(_) => None,
        }
    }

    /// A deadline may have passed.
    pub(super) fn on_timer(&mut self, now: Instant) {
        match &mut self.outputs {
            Outputs::Pipes(pipes) => {
                pipes.stdout.on_timer(now);
                pipes.stderr.on_timer(now);
            }
            Outputs::Terminal(_) => {}
        }
    }

    /// A heartbeat: what is idle gives its memory back. True if something did.
    pub(super) fn on_heartbeat(&mut self, now: Instant) -> bool {
        match &mut self.outputs {
            Outputs::Pipes(pipes) => pipes.stdout.on_heartbeat(now) | pipes.stderr.on_heartbeat(now),
            Outputs::Terminal(terminal) => terminal.on_heartbeat(now),
        }
    }

    /// Waits until one of the outputs can be read. Cancel-safe: it takes nothing.
    pub(super) async fn output_ready(&self) -> Kind {
        match &self.outputs {
            Outputs::Pipes(pipes) => tokio::select! {
                () = pipes.stdout.readable() => Kind::Stdout,
                () = pipes.stderr.readable() => Kind::Stderr,
            },
            Outputs::Terminal(terminal) => {
                terminal.readable().await;
                Kind::Terminal
            }
        }
    }

    /// Waits until input can be written. Cancel-safe: it writes nothing.
    pub(super) async fn input_ready(&self) {
        self.input.writable().await;
    }

    /// Reads one of the outputs once, at most `room` bytes, which must not be 0.
    pub(super) fn take(&mut self, kind: Kind, now: Instant, room: usize) -> Took {
        match (&mut self.outputs, kind) {
            (Outputs::Pipes(pipes), Kind::Stderr) => pipes.stderr.take(now, room),
            (Outputs::Pipes(pipes), Kind::Stdout | Kind::Terminal | Kind::Fact) => pipes.stdout.take(now, room),
            (Outputs::Terminal(terminal), Kind::Stdout | Kind::Stderr | Kind::Terminal | Kind::Fact) => {
                terminal.take(now, room)
            }
        }
    }

    /// An output that has not ended.
    pub(super) fn open_output(&self) -> Option<Kind> {
        match &self.outputs {
            Outputs::Pipes(pipes) => {
                [&pipes.stdout, &pipes.stderr].into_iter().find(|pump| !pump.is_closed()).map(|pump| pump.kind)
            }
            Outputs::Terminal(terminal) => (!terminal.is_closed()).then_some(Kind::Terminal),
        }
    }

    /// The tree is gone: what is there now is the last of its output.
    pub(super) fn on_tree_gone(&mut self) {
        match &mut self.outputs {
            Outputs::Pipes(pipes) => {
                pipes.stdout.on_tree_gone();
                pipes.stderr.on_tree_gone();
            }
            Outputs::Terminal(terminal) => terminal.on_tree_gone(),
        }
    }
}
