//! Signals as events, so that whatever a signal ends is ended in order, with the terminal given back.

use std::io;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};
use zerovisor_core::signal::Signal;

/// What a signal says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Told {
    /// Leave.
    End(Signal),
    /// The terminal has another size.
    Resized,
    /// We were stopped and go on.
    Continued,
}

/// The signals of a program that has a terminal.
#[derive(Debug)]
pub(super) struct Signals {
    hup: Stream,
    int: Stream,
    quit: Stream,
    term: Stream,
    winch: Stream,
    cont: Stream,
}

impl Signals {
    /// Takes them over, for as long as the process lives.
    pub(super) fn start() -> io::Result<Signals> {
        Ok(Signals {
            hup: signal(SignalKind::hangup())?,
            int: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            term: signal(SignalKind::terminate())?,
            winch: signal(SignalKind::window_change())?,
            cont: signal(SignalKind::from_raw(libc::SIGCONT))?,
        })
    }

    /// Waits for the next one, those that end first: a hang-up comes with a CONT. Cancel-safe.
    pub(super) async fn next(&mut self) -> Told {
        tokio::select! {
            biased;
            _ = self.term.recv() => Told::End(Signal::TERM),
            _ = self.hup.recv() => Told::End(Signal::HUP),
            _ = self.int.recv() => Told::End(Signal::INT),
            _ = self.quit.recv() => Told::End(Signal::QUIT),
            _ = self.winch.recv() => Told::Resized,
            _ = self.cont.recv() => Told::Continued,
        }
    }
}
