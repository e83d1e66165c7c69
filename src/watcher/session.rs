//! The watcher's one task: it owns the process, the window and the connection, waits for what happens to any of them, and acts.
//!
//! ```text
//!   guard ----signals---->+---------+----records, answers---> zerovisor
//!   tree ------ends------>| session |<---acks, orders--------
//!   pipes -----output---->+---------+----output (-t)--------> console
//! ```

mod leaving;
mod orders;
mod placing;
mod signals;
mod spooling;
mod viewers;
mod waiting;

use std::io;
use std::time::Instant;

use bytes::Bytes;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};
use zerovisor_core::fact::Fact;
use zerovisor_core::id::Id;
use zerovisor_core::lifecycle::{Lifecycle, Order};
use zerovisor_core::record::{Kind, OUTPUT_MAX_BYTES};
use zerovisor_core::size::Size;
use zerovisor_core::stats::{Placement, Rung};
use zerovisor_core::window::Window;
use zerovisor_core::wire::WatcherHello;

use super::alarm::Alarm;
use super::cli::Settings;
use super::clock;
use super::console::{Tee, Typed};
use super::front::inside::Front;
use super::guard::WatcherSide;
use super::input::Input;
use super::placement::{self, NotPlaced, Placed, Wanted};
use super::process::{Command, Process, Whereabouts};
use super::pump::Took;
use super::streams::Setup;
use super::sys;
use super::uplink::Uplink;
use super::viewers::Viewers;
use crate::host::Host;
use spooling::Spooling;
use waiting::Event;

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
    viewers: Viewers,
    alarm: Alarm,
    begun: bool,
    /// Whether a run was there to be viewed.
    runs_shown: bool,
    /// Whether the heap may have many free pages, as after the start.
    untidy: bool,
    /// A signal asked the watcher to end, this often.
    interrupted: u32,
    /// An operator removed the process while there was no link.
    removed: bool,
    guard_died: bool,
    spooling: Spooling,
    /// When the lifecycle was over.
    left_at: Option<Instant>,
    /// When the console had taken all, or was not waited for any longer, after that.
    shown_at: Option<Instant>,
}

/// Watches one process to its end; returns the exit status of the watcher.
///
/// # Errors
/// Something the watcher itself needs could not be had; nothing was started.
pub async fn run(settings: Settings, side: WatcherSide) -> io::Result<u8> {
    let (mut session, placed) = Session::new(settings, side)?;
    let status = match session.place(placed) {
        Some(status) => status,
        None => session.live().await,
    };
    session.process.leave();
    Ok(status)
}

impl Session {
    fn new(settings: Settings, mut side: WatcherSide) -> io::Result<(Session, Result<Placed, NotPlaced>)> {
        let Settings { endpoint, spec, argv, env, cwd, tee, stdin, console, screen, size_policy, stats_every, offline } =
            settings;
        sys::one_heap();
        let pid = std::process::id();
        let id = Id::from_random(clock::random()?);
        let seed = u64::from_ne_bytes(clock::random()?);
        let life = Lifecycle::new(&spec, seed);
        let control = side.control_fd().try_clone_to_owned()?;
        let terminal = spec.terminal.map(|size| Setup { size, screen, console: console.is_some() });
        let mut viewers = Viewers::new(size_policy, spec.terminal.unwrap_or(Size::DEFAULT));
        if let Some(socket) = side.take_console() {
            viewers.seat(Front::new(socket, viewers.rules.size(), screen)?);
        }
        let (detached, created_at) = (spec.detached, clock::timestamp());
        let host = Host::here().proof_of(pid.cast_signed());
        let wanted = Wanted {
            name: spec.name.to_string(),
            id,
            owner: host.clone(),
            starts: !argv.is_empty(),
            has_front: side.has_front(),
            mode: spec.cgroup,
            limits: spec.limits,
        };
        let placed = placement::place(&wanted, |remains| {
            // A guard that cannot be told is dead: that is noticed as any death of it is.
            let _noticed_elsewhere = side.entrust(remains);
        });
        let hello = WatcherHello {
            id,
            secret: clock::random()?,
            welcomed_before: false,
            created_at,
            host,
            first_seq: 1,
            next_seq: 1,
            state: life.state(),
            // Put in before it is sent.
            placement: Placement { rung: Rung::None, why: String::new() },
            spec,
        };
        let session = Session {
            process: Process::new(life, side, Command { argv, env, cwd, terminal }, stats_every),
            window: Window::default(),
            uplink: Uplink::new(endpoint, hello, seed),
            id,
            detached,
            children: signal(SignalKind::child())?,
            control: sys::watch_readable(control).map_err(|(_, error)| error)?,
            viewers,
            typed: (stdin && console.is_none()).then(Typed::start).transpose()?,
            tee: (tee && console.is_none()).then(Tee::start).transpose()?,
            alarm: Alarm::new()?,
            begun: false,
            runs_shown: false,
            untidy: true,
            interrupted: 0,
            removed: false,
            guard_died: false,
            spooling: Spooling::new(offline),
            left_at: None,
            shown_at: None,
        };
        Ok((session, placed))
    }

    async fn live(&mut self) -> u8 {
        loop {
            let event = self.next().await;
            if let Some(status) = self.on_event(event).await {
                return status;
            }
            if let Some(status) = self.settle().await {
                return status;
            }
        }
    }

    /// Bytes of output that may be taken now.
    fn room(&self) -> usize {
        let tee = self.tee.as_ref().map_or(usize::MAX, Tee::room);
        self.window.room().min(tee).min(self.process.output_room()).min(OUTPUT_MAX_BYTES)
    }

    /// Whether a restart has to wait: facts are never dropped, so a process that fails fast must not outrun whoever takes them.
    fn hold(&self) -> bool {
        self.window.room() == 0
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
            Event::Teed | Event::Screen | Event::Spool => {}
            Event::Front(reads) => return self.on_front(reads),
            Event::Members => self.process.look_again(Instant::now()),
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
        if let Some(sample) = self.process.sample(now) {
            // Before the heartbeat, which it takes the place of.
            self.uplink.send_sample(sample, &mut self.window).await;
        }
        let (heartbeat, word) = self.uplink.on_timer(now, &mut self.window).await;
        self.untidy |= heartbeat && self.process.on_heartbeat(now);
        if heartbeat && self.window.is_empty() && std::mem::take(&mut self.untidy) {
            sys::trim_heap();
            sys::trim_stack();
        }
        if self.abandoned_at().is_some_and(|at| now >= at) {
            self.process.on_order(Order::Remove { force: false });
        }
        match word {
            Some(word) => self.on_word(word).await,
            None => None,
        }
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
            let size = self.viewers.rules.size();
            if let Some(front) = &mut self.viewers.front {
                front.show(bytes, size, Instant::now());
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
        if let Some(streams) = self.process.streams() {
            // Closed by the program or an operator: what is typed goes nowhere, as it does from a shell.
            let _unwanted = streams.offer(chunk.unwrap_or_default(), eof);
        }
        self.write_input();
    }

    /// After every event: what follows from it is done, said and, at the end, ended.
    async fn settle(&mut self) -> Option<u8> {
        if !self.begun && self.uplink.is_settled() {
            self.begun = true;
            self.uplink.on_begun();
            self.process.begin();
        }
        self.take_spool();
        self.advance();
        if self.uplink.is_linked() {
            self.uplink.send_records(&mut self.window).await;
        }
        self.settle_spool();
        // Behind the records: whoever waits for an echo waits for nothing else.
        self.settle_viewers().await;
        if self.process.life().is_leaving() { self.leave().await } else { None }
    }

    fn advance(&mut self) {
        while let Some(kind) = self.process.next_to_drain() {
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
        let run = self.process.run_number();
        self.process.advance(&mut self.window, &here);
        if self.process.run_number() != run {
            self.on_run_changed();
        }
        let life = self.process.life();
        if self.begun && self.interrupted > 0 && !life.is_leaving() && !life.state().has_run() {
            self.process.on_order(Order::Remove { force: false });
            self.process.advance(&mut self.window, &here);
        }
        let ended = self.typed.as_ref().is_some_and(Typed::has_ended);
        if ended && self.process.input().is_some_and(|input| !input.is_end_offered()) {
            // A later run has the same console, whose end was reached.
            self.on_typed(None);
        }
    }
}
