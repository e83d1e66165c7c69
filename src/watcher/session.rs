//! The watcher's one task: it owns the process, the window and the connection, waits for what happens to any of them, and acts.
//!
//! ```text
//!   guard ----signals---->+---------+----records, answers---> zerovisor
//!   tree ------ends------>| session |<---acks, orders--------
//!   pipes -----output---->+---------+----output (-t)--------> console
//! ```

use std::io;
use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};
use tokio::time::{Sleep, sleep_until};
use zerovisor_core::fact::{Cause, Fact, State};
use zerovisor_core::id::Id;
use zerovisor_core::lifecycle::{Denial, Lifecycle, Order, Verdict};
use zerovisor_core::record::{Kind, OUTPUT_MAX_BYTES};
use zerovisor_core::signal::Signal;
use zerovisor_core::spec::shown_command;
use zerovisor_core::stats::{Placement, Rung};
use zerovisor_core::units;
use zerovisor_core::window::{HELD_MAX_BYTES, Window};
use zerovisor_core::wire::{Deed, Outcome, WatcherHello};

use super::cli::Settings;
use super::clock;
use super::console::{Tee, Typed};
use super::guard::{Control, OWN_FAILURE, WatcherSide};
use super::input::{Input, InputDenial};
use super::process::{Command, Process, Whereabouts};
use super::pump::Took;
use super::say::say;
use super::sys;
use super::uplink::{Arrival, Uplink, Word};
use crate::host::Host;

/// How long the child waits in write(2) before a full window while there is no zerovisor; then the oldest output is dropped, and a gap
/// stands in its place.
pub const OFFLINE_WAIT: Duration = Duration::from_secs(30);
/// How much is dropped at once, in bytes.
const DROP_BYTES: usize = HELD_MAX_BYTES / 4;
/// So many interrupts stop the run, kill it, and then stop waiting for anything.
const GIVES_UP: u32 = 3;
/// How long an ended foreground watcher waits for an acknowledgement while there is no zerovisor, and never was one.
const LAST_WAIT: Duration = Duration::from_secs(2);
/// The same where there was one: it is being restarted, more likely than not.
const LAST_WAIT_RETURN: Duration = Duration::from_secs(30);
/// The same while there is one: a slow disk or line acknowledges now and then.
const LAST_WAIT_LINKED: Duration = Duration::from_secs(10);
/// A detached watcher without a run ends after so long without any zerovisor.
const ABANDONED: Duration = Duration::from_secs(3600);

/// What happened.
enum Event {
    /// A child has ended.
    Children,
    /// The guard has something to say.
    Control,
    /// An output can be read.
    Output(Kind),
    /// Input can be written.
    Input,
    /// The console sent something; none: its end.
    Typed(Option<Bytes>),
    /// The console took some of the copy.
    Teed,
    /// From the zerovisor.
    Uplink(Arrival),
    /// A deadline has passed.
    Timer,
}

/// Everything of one watcher.
struct Session {
    process: Process,
    window: Window,
    uplink: Uplink,
    id: Id,
    detached: bool,
    children: SignalStream,
    control: AsyncFd<std::os::fd::OwnedFd>,
    typed: Option<Typed>,
    tee: Option<Tee>,
    timer: Pin<Box<Sleep>>,
    begun: bool,
    /// Whether the heap may have many free pages, as after the start.
    untidy: bool,
    /// A signal asked the watcher to end, this often.
    interrupted: u32,
    /// An operator removed the process while there was no link.
    removed: bool,
    guard_died: bool,
    /// Since when the window is full without a zerovisor to empty it.
    full_since: Option<Instant>,
    /// When the lifecycle was over.
    left_at: Option<Instant>,
}

/// Watches one process to its end; returns the exit status of the watcher.
///
/// # Errors
/// Something the watcher itself needs could not be had; nothing was started.
pub async fn run(settings: Settings, side: WatcherSide) -> io::Result<u8> {
    let mut session = Session::new(settings, side)?;
    loop {
        let event = session.next().await;
        if let Some(status) = session.on_event(event).await {
            return Ok(status);
        }
        if let Some(status) = session.settle().await {
            return Ok(status);
        }
    }
}

impl Session {
    fn new(settings: Settings, side: WatcherSide) -> io::Result<Session> {
        let Settings { endpoint, spec, argv, env, cwd, tee, stdin } = settings;
        sys::one_heap();
        let pid = std::process::id();
        let id = Id::from_random(clock::random()?);
        let seed = u64::from_ne_bytes(clock::random()?);
        let life = Lifecycle::new(&spec, seed);
        let control = side.control_fd().try_clone_to_owned()?;
        let (detached, created_at) = (spec.detached, clock::timestamp());
        let hello = WatcherHello {
            id,
            secret: clock::random()?,
            welcomed_before: false,
            created_at,
            host: Host::here().proof_of(pid.cast_signed()),
            first_seq: 1,
            next_seq: 1,
            state: life.state(),
            placement: Placement { rung: Rung::None, why: "no cgroup was looked for".into() },
            spec,
        };
        Ok(Session {
            process: Process::new(life, side, Command { argv, env, cwd }),
            window: Window::default(),
            uplink: Uplink::new(endpoint, hello, seed),
            id,
            detached,
            children: signal(SignalKind::child())?,
            control: sys::watch_readable(control).map_err(|(_, error)| error)?,
            typed: stdin.then(Typed::start).transpose()?,
            tee: tee.then(Tee::start).transpose()?,
            timer: Box::pin(sleep_until((Instant::now() + ABANDONED).into())),
            begun: false,
            untidy: true,
            interrupted: 0,
            removed: false,
            guard_died: false,
            full_since: None,
            left_at: None,
        })
    }

    /// Waits. Every branch is cancel-safe, as each says itself: what is not taken stays where it is.
    async fn next(&mut self) -> Event {
        // A dead guard's socket stays readable for ever.
        let (room, deadline, guard_died) = (self.room() > 0, self.deadline(), self.guard_died);
        if let Some(at) = deadline.map(tokio::time::Instant::from_std)
            && self.timer.deadline() != at
        {
            self.timer.as_mut().reset(at);
        }
        let may_type = self.process.input().is_some_and(|input| input.has_room());
        let Session { process, uplink, children, control, typed, tee, timer, .. } = self;
        tokio::select! {
            biased;
            Some(()) = children.recv() => Event::Children,
            () = readable(control), if !guard_died => Event::Control,
            arrival = uplink.wait() => Event::Uplink(arrival),
            () = timer.as_mut(), if deadline.is_some() => Event::Timer,
            () = process.input_ready() => Event::Input,
            () = teed(tee.as_ref()) => Event::Teed,
            chunk = next_typed(typed.as_mut()), if may_type => Event::Typed(chunk),
            kind = process.output_ready(), if room => Event::Output(kind),
        }
    }

    /// Bytes of output that may be taken now.
    fn room(&self) -> usize {
        let tee = self.tee.as_ref().map_or(usize::MAX, Tee::room);
        self.window.room().min(tee).min(OUTPUT_MAX_BYTES)
    }

    /// Whether a restart has to wait: facts are never dropped, so a process that fails fast must not outrun whoever takes them.
    fn hold(&self) -> bool {
        self.window.room() == 0
    }

    fn deadline(&self) -> Option<Instant> {
        let drop_at = self.full_since.filter(|_| self.window.room() == 0).map(|since| since + OFFLINE_WAIT);
        // While the console has not taken all, its taking more is what is waited for.
        let patience = self.patience().filter(|_| self.tee.as_ref().is_none_or(Tee::is_empty));
        [self.process.deadline(self.hold()), self.uplink.deadline(), drop_at, patience, self.abandoned_at()]
            .into_iter()
            .flatten()
            .min()
    }

    async fn on_event(&mut self, event: Event) -> Option<u8> {
        match event {
            Event::Children => self.process.on_children(),
            Event::Control => return self.on_control(),
            Event::Output(kind) => {
                self.take(kind);
                // A program that never pauses must not keep the connection's own tasks from running.
                tokio::task::yield_now().await;
            }
            Event::Input => self.write_input(),
            Event::Typed(chunk) => self.on_typed(chunk),
            Event::Teed => {}
            Event::Uplink(arrival) => {
                let state = self.process.life().state();
                let word = self.uplink.on_arrival(arrival, &mut self.window, state).await;
                return self.on_word(word?).await;
            }
            Event::Timer => return self.on_timer().await,
        }
        None
    }

    async fn on_timer(&mut self) -> Option<u8> {
        let now = Instant::now();
        let hold = self.hold();
        self.process.on_timer(now, hold);
        let (heartbeat, word) = self.uplink.on_timer(now, &mut self.window).await;
        self.untidy |= heartbeat && self.process.on_heartbeat(now);
        if heartbeat && self.window.is_empty() && std::mem::take(&mut self.untidy) {
            sys::trim_heap();
        }
        if self.window.room() == 0
            && self.full_since.is_some_and(|since| now >= since + OFFLINE_WAIT)
            && self.window.drop_oldest_output(DROP_BYTES) == 0
        {
            // Nothing but facts, which stay.
            self.full_since = Some(now);
        }
        if self.abandoned_at().is_some_and(|at| now >= at) {
            self.process.on_order(Order::Remove { force: false });
        }
        match word {
            Some(word) => self.on_word(word).await,
            None => None,
        }
    }

    /// What the guard has to say: signals to the family.
    fn on_control(&mut self) -> Option<u8> {
        loop {
            let side = self.process.side();
            let control = self.control.try_io(Interest::READABLE, |_| side.control());
            match control {
                Ok(Control::Signal(number)) => {
                    if let Some(status) = self.on_signal(number) {
                        return Some(status);
                    }
                }
                Ok(Control::GuardDead) if !self.guard_died => {
                    if !self.begun {
                        return Some(OWN_FAILURE);
                    }
                    self.guard_died = true;
                    self.process.on_guard_died();
                }
                Ok(Control::GuardDead) | Err(_) => return None,
            }
        }
    }

    /// INT, TERM and HUP end the run and the watcher, a second one kills. QUIT, by which Go and Java show where they are, goes to the
    /// program like USR1 and USR2; WINCH and CONT do too, and are no news.
    fn on_signal(&mut self, number: i32) -> Option<u8> {
        let signal = Signal::try_from(number).ok()?;
        match number {
            libc::SIGINT | libc::SIGTERM | libc::SIGHUP => self.interrupt(signal),
            libc::SIGWINCH | libc::SIGCONT => {
                self.process.signal_main(signal);
                None
            }
            _ => match self.process.on_order(Order::Signal(signal)) {
                Verdict::Denied(_) if number == libc::SIGQUIT => self.interrupt(signal),
                Verdict::Accepted | Verdict::Already | Verdict::Denied(_) => None,
            },
        }
    }

    fn interrupt(&mut self, signal: Signal) -> Option<u8> {
        self.interrupted += 1;
        if self.left_at.is_some() {
            // There is nothing left to stop but the waiting for a zerovisor.
            self.interrupted = GIVES_UP;
        }
        if !self.begun {
            let status = u8::try_from(128 + signal.number()).unwrap_or(OWN_FAILURE);
            if self.process.side().has_front() {
                self.process.report_failed(status, &format!("ended by {signal} before it started"));
            }
            return Some(status);
        }
        let cause = Cause::Console(signal);
        self.process.on_order(if self.interrupted > 1 { Order::Kill(cause) } else { Order::Stop(cause) });
        None
    }

    /// Reads an output once.
    fn take(&mut self, kind: Kind) -> Took {
        let room = self.room();
        if room == 0 {
            return Took::Nothing;
        }
        let took = self.process.take(kind, room);
        if let Took::Output(bytes) = &took {
            if let Some(tee) = &self.tee {
                tee.put(kind, bytes.clone());
            }
            self.window.push_output(clock::timestamp(), self.process.life().run(), kind, bytes.clone());
        }
        took
    }

    fn write_input(&mut self) {
        let closed = self.process.input().is_some_and(Input::write);
        if let (true, Some(run)) = (closed, self.process.run_number()) {
            self.process.record(Fact::InputClosed { run }, &mut self.window);
        }
    }

    fn on_typed(&mut self, chunk: Option<Bytes>) {
        let eof = chunk.is_none();
        if let Some(input) = self.process.input() {
            // Closed by the program or an operator: what is typed goes nowhere, as it does from a shell.
            let _unwanted = input.offer(chunk.unwrap_or_default(), eof);
        }
        self.write_input();
    }

    async fn on_word(&mut self, word: Word) -> Option<u8> {
        match word {
            Word::Order { order, deed, payload } => {
                let starts = matches!(deed, Deed::Start { .. } | Deed::Restart);
                let mut outcome = self.obey(deed, payload);
                // What it leads to is done first: whoever asks right after this answer sees it.
                self.advance();
                if let (true, Outcome::Done, Some(why)) = (starts, &outcome, self.process.not_begun()) {
                    outcome = Outcome::Denied(why.to_owned());
                }
                self.uplink.obeyed(order, outcome, &mut self.window).await;
                None
            }
            Word::NameTaken(message) => {
                self.process.report_failed(OWN_FAILURE, &message);
                Some(OWN_FAILURE)
            }
            Word::Removed => {
                self.removed = true;
                self.process.on_order(Order::Remove { force: true });
                self.advance();
                None
            }
            Word::Parted => Some(self.process.life().shell_status()),
        }
    }

    fn obey(&mut self, deed: Deed, payload: Bytes) -> Outcome {
        let order = match deed {
            Deed::Start { command: None } => Order::Start { with_command: false },
            Deed::Start { command: Some(argv) } => return self.start_with(argv),
            Deed::Stop { kill: false } => Order::Stop(Cause::Operator),
            Deed::Stop { kill: true } => Order::Kill(Cause::Operator),
            Deed::Restart => Order::Restart,
            Deed::Signal(signal) => Order::Signal(signal),
            Deed::Input { eof } => return self.send_input(payload, eof),
            Deed::Remove { force } => Order::Remove { force },
            Deed::Keys { .. } => return Outcome::Denied("this watcher knows no keys".into()),
        };
        outcome(self.process.on_order(order))
    }

    fn start_with(&mut self, argv: Vec<Vec<u8>>) -> Outcome {
        if argv.first().is_none_or(Vec::is_empty) {
            return Outcome::Denied("the command is empty: give one after --".into());
        }
        let verdict = self.process.on_order(Order::Start { with_command: true });
        if verdict == Verdict::Accepted {
            let command = shown_command(argv.iter().map(Vec::as_slice));
            self.uplink.set_command(command.clone());
            self.process.set_command(argv);
            self.process.record(Fact::Commanded { command }, &mut self.window);
        }
        outcome(verdict)
    }

    fn send_input(&mut self, bytes: Bytes, eof: bool) -> Outcome {
        let Some(input) = self.process.input() else { return Outcome::NotRunning(Denial::NotRunning.to_string()) };
        match input.offer(bytes, eof) {
            Ok(()) => {
                self.write_input();
                Outcome::Done
            }
            Err(denial @ InputDenial::Full(_)) => Outcome::Busy(denial.to_string()),
            Err(denial @ InputDenial::Closed) => Outcome::Denied(denial.to_string()),
        }
    }

    /// After every event: what follows from it is done, said and, at the end, ended.
    async fn settle(&mut self) -> Option<u8> {
        if !self.begun && self.uplink.is_settled() {
            self.begun = true;
            self.uplink.on_begun();
            self.process.begin();
        }
        self.advance();
        if self.uplink.is_linked() {
            self.full_since = None;
            self.uplink.send_records(&mut self.window).await;
        } else if self.window.room() == 0 {
            self.full_since.get_or_insert_with(Instant::now);
        }
        if self.process.life().is_leaving() { self.leave().await } else { None }
    }

    fn advance(&mut self) {
        while let Some(kind) = self.process.to_drain() {
            match self.take(kind) {
                Took::Output(_) | Took::End => {}
                // The window or the console is full: there will be room.
                Took::Nothing => break,
            }
        }
        let here = Whereabouts {
            id: self.id,
            name: self.uplink.name().to_string(),
            node: self.uplink.node().map(ToString::to_string),
        };
        self.process.advance(&mut self.window, &here);
        let life = self.process.life();
        if self.begun && self.interrupted > 0 && !life.is_leaving() && !life.state().has_run() {
            self.process.on_order(Order::Remove { force: false });
            self.process.advance(&mut self.window, &here);
        }
        if self.typed.as_ref().is_some_and(Typed::has_ended) && self.process.input().is_some_and(|i| !i.is_ending()) {
            // A later run has the same console, whose end was reached.
            self.on_typed(None);
        }
    }

    /// The lifecycle is over: ends once the stream is acknowledged, or nobody is there to do it.
    async fn leave(&mut self) -> Option<u8> {
        if self.left_at.is_none() {
            self.left_at = Some(Instant::now());
            self.uplink.hurry();
            if !self.detached && self.uplink.was_welcomed() && self.uplink.away_since().is_some() {
                let (seconds, endpoint) = (LAST_WAIT_RETURN.as_secs(), self.uplink.endpoint());
                say(format_args!(
                    "it has ended, and the zerovisor at {endpoint} is away: waiting up to {seconds} s for it to take the \
                     last records; interrupt to give up"
                ));
            }
        }
        let status = self.process.life().shell_status();
        if self.removed {
            // Nobody wants the records of a process that was removed.
            return Some(status);
        }
        let out_of_patience = self.interrupted >= GIVES_UP || self.patience().is_some_and(|end| Instant::now() >= end);
        if self.tee.as_ref().is_some_and(|tee| !tee.is_empty()) && self.interrupted < GIVES_UP {
            return None;
        }
        if self.window.is_empty() {
            let parting = self.uplink.is_parting() || self.uplink.goodbye(&mut self.window).await;
            return if parting { None } else { Some(status) };
        }
        if !out_of_patience {
            return None;
        }
        let output = units::Bytes(self.window.held_output_bytes() as u64);
        let endpoint = self.uplink.endpoint();
        say(format_args!(
            "lost: the exit record and {output} of output, which no zerovisor at {endpoint} took in time"
        ));
        Some(status)
    }

    /// When waiting for the last acknowledgement ends.
    fn patience(&self) -> Option<Instant> {
        let left_at = self.left_at?;
        let since = left_at.max(self.uplink.progress_at());
        // Whoever is told of the failed start of a detached watcher is told by its front.
        let patient = self.detached && self.process.has_begun() && !self.guard_died;
        match self.uplink.away_since() {
            Some(away) if patient => Some(away.max(left_at) + ABANDONED),
            None if patient => None,
            Some(_) if self.uplink.was_welcomed() => Some(since + LAST_WAIT_RETURN),
            Some(_) => Some(since + LAST_WAIT),
            None => Some(since + LAST_WAIT_LINKED),
        }
    }

    /// When a detached watcher without a run gives up waiting for a zerovisor that could start one.
    fn abandoned_at(&self) -> Option<Instant> {
        let life = self.process.life();
        let idle = self.detached
            && self.begun
            && !life.is_leaving()
            && (!life.state().has_run() && life.state() != State::Backoff);
        self.uplink.away_since().filter(|_| idle).map(|since| since + ABANDONED)
    }
}

fn outcome(verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::Accepted => Outcome::Done,
        Verdict::Already => Outcome::Already,
        Verdict::Denied(denial @ (Denial::NotRunning | Denial::Ending)) => Outcome::NotRunning(denial.to_string()),
        Verdict::Denied(denial) => Outcome::Denied(denial.to_string()),
    }
}

/// Cancel-safe: it takes nothing.
async fn readable(control: &AsyncFd<std::os::fd::OwnedFd>) {
    if let Ok(mut guard) = control.readable().await {
        guard.retain_ready();
    }
}

/// Cancel-safe, as [`Tee::moved`] is.
async fn teed(tee: Option<&Tee>) {
    match tee {
        Some(tee) => tee.moved().await,
        None => std::future::pending().await,
    }
}

/// Cancel-safe, as [`Typed::next`] is.
async fn next_typed(typed: Option<&mut Typed>) -> Option<Bytes> {
    match typed {
        Some(typed) if !typed.has_ended() => typed.next().await,
        Some(_) | None => std::future::pending().await,
    }
}
