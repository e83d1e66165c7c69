//! Who views the terminal of a run, and what each has been told. The rules are the core's; this is what they need outside of it.

use std::collections::HashMap;

use bytes::Bytes;
use zerovisor_core::fact::Fact;
use zerovisor_core::size::Size;
use zerovisor_core::viewers::{Attach, SizePolicy, Viewers as Rules};
use zerovisor_core::wire::{PICTURE_PART_BYTES, TYPED_WINDOW_BYTES, ViewerNews};

use super::front::inside::Front;
use super::model::{Look, Model, Seen};

/// The viewer that is the user's own console; a zerovisor never numbers one so high.
pub(super) const CONSOLE: u64 = u64::MAX;

/// The largest picture or text that is sent, in bytes: three times what a full screen of 300 by 100 takes, each cell in colours of its
/// own. Who asks for a larger one is denied.
pub(super) const PICTURE_MAX_BYTES: usize = 4 << 20;

/// A viewer is told so late what was taken of what it typed, in bytes: its window stays three quarters open, and a key costs no message but
/// its echo.
const TELL_TAKEN_BYTES: u64 = TYPED_WINDOW_BYTES / 4;

/// What a terminal has taken of what one viewer typed, in bytes.
#[derive(Debug, Default)]
struct Took {
    bytes: u64,
    told_bytes: u64,
}

/// All viewers of one terminal.
#[derive(Debug)]
pub(super) struct Viewers {
    /// Who there is, and whose size counts.
    pub(super) rules: Rules,
    /// The user's own console, if it is one.
    pub(super) front: Option<Front>,
    /// What each has typed and the terminal has taken, in bytes.
    took: HashMap<u64, Took>,
    /// For whose terminal the last picture was a frame, and of which size.
    framed: HashMap<u64, Size>,
    links_lost: u64,
    /// Whether the program's alternate screen is shown.
    pub(super) alternate: bool,
    /// The screen of a run that is over, for the user's own console, which may be behind.
    pub(super) fading: Option<Model>,
    /// The size that was declared.
    pub(super) declared: Size,
    /// The terminal's last size, while its record has to wait.
    pub(super) unrecorded: Option<Fact>,
}

impl Viewers {
    /// Nobody yet.
    pub(super) fn new(policy: SizePolicy, size: Size) -> Viewers {
        Viewers {
            rules: Rules::new(policy, size),
            front: None,
            took: HashMap::new(),
            framed: HashMap::new(),
            links_lost: 0,
            alternate: false,
            fading: None,
            declared: size,
            unrecorded: None,
        }
    }

    /// The user's own console is there from the start.
    pub(super) fn seat(&mut self, front: Front) {
        let attach = Attach { size: Some(front.size()), read_only: false, steal: false };
        // The first of all is never refused.
        let _attached = self.rules.attach(CONSOLE, attach);
        self.front = Some(front);
    }

    /// Whether the user's own console was sent all there is to be seen.
    pub(super) fn console_has_caught_up(&self) -> bool {
        let drawn = self.fading.as_ref().is_none_or(Model::is_idle);
        self.front.as_ref().is_none_or(|front| front.has_caught_up() && drawn)
    }

    /// What the console shows is of another run: no frame goes over it.
    pub(super) fn on_another_run(&mut self) {
        self.fading = None;
        self.framed.remove(&CONSOLE);
        if let Some(front) = &mut self.front {
            front.on_another_run(std::mem::take(&mut self.alternate));
        }
    }

    /// Whether a link was lost since this was last asked.
    pub(super) fn is_link_lost(&mut self, links_lost: u64) -> bool {
        std::mem::replace(&mut self.links_lost, links_lost) != links_lost
    }

    /// Those that came through a zerovisor.
    pub(super) fn remote(&self) -> Vec<u64> {
        self.rules.iter().map(|(viewer, _)| viewer).filter(|viewer| *viewer != CONSOLE).collect()
    }

    /// One is gone. The terminal's new size, if it changed.
    pub(super) fn forget(&mut self, viewer: u64) -> Option<Size> {
        self.took.remove(&viewer);
        self.framed.remove(&viewer);
        self.rules.detach(viewer)
    }

    /// What one is to be shown: all of it, or a frame over the frame before.
    pub(super) fn look(&mut self, viewer: u64) -> Look {
        let terminal = self.rules.size();
        let own = self.rules.get(viewer).and_then(|viewer| viewer.size).unwrap_or(terminal);
        if own == terminal {
            self.framed.remove(&viewer);
            return Look::Picture(own);
        }
        if self.framed.insert(viewer, own) == Some(own) { Look::Frame(own) } else { Look::Picture(own) }
    }

    /// The terminal took this much more of what one typed; how much that makes, where it is time to tell.
    pub(super) fn took(&mut self, viewer: u64, bytes: u64) -> Option<u64> {
        let took = self.took.entry(viewer).or_default();
        took.bytes += bytes;
        let due = took.bytes - took.told_bytes >= TELL_TAKEN_BYTES;
        due.then(|| {
            took.told_bytes = took.bytes;
            took.bytes
        })
    }
}

/// What was seen, in parts as they travel.
pub(super) fn parts(seen: &Seen) -> Vec<(ViewerNews, Bytes)> {
    let news = |last| {
        if seen.text {
            ViewerNews::Screen { shown: seen.shown.clone(), last }
        } else {
            ViewerNews::Picture { seq: seen.seq, size: seen.shown.size, last }
        }
    };
    let (mut rest, mut parts) = (seen.bytes.clone(), Vec::new());
    loop {
        let part = rest.split_to(rest.len().min(PICTURE_PART_BYTES));
        let last = rest.is_empty();
        parts.push((news(last), part));
        if last {
            return parts;
        }
    }
}
