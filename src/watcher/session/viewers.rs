//! The terminal of the run and those who view it: through a zerovisor, or on the user's own console.

use std::time::Instant;

use bytes::Bytes;
use zerovisor_core::fact::Fact;
use zerovisor_core::keys::{Key, KeyCode};
use zerovisor_core::signal::Signal;
use zerovisor_core::size::Size;
use zerovisor_core::units;
use zerovisor_core::viewers::{Attach, Denied};
use zerovisor_core::wire::{Outcome, ViewerAct, ViewerNews};

use super::Session;
use crate::watcher::front::inside::Doing;
use crate::watcher::model::{Look, Model, Seen};
use crate::watcher::say::say;
use crate::watcher::viewers::{CONSOLE, PICTURE_MAX_BYTES, parts};

impl Session {
    /// A viewer that came through the zerovisor does something.
    pub(super) async fn on_view(&mut self, viewer: u64, act: ViewerAct, payload: Bytes) {
        if viewer == CONSOLE {
            return self.tell(viewer, ViewerNews::Denied("that number is not given to viewers".into())).await;
        }
        match act {
            ViewerAct::Attach { size, read_only, steal } => {
                self.attach(viewer, Attach { size, read_only, steal }).await;
            }
            ViewerAct::Picture => self.show(viewer).await,
            ViewerAct::Type => self.on_viewer_typed(viewer, payload).await,
            ViewerAct::Resize(size) => match self.viewers.rules.resize(viewer, size) {
                Ok(changed) => self.set_size(changed),
                Err(denied) => self.deny(viewer, &denied).await,
            },
            ViewerAct::Detach => {
                let changed = self.forget(viewer);
                self.set_size(changed);
            }
            ViewerAct::Read { ansi } => match self.unseen() {
                Some(why) => self.tell(viewer, ViewerNews::Denied(why)).await,
                None => self.look(viewer, Look::Text { ansi }).await,
            },
        }
    }

    async fn attach(&mut self, viewer: u64, attach: Attach) {
        let run = self.process.run_number().filter(|_| self.process.setup().is_some());
        let Some(run) = run else {
            let why = if self.process.setup().is_some() { "it is not running" } else { "it has no terminal" };
            return self.tell(viewer, ViewerNews::Denied(why.into())).await;
        };
        let attached = match self.viewers.rules.attach(viewer, attach) {
            Ok(attached) => attached,
            Err(denied) => return self.deny(viewer, &denied).await,
        };
        for stolen in attached.stolen {
            let _the_new_ones = self.forget(stolen);
            if stolen == CONSOLE {
                self.part();
            } else {
                self.tell(stolen, ViewerNews::Stolen).await;
            }
        }
        self.set_size(attached.size);
        self.tell(viewer, ViewerNews::Attached { run }).await;
        self.show(viewer).await;
    }

    /// One is gone. The terminal's new size, if it changed.
    fn forget(&mut self, viewer: u64) -> Option<Size> {
        if let Some(input) = self.process.input() {
            input.forget(viewer);
        }
        if let Some(model) = self.model() {
            model.retain_looks(|who| who != viewer);
        }
        self.viewers.forget(viewer)
    }

    /// The link is another one, on which other viewers may have the numbers of those before.
    fn on_links_lost(&mut self) {
        if !self.viewers.is_link_lost(self.uplink.links_lost()) {
            return;
        }
        for viewer in self.viewers.remote() {
            let changed = self.forget(viewer);
            self.set_size(changed);
        }
        // Of those as well who only read the screen.
        if let Some(model) = self.model() {
            model.retain_looks(|viewer| viewer == CONSOLE);
        }
    }

    /// Has a picture made for a viewer; without a screen it is an empty one.
    async fn show(&mut self, viewer: u64) {
        if self.viewers.rules.get(viewer).is_none() {
            return self.deny(viewer, &Denied::NotAttached(viewer)).await;
        }
        let look = self.viewers.look(viewer);
        if self.model().is_some() {
            self.look(viewer, look).await;
        } else if viewer == CONSOLE {
            self.on_seen_by_console(Bytes::new());
        } else {
            let (seq, size) = (self.last_seq(), self.viewers.rules.size());
            self.tell(viewer, ViewerNews::Picture { seq, size, last: true }).await;
        }
    }

    async fn look(&mut self, viewer: u64, look: Look) {
        let seq = self.last_seq();
        if self.model().is_some_and(|model| !model.look(viewer, seq, look)) {
            self.tell(viewer, ViewerNews::Denied("too many look at once: ask again".into())).await;
        }
    }

    /// The screen of the present run, or of the last one for as long as the console needs it.
    fn model(&mut self) -> Option<&mut Model> {
        match self.process.terminal() {
            Some(terminal) => terminal.model.as_mut(),
            None => self.viewers.fading.as_mut(),
        }
    }

    fn last_seq(&self) -> u64 {
        self.window.next_seq().saturating_sub(1)
    }

    /// Why there is no screen to be read.
    fn unseen(&mut self) -> Option<String> {
        let setup = self.process.setup();
        match (self.process.terminal(), setup) {
            (Some(terminal), _) if terminal.model.is_some() => None,
            (Some(_), _) => Some("its screen is not kept: it was started with --screen off".into()),
            (None, Some(_)) => Some("it is not running".into()),
            (None, None) => Some("it has no terminal: it was started without --pty".into()),
        }
    }

    async fn on_viewer_typed(&mut self, viewer: u64, bytes: Bytes) {
        match self.viewers.rules.typed(viewer) {
            Ok(changed) => self.set_size(changed),
            // One that only looks on may say what it likes.
            Err(Denied::ReadOnly(_)) => return,
            Err(denied @ (Denied::NotAttached(_) | Denied::Attached(_) | Denied::Full)) => {
                return self.deny(viewer, &denied).await;
            }
        }
        let typed = self.process.input().map(|input| input.type_in(viewer, bytes));
        if let Some(Err(denial)) = typed {
            self.send_away(viewer, denial.to_string()).await;
        }
        self.write_input();
    }

    /// The size of the terminal, for the program, the screen, the stream and those who look.
    pub(super) fn set_size(&mut self, changed: Option<Size>) {
        let Some(size) = changed else { return };
        self.process.set_terminal_size(size);
        let Some(run) = self.process.run_number() else { return };
        let Some(terminal) = self.process.terminal() else { return };
        if terminal.size() == size {
            return;
        }
        match terminal.resize(size) {
            Ok(()) => self.viewers.unrecorded = Some(Fact::Resized { run, size }),
            Err(error) => say(error),
        }
        self.record_size();
        if let Some(front) = &mut self.viewers.front {
            front.follow(size, Instant::now());
        }
    }

    /// Records the terminal's last size, once there is room for it: of many sizes that nobody acknowledges the last one counts.
    fn record_size(&mut self) {
        if !self.is_overfull()
            && let Some(resized) = self.viewers.unrecorded.take()
        {
            self.process.record(resized, &mut self.window);
        }
    }

    async fn deny(&mut self, viewer: u64, denied: &Denied) {
        self.tell(viewer, ViewerNews::Denied(denied.to_string())).await;
    }

    async fn tell(&mut self, viewer: u64, news: ViewerNews) {
        // Where there is no room for a word, there is none for records, and the link does not last.
        let _told = self.uplink.tell_viewer(viewer, news, None, &mut self.window).await;
    }

    /// After every event: what the screen answers and shows, and what was taken of what was typed.
    pub(super) async fn settle_viewers(&mut self) {
        self.on_links_lost();
        self.record_size();
        self.settle_front().await;
        let Some(model) = self.model() else {
            return self.tell_taken().await;
        };
        model.work();
        let (answers, seen) = (model.answers(), model.seen());
        self.viewers.alternate = model.is_alternate();
        if let (false, Some(input)) = (answers.is_empty(), self.process.input()) {
            input.answer(answers);
            self.write_input();
        }
        for seen in seen {
            self.on_seen(seen).await;
        }
        self.tell_taken().await;
    }

    async fn on_seen(&mut self, seen: Seen) {
        let viewer = seen.viewer;
        let is_too_large = seen.bytes.len() > PICTURE_MAX_BYTES;
        if viewer == CONSOLE {
            // An empty one changes nothing: what the program writes next is shown over what is there.
            return self.on_seen_by_console(if is_too_large { Bytes::new() } else { seen.bytes });
        }
        if is_too_large {
            let (size, most) = (units::Bytes(seen.bytes.len() as u64), units::Bytes(PICTURE_MAX_BYTES as u64));
            return self
                .send_away(viewer, format!("its screen takes {size} to draw, {most} at most: resize or clear it"))
                .await;
        }
        for (news, part) in parts(&seen) {
            if !self.uplink.tell_viewer(viewer, news, Some(part), &mut self.window).await {
                let why = "the zerovisor does not take pictures as fast as they are asked for: attach again later";
                return self.send_away(viewer, why.into()).await;
            }
        }
    }

    /// A viewer cannot be served, and is told why.
    async fn send_away(&mut self, viewer: u64, why: String) {
        let changed = self.forget(viewer);
        self.set_size(changed);
        self.tell(viewer, ViewerNews::Denied(why)).await;
    }

    fn on_seen_by_console(&mut self, picture: Bytes) {
        if let Some(front) = &mut self.viewers.front {
            front.on_picture(picture);
        }
    }

    async fn tell_taken(&mut self) {
        let Some(input) = self.process.input() else { return };
        for (viewer, bytes) in input.taken() {
            if let Some(bytes) = self.viewers.took(viewer, bytes) {
                self.tell(viewer, ViewerNews::Took { bytes }).await;
            }
        }
    }

    /// A run is over or has begun, or both.
    pub(super) fn on_run_changed(&mut self) {
        // Those who came for the last one are told by its end.
        for viewer in self.viewers.remote() {
            let changed = self.forget(viewer);
            self.set_size(changed);
        }
        self.viewers.unrecorded = None;
        let mut last = self.process.take_last_screen();
        if let Some(last) = &mut last {
            // What it wrote last decides how its screen is left.
            last.work();
            self.viewers.alternate = last.is_alternate();
        }
        self.viewers.fading = last.filter(|_| self.viewers.front.is_some());
        let (Some(run), Some(setup)) = (self.process.run_number(), self.process.setup()) else { return };
        if setup.size != self.viewers.declared {
            self.process.record(Fact::Resized { run, size: setup.size }, &mut self.window);
        }
        if self.runs_shown {
            self.viewers.on_another_run();
        }
        self.runs_shown = true;
    }

    /// The user's console takes something; `reads`: does something.
    pub(super) fn on_front(&mut self, reads: bool) -> Option<u8> {
        let doings = self.viewers.front.as_mut().map(|front| front.turn(reads)).unwrap_or_default();
        for doing in doings {
            match doing {
                Doing::Typed(bytes) => self.on_console_typed(bytes),
                Doing::Resized(size) => {
                    let changed = self.viewers.rules.resize(CONSOLE, size).ok().flatten();
                    self.set_size(changed);
                }
                Doing::Detach => self.part(),
                Doing::Gone => return self.on_console_gone(),
            }
        }
        None
    }

    fn on_console_typed(&mut self, bytes: Bytes) {
        // One that has left, or was sent away, types no more.
        let Ok(changed) = self.viewers.rules.typed(CONSOLE) else { return };
        self.set_size(changed);
        if let Some(input) = self.process.input() {
            // Between two runs, what is typed goes nowhere.
            let _unwanted = input.offer(bytes, false);
        }
        self.write_input();
    }

    /// The user's console went without having left, as a terminal does that is closed: as a hang-up, it ends the program.
    fn on_console_gone(&mut self) -> Option<u8> {
        self.viewers.front = None;
        let stays = self.viewers.rules.get(CONSOLE).is_none();
        let changed = self.forget(CONSOLE);
        self.set_size(changed);
        if stays || self.left_at.is_some() { None } else { self.interrupt(Signal::HUP) }
    }

    /// The user leaves, and the process stays as if it had been started with `-d`.
    fn part(&mut self) {
        let changed = self.forget(CONSOLE);
        self.set_size(changed);
        self.process.detach();
        self.detached = true;
        let name = self.uplink.name().to_string();
        if let Some(front) = &mut self.viewers.front {
            front.part(self.viewers.alternate, &name);
        }
    }

    async fn settle_front(&mut self) {
        let (now, terminal) = (Instant::now(), self.viewers.rules.size());
        let Some(front) = &mut self.viewers.front else { return };
        front.follow(terminal, now);
        if front.wants_picture(now) {
            self.show(CONSOLE).await;
        }
    }

    /// Types keys into the program as its terminal would send them.
    pub(super) fn send_keys(&mut self, text: &[u8], keys: &[Key]) -> Outcome {
        let has_terminal = self.process.setup().is_some();
        let modes = self.process.terminal().and_then(|t| t.model.as_ref()).map(Model::key_modes).unwrap_or_default();
        let mut bytes = text.to_vec();
        for key in keys {
            // What Enter is on a terminal only its line discipline makes the end of a line.
            if !has_terminal && Key::new(KeyCode::Enter, 0) == Ok(*key) {
                bytes.push(b'\n');
            } else {
                key.encode(modes, &mut bytes);
            }
        }
        self.send_input(bytes.into(), false)
    }
}
