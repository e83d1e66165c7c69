//! The side of a watcher's link: its viewers by their numbers, what comes for them and from them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use zerovisor_core::fact::Fact;
use zerovisor_core::record::{Head, Kind};
use zerovisor_core::units::Timestamp;
use zerovisor_core::wire::{self, PICTURE_PART_BYTES, ScreenShown, ToPeer, ViewerAct, ViewerNews};

use super::lane::{Lane, PictureTooLong};
use super::viewer::Viewer;

/// Viewers of one terminal, at most; one more is denied.
const VIEWERS_MAX: usize = 256;
/// Viewers beyond them that take the terminal for themselves, until those they send away have left; one more is denied.
const STEALERS_MAX: usize = 16;
/// Readers of one screen at a time, at most; one more is denied.
const READERS_MAX: usize = 256;
/// The longest line of text a watcher may tell a viewer, in bytes, so that it fits every header on its way.
const LINE_MAX_BYTES: usize = 4096;

/// A part of a screen's text.
pub(super) type ScreenPart = Result<(ScreenShown, bool, Bytes), String>;

/// Who is told what comes for a number.
#[derive(Debug)]
pub(in crate::node) enum Seat {
    /// A viewer.
    Viewer(Arc<Viewer>),
    /// A reader of the present screen. Its queue has room for every part of a screen; one that has more is cut off.
    Reader(mpsc::Sender<ScreenPart>),
}

/// What no watcher of ours tells a viewer.
#[derive(Debug, thiserror::Error)]
pub(in crate::node) enum NotNews {
    /// Too long a picture.
    #[error(transparent)]
    Picture(#[from] PictureTooLong),
    /// Too long a part.
    #[error("a part of {0} bytes for a viewer, {PICTURE_PART_BYTES} at most")]
    Part(usize),
    /// Too long a text.
    #[error("a line of {0} bytes for a viewer, {LINE_MAX_BYTES} at most")]
    Line(usize),
}

/// Numbers for viewers: never given twice, over all links of a node and, as they begin with the time, over its restarts. A watcher may
/// have a picture for a viewer of an earlier link on its way yet; it must be nobody else's.
#[derive(Debug, Clone)]
pub(in crate::node) struct Numbers(Arc<AtomicU64>);

impl Numbers {
    /// Of a node that starts at this time: as long as there is less than a viewer a microsecond, the next start begins above them.
    pub(in crate::node) fn since(started_at: Timestamp) -> Numbers {
        Numbers(Arc::new(AtomicU64::new(started_at.0)))
    }

    fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// The viewers of one watcher's link. Dropped with the link, it tells them that it is lost.
#[derive(Debug)]
pub(in crate::node) struct Relay {
    seats: HashMap<u64, Seat>,
    numbers: Numbers,
}

impl Relay {
    /// One without viewers.
    pub(in crate::node) fn new(numbers: Numbers) -> Relay {
        Relay { seats: HashMap::new(), numbers }
    }

    /// Somebody comes: what the watcher is to be told. From here on nothing is missed.
    pub(in crate::node) fn admit(
        &mut self,
        seat: Seat,
        act: ViewerAct,
        number: oneshot::Sender<u64>,
    ) -> Option<ToPeer> {
        if let Some(why) = self.full(&seat, &act) {
            match seat {
                Seat::Viewer(viewer) => viewer.on(|lane, now| lane.on_denied(now, why)),
                // It may have gone meanwhile.
                Seat::Reader(parts) => drop(parts.try_send(Err(why))),
            }
            return None;
        }
        let viewer = self.numbers.next();
        // Whoever asked may be gone already: then there is nothing to begin.
        number.send(viewer).ok()?;
        self.seats.insert(viewer, seat);
        Some(ToPeer::FromViewer { viewer, act })
    }

    /// Why there is no place for one more.
    fn full(&self, seat: &Seat, act: &ViewerAct) -> Option<String> {
        let is_viewer = |seat: &Seat| matches!(seat, Seat::Viewer(_));
        let viewers = self.seats.values().filter(|seat| is_viewer(seat)).count();
        let steals = matches!(act, ViewerAct::Attach { steal: true, .. });
        if !is_viewer(seat) {
            let full = self.seats.len() - viewers >= READERS_MAX;
            full.then(|| format!("{READERS_MAX} read its screen at this moment: ask again"))
        } else if viewers >= VIEWERS_MAX + if steals { STEALERS_MAX } else { 0 } {
            Some(format!("it has {VIEWERS_MAX} viewers, which is the most: attach with --steal to send all away"))
        } else {
            None
        }
    }

    /// A viewer does something: what the watcher is to be told, if it is still there.
    pub(in crate::node) fn act(&mut self, viewer: u64, act: ViewerAct) -> Option<ToPeer> {
        let known = match act {
            ViewerAct::Detach => self.seats.remove(&viewer).is_some(),
            ViewerAct::Attach { .. }
            | ViewerAct::Picture
            | ViewerAct::Type
            | ViewerAct::Resize(_)
            | ViewerAct::Read { .. } => self.seats.contains_key(&viewer),
        };
        known.then_some(ToPeer::FromViewer { viewer, act })
    }

    /// One that has left and could not say so: what the watcher is to be told.
    pub(in crate::node) fn departed(&mut self) -> Option<ToPeer> {
        let has_left = |seat: &Seat| match seat {
            Seat::Viewer(viewer) => viewer.has_left(),
            Seat::Reader(parts) => parts.is_closed(),
        };
        let viewer = *self.seats.iter().find(|(_, seat)| has_left(seat))?.0;
        self.act(viewer, ViewerAct::Detach)
    }

    /// A record arrived: output goes to every viewer, facts of the terminal too.
    pub(in crate::node) fn on_record(&self, head: &Head, payload: &Bytes) {
        if self.seats.is_empty() {
            return;
        }
        match head.kind {
            Kind::Terminal => self.each(|viewer| viewer.on(|lane, _| lane.on_output(head.seq, payload))),
            // One that does not decode is the journal's to refuse.
            Kind::Fact => drop(wire::decode_fact(payload).map(|fact| self.on_fact(head.seq, &fact))),
            Kind::Stdout | Kind::Stderr => {}
        }
    }

    fn on_fact(&self, seq: u64, fact: &Fact) {
        match fact {
            Fact::Resized { size, .. } => {
                self.each(|viewer| viewer.on(|lane, _| lane.on_terminal_sized(seq, *size)));
            }
            Fact::Ended { run, report } => {
                let (status, what) = (report.exit.shell_status(), report.to_string());
                self.each(|viewer| viewer.on(|lane, now| lane.on_ended(now, *run, status, what.clone())));
            }
            Fact::Waiting
            | Fact::Started { .. }
            | Fact::Steady { .. }
            | Fact::SpawnFailed { .. }
            | Fact::Stopping { .. }
            | Fact::Killed { .. }
            | Fact::Backoff { .. }
            | Fact::Stopped
            | Fact::Exited
            | Fact::Fatal { .. }
            | Fact::Signalled { .. }
            | Fact::Commanded { .. }
            | Fact::Gap(_)
            | Fact::InputClosed { .. } => {}
        }
    }

    /// The watcher tells a viewer something; one that is not there any more misses nothing.
    ///
    /// # Errors
    /// It is longer than it may be: the link is to end.
    pub(in crate::node) fn on_news(&mut self, number: u64, news: ViewerNews, payload: Bytes) -> Result<(), NotNews> {
        check(&news, &payload)?;
        match self.seats.get(&number) {
            Some(Seat::Viewer(viewer)) => {
                tell(viewer, news, payload)?;
                if viewer.is_dismissed() {
                    self.seats.remove(&number);
                }
            }
            Some(Seat::Reader(parts)) => {
                if let Some((part, last)) = screen_part(news, payload)
                    && (parts.try_send(part).is_err() || last)
                {
                    self.seats.remove(&number);
                }
            }
            None => {}
        }
        Ok(())
    }

    fn each(&self, told: impl Fn(&Viewer)) {
        for seat in self.seats.values() {
            match seat {
                Seat::Viewer(viewer) => told(viewer),
                Seat::Reader(_) => {}
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.each(|viewer| viewer.on(Lane::on_lost));
    }
}

fn check(news: &ViewerNews, payload: &Bytes) -> Result<(), NotNews> {
    let line = match news {
        ViewerNews::Denied(why) => why.len(),
        ViewerNews::Screen { shown, .. } => shown.title.as_ref().map_or(0, String::len),
        ViewerNews::Attached { .. } | ViewerNews::Stolen | ViewerNews::Picture { .. } | ViewerNews::Took { .. } => 0,
    };
    if line > LINE_MAX_BYTES {
        return Err(NotNews::Line(line));
    }
    if payload.len() > PICTURE_PART_BYTES { Err(NotNews::Part(payload.len())) } else { Ok(()) }
}

fn tell(viewer: &Viewer, news: ViewerNews, payload: Bytes) -> Result<(), PictureTooLong> {
    let mut drawn = Ok(());
    match news {
        ViewerNews::Attached { run } => viewer.on(|lane, _| lane.on_attached(run)),
        ViewerNews::Denied(why) => viewer.on(|lane, now| lane.on_denied(now, why)),
        ViewerNews::Stolen => viewer.on(Lane::on_stolen),
        ViewerNews::Picture { seq, size, last } => {
            viewer.on(|lane, _| drawn = lane.on_picture(seq, size, last, payload));
        }
        ViewerNews::Took { bytes } => viewer.took(bytes),
        // For readers.
        ViewerNews::Screen { .. } => {}
    }
    drawn
}

/// What a reader is told, and whether it is the last of it.
fn screen_part(news: ViewerNews, payload: Bytes) -> Option<(ScreenPart, bool)> {
    match news {
        ViewerNews::Screen { shown, last } => Some((Ok((shown, last, payload)), last)),
        ViewerNews::Denied(why) => Some((Err(why), true)),
        ViewerNews::Attached { .. } | ViewerNews::Stolen | ViewerNews::Picture { .. } | ViewerNews::Took { .. } => None,
    }
}
