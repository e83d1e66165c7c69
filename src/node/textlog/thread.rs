//! The thread: who is read next, when lines are written, and what is done when they cannot be.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use zerovisor_core::fact::unknown_after;
use zerovisor_core::id::Id;
use zerovisor_core::units::Bytes;
use zerovisor_core::view::{Event, Happening};

use super::cursor::{Before, Cursors};
use super::file::Output;
use super::inbox::{Inbox, News, Told};
use super::line::{Page, Word, who};
use super::process::{Ending, Process, Turn};
use super::{TextConfig, TextLogError, now};

/// Text that is written at once, while there is more to render.
const FLUSH_BYTES: usize = 128 << 10;
/// Text is not kept longer than this, while there is more to render.
const FLUSH_AFTER: Duration = Duration::from_millis(10);
/// Room that is kept for the text between two writes; one turn of nothing but line feeds takes some MiB more.
const PAGE_BYTES: usize = 1 << 20;
/// After having caught up, so long nobody is read: of many small writes some hundred a second are rendered at a time.
const NAP: Duration = Duration::from_millis(2);
/// Cursors are written at most so often.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// What failed is tried again after this.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// How long a stop may take.
const STOP_MAX: Duration = Duration::from_secs(5);
/// With nothing to do, the thread looks up so often.
const IDLE_MAX: Duration = Duration::from_secs(3600);

/// How the last write went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outlet {
    Open,
    /// Standard output is full: nothing is rendered until it takes something.
    Blocked,
    /// Tried again at this time.
    Failing(Instant),
    /// Nobody reads any more.
    Gone,
}

/// Owns everything of the text log.
pub(super) struct Renderer {
    config: TextConfig,
    inbox: Arc<Inbox>,
    output: Output,
    outlet: Outlet,
    page: Page,
    processes: HashMap<Id, Process>,
    /// Those with something to read, each once.
    queue: VecDeque<Id>,
    cursors: Cursors,
    /// The earliest line that is to be written unended, or earlier.
    partial_due: Option<Instant>,
    /// When the cursors are to be written, if anything changed.
    save_at: Option<Instant>,
    /// When logs that could not be read are tried again.
    reread_at: Option<Instant>,
    flushed_at: Instant,
}

impl Renderer {
    pub(super) fn new(config: TextConfig, inbox: Arc<Inbox>) -> Result<Renderer, TextLogError> {
        let output = Output::open(&config)?;
        let (cursors, before) = Cursors::load(&config.cursors);
        let mut renderer = Renderer {
            config,
            inbox,
            output,
            outlet: Outlet::Open,
            page: Page::default(),
            processes: HashMap::new(),
            queue: VecDeque::new(),
            cursors,
            partial_due: None,
            save_at: None,
            reread_at: None,
            flushed_at: Instant::now(),
        };
        renderer.note_before(&before);
        Ok(renderer)
    }

    /// The last record of each process that was rendered before.
    pub(super) fn rendered(&self) -> HashMap<Id, u64> {
        self.cursors.known.iter().map(|(id, cursor)| (*id, cursor.next_seq.saturating_sub(1))).collect()
    }

    fn note_before(&mut self, before: &Before) {
        let text = match before {
            Before::Nothing | Before::Stopped => return,
            Before::Crashed => {
                "the zerovisor before did not end by itself: lines of its last second may stand here again".to_owned()
            }
            Before::Unreadable(why) => {
                tracing::warn!(path = %self.config.cursors.display(), why, "the positions of the text log are lost");
                format!("the positions of the text log are lost ({why}): lines may stand here again")
            }
        };
        self.page.line(now(), &who("zerovisor", 0, None), Word::Node, &text);
    }

    pub(super) fn run(mut self) {
        // From here on a crash is one that is to be told of.
        self.cursors.save(false);
        while self.outlet != Outlet::Gone && !self.round() {}
        if self.outlet != Outlet::Gone {
            self.finish();
        }
        self.inbox.end();
    }

    /// Waits for something to do and does some of it; true when told to stop.
    fn round(&mut self) -> bool {
        let mut at = Instant::now();
        if !self.can_write(at) {
            let patience = match self.outlet {
                Outlet::Failing(until) => until.saturating_duration_since(at),
                Outlet::Open | Outlet::Blocked | Outlet::Gone => Duration::ZERO,
            };
            return self.inbox.wait_for_stop(patience);
        }
        let (news, stop) = self.inbox.wait(self.patience(at));
        if stop {
            self.take(news);
            return true;
        }
        at = Instant::now();
        if self.page.text.is_empty() {
            self.flushed_at = at;
        }
        self.take(news);
        self.read_queued(at);
        self.write_partials(at);
        if self.queue.is_empty() {
            let wrote = !self.page.text.is_empty();
            self.flush(at);
            if wrote {
                std::thread::sleep(NAP);
            }
        }
        self.save_if_due(at);
        false
    }

    /// Whether lines find a way out; tries where they did not.
    fn can_write(&mut self, at: Instant) -> bool {
        match self.outlet {
            Outlet::Open => return true,
            Outlet::Failing(until) if at < until => return false,
            Outlet::Failing(_) | Outlet::Blocked => self.flush(at),
            Outlet::Gone => {}
        }
        self.outlet == Outlet::Open
    }

    fn patience(&self, at: Instant) -> Duration {
        if !self.queue.is_empty() || !self.page.text.is_empty() {
            return Duration::ZERO;
        }
        let next = [self.partial_due, self.save_at, self.reread_at].into_iter().flatten().min();
        next.map_or(IDLE_MAX, |next| next.saturating_duration_since(at))
    }

    fn take(&mut self, news: News) {
        for (id, told) in news.told {
            self.take_told(id, told);
        }
        for event in news.events {
            // What the process did before stands before it.
            if let Some(id) = event.id {
                self.turn(id, Instant::now());
            }
            self.event(&event);
        }
        if news.left_out > 0 {
            let text = format!("{} events of the node are left out here: zvctl events has them", news.left_out);
            self.page.line(now(), &who("zerovisor", 0, None), Word::Gap, &text);
        }
    }

    fn take_told(&mut self, id: Id, told: Told) {
        if told.anew {
            self.processes.remove(&id);
            self.cursors.known.remove(&id);
        }
        if let Some((name, reader)) = told.opened {
            let old = self.processes.remove(&id);
            let cursor = match &old {
                Some(old) => old.cursor().clone(),
                None => self.cursors.known.get(&id).cloned().unwrap_or_default(),
            };
            let mut process = Process::new(name, reader, cursor);
            process.queued = old.is_some_and(|old| old.queued);
            self.processes.insert(id, process);
        }
        match self.processes.get_mut(&id) {
            Some(process) => {
                process.ending = told.ending.unwrap_or(process.ending);
                self.enqueue(id);
            }
            None if told.ending == Some(Ending::Removed) => {
                self.cursors.known.remove(&id);
                self.changed(Instant::now());
            }
            None => {}
        }
    }

    fn enqueue(&mut self, id: Id) {
        if let Some(process) = self.processes.get_mut(&id).filter(|process| !process.queued) {
            process.queued = true;
            self.queue.push_back(id);
        }
    }

    /// One turn for each that has something to read.
    fn read_queued(&mut self, at: Instant) {
        if self.reread_at.is_some_and(|due| due <= at) {
            self.reread_at = None;
            let failing: Vec<Id> = self.processes.iter().filter(|(_, p)| p.failing).map(|(id, _)| *id).collect();
            failing.into_iter().for_each(|id| self.enqueue(id));
        }
        for _ in 0..self.queue.len() {
            let Some(id) = self.queue.pop_front() else { return };
            if let Some(process) = self.processes.get_mut(&id) {
                process.queued = false;
            }
            if self.turn(id, at) {
                self.enqueue(id);
            }
            let now = Instant::now();
            if self.page.text.len() >= FLUSH_BYTES || now.saturating_duration_since(self.flushed_at) >= FLUSH_AFTER {
                self.flush(now);
            }
            if self.outlet != Outlet::Open {
                return;
            }
        }
    }

    /// Renders the next part of a process; true if there is more.
    fn turn(&mut self, id: Id, at: Instant) -> bool {
        let Some(process) = self.processes.get_mut(&id) else { return false };
        let turn = process.turn(&mut self.page, at, self.config.far_behind_bytes);
        match turn {
            Turn::More => {}
            Turn::Done => {
                process.failing = false;
                self.caught_up(id, at);
            }
            Turn::Failed(ref why) => self.cannot_read(id, why, at),
        }
        self.changed(at);
        turn == Turn::More
    }

    /// Rendered to the end of its log.
    fn caught_up(&mut self, id: Id, at: Instant) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        match process.ending {
            Ending::Open => {
                let due = process.wait_for_ends(at, self.config.partial_after);
                self.partial_due = earliest(self.partial_due, due);
            }
            Ending::Closed | Ending::Removed => self.let_go(id),
        }
    }

    /// Its reader is let go; what its streams have not ended is written, as there is no more time to wait.
    fn let_go(&mut self, id: Id) {
        let Some(mut process) = self.processes.remove(&id) else { return };
        process.write_out(&mut self.page);
        if process.ending == Ending::Removed {
            self.cursors.known.remove(&id);
        } else {
            self.cursors.known.insert(id, process.cursor().clone());
        }
    }

    fn cannot_read(&mut self, id: Id, why: &str, at: Instant) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        if process.ending == Ending::Removed {
            process.gap("its journal was removed before the rest of it was written here", &mut self.page);
            return self.let_go(id);
        }
        if !process.failing {
            process.failing = true;
            tracing::warn!(%id, why, "the journal of a process cannot be read for the text log: it is tried again");
        }
        self.reread_at.get_or_insert(at + RETRY_EVERY);
    }

    /// Writes lines that have waited for their end long enough.
    fn write_partials(&mut self, at: Instant) {
        if self.partial_due.is_none_or(|due| at < due) {
            return;
        }
        self.partial_due = None;
        for process in self.processes.values_mut() {
            // Of one that is queued the end may be in what is not yet read.
            let due = if process.queued {
                process.first_due()
            } else {
                process.write_due(&mut self.page, at, self.config.partial_after)
            };
            self.partial_due = earliest(self.partial_due, due);
        }
        self.changed(at);
    }

    /// Writes what is rendered, as far as the target takes it.
    fn flush(&mut self, at: Instant) {
        let mut done = 0;
        while done < self.page.text.len() {
            match self.output.write(&self.page.text[done..], at) {
                Ok(0) => return self.cannot_write(done, &io::ErrorKind::WriteZero.into(), at),
                Ok(written) => done += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.cannot_write(done, &error, at),
            }
        }
        self.page.text.clear();
        self.page.text.shrink_to(PAGE_BYTES);
        self.flushed_at = at;
        if let Outlet::Failing(_) = self.outlet {
            tracing::info!(target = self.output.name(), "the text log is written again");
        }
        self.outlet = Outlet::Open;
    }

    fn cannot_write(&mut self, done: usize, error: &io::Error, at: Instant) {
        self.page.text.drain(..done);
        let name = self.output.name();
        self.outlet = match (error.kind(), &self.output) {
            (io::ErrorKind::WouldBlock, _) => Outlet::Blocked,
            // A full disk heals; a pipe or terminal without its other end does not.
            (kind, Output::Stdout(_)) if !matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                tracing::warn!(%error, "standard output is gone: the text log ends");
                Outlet::Gone
            }
            _ => {
                if !matches!(self.outlet, Outlet::Failing(_)) {
                    tracing::error!(target = name, %error, "the text log cannot be written: it goes on once it can");
                }
                Outlet::Failing(at + RETRY_EVERY)
            }
        };
    }

    fn changed(&mut self, at: Instant) {
        self.save_at.get_or_insert(at + SAVE_EVERY);
    }

    /// Cursors are never ahead of what is written.
    fn save_if_due(&mut self, at: Instant) {
        if self.page.text.is_empty() && self.save_at.is_some_and(|due| due <= at) {
            self.save(false);
        }
    }

    fn save(&mut self, stopped: bool) {
        self.save_at = None;
        let live = self.processes.iter().map(|(id, process)| (*id, process.cursor().clone()));
        self.cursors.known.extend(live);
        self.cursors.save(stopped);
    }

    /// Renders the rest within a time, and keeps how far it came.
    fn finish(&mut self) {
        let deadline = Instant::now() + STOP_MAX;
        self.flush(Instant::now());
        if self.outlet == Outlet::Open {
            self.take(self.inbox.wait(Duration::ZERO).0);
        }
        while !self.queue.is_empty() && Instant::now() < deadline {
            match self.outlet {
                Outlet::Open => self.read_queued(Instant::now()),
                Outlet::Blocked => self.flush(Instant::now()),
                Outlet::Failing(_) | Outlet::Gone => break,
            }
        }
        for process in self.processes.values_mut() {
            process.write_out(&mut self.page);
        }
        self.flush(Instant::now());
        while self.outlet == Outlet::Blocked && Instant::now() < deadline {
            self.flush(Instant::now());
        }
        // Otherwise the cursors on disk stand before the first line that could not be written.
        if self.page.text.is_empty() {
            self.save(true);
        }
    }

    fn event(&mut self, event: &Event) {
        let text = match &event.what {
            Happening::Fact { .. } => return,
            Happening::NodeStarted { version } => {
                format!("started, version {version}, pid {}, node {}", std::process::id(), event.node)
            }
            Happening::NodeStopping => "stopping".to_owned(),
            Happening::Declared => "declared by its watcher".to_owned(),
            Happening::Returned => "its watcher is back".to_owned(),
            Happening::Unreachable => "its watcher is not heard of; it may well live".to_owned(),
            Happening::Lost => "lost: its watcher is dead, how it ended is not known".to_owned(),
            Happening::Removed => "removed, with its journal".to_owned(),
            Happening::JournalFailing { why } => format!("the journal cannot be written: {why}"),
            Happening::JournalRecovered => "the journal is written again".to_owned(),
            Happening::LostAfter { seq } => {
                format!("lost: its watcher is dead, how it ended is not known; {}", unknown_after(*seq))
            }
            Happening::TookIn { bytes, records } => {
                let bytes = Bytes(*bytes);
                format!("took in {bytes} of output ({records} records) kept while no zerovisor was here")
            }
            Happening::SpoolLeft { why } => format!("what a watcher left on disk is left there: {why}"),
            Happening::JournalDamaged { what } => format!("the journal is not intact: {what}"),
        };
        let name = event.name.as_ref().map_or("zerovisor", |name| name.as_str());
        self.page.line(event.at, &who(name, 0, None), Word::Node, &text);
    }
}

fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}
