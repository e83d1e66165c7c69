//! The life of one process: which run exists, what was asked of it, and what happens next.
//!
//! ```text
//!             start                 exec                 start_secs
//!  WAITING ----------> (spawning) ---------> STARTING ---------------> RUNNING
//!                        |   ^                  |  \                    /  |
//!             exec failed|   |delay over        |   \ stop, restart    /   | main process ends
//!                        v   |                  |    v                v    v
//!                     FATAL  BACKOFF            |    STOPPING ----> (clearing: the tree ends, the output is read out)
//!                        ^     ^                |                      ^   |
//!                        |     |                +----------------------+   | cleared
//!                        |     |   restart policy                          v
//!                        +-----+------------------------------ EXITED | STOPPED | BACKOFF | FATAL | (spawning)
//! ```
//! `Spawning` is shown as STARTING. `Clearing` is shown as STOPPING, and under `--leftovers wait` as RUNNING, since then the run is
//! not over before its tree is.
//!
//! The shell calls `on_*` with what happened and does the [`Action`]s in their order; it asks [`Lifecycle::deadline`] when to call
//! [`Lifecycle::on_timer`]. Every pair of phase and event is decided in a match without a catch-all arm.

mod orders;

use std::time::{Duration, Instant};

use crate::exit::{Exit, ExitReport, SpawnFailure, Usage};
use crate::fact::{Cause, Fact, State};
use crate::restart::{Decision, Restarts};
use crate::signal::Signal;
use crate::spec::{ExitCodes, Leftovers, Spec};
use crate::units::Timestamp;

pub use orders::{Denial, Order, Verdict};

/// What the shell does for the lifecycle, in the order given.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// Execute the program as this run and report [`Lifecycle::on_spawned`] or [`Lifecycle::on_spawn_failed`] before anything else.
    Spawn {
        /// Number of the run, from 1.
        run: u32,
    },
    /// Send a signal to the main process.
    Signal(Signal),
    /// Send a signal to every process of the tree, then CONT.
    SignalTree(Signal),
    /// Kill every process of the tree until none is left.
    KillTree,
    /// Put a fact into the stream.
    Record(Fact),
    /// Nothing will happen any more: end the watcher once the stream is acknowledged.
    Finish,
}

/// The end of a main process, as its parent saw it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct MainEnded {
    /// How.
    pub exit: Exit,
    /// When, by the wall clock.
    pub at: Timestamp,
    /// Whether other processes of the tree are left.
    pub others: bool,
    /// Whether the kernel killed any process of the run for want of memory just before; none where nobody counts that.
    pub oom: Option<bool>,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    number: u32,
    started: Instant,
    started_at: Timestamp,
}

/// How long something may still take before it is killed.
#[derive(Clone, Copy, Debug)]
enum Grace {
    Unlimited,
    Until(Instant),
    Over,
}

/// How a main process ends that the kernel's OOM killer took.
const KILLED: Exit = Exit::Signal { signal: Signal::KILL, core: false };

/// What follows once a run is cleared.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Then {
    Policy,
    Stop,
    Again,
    Leave,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Waiting,
    Spawning,
    Starting { run: Run, steady_at: Instant },
    Running { run: Run },
    Stopping { run: Run, grace: Grace, then: Then },
    Clearing { run: Run, ended: MainEnded, lived: Duration, grace: Grace, then: Then },
    Backoff { until: Instant },
    Stopped,
    Exited,
    Fatal,
}

/// The state machine of one process.
#[derive(Debug)]
pub struct Lifecycle {
    start_secs: Duration,
    exit_codes: ExitCodes,
    stop_signal: Signal,
    stop_timeout: Duration,
    leftovers: Leftovers,
    /// Whether it is also hung up on when it is to end: interactive shells ignore TERM.
    hangs_up: bool,
    detached: bool,
    has_command: bool,
    /// Whether the command came with the watcher, and not later by an order.
    own_command: bool,
    restarts: Restarts,
    /// Whether the present run was sent a KILL from here.
    sent_kill: bool,
    phase: Phase,
    runs: u32,
    began: bool,
    leaving: bool,
    status: u8,
}

impl Lifecycle {
    /// A process that has not begun; `seed` spreads its restart delays.
    pub fn new(spec: &Spec, seed: u64) -> Lifecycle {
        Lifecycle {
            start_secs: spec.start_secs,
            exit_codes: spec.exit_codes.clone(),
            stop_signal: spec.stop_signal,
            stop_timeout: spec.stop_timeout,
            leftovers: spec.leftovers,
            hangs_up: spec.terminal.is_some() && spec.stop_signal == Signal::TERM,
            detached: spec.detached,
            has_command: !spec.command.is_empty(),
            own_command: !spec.command.is_empty(),
            restarts: Restarts::new(spec.restart, spec.backoff, seed),
            sent_kill: false,
            phase: Phase::Waiting,
            runs: 0,
            began: false,
            leaving: false,
            status: 0,
        }
    }

    /// The state people see.
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Waiting => State::Waiting,
            Phase::Spawning | Phase::Starting { .. } => State::Starting,
            Phase::Running { .. } => State::Running,
            Phase::Clearing { grace: Grace::Unlimited, .. } => State::Running,
            Phase::Stopping { .. } | Phase::Clearing { .. } => State::Stopping,
            Phase::Backoff { .. } => State::Backoff,
            Phase::Stopped => State::Stopped,
            Phase::Exited => State::Exited,
            Phase::Fatal => State::Fatal,
        }
    }

    /// Number of the present or last run; 0 before the first.
    pub fn run(&self) -> u32 {
        self.runs
    }

    /// Whether the watcher will end: [`Action::Finish`] was given.
    pub fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// The exit status of a foreground watcher: the last run's own, 128+n for a signal, 127, 126 or 125 for a failed start.
    pub fn shell_status(&self) -> u8 {
        self.status
    }

    /// When [`Lifecycle::on_timer`] wants to be called.
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Starting { steady_at, .. } => Some(steady_at),
            Phase::Backoff { until } => Some(until),
            Phase::Stopping { grace, .. } | Phase::Clearing { grace, .. } => match grace {
                Grace::Until(at) => Some(at),
                Grace::Unlimited | Grace::Over => None,
            },
            Phase::Waiting
            | Phase::Spawning
            | Phase::Running { .. }
            | Phase::Stopped
            | Phase::Exited
            | Phase::Fatal => None,
        }
    }

    /// Its console let go of it: it stays from now on when it is STOPPED or FATAL, as if it had been started with `-d`.
    pub fn detach(&mut self) {
        self.detached = true;
    }

    /// Begins: the first run, or the wait for a command.
    pub fn begin(&mut self, out: &mut Vec<Action>) {
        if self.has_command {
            self.spawn(out);
        } else {
            out.push(Action::Record(Fact::Waiting));
        }
    }

    /// The program of the run was executed.
    pub fn on_spawned(&mut self, now: Instant, at: Timestamp, pid: i32, out: &mut Vec<Action>) {
        let run = Run { number: self.runs, started: now, started_at: at };
        self.began = true;
        self.phase = Phase::Starting { run, steady_at: now + self.start_secs };
        out.push(Action::Record(Fact::Started { run: run.number, pid }));
        if self.start_secs.is_zero() {
            self.on_timer(now, out);
        }
    }

    /// The program of the run could not be executed. That is never retried: it would fail again.
    pub fn on_spawn_failed(&mut self, failure: SpawnFailure, out: &mut Vec<Action>) {
        self.status = failure.fault.shell_status();
        let why = failure.message.clone();
        out.push(Action::Record(Fact::SpawnFailed { run: self.runs, failure }));
        self.give_up(why, out);
    }

    /// The main process has ended.
    pub fn on_main_ended(&mut self, now: Instant, mut ended: MainEnded, out: &mut Vec<Action>) {
        ended.oom = ended.oom.map(|oom| oom && ended.exit == KILLED && !self.sent_kill);
        if let Phase::Starting { run, .. } = self.phase
            && self.leftovers == Leftovers::Wait
            && ended.others
        {
            // The run goes on without its main process, as a daemon's does: there is nothing left that could fail to start.
            self.phase = Phase::Running { run };
            out.push(Action::Record(Fact::Steady { run: run.number }));
        }
        let (run, grace, then) = match self.phase {
            Phase::Starting { run, .. } | Phase::Running { run } => {
                let grace = match self.leftovers {
                    Leftovers::Stop => Grace::Until(now + self.stop_timeout),
                    Leftovers::Wait => Grace::Unlimited,
                };
                (run, grace, Then::Policy)
            }
            Phase::Stopping { run, grace, then } => (run, grace, then),
            Phase::Waiting
            | Phase::Spawning
            | Phase::Clearing { .. }
            | Phase::Backoff { .. }
            | Phase::Stopped
            | Phase::Exited
            | Phase::Fatal => return,
        };
        if ended.others {
            match grace {
                Grace::Until(_) => out.push(Action::SignalTree(self.stop_signal)),
                Grace::Over => out.push(Action::KillTree),
                Grace::Unlimited => {}
            }
        }
        self.phase = Phase::Clearing { run, ended, lived: now.saturating_duration_since(run.started), grace, then };
    }

    /// The tree of the ended run is gone and its output was read to the end.
    pub fn on_cleared(&mut self, now: Instant, usage: Usage, out: &mut Vec<Action>) {
        let Phase::Clearing { run, ended, lived, then, .. } = self.phase else { return };
        self.status = ended.exit.shell_status();
        let report = ExitReport {
            exit: ended.exit,
            oom: ended.oom,
            started_at: run.started_at,
            ended_at: ended.at,
            runtime: lived,
            usage,
            restarts: run.number.saturating_sub(1),
        };
        out.push(Action::Record(Fact::Ended { run: run.number, report }));
        match then {
            Then::Policy => self.follow_policy(now, lived, ended.exit, out),
            Then::Stop => self.stopped(out),
            Then::Again => {
                self.restarts.forgive();
                self.spawn(out);
            }
            Then::Leave => {
                self.stopped(out);
                self.leave(out);
            }
        }
    }

    /// A deadline has passed.
    pub fn on_timer(&mut self, now: Instant, out: &mut Vec<Action>) {
        match self.phase {
            Phase::Starting { run, steady_at } if now >= steady_at => {
                self.phase = Phase::Running { run };
                out.push(Action::Record(Fact::Steady { run: run.number }));
            }
            Phase::Backoff { until } if now >= until => self.spawn(out),
            Phase::Stopping { grace: Grace::Until(at), .. } | Phase::Clearing { grace: Grace::Until(at), .. }
                if now >= at =>
            {
                self.kill(out);
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
            | Phase::Fatal => {}
        }
    }

    /// The guard is dead: nothing protects the tree any more, so it ends now.
    pub fn on_guard_died(&mut self, now: Instant, out: &mut Vec<Action>) {
        self.end_run(now, Then::Leave, &Cause::GuardDied, false, out);
        if !self.has_run() {
            self.leave(out);
        }
    }

    fn has_run(&self) -> bool {
        match self.phase {
            Phase::Spawning
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Stopping { .. }
            | Phase::Clearing { .. } => true,
            Phase::Waiting | Phase::Backoff { .. } | Phase::Stopped | Phase::Exited | Phase::Fatal => false,
        }
    }

    /// Asks the run to end; without gentleness, or when asked again without, it is killed.
    fn end_run(&mut self, now: Instant, then: Then, cause: &Cause, gently: bool, out: &mut Vec<Action>) {
        let grace = Grace::Until(now + self.stop_timeout);
        match &mut self.phase {
            Phase::Starting { run, .. } | Phase::Running { run } => {
                let run = *run;
                self.phase = Phase::Stopping { run, grace, then };
                out.push(Action::Record(Fact::Stopping { run: run.number, cause: cause.clone() }));
                if gently {
                    self.sent_kill |= self.stop_signal == Signal::KILL;
                    out.push(Action::Signal(self.stop_signal));
                    out.extend(self.hangs_up.then_some(Action::Signal(Signal::HUP)));
                    out.push(Action::Signal(Signal::CONT));
                }
            }
            Phase::Stopping { then: after, .. } => *after = stronger(*after, then),
            Phase::Clearing { run, grace: before, then: after, .. } => {
                *after = stronger(*after, then);
                if matches!(before, Grace::Unlimited) {
                    *before = grace;
                    out.push(Action::Record(Fact::Stopping { run: run.number, cause: cause.clone() }));
                    out.push(Action::SignalTree(self.stop_signal));
                }
            }
            Phase::Waiting
            | Phase::Spawning
            | Phase::Backoff { .. }
            | Phase::Stopped
            | Phase::Exited
            | Phase::Fatal => {}
        }
        if !gently {
            self.kill(out);
        }
    }

    fn kill(&mut self, out: &mut Vec<Action>) {
        if let Phase::Stopping { run, grace, .. } | Phase::Clearing { run, grace, .. } = &mut self.phase {
            let first = !matches!(grace, Grace::Over);
            *grace = Grace::Over;
            self.sent_kill = true;
            if first {
                out.push(Action::Record(Fact::Killed { run: run.number }));
            }
            out.push(Action::KillTree);
        }
    }

    fn spawn(&mut self, out: &mut Vec<Action>) {
        self.runs = self.runs.saturating_add(1);
        self.sent_kill = false;
        self.phase = Phase::Spawning;
        out.push(Action::Spawn { run: self.runs });
    }

    fn follow_policy(&mut self, now: Instant, lived: Duration, exit: Exit, out: &mut Vec<Action>) {
        let success = matches!(exit, Exit::Code(code) if self.exit_codes.has(code));
        match self.restarts.after_run(lived, success) {
            Decision::End => {
                self.phase = Phase::Exited;
                out.push(Action::Record(Fact::Exited));
                self.leave(out);
            }
            Decision::Again(delay) => {
                self.phase = Phase::Backoff { until: now + delay };
                out.push(Action::Record(Fact::Backoff { delay, failures: self.restarts.failures() }));
                self.on_timer(now, out);
            }
            Decision::GiveUp(failures) => {
                self.give_up(format!("{failures} failed runs in a row, the last with {exit}"), out);
            }
        }
    }

    fn give_up(&mut self, why: String, out: &mut Vec<Action>) {
        self.phase = Phase::Fatal;
        out.push(Action::Record(Fact::Fatal { why }));
        // Where not even the first run of a watcher's own command began there is nothing to come back to: whoever typed it was told.
        if !self.detached || (!self.began && self.own_command) {
            self.leave(out);
        }
    }

    fn stopped(&mut self, out: &mut Vec<Action>) {
        self.phase = Phase::Stopped;
        out.push(Action::Record(Fact::Stopped));
        if !self.detached {
            self.leave(out);
        }
    }

    fn leave(&mut self, out: &mut Vec<Action>) {
        if !self.leaving {
            if let Phase::Waiting | Phase::Backoff { .. } = self.phase {
                // Nobody is there to begin the run that would have followed.
                self.phase = Phase::Stopped;
                out.push(Action::Record(Fact::Stopped));
            }
            self.leaving = true;
            out.push(Action::Finish);
        }
    }
}

/// A removal outweighs everything; otherwise the last word counts.
fn stronger(before: Then, asked: Then) -> Then {
    if before == Then::Leave { before } else { asked }
}

#[cfg(test)]
mod tests;
