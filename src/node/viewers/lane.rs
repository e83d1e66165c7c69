//! What one viewer is to be sent next. Pure: the clock is passed in.
//!
//! ```text
//!          asked                 picture that fits            held > VIEWER_LAG_BYTES, or another size
//! WANTED ---------> ASKED ------------------------> LIVE --------------------------------------------> WANTED
//!   ^                 | picture of another size
//!   | written, sized  v
//!   +-------------- STILL
//! ```
//! WANTED passes records over, as the picture will contain them; ASKED and LIVE hold them, and LIVE sends them. A picture *fits* when
//! it was drawn for the size that the viewer has, the program's terminal has that size too, and nothing behind its sequence number has
//! left the lane: then the picture and the records behind it are the whole stream, each byte once. A viewer of another size goes round
//! through STILL, and is sent pictures alone.

mod held;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use zerovisor_core::size::Size;
use zerovisor_core::wire::PICTURE_PART_BYTES;

use held::Held;

/// What a viewer may lag behind by, in bytes of output (and some a record) that wait here beside the window the client
/// granted; past it all of that is skipped, and a picture takes its place. Thousands of screens: whoever is that late will not read it,
/// and the picture is there sooner.
pub(super) const VIEWER_LAG_BYTES: usize = 1 << 20;
/// Parts of one picture, at most: 32 MiB, more than the largest screen with every cell in colours of its own. Beyond them the watcher
/// breaks the protocol.
pub(super) const PICTURE_PARTS_MAX: usize = 128;
/// Pictures a viewer is sent in a second, at most.
pub(super) const FRAMES_PER_S: u32 = 20;
const FRAME_APART: Duration = Duration::from_millis(1000 / FRAMES_PER_S as u64);
/// How long a last picture, or the fact behind a refusal, may take once it is over.
const LAST_WORD_WITHIN: Duration = Duration::from_secs(1);
/// How long a watcher may take to attach a viewer.
pub(super) const ATTACH_WITHIN: Duration = Duration::from_secs(10);

/// What goes to the client next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// It is attached to this run.
    Attached(u32),
    /// So many bytes of what it typed were taken.
    Took(u64),
    /// A part of a picture.
    Picture { size: Size, skipped_bytes: u64, last: bool, payload: Bytes },
    /// Of the stream.
    Output(Bytes),
}

/// Why a view is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Close {
    /// The run ended.
    Ended { status: u8, what: String },
    /// The watcher says no.
    Denied(String),
    /// Another viewer took the terminal.
    Stolen,
    /// The watcher's link is gone.
    Lost,
    /// The watcher did not answer within [`ATTACH_WITHIN`].
    Unanswered,
}

/// Something that is to be done now, at a time, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Now,
    At(Instant),
    No,
}

/// A picture that is longer than any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a picture of more than {PICTURE_PARTS_MAX} parts of {PICTURE_PART_BYTES} bytes")]
pub(in crate::node) struct PictureTooLong;

/// How the viewer stands to the stream; see the diagram. `slow`: as the client did not take it in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    Wanted { slow: bool },
    Asked { slow: bool },
    Live,
    Still,
}

/// A lane.
#[derive(Debug)]
pub(super) struct Lane {
    sight: Sight,
    /// The size of the viewer's own terminal, if it has one.
    own: Option<Size>,
    /// `own` when the picture was asked for.
    drawn_for: Option<Size>,
    /// The size of the program's terminal, and the record as of which it had it.
    terminal: Option<(u64, Size)>,
    run: Option<u32>,
    attached: Option<u32>,
    took: Option<u64>,
    picture: VecDeque<Part>,
    parts: usize,
    held: Held,
    /// The newest record that came.
    newest: u64,
    begun: Instant,
    asked_at: Instant,
    close: Option<(Close, Instant)>,
    call: bool,
}

impl Lane {
    /// Of a viewer that is being attached, which asks for a first picture.
    pub(super) fn new(own: Option<Size>, now: Instant) -> Lane {
        Lane {
            sight: Sight::Asked { slow: false },
            own,
            drawn_for: own,
            terminal: None,
            run: None,
            attached: None,
            took: None,
            picture: VecDeque::new(),
            parts: 0,
            held: Held::default(),
            newest: 0,
            begun: now,
            asked_at: now,
            close: None,
            call: false,
        }
    }

    // --- what happens

    /// The watcher attached it.
    pub(super) fn on_attached(&mut self, run: u32) {
        if self.run.is_none() {
            (self.run, self.attached) = (Some(run), Some(run));
        }
    }

    /// The program wrote.
    pub(super) fn on_output(&mut self, seq: u64, payload: &Bytes) {
        if seq <= self.newest || self.is_over() {
            return;
        }
        self.newest = seq;
        match self.sight {
            Sight::Live | Sight::Asked { .. } => self.hold(seq, payload.clone()),
            Sight::Wanted { slow } => self.held.pass_over(seq, payload.len(), slow),
            Sight::Still => {
                self.held.pass_over(seq, payload.len(), false);
                self.want(false);
            }
        }
    }

    /// The program's terminal has another size as of a record.
    pub(super) fn on_terminal_sized(&mut self, seq: u64, size: Size) {
        if self.terminal.is_none_or(|(known, _)| known < seq) {
            self.terminal = Some((seq, size));
            self.on_sizes();
        }
    }

    /// The viewer's own terminal has another size; or the same, and what it showed may be gone.
    pub(super) fn on_own_sized(&mut self, size: Size) {
        if self.own.replace(size) == Some(size) && self.sight == Sight::Live {
            self.redraw();
        } else {
            self.on_sizes();
        }
    }

    /// The next part of the picture that was asked for; one that was not is passed over.
    ///
    /// # Errors
    /// There are more parts than any picture has.
    pub(super) fn on_picture(
        &mut self,
        seq: u64,
        size: Size,
        last: bool,
        payload: Bytes,
    ) -> Result<(), PictureTooLong> {
        let Sight::Asked { slow } = self.sight else { return Ok(()) };
        self.parts += 1;
        if self.parts > PICTURE_PARTS_MAX || payload.len() > PICTURE_PART_BYTES {
            return Err(PictureTooLong);
        }
        if last {
            self.on_drawn(seq, size, slow);
        }
        let skipped_bytes = if last { self.held.take_skipped_bytes() } else { 0 };
        self.picture.push_back(Part::Picture { size, skipped_bytes, last, payload });
        Ok(())
    }

    /// The terminal took so many of the bytes typed.
    pub(super) fn on_took(&mut self, bytes: u64) {
        self.took = Some(bytes);
    }

    /// A run ended.
    pub(super) fn on_ended(&mut self, now: Instant, run: u32, status: u8, what: String) {
        if self.run.is_some_and(|own| own <= run) && !self.is_over() {
            self.close(Close::Ended { status, what }, now);
        }
    }

    /// The watcher does not attach it, or has no picture any more.
    pub(super) fn on_denied(&mut self, now: Instant, why: String) {
        match self.close {
            Some((Close::Ended { .. }, _)) => self.give_up(),
            Some((Close::Denied(_) | Close::Stolen | Close::Lost | Close::Unanswered, _)) => {}
            None => self.close(Close::Denied(why), now),
        }
    }

    /// Another viewer took the terminal.
    pub(super) fn on_stolen(&mut self, now: Instant) {
        if !self.is_over() {
            self.close(Close::Stolen, now);
        }
    }

    /// The watcher's link is gone.
    pub(super) fn on_lost(&mut self, now: Instant) {
        match self.close {
            Some((Close::Ended { .. }, _)) => self.give_up(),
            Some((Close::Denied(_) | Close::Stolen | Close::Lost | Close::Unanswered, _)) => {}
            None => self.close(Close::Lost, now),
        }
    }

    /// A picture was asked for.
    pub(super) fn on_asked(&mut self, now: Instant) {
        if let Sight::Wanted { slow } = self.sight {
            (self.sight, self.drawn_for, self.asked_at, self.parts) = (Sight::Asked { slow }, self.own, now, 0);
        }
    }

    // --- what is to be done

    /// What the next part costs of the client's credit, in bytes; none: there is nothing to send.
    pub(super) fn next_cost(&self) -> Option<usize> {
        if self.attached.is_some() || self.took.is_some() {
            return Some(0);
        }
        if let Some(part) = self.picture.front() {
            return Some(match part {
                Part::Picture { payload, .. } | Part::Output(payload) => payload.len(),
                Part::Attached(_) | Part::Took(_) => 0,
            });
        }
        (self.sight == Sight::Live && !self.held.is_empty()).then(|| self.held.next_bytes())
    }

    /// The next part.
    pub(super) fn next_part(&mut self) -> Option<Part> {
        let ahead = self.attached.take().map(Part::Attached).or_else(|| self.took.take().map(Part::Took));
        if let Some(part) = ahead.or_else(|| self.picture.pop_front()) {
            return Some(part);
        }
        if self.sight == Sight::Live { self.held.next().map(Part::Output) } else { None }
    }

    /// Whether a picture is to be asked for. `taken`: the client has taken what it was sent.
    pub(super) fn ask_due(&self, now: Instant, taken: bool) -> Due {
        let is_wanted = matches!(self.sight, Sight::Wanted { .. }) && self.run.is_some();
        let at = self.asked_at + FRAME_APART;
        match self.closed() {
            Some(Close::Denied(_) | Close::Stolen | Close::Lost | Close::Unanswered) => Due::No,
            // The last one, while somebody is there to make it.
            Some(Close::Ended { .. }) if is_wanted => Due::Now,
            None if is_wanted && taken && self.picture.is_empty() => {
                if now < at {
                    Due::At(at)
                } else {
                    Due::Now
                }
            }
            Some(Close::Ended { .. }) | None => Due::No,
        }
    }

    /// Whether the view is over: everything before its end has been sent, or will never be.
    pub(super) fn close_due(&mut self, now: Instant) -> Due {
        let until = |at: Instant| if now < at { Due::At(at) } else { Due::Now };
        match &self.close {
            None if self.run.is_none() => match until(self.begun + ATTACH_WITHIN) {
                Due::Now => {
                    self.close = Some((Close::Unanswered, now));
                    Due::Now
                }
                due @ (Due::At(_) | Due::No) => due,
            },
            None => Due::No,
            Some((Close::Stolen | Close::Lost | Close::Unanswered, _)) => Due::Now,
            Some((Close::Denied(_), at)) if self.run.is_some() => until(*at + LAST_WORD_WITHIN),
            Some((Close::Denied(_), _)) => Due::Now,
            Some((Close::Ended { .. }, at)) => {
                let drawing = matches!(self.sight, Sight::Wanted { .. } | Sight::Asked { .. });
                match until(*at + LAST_WORD_WITHIN) {
                    due @ (Due::At(_) | Due::No) if drawing => return due,
                    Due::Now if drawing => self.give_up(),
                    Due::Now | Due::At(_) | Due::No => {}
                }
                if self.next_cost().is_none() { Due::Now } else { Due::No }
            }
        }
    }

    /// Why it is over.
    pub(super) fn closed(&self) -> Option<&Close> {
        self.close.as_ref().map(|(close, _)| close)
    }

    /// Whether the watcher has let go of it and tells it nothing more. The end of its run may follow a refusal of one that was attached.
    pub(super) fn is_dismissed(&self) -> bool {
        match self.closed() {
            Some(Close::Stolen) => true,
            Some(Close::Denied(_)) => self.run.is_none(),
            Some(Close::Ended { .. } | Close::Lost | Close::Unanswered) | None => false,
        }
    }

    /// Whether the viewer's task has to look; false from then on until something else happens.
    pub(super) fn take_call(&mut self) -> bool {
        std::mem::take(&mut self.call)
    }

    /// Whether what the client takes moves more than the stream.
    pub(super) fn waits_for_client(&self) -> bool {
        self.close.is_some() || matches!(self.sight, Sight::Wanted { .. })
    }

    // --- how

    fn is_over(&self) -> bool {
        self.close.as_ref().is_some_and(|(close, _)| !matches!(close, Close::Denied(_)))
    }

    fn close(&mut self, close: Close, now: Instant) {
        (self.close, self.call) = (Some((close, now)), true);
    }

    fn want(&mut self, slow: bool) {
        (self.sight, self.call) = (Sight::Wanted { slow }, true);
    }

    /// A picture instead of the stream. Records that wait mean that the client is slow; it takes their place.
    fn redraw(&mut self) {
        self.held.skip(true);
        self.want(false);
    }

    /// No last picture comes: what waits behind it can't be shown, and the client is told how much it was.
    fn give_up(&mut self) {
        if let Sight::Wanted { slow } | Sight::Asked { slow } = self.sight {
            self.held.skip(slow);
            self.sight = Sight::Still;
            let skipped_bytes = self.held.take_skipped_bytes();
            if skipped_bytes > 0
                && let Some((_, size)) = self.terminal
            {
                self.picture.push_back(Part::Picture { size, skipped_bytes, last: true, payload: Bytes::new() });
            }
        }
        self.call = true;
    }

    fn has_size(&self, size: Size) -> bool {
        self.terminal.is_none_or(|(_, of_terminal)| of_terminal == size)
    }

    fn agrees(&self) -> bool {
        self.own.is_none_or(|own| self.has_size(own))
    }

    fn on_sizes(&mut self) {
        match self.sight {
            Sight::Live if !self.agrees() => self.redraw(),
            Sight::Still => self.want(false),
            Sight::Live | Sight::Wanted { .. } | Sight::Asked { .. } => {}
        }
    }

    fn on_drawn(&mut self, seq: u64, size: Size, slow: bool) {
        if self.terminal.is_none_or(|(known, _)| known <= seq) {
            self.terminal = Some((seq, size));
        }
        self.held.skip_to(seq, slow);
        let fits = self.drawn_for == self.own && self.own.is_none_or(|own| own == size) && self.agrees();
        let shows_all = self.drawn_for == self.own && self.newest <= seq && self.has_size(size);
        if fits && self.held.left() <= seq {
            self.sight = Sight::Live;
        } else {
            self.held.skip(slow);
            if shows_all && !self.agrees() { self.sight = Sight::Still } else { self.want(slow) }
        }
        // What it contains has left the lane, and is passed over where it is still on its way: an older picture would lack it.
        self.held.pass_over(seq, 0, false);
        self.newest = self.newest.max(seq);
    }

    fn hold(&mut self, seq: u64, payload: Bytes) {
        self.held.push(seq, payload);
        if self.held.cost_bytes() <= VIEWER_LAG_BYTES {
            return;
        }
        match self.sight {
            Sight::Asked { slow } => self.held.skip(slow),
            Sight::Live | Sight::Wanted { .. } | Sight::Still => {
                self.held.skip(true);
                self.want(true);
            }
        }
    }
}

#[cfg(test)]
mod tests;
