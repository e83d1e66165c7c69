//! What a run reads and writes: its outputs and its input, as one.

use std::path::Path;
use std::time::Instant;

use zerovisor_core::record::Kind;

use super::input::Input;
use super::pipes::{self, Stdin};
use super::pump::{Pump, Took};
use super::spawn::{SpawnError, Stage, Stdio};

/// The watcher's ends of a run's standard streams.
#[derive(Debug)]
pub(super) struct Streams {
    stdout: Pump,
    stderr: Pump,
    input: Input,
}

impl Streams {
    /// Makes the streams of one run: the child's ends and ours.
    ///
    /// # Errors
    /// No descriptors, most likely.
    pub(super) fn open() -> Result<(Stdio, Streams), SpawnError> {
        let (child, ends) = pipes::stdio(Stdin::Pipe)?;
        let own = |error| SpawnError::own(Stage::Pipe, &error, Path::new("the child"));
        let closed = || std::io::Error::from_raw_os_error(nix::errno::Errno::EBADF as i32);
        let stdout = Pump::new(Kind::Stdout, ends.stdout).map_err(own)?;
        let stderr = Pump::new(Kind::Stderr, ends.stderr).map_err(own)?;
        let input = ends.stdin.ok_or_else(closed).and_then(Input::new).map_err(own)?;
        Ok((child, Streams { stdout, stderr, input }))
    }

    /// The input.
    pub(super) fn input(&mut self) -> &mut Input {
        &mut self.input
    }

    /// When [`Streams::on_timer`] wants to be called.
    pub(super) fn deadline(&self) -> Option<Instant> {
        [self.stdout.nap_until(), self.stderr.nap_until()].into_iter().flatten().min()
    }

    /// A deadline may have passed.
    pub(super) fn on_timer(&mut self, now: Instant) {
        self.stdout.on_timer(now);
        self.stderr.on_timer(now);
    }

    /// A heartbeat: what is idle gives its memory back. True if something did.
    pub(super) fn on_heartbeat(&mut self, now: Instant) -> bool {
        self.stdout.on_heartbeat(now) | self.stderr.on_heartbeat(now)
    }

    /// Waits until one of the outputs can be read. Cancel-safe: it takes nothing.
    pub(super) async fn output_ready(&self) -> Kind {
        tokio::select! {
            () = self.stdout.readable() => Kind::Stdout,
            () = self.stderr.readable() => Kind::Stderr,
        }
    }

    /// Waits until input can be written. Cancel-safe: it writes nothing.
    pub(super) async fn input_ready(&self) {
        self.input.writable().await;
    }

    /// Reads one of the outputs once, at most `room` bytes, which must not be 0.
    pub(super) fn take(&mut self, kind: Kind, now: Instant, room: usize) -> Took {
        let pump = if kind == Kind::Stderr { &mut self.stderr } else { &mut self.stdout };
        pump.take(now, room)
    }

    /// An output that has not ended.
    pub(super) fn open_output(&self) -> Option<Kind> {
        [&self.stdout, &self.stderr].into_iter().find(|pump| !pump.is_closed()).map(|pump| pump.kind)
    }

    /// The tree is gone: what is there now is the last of its output.
    pub(super) fn on_tree_gone(&mut self) {
        self.stdout.on_tree_gone();
        self.stderr.on_tree_gone();
    }
}
