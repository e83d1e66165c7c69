//! What an operator or the console may ask of a process, in each of its phases.

use std::time::Instant;

use super::{Action, Lifecycle, Phase, Then};
use crate::fact::{Cause, Fact};
use crate::signal::Signal;

/// What an operator may ask of a process.
#[derive(Clone, PartialEq, Debug)]
pub enum Order {
    /// Begin a run. The shell has already taken a new command if one came with it.
    Start {
        /// Whether a command came with it.
        with_command: bool,
    },
    /// End the run and do not restart it.
    Stop(Cause),
    /// The same without grace.
    Kill(Cause),
    /// End the run, if any, and begin another.
    Restart,
    /// Send a signal to the main process.
    Signal(Signal),
    /// End the watcher; with `force` the run too, without grace.
    Remove {
        /// Whether a live run is killed for it.
        force: bool,
    },
}

/// What became of an [`Order`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is being done.
    Accepted,
    /// There was nothing to do: it is so already.
    Already,
    /// It cannot be done, and nothing was changed.
    Denied(Denial),
}

/// Why an [`Order`] cannot be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Denial {
    /// There is no run to send a signal to.
    #[error("it is not running")]
    NotRunning,
    /// It waits for a command and none was given.
    #[error("it waits for a command: give one after --")]
    NoCommand,
    /// A command was given to a process that has a run.
    #[error("it is running: stop it before giving it another command")]
    HasRun,
    /// A command was given to a process that was started with one.
    #[error("it has a command of its own: start it without one, or watch another process for the new one")]
    HasCommand,
    /// A live process is removed only by force.
    #[error("it is live: stop it first, or remove it by force with -f")]
    Live,
    /// The watcher is about to end.
    #[error("its watcher is ending")]
    Ending,
}

impl Lifecycle {
    /// An operator, or the console, asks for something.
    pub fn on_order(&mut self, now: Instant, order: Order, out: &mut Vec<Action>) -> Verdict {
        if self.leaving {
            return match order {
                Order::Stop(_) | Order::Kill(_) | Order::Remove { .. } => Verdict::Already,
                Order::Start { .. } | Order::Restart | Order::Signal(_) => Verdict::Denied(Denial::Ending),
            };
        }
        match order {
            Order::Start { with_command } => self.on_start(with_command, out),
            Order::Stop(cause) => self.on_stop(now, &cause, true, out),
            Order::Kill(cause) => self.on_stop(now, &cause, false, out),
            Order::Restart => self.on_restart(now, out),
            Order::Signal(signal) => self.on_signal(signal, out),
            Order::Remove { force } => self.on_remove(now, force, out),
        }
    }

    fn on_start(&mut self, with_command: bool, out: &mut Vec<Action>) -> Verdict {
        match self.phase {
            Phase::Waiting | Phase::Stopped | Phase::Exited | Phase::Fatal | Phase::Backoff { .. } => {
                if with_command && self.own_command {
                    return Verdict::Denied(Denial::HasCommand);
                }
                self.has_command |= with_command;
                if !self.has_command {
                    return Verdict::Denied(Denial::NoCommand);
                }
                self.restarts.forgive();
                self.spawn(out);
                Verdict::Accepted
            }
            Phase::Spawning
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Stopping { .. }
            | Phase::Clearing { .. } => {
                if with_command {
                    Verdict::Denied(Denial::HasRun)
                } else {
                    self.start_after_stop()
                }
            }
        }
    }

    /// A start while the stop is still under way: the run ends and another follows.
    fn start_after_stop(&mut self) -> Verdict {
        match &mut self.phase {
            Phase::Stopping { then, .. } | Phase::Clearing { then, .. } if *then == Then::Stop => {
                *then = Then::Again;
                Verdict::Accepted
            }
            Phase::Waiting
            | Phase::Spawning
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Stopping { .. }
            | Phase::Clearing { .. }
            | Phase::Backoff { .. }
            | Phase::Stopped
            | Phase::Exited
            | Phase::Fatal => Verdict::Already,
        }
    }

    fn on_stop(&mut self, now: Instant, cause: &Cause, gently: bool, out: &mut Vec<Action>) -> Verdict {
        match self.phase {
            Phase::Waiting if self.detached => Verdict::Already,
            Phase::Waiting | Phase::Backoff { .. } => {
                self.stopped(out);
                Verdict::Accepted
            }
            Phase::Stopped | Phase::Exited | Phase::Fatal => Verdict::Already,
            Phase::Spawning
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Stopping { .. }
            | Phase::Clearing { .. } => {
                self.end_run(now, Then::Stop, cause, gently, out);
                Verdict::Accepted
            }
        }
    }

    fn on_restart(&mut self, now: Instant, out: &mut Vec<Action>) -> Verdict {
        match self.phase {
            Phase::Waiting | Phase::Backoff { .. } | Phase::Stopped | Phase::Exited | Phase::Fatal => {
                self.on_start(false, out)
            }
            Phase::Spawning
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Stopping { .. }
            | Phase::Clearing { .. } => {
                self.end_run(now, Then::Again, &Cause::Operator, true, out);
                Verdict::Accepted
            }
        }
    }

    fn on_signal(&mut self, signal: Signal, out: &mut Vec<Action>) -> Verdict {
        match self.phase {
            Phase::Starting { run, .. } | Phase::Running { run } | Phase::Stopping { run, .. } => {
                self.sent_kill |= signal == Signal::KILL;
                out.push(Action::Signal(signal));
                out.push(Action::Record(Fact::Signalled { run: run.number, signal }));
                Verdict::Accepted
            }
            Phase::Waiting
            | Phase::Spawning
            | Phase::Clearing { .. }
            | Phase::Backoff { .. }
            | Phase::Stopped
            | Phase::Exited
            | Phase::Fatal => Verdict::Denied(Denial::NotRunning),
        }
    }

    fn on_remove(&mut self, now: Instant, force: bool, out: &mut Vec<Action>) -> Verdict {
        if self.has_run() || matches!(self.phase, Phase::Backoff { .. }) {
            if !force {
                return Verdict::Denied(Denial::Live);
            }
            self.end_run(now, Then::Leave, &Cause::Operator, false, out);
        }
        if !self.has_run() {
            self.leave(out);
        }
        Verdict::Accepted
    }
}
