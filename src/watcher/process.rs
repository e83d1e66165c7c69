//! The process: drives the lifecycle of the core with a real tree of processes, and does what it decides.

mod ending;
mod spawning;

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use zerovisor_core::exit::Usage;
use zerovisor_core::fact::{Fact, State};
use zerovisor_core::id::Id;
use zerovisor_core::lifecycle::{Action, Lifecycle, MainEnded, Order, Verdict};
use zerovisor_core::record::Kind;
use zerovisor_core::signal::Signal;
use zerovisor_core::size::Size;
use zerovisor_core::stats::Sample;
use zerovisor_core::window::Window;

use super::cgroup::RunCgroup;
use super::clock;
use super::env::Environment;
use super::guard::WatcherSide;
use super::input::Input;
use super::model::Model;
use super::placement::Placed;
use super::pump::Took;
use super::sampler::Sampler;
use super::streams::{Setup, Streams};
use super::terminal::Terminal;
use super::tree;

/// What to run.
#[derive(Debug)]
pub(super) struct Command {
    /// The program and its arguments.
    pub(super) argv: Vec<OsString>,
    /// Its environment.
    pub(super) env: Environment,
    /// Its working directory, if not ours.
    pub(super) cwd: Option<PathBuf>,
    /// Its terminal; none: it gets pipes.
    pub(super) terminal: Option<Setup>,
}

/// Where a run finds itself, in its environment.
#[derive(Clone, Debug)]
pub(super) struct Whereabouts {
    /// `ZV_ID`.
    pub(super) id: Id,
    /// `ZV_NAME`.
    pub(super) name: String,
    /// `ZV_NODE`, once known.
    pub(super) node: Option<String>,
}

/// One execution.
#[derive(Debug)]
struct Run {
    number: u32,
    pidfd: OwnedFd,
    /// Whether the lifecycle knows that the main process has ended.
    main_ended: bool,
    /// Its end, and when that was seen, while it is not known yet whether others are left.
    unsettled: Option<(Instant, MainEnded)>,
    streams: Streams,
    usage: Usage,
    cgroup: RunCgroup,
    sampler: Sampler,
}

/// The process and its present run, if any.
#[derive(Debug)]
pub(super) struct Process {
    life: Lifecycle,
    side: WatcherSide,
    command: Command,
    /// Where runs are put; nowhere until that is known.
    placed: Placed,
    /// How often a run is sampled, if at all.
    stats_every: Option<Duration>,
    run: Option<Run>,
    /// Decided and not yet done; empty between two events.
    todo: Vec<Action>,
    /// When what is left of the tree is looked at again.
    kill_again_at: Option<Instant>,
    /// Whether what is found then is killed.
    killing: bool,
    /// Whether any run ever began.
    began: bool,
    /// Why the last run did not begin; none if it did.
    not_begun: Option<String>,
    /// The screen of the run that has just ended.
    last_screen: Option<Model>,
}

impl Process {
    /// A process that has not begun.
    pub(super) fn new(life: Lifecycle, side: WatcherSide, command: Command, stats_every: Option<Duration>) -> Process {
        Process {
            life,
            side,
            command,
            placed: Placed::nowhere("not yet known".to_owned(), true),
            stats_every,
            run: None,
            todo: Vec::new(),
            kill_again_at: None,
            killing: false,
            began: false,
            not_begun: None,
            last_screen: None,
        }
    }

    /// Where runs will be put.
    pub(super) fn place(&mut self, placed: Placed) {
        self.placed = placed;
    }

    /// The watcher ends, and its cgroup with it.
    pub(super) fn leave(&mut self) {
        self.placed.remove();
    }

    /// The family's side.
    pub(super) fn side(&mut self) -> &mut WatcherSide {
        &mut self.side
    }

    /// The user's console let go of it.
    pub(super) fn detach(&mut self) {
        self.life.detach();
    }

    /// Where it stands.
    pub(super) fn life(&self) -> &Lifecycle {
        &self.life
    }

    /// Whether any run ever began.
    pub(super) fn has_begun(&self) -> bool {
        self.began
    }

    /// The input of the present run.
    pub(super) fn input(&mut self) -> Option<&mut Input> {
        self.run.as_mut().map(|run| run.streams.input())
    }

    /// The streams of the present run.
    pub(super) fn streams(&mut self) -> Option<&mut Streams> {
        self.run.as_mut().map(|run| &mut run.streams)
    }

    /// The terminal of the present run, if it has one.
    pub(super) fn terminal(&mut self) -> Option<&mut Terminal> {
        self.streams().and_then(Streams::terminal)
    }

    /// The screen of the run that has just ended, if it had one; once.
    pub(super) fn take_last_screen(&mut self) -> Option<Model> {
        self.last_screen.take()
    }

    /// The size the next run's terminal begins with.
    pub(super) fn set_terminal_size(&mut self, size: Size) {
        if let Some(setup) = &mut self.command.terminal {
            setup.size = size;
        }
    }

    /// Whether runs get a terminal, and whether it is kept what it shows.
    pub(super) fn setup(&self) -> Option<Setup> {
        self.command.terminal
    }

    /// Bytes of output that may be read now.
    pub(super) fn output_room(&self) -> usize {
        self.run.as_ref().map_or(usize::MAX, |run| run.streams.room())
    }

    /// Waits until the screen has caught up, if it is behind. Cancel-safe: it takes nothing.
    pub(super) async fn screen_back(&self) {
        match &self.run {
            Some(run) => run.streams.screen_back().await,
            None => std::future::pending().await,
        }
    }

    /// Number of the present run.
    pub(super) fn run_number(&self) -> Option<u32> {
        self.run.as_ref().map(|run| run.number)
    }

    /// Begins. A process without a command has begun when it waits for one.
    pub(super) fn begin(&mut self) {
        self.placed.on_begun(Instant::now());
        self.life.begin(&mut self.todo);
        if self.command.argv.is_empty() {
            self.report_started();
        }
    }

    /// Replaces the command, between two runs.
    pub(super) fn set_command(&mut self, argv: Vec<Vec<u8>>) {
        self.command.argv = argv.into_iter().map(OsString::from_vec).collect();
    }

    /// Asks the lifecycle; what it decides is done by the next [`Process::advance`].
    pub(super) fn on_order(&mut self, order: Order) -> Verdict {
        self.life.on_order(Instant::now(), order, &mut self.todo)
    }

    /// The guard is dead: the tree ends now.
    pub(super) fn on_guard_died(&mut self) {
        self.life.on_guard_died(Instant::now(), &mut self.todo);
    }

    /// When [`Process::on_timer`] wants to be called. `hold`: a restart waits for longer than its delay.
    pub(super) fn deadline(&self, hold: bool) -> Option<Instant> {
        let life = self.life.deadline().filter(|_| !(hold && self.life.state() == State::Backoff));
        let run = self.run.as_ref();
        let (nap, sample) = (run.and_then(|run| run.streams.deadline()), run.and_then(|run| run.sampler.deadline()));
        [nap, life, self.kill_again_at, sample, self.placed.deadline()].into_iter().flatten().min()
    }

    /// A deadline may have passed.
    pub(super) fn on_timer(&mut self, now: Instant, hold: bool) {
        if !(hold && self.life.state() == State::Backoff) {
            self.life.on_timer(now, &mut self.todo);
        }
        if let Some(run) = &mut self.run {
            run.streams.on_timer(now);
        }
        self.placed.on_timer(now);
        if self.kill_again_at.is_some_and(|at| now >= at) {
            self.look_again(now);
        }
    }

    /// Samples the run, if there is one and it is time.
    pub(super) fn sample(&mut self, now: Instant) -> Option<Sample> {
        let Run { sampler, cgroup, usage, .. } = self.run.as_mut()?;
        sampler.take(now, clock::timestamp(), cgroup.leaf(), usage)
    }

    /// Waits until the run's cgroup has news of its members, where that is awaited. Cancel-safe, as [`RunCgroup::changed`] is.
    pub(super) async fn members_changed(&self) {
        match &self.run {
            Some(run) => run.cgroup.changed().await,
            None => std::future::pending().await,
        }
    }

    /// A heartbeat: what is idle gives its memory back. True if something did.
    pub(super) fn on_heartbeat(&mut self, now: Instant) -> bool {
        self.run.as_mut().is_some_and(|run| run.streams.on_heartbeat(now))
    }

    /// Waits until one of the outputs can be read. Cancel-safe: it takes nothing.
    pub(super) async fn output_ready(&self) -> Kind {
        match &self.run {
            Some(run) => run.streams.output_ready().await,
            None => std::future::pending().await,
        }
    }

    /// Waits until input can be written. Cancel-safe: it writes nothing.
    pub(super) async fn input_ready(&self) {
        match &self.run {
            Some(run) => run.streams.input_ready().await,
            None => std::future::pending().await,
        }
    }

    /// Reads one of the outputs once, at most `room` bytes, which must not be 0.
    pub(super) fn take(&mut self, kind: Kind, room: usize) -> Took {
        let Some(run) = &mut self.run else { return Took::Nothing };
        let took = run.streams.take(kind, Instant::now(), room);
        if let Took::Output(bytes) = &took {
            run.usage.output_bytes += bytes.len() as u64;
        }
        took
    }

    /// An output that is to be read to its end now: nobody of the tree is left to write to it.
    pub(super) fn next_to_drain(&mut self) -> Option<Kind> {
        if !self.is_gone() {
            return None;
        }
        self.run.as_ref()?.streams.open_output()
    }

    /// Does what was decided, and what follows from it.
    pub(super) fn advance(&mut self, window: &mut Window, here: &Whereabouts) {
        loop {
            for action in std::mem::take(&mut self.todo) {
                self.perform(action, window, here);
            }
            if !self.clear() && self.todo.is_empty() {
                return;
            }
        }
    }

    fn perform(&mut self, action: Action, window: &mut Window, here: &Whereabouts) {
        match action {
            Action::Spawn { run } => self.spawn(run, here),
            Action::Signal(signal) => self.signal_main(signal),
            Action::SignalTree(signal) => {
                if let Some(run) = &self.run {
                    run.cgroup.signal(&self.side.tree, signal.number());
                    run.cgroup.signal(&self.side.tree, Signal::CONT.number());
                }
            }
            Action::KillTree => self.kill_tree(Instant::now()),
            Action::Record(fact) => self.record(fact, window),
            // The session asks the lifecycle whether it is leaving.
            Action::Finish => {}
        }
    }

    /// Why the last run did not begin; none if it did.
    pub(super) fn not_begun(&self) -> Option<&str> {
        self.not_begun.as_deref()
    }

    /// Puts a fact into the stream.
    pub(super) fn record(&self, fact: Fact, window: &mut Window) {
        window.push_fact(clock::timestamp(), self.life.run(), fact);
    }

    /// Signals the main process, if it lives.
    pub(super) fn signal_main(&self, signal: Signal) {
        if let Some(run) = self.run.as_ref().filter(|run| !run.main_ended) {
            // One that has ended meanwhile needs no signal; one of another user's (setuid) gets the kill of its tree.
            let _gone_or_denied = tree::signal_pidfd(run.pidfd.as_fd(), signal.number());
        }
    }
}
