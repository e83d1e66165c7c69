//! Facts: what happened to a process, as its watcher tells it once, in order, for the journal.
//!
//! The encoding is not self-describing: variants and fields are only ever appended.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::exit::{ExitReport, SpawnFailure};
use crate::signal::Signal;
use crate::size::Size;
use crate::spec::quoted_command;
use crate::units::{Bytes, Span, Timestamp};

/// The lifecycle states, named as supervisord names them, and the two that only a zerovisor can give.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// No command yet.
    Waiting,
    /// A run has begun and has not yet lived for `--start-secs`.
    Starting,
    /// A run lives.
    Running,
    /// Between two runs.
    Backoff,
    /// A run was asked to end, or what an ended one left is being ended.
    Stopping,
    /// Stopped by hand.
    Stopped,
    /// Ended for good by itself.
    Exited,
    /// Could not be started, or not often enough.
    Fatal,
    /// Its watcher is known to be dead; how the run ended is not known.
    Lost,
    /// Its watcher cannot be reached and may well be alive.
    Unreachable,
}

impl State {
    /// Whether there may be a run, or will be one without anybody asking.
    pub fn is_live(self) -> bool {
        match self {
            State::Waiting
            | State::Starting
            | State::Running
            | State::Backoff
            | State::Stopping
            | State::Unreachable => true,
            State::Stopped | State::Exited | State::Fatal | State::Lost => false,
        }
    }

    /// Whether a run exists as far as anybody knows.
    pub fn has_run(self) -> bool {
        match self {
            State::Starting | State::Running | State::Stopping => true,
            State::Waiting
            | State::Backoff
            | State::Stopped
            | State::Exited
            | State::Fatal
            | State::Lost
            | State::Unreachable => false,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            State::Waiting => "WAITING",
            State::Starting => "STARTING",
            State::Running => "RUNNING",
            State::Backoff => "BACKOFF",
            State::Stopping => "STOPPING",
            State::Stopped => "STOPPED",
            State::Exited => "EXITED",
            State::Fatal => "FATAL",
            State::Lost => "LOST",
            State::Unreachable => "UNREACHABLE",
        })
    }
}

/// On whose behalf something was done to a process.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Cause {
    /// A command through a zerovisor.
    Operator,
    /// A signal to the foreground watcher.
    Console(Signal),
    /// The guard of the watcher is gone.
    GuardDied,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Operator => f.write_str("by an operator"),
            Cause::Console(signal) => write!(f, "by {signal} to its watcher"),
            Cause::GuardDied => f.write_str("because the guard of its watcher died"),
        }
    }
}

/// A stretch of the stream that nobody has any more. Nothing is ever lost without one of these in its place.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Gap {
    /// The first sequence number that is missing; the gap's own record has the last.
    pub first_seq: u64,
    /// Bytes of output that are missing, where known.
    pub bytes: Option<u64>,
    /// Line ends among them, where known.
    pub lines: Option<u64>,
    /// When the first of it was written.
    pub since: Timestamp,
    /// When the last of it was.
    pub until: Timestamp,
    /// Why it is missing.
    pub reason: GapReason,
}

/// Why a stretch is missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum GapReason {
    /// No zerovisor took the output for longer than the watcher could keep it.
    Offline,
    /// The journal that had acknowledged it lost it.
    JournalLost,
    /// Retention removed it.
    Expired,
    /// Its watcher died before it had handed it over: how much that was nobody knows.
    WatcherDied,
    /// The disk a watcher had put it on did not give it back.
    SpoolLost,
}

/// What nobody can know of a process whose watcher died: everything behind this record, of which the journal ends with.
pub fn unknown_after(seq: u64) -> String {
    match seq {
        0 => "what it wrote is unknown".to_owned(),
        _ => format!("what it wrote after record {seq} is unknown"),
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reason == GapReason::WatcherDied {
            let unknown = unknown_after(self.first_seq.saturating_sub(1));
            return write!(f, "{unknown}: its watcher died before it had handed it over");
        }
        match (self.bytes, self.lines) {
            (Some(bytes), Some(lines)) => write!(f, "{} of output ({lines} lines) missing", Bytes(bytes))?,
            (Some(bytes), None) => write!(f, "{} of output missing", Bytes(bytes))?,
            (None, _) => f.write_str("output of unknown size missing")?,
        }
        f.write_str(match self.reason {
            GapReason::Offline => ": no zerovisor took it in time",
            GapReason::JournalLost => ": the journal that had it is gone",
            GapReason::Expired => ": removed by retention",
            GapReason::WatcherDied => "",
            GapReason::SpoolLost => ": the spool it was kept in is damaged",
        })
    }
}

/// One thing that happened to a process.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Fact {
    /// It waits for a command.
    Waiting,
    /// A run began: its program was executed.
    Started {
        /// Number of the run, from 1.
        run: u32,
        /// The main process.
        pid: i32,
    },
    /// The run has lived for `--start-secs`.
    Steady {
        /// Number of the run.
        run: u32,
    },
    /// A run could not begin.
    SpawnFailed {
        /// Number of the run that did not come to be.
        run: u32,
        /// Why.
        failure: SpawnFailure,
    },
    /// The run was asked to end.
    Stopping {
        /// Number of the run.
        run: u32,
        /// By whom.
        cause: Cause,
    },
    /// Grace was over or waived: the tree was killed.
    Killed {
        /// Number of the run.
        run: u32,
    },
    /// The run and its whole tree have ended.
    Ended {
        /// Number of the run.
        run: u32,
        /// How.
        report: ExitReport,
    },
    /// Another run follows after a delay.
    Backoff {
        /// How long.
        delay: Duration,
        /// Failed runs in a row.
        failures: u32,
    },
    /// Ended by hand.
    Stopped,
    /// Ended for good by itself.
    Exited,
    /// Given up.
    Fatal {
        /// Why, in one line.
        why: String,
    },
    /// A signal was sent to the run.
    Signalled {
        /// Number of the run.
        run: u32,
        /// Which.
        signal: Signal,
    },
    /// It was given a command to run.
    Commanded {
        /// The command for people.
        command: Vec<String>,
    },
    /// A stretch of the stream is missing.
    Gap(Gap),
    /// Its input was closed.
    InputClosed {
        /// Number of the run.
        run: u32,
    },
    /// Its terminal has another size: what it writes from here on is for that one.
    Resized {
        /// Number of the run.
        run: u32,
        /// The size.
        size: Size,
    },
}

impl Fact {
    /// The state a process is in once this has happened; none where it does not change it.
    pub fn state(&self) -> Option<State> {
        match self {
            Fact::Waiting => Some(State::Waiting),
            Fact::Started { .. } => Some(State::Starting),
            Fact::Steady { .. } => Some(State::Running),
            Fact::Stopping { .. } => Some(State::Stopping),
            Fact::Backoff { .. } => Some(State::Backoff),
            Fact::Stopped => Some(State::Stopped),
            Fact::Exited => Some(State::Exited),
            Fact::Fatal { .. } => Some(State::Fatal),
            Fact::SpawnFailed { .. }
            | Fact::Killed { .. }
            | Fact::Ended { .. }
            | Fact::Signalled { .. }
            | Fact::Commanded { .. }
            | Fact::Gap(_)
            | Fact::InputClosed { .. }
            | Fact::Resized { .. } => None,
        }
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fact::Waiting => f.write_str("waiting for a command"),
            Fact::Started { pid, .. } => write!(f, "started, pid {pid}"),
            Fact::Steady { .. } => f.write_str("running"),
            Fact::SpawnFailed { failure, .. } => write!(f, "could not start: {}", failure.message),
            Fact::Stopping { cause, .. } => write!(f, "stopping {cause}"),
            Fact::Killed { .. } => f.write_str("killed: all of its processes"),
            Fact::Ended { report, .. } => write!(f, "ended: {report}"),
            Fact::Backoff { delay, failures } => {
                write!(f, "starts again in {} (failed runs: {failures})", Span(*delay))
            }
            Fact::Stopped => f.write_str("stopped"),
            Fact::Exited => f.write_str("exited"),
            Fact::Fatal { why } => write!(f, "given up: {why}"),
            Fact::Signalled { signal, .. } => write!(f, "sent {signal}"),
            Fact::Commanded { command } => write!(f, "given the command: {}", quoted_command(command)),
            Fact::Gap(gap) => gap.fmt(f),
            Fact::InputClosed { .. } => f.write_str("its input was closed"),
            Fact::Resized { size, .. } => write!(f, "its terminal is {size} now"),
        }
    }
}
