//! The process: drives the lifecycle of the core with a real tree of processes, and does what it decides.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use zerovisor_core::exit::{Exit, SpawnFailure, SpawnFault, Usage};
use zerovisor_core::fact::{Fact, State};
use zerovisor_core::id::Id;
use zerovisor_core::lifecycle::{Action, Lifecycle, MainEnded, Order, Verdict};
use zerovisor_core::record::Kind;
use zerovisor_core::signal::Signal;
use zerovisor_core::size::Size;
use zerovisor_core::stats::Sample;
use zerovisor_core::units::micros;
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
use super::say::say;
use super::spawn::{Class, Program, SpawnError, Surroundings, prepare, spawn};
use super::streams::{Setup, Streams};
use super::terminal::Terminal;
use super::tree::{self, Ended, Who};

/// What the kill of a tree may have missed is looked for again so soon, should no end of a child tell sooner.
const KILL_AGAIN: Duration = Duration::from_millis(50);
/// What is left in a cgroup of a tree that is gone is looked at again so soon.
const SETTLE_STEP: Duration = Duration::from_millis(1);
/// For so long it may be what was just reaped: newer kernels take a process out of its cgroup only some time after its parent was told.
const SETTLES_WITHIN: Duration = Duration::from_millis(20);
/// The longest message that is recorded, in bytes: a PATH in it can be of any length.
const MESSAGE_MAX_BYTES: usize = 1024;

/// The kind of terminal that the screen is a model of, and that most programs know.
const TERM: &str = "xterm-256color";

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

    /// Whether the main process has ended and nothing is left, neither below us nor in the cgroup. Whoever asks first may take the
    /// kernel's only news of it, so it is told on here, whoever asks.
    fn is_gone(&mut self) -> bool {
        let Some(run) = self.run.as_mut().filter(|run| run.main_ended) else { return false };
        let gone = self.side.tree.is_empty() && run.cgroup.is_empty();
        if gone {
            self.kill_again_at = None;
            run.streams.on_tree_gone();
        }
        gone
    }

    /// Reaps what has ended.
    pub(super) fn on_children(&mut self) {
        let mut main = None;
        while let Some(reaped) = self.side.tree.reap_one() {
            if let Some(run) = &mut self.run {
                add_usage(&mut run.usage, &reaped.usage);
            }
            if reaped.who == Who::Main {
                main = Some(reaped.ended);
            }
        }
        let now = Instant::now();
        if let Some(ended) = main {
            // Asked after all were reaped: a zombie is nobody to be stopped.
            let others = !self.side.tree.is_empty();
            if let Some(run) = &mut self.run {
                let before = run.sampler.oom_kills();
                let oom = run.cgroup.oom_kills().map(|kills| kills > before);
                run.unsettled = Some((now, MainEnded { exit: exit_of(ended), at: clock::timestamp(), others, oom }));
            }
        }
        self.look_again(now);
    }

    /// Tells the lifecycle of the main process's end once it is known whether others are left.
    fn settle(&mut self, now: Instant) {
        let Some(run) = &mut self.run else { return };
        let Some((since, mut ended)) = run.unsettled else { return };
        if !ended.others && !run.cgroup.is_empty() {
            if now < since + SETTLES_WITHIN {
                self.kill_again_at = Some(now + SETTLE_STEP);
                return;
            }
            ended.others = true;
        }
        (run.unsettled, run.main_ended) = (None, true);
        self.kill_again_at = self.kill_again_at.filter(|_| self.killing);
        self.life.on_main_ended(since, ended, &mut self.todo);
    }

    /// Somebody of the tree or of the cgroup has ended, or may have: goes on killing, or finds that all are gone.
    pub(super) fn look_again(&mut self, now: Instant) {
        if self.killing {
            self.kill_tree(now);
        }
        self.settle(now);
        if self.is_gone() {
            return;
        }
        let Some(run) = self.run.as_mut().filter(|run| run.main_ended) else { return };
        if self.side.tree.is_empty() && !run.cgroup.watch() && self.kill_again_at.is_none_or(|at| now >= at) {
            // In the cgroup, and not below us: no end of a child tells, nor does version 1.
            self.kill_again_at = Some(now + KILL_AGAIN);
        }
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

    /// Ends a run of which nothing is left. True if it did.
    fn clear(&mut self) -> bool {
        let cleared = self.run.as_ref().is_some_and(|run| run.streams.open_output().is_none()) && self.is_gone();
        let Some(mut run) = self.run.take_if(|_| cleared) else { return false };
        (self.kill_again_at, self.killing) = (None, false);
        run.usage.input_bytes = run.streams.input().written();
        // A peak between two samples shows in that of a single process at least.
        let sampled = run.sampler.most_memory_bytes();
        run.usage.memory_peak_bytes = sampled.map(|bytes| bytes.max(run.usage.peak_rss_bytes));
        if !run.cgroup.finish(&mut run.usage) {
            self.placed.remove_later(run.number, Instant::now());
        }
        self.last_screen = run.streams.terminal().and_then(|terminal| terminal.model.take());
        self.life.on_cleared(Instant::now(), run.usage, &mut self.todo);
        true
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

    fn kill_tree(&mut self, now: Instant) {
        self.killing = !self.side.tree.is_empty() || self.run.as_ref().is_some_and(|run| !run.cgroup.is_empty());
        if !self.killing {
            // This very look may have taken the news that nobody is left: what follows from it is done at once.
            let news = self.run.as_ref().is_some_and(|run| run.unsettled.is_some()) || self.is_gone();
            self.kill_again_at = news.then_some(now);
            return;
        }
        self.kill_again_at = Some(now + KILL_AGAIN);
        match &self.run {
            Some(run) => run.cgroup.kill(&self.side.tree),
            None => drop(self.side.tree.kill()),
        }
    }

    fn spawn(&mut self, number: u32, here: &Whereabouts) {
        match self.try_spawn(number, here) {
            Ok((run, pid)) => {
                self.side.tree.set_main(pid);
                self.run = Some(run);
                self.began = true;
                self.not_begun = None;
                self.report_started();
                self.life.on_spawned(Instant::now(), clock::timestamp(), pid, &mut self.todo);
            }
            Err(error) => {
                let failure = failure(&error);
                self.report_failed(failure.fault.shell_status(), &error.to_string());
                self.not_begun = Some(failure.message.clone());
                self.life.on_spawn_failed(failure, &mut self.todo);
            }
        }
    }

    fn try_spawn(&mut self, number: u32, here: &Whereabouts) -> Result<(Run, i32), SpawnError> {
        let Command { argv, env, cwd, terminal } = &self.command;
        let mut ours =
            vec![("ZV_ID", here.id.to_string()), ("ZV_NAME", here.name.clone()), ("ZV_RUN", number.to_string())];
        ours.extend(here.node.clone().map(|node| ("ZV_NODE", node)));
        let env = env.of_run(std::env::vars_os(), ours, terminal.map(term));
        let program = Program { argv: argv.clone(), env, cwd: cwd.clone() };
        let prepared = prepare(&program)?;
        let (child, streams) = Streams::open(*terminal)?;
        let terminal = terminal.is_some();
        let command = self.command.argv.first().map_or(Path::new(""), Path::new);
        let cgroup = RunCgroup::make(&mut self.placed, number, command)?;
        let spawned = cgroup.entrance(command).and_then(|entrance| {
            let surroundings = Surroundings { cgroup: entrance.as_ref(), terminal, ..Surroundings::default() };
            spawn(&prepared, child, &surroundings)
        });
        let mut usage = Usage::default();
        let child = match spawned {
            Ok(child) => child,
            Err(error) => {
                if !cgroup.finish(&mut usage) {
                    self.placed.remove_later(number, Instant::now());
                }
                return Err(error);
            }
        };
        let sampler = Sampler::new(Instant::now(), self.stats_every, number, child.pid);
        Ok((
            Run { number, pidfd: child.pidfd, main_ended: false, unsettled: None, streams, usage, cgroup, sampler },
            child.pid,
        ))
    }

    /// A front that cannot be told has gone, and its user with it: no reason not to run.
    fn report_started(&mut self) {
        let _gone = self.side.started();
    }

    /// Tells whoever typed the command: the front, or the console.
    pub(super) fn report_failed(&mut self, code: u8, message: &str) {
        if self.side.has_front() {
            let _gone = self.side.failed(code, message);
        } else {
            say(message);
        }
    }
}

/// The kind of terminal a program is told it has: with the user's own console that one's.
fn term(setup: Setup) -> OsString {
    let users = if setup.console { std::env::var_os("TERM").filter(|term| !term.is_empty()) } else { None };
    users.unwrap_or_else(|| TERM.into())
}

fn failure(error: &SpawnError) -> SpawnFailure {
    let fault = match error.class() {
        Class::NotFound => SpawnFault::NotFound,
        Class::NotExecutable => SpawnFault::NotExecutable,
        Class::Own => SpawnFault::Own,
    };
    let mut message = error.to_string();
    if message.len() > MESSAGE_MAX_BYTES {
        let end = (0..=MESSAGE_MAX_BYTES).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
        message.truncate(end);
        message.push('…');
    }
    SpawnFailure { fault, message }
}

fn exit_of(ended: Ended) -> Exit {
    match ended {
        Ended::Exited(code) => Exit::Code(code.into()),
        // The kernel knows no other numbers than those a signal can have.
        Ended::Killed { signal, core } => {
            Exit::Signal { signal: Signal::try_from(signal).unwrap_or(Signal::KILL), core }
        }
    }
}

fn add_usage(sum: &mut Usage, one: &tree::Used) {
    sum.cpu_user_us += micros(one.user);
    sum.cpu_system_us += micros(one.system);
    sum.peak_rss_bytes = sum.peak_rss_bytes.max(one.max_rss_bytes);
}
