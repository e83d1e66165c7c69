//! Without a zerovisor that takes records: when they go to the disk, when they come back from it, and when the oldest are dropped.
//!
//! ```text
//!   cut off for 1 s, or stalled: full and nothing acknowledged for 1 s
//!      | spill: all that is held, each second or MiB
//!      v
//!   disk at its limit, or none: memory fills, the child waits --offline-wait--> oldest segment: count, drop, spill again
//!
//!   linked: load, send, acknowledged --> trim --> all acknowledged: remove
//!   ended:  2 s without a zerovisor: spill the rest, leave; at the limit the watcher waits in its program's place
//!   left:   another's from then on: no link is made any more, and no job begun
//! ```

use std::time::{Duration, Instant};

use zerovisor_core::units::{Bytes, Span};
use zerovisor_core::window::{HELD_MAX_BYTES, StandIns};

use super::Session;
use super::leaving::GIVES_UP;
use crate::spool::{Meta, SpoolError};
use crate::watcher::clock;
use crate::watcher::say::say;
use crate::watcher::spooling::{Done, Job, Keep, Left, Offline, Spooler};

/// So long records wait in memory for a zerovisor to come back, or to take any; and so often they go to the disk after that.
const SPILL_EVERY: Duration = Duration::from_secs(1);
/// So much waits for that, in bytes; more goes to the disk at once.
const SPILL_AT_BYTES: usize = 1 << 20;
/// How soon a disk that could not be used, and not for want of room, is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(30);
/// How much is dropped from memory at once, in bytes.
const DROP_BYTES: usize = HELD_MAX_BYTES / 4;
/// How soon it is tried again for the first time, where nothing is lost by trying.
const TRY_AGAIN_FIRST: Duration = Duration::from_secs(1);
/// So often in a row a spool that cannot be read is tried, [`TRY_AGAIN_FIRST`] and then [`TRY_AGAIN`] apart; then what is in it is a gap. One
/// that the machine only lacks the means for just now is tried for as long as that lasts.
const READS_MAX: u32 = 3;

/// Why the disk took no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Refused {
    /// There is no room.
    Full,
    /// It cannot be written.
    Broken,
}

/// What is kept on disk, and how that goes.
#[derive(Debug)]
pub(super) struct Spooling {
    spooler: Option<Spooler>,
    /// Why there is no place for one.
    nowhere: Option<String>,
    wait: Duration,
    /// When records were last on their way to the disk.
    spilled_at: Option<Instant>,
    refused: Option<Refused>,
    /// What will stand for the oldest segment.
    counted: Option<StandIns>,
    /// Since when the window is full.
    full_since: Option<Instant>,
    /// Since when the link is of no use, though it is there.
    stalled_at: Option<Instant>,
    /// Whether the child has waited its time in this outage.
    waited: bool,
    /// What was said in this outage.
    told: Option<Refused>,
    /// Whether it was said that an ended program's output waits for room.
    told_of_waiting: bool,
    reads_failed: u32,
    /// When a spool that could not be read or removed is tried again.
    again_at: Option<Instant>,
    /// It is on its way to the next zerovisor, or there: nothing of it is ours any more.
    is_left: bool,
    left: Option<Result<Left, SpoolError>>,
}

impl Spooling {
    pub(super) fn new(offline: Offline) -> Spooling {
        let Offline { keep, limit, wait } = offline;
        let (spooler, nowhere) = match keep {
            Keep::At(place) => (Some(Spooler::new(place, limit)), None),
            Keep::InMemory => (None, None),
            Keep::Nowhere(why) => (None, Some(why)),
        };
        Spooling {
            spooler,
            nowhere,
            wait,
            spilled_at: None,
            refused: None,
            counted: None,
            full_since: None,
            stalled_at: None,
            waited: false,
            told: None,
            told_of_waiting: false,
            reads_failed: 0,
            again_at: None,
            is_left: false,
            left: None,
        }
    }

    /// Cancel-safe, as [`Spooler::back`] is.
    pub(super) async fn back(&self) {
        match &self.spooler {
            Some(spooler) => spooler.back().await,
            None => std::future::pending().await,
        }
    }

    /// Whether records can be kept on disk, as far as is known.
    pub(super) fn is_able(&self) -> bool {
        self.spooler.is_some() && self.refused != Some(Refused::Broken)
    }

    /// Whether the disk had no room for the last records that were to be put there.
    pub(super) fn is_out_of_room(&self) -> bool {
        self.refused == Some(Refused::Full)
    }

    /// Whether there is a spool, or may be.
    pub(super) fn holds_one(&self) -> bool {
        self.spooler.as_ref().is_some_and(Spooler::holds_one)
    }

    /// What came of leaving it, once.
    pub(super) fn take_left(&mut self) -> Option<Result<Left, SpoolError>> {
        self.left.take()
    }

    /// How much longer than others an ended process waits, since there was no room for the last of it.
    pub(super) fn wait_for_room(&self) -> Duration {
        if self.waited || self.refused == Some(Refused::Full) { self.wait } else { Duration::ZERO }
    }

    /// How long the child waits for room.
    pub(super) fn wait(&self) -> Duration {
        self.wait
    }

    fn is_free(&self) -> bool {
        !self.is_left && self.spooler.as_ref().is_none_or(Spooler::is_free)
    }

    /// Whether it is not to be read or removed just now, since that has failed.
    fn rests(&self, now: Instant) -> bool {
        self.again_at.is_some_and(|at| now < at)
    }

    fn on_outage_over(&mut self) {
        (self.waited, self.told, self.refused, self.spilled_at) = (false, None, None, None);
    }
}

impl Session {
    /// Takes in what came of a job for the disk.
    pub(super) fn take_spool(&mut self) {
        let Some(done) = self.spooling.spooler.as_mut().and_then(Spooler::take) else { return };
        match done {
            Done::Spilled { last, failed } => {
                self.window.on_spilled(last);
                self.spooling.refused = failed.as_ref().map(refusal);
                if let Some(error) = failed {
                    self.say_refused(&error);
                }
            }
            Done::Loaded { from, records: Ok(records) } => {
                (self.spooling.reads_failed, self.spooling.again_at) = (0, None);
                // A link that is gone by now wants nothing in memory that is on disk.
                if self.uplink.is_linked() {
                    self.window.on_loaded(from, records, clock::timestamp());
                }
            }
            Done::Loaded { from: _, records: Err(error) } => self.on_read_failed(&error),
            Done::Counted(Ok(standing)) => self.spooling.counted = Some(standing),
            Done::Dropped(Ok(())) => {
                if let Some(standing) = self.spooling.counted.take() {
                    self.window.on_dropped(standing);
                }
                (self.spooling.refused, self.spooling.spilled_at) = (None, None);
            }
            Done::Counted(Err(error)) | Done::Dropped(Err(error)) => {
                self.spooling.counted = None;
                self.spooling.refused = Some(Refused::Broken);
                self.say_refused(&error);
            }
            Done::Removed(removed) => {
                // What it took of memory is given back.
                self.untidy = true;
                if let Err(error) = removed {
                    say(format_args!("the spool is not wanted any more and stays: {error}"));
                    self.spooling.again_at = Some(Instant::now() + TRY_AGAIN);
                }
            }
            Done::Left(left) => self.spooling.left = Some(left),
            Done::Gone => self.window.on_unreadable(clock::timestamp()),
        }
    }

    fn on_read_failed(&mut self, error: &SpoolError) {
        let spooling = &mut self.spooling;
        spooling.reads_failed = spooling.reads_failed.saturating_add(1);
        if spooling.reads_failed >= READS_MAX && !error.is_passing() {
            (spooling.reads_failed, spooling.again_at) = (0, None);
            say(format_args!("lost: output that was kept on disk: {error}"));
            return self.window.on_unreadable(clock::timestamp());
        }
        let first = spooling.reads_failed == 1;
        if first {
            say(format_args!("what is kept on disk cannot be read just now, and is tried again: {error}"));
        }
        spooling.again_at = Some(Instant::now() + if first { TRY_AGAIN_FIRST } else { TRY_AGAIN });
    }

    /// Starts what is to be done for the disk now, and drops from memory what nothing can keep.
    pub(super) fn settle_spool(&mut self) {
        let now = Instant::now();
        self.watch_pressure(now);
        self.say_nowhere(now);
        if !self.spooling.is_free() {
            return;
        }
        if let Some(job) = self.next_job(now) {
            let acknowledged = self.window.first_seq() - 1;
            if let Some(spooler) = &mut self.spooling.spooler {
                spooler.start(job, acknowledged);
            }
        } else if self.must_drop(now) {
            self.uplink.give_up_link(&mut self.window);
            self.spooling.waited = true;
            if self.window.drop_oldest_output(DROP_BYTES) == 0 {
                // Nothing but facts, which stay.
                (self.spooling.full_since, self.spooling.waited) = (Some(now), false);
            }
        }
    }

    /// Notes whether the window is full, and whether the link is of use.
    fn watch_pressure(&mut self, now: Instant) {
        let (linked, taken_at) = (self.uplink.is_linked(), self.uplink.taken_at());
        let spooling = &mut self.spooling;
        if self.window.room() > 0 {
            spooling.full_since = None;
        } else {
            spooling.full_since.get_or_insert(now);
        }
        spooling.stalled_at = spooling.stalled_at.filter(|at| linked && taken_at < *at);
        if self.stalls_at().is_some_and(|at| now >= at) {
            self.spooling.stalled_at.get_or_insert(now);
        }
        // What ends with its process is over when records are taken: a link alone makes no room.
        let over = self.uplink.outage_since().is_none() && self.spooling.stalled_at.is_none();
        if over && !self.is_spooling_last(now) {
            self.spooling.on_outage_over();
        }
    }

    /// When a link is of no use any more, if it takes nothing until then of what it was sent: what waits to be read from the disk is not
    /// its fault, nor is what was before it.
    fn stalls_at(&self) -> Option<Instant> {
        let linked_at = self.uplink.linked_at().filter(|_| self.window.is_in_flight())?;
        Some(self.spooling.blocked_since(self.uplink.taken_at())?.max(linked_at) + SPILL_EVERY)
    }

    /// Since when nobody has taken anything, once that counts; none while records may be sent.
    fn cut_off_at(&self) -> Option<Instant> {
        if self.uplink.is_linked() {
            return self.spooling.stalled_at;
        }
        self.uplink.outage_since().map(|since| since + SPILL_EVERY)
    }

    fn is_cut_off(&self, now: Instant) -> bool {
        self.cut_off_at().is_some_and(|at| now >= at)
    }

    fn next_job(&mut self, now: Instant) -> Option<Job> {
        self.spooling.spooler.as_ref()?;
        let unwanted = self.window.is_empty() || (self.removed && self.left_at.is_some());
        if unwanted && self.spooling.counted.is_none() {
            return (self.spooling.holds_one() && !self.spooling.rests(now)).then_some(Job::Remove);
        }
        let (cut_off, ending) = (self.is_cut_off(now), self.is_spooling_last(now));
        if let Some(standing) = &self.spooling.counted {
            if (cut_off || ending)
                && let Ok(front) = self.window.front_with(standing)
            {
                self.uplink.give_up_link(&mut self.window);
                return Some(Job::Drop { front });
            }
            self.spooling.counted = None;
        }
        let may_leave = ending && self.shown_at.is_some() && self.spooling.holds_one();
        if may_leave && self.window.unspilled_bytes() == 0 {
            self.spooling.is_left = true;
            self.uplink.close(&mut self.window);
            return Some(Job::Leave { meta: self.meta() });
        }
        // A link that was offered nothing cannot take anything.
        let idle = self.uplink.is_linked() && !self.window.is_in_flight();
        if (cut_off || ending) && !(idle && self.may_load(now).is_some()) {
            return if self.must_count(now, ending) {
                Some(Job::Count { from: self.window.first_on_disk(), sent_to: self.window.sent_to() })
            } else {
                self.spill_at(ending).filter(|at| now >= *at).map(|_| self.spill(now))
            };
        }
        if !self.uplink.is_linked() {
            return None;
        }
        if let Some(from) = self.may_load(now) {
            return Some(Job::Load { from });
        }
        let acknowledged = self.spooling.holds_one() && self.window.first_seq() > self.window.spilled_to();
        (acknowledged && !self.spooling.rests(now)).then_some(Job::Remove)
    }

    /// From which record on the spool is to be read now.
    fn may_load(&self, now: Instant) -> Option<u64> {
        self.window.wants_load().filter(|_| self.spooling.holds_one() && !self.spooling.rests(now))
    }

    fn spill(&mut self, now: Instant) -> Job {
        self.spooling.spilled_at = Some(now);
        let mut meta = self.meta();
        // Only who leaves says where it ends: what a killed one has not written was never kept, and is no damage.
        meta.hello.next_seq = meta.hello.first_seq;
        Job::Spill { records: self.window.to_spill(), meta }
    }

    fn meta(&self) -> Box<Meta> {
        let hello = self.uplink.declared(&self.window, self.process.life().state());
        Box::new(Meta { endpoint: self.uplink.endpoint().to_string(), hello })
    }

    /// When what is held goes to the disk, while nobody else takes it.
    fn spill_at(&self, ending: bool) -> Option<Instant> {
        let (cut_off, spooling) = (self.cut_off_at(), &self.spooling);
        let held = self.window.unspilled_bytes();
        let first = cut_off.or(self.left_at).filter(|_| held > 0)?;
        let Some(before) = spooling.spilled_at else { return Some(first) };
        match spooling.refused {
            Some(Refused::Broken) => Some(before + TRY_AGAIN),
            None if held >= SPILL_AT_BYTES || ending => Some(before),
            None | Some(Refused::Full) => Some(before + SPILL_EVERY),
        }
    }

    /// When it has been waited long enough for room: by the child, and in its place by the watcher of one that has ended, unless it was
    /// told to give up.
    fn waits_until(&self, ending: bool) -> Option<Instant> {
        let taken_at = self.uplink.taken_at();
        let ended = self.left_at.filter(|_| ending).map(|at| at.max(taken_at));
        let since = self.spooling.blocked_since(taken_at).into_iter().chain(ended).min()?;
        let waits = !self.spooling.waited && self.interrupted < GIVES_UP;
        Some(if waits { since + self.spooling.wait } else { since })
    }

    /// Whether the oldest segment is to go.
    fn must_count(&mut self, now: Instant, ending: bool) -> bool {
        let no_room = self.spooling.refused == Some(Refused::Full) && self.window.is_spilled();
        let must = no_room && self.waits_until(ending).is_some_and(|at| now >= at);
        self.spooling.waited |= must;
        if no_room && ending && !must {
            self.say_waiting();
        }
        must
    }

    /// Whether output in memory is to go.
    fn must_drop(&self, now: Instant) -> bool {
        let due = self.is_cut_off(now) && self.waits_until(false).is_some_and(|at| now >= at);
        due && (self.spooling.refused.is_some() || self.spooling.spooler.is_none())
    }

    /// When [`Session::settle_spool`] has something to do, if nothing else happens.
    pub(super) fn spool_deadline(&self) -> Option<Instant> {
        let spooling = &self.spooling;
        if !spooling.is_free() {
            return None;
        }
        let now = Instant::now();
        let again_at = spooling.again_at.filter(|at| now < *at);
        let ending = self.is_spooling_last(now);
        if !ending && !self.is_cut_off(now) {
            let at = if self.uplink.is_linked() {
                self.stalls_at()
            } else {
                self.cut_off_at().filter(|_| self.window.unspilled_bytes() > 0)
            };
            return at.into_iter().chain(again_at).min();
        }
        let spill_at = self.spill_at(ending).filter(|_| spooling.spooler.is_some());
        let takes_no_more = spooling.refused.is_some() || spooling.spooler.is_none();
        let drop_at = self.waits_until(ending && self.window.is_spilled()).filter(|_| takes_no_more);
        spill_at.into_iter().chain(drop_at).chain(again_at).min()
    }

    /// Says once an outage that the disk takes no more, and what follows.
    fn say_refused(&mut self, error: &SpoolError) {
        let (refused, wait) = (refusal(error), Span(self.spooling.wait));
        if self.spooling.told == Some(refused) {
            return;
        }
        self.spooling.told = Some(refused);
        let held = Bytes(HELD_MAX_BYTES as u64);
        match refused {
            Refused::Full => say(format_args!(
                "{error}: {held} more are kept in memory, then the program waits, and after {wait} its oldest output is dropped"
            )),
            Refused::Broken => say_memory_only(error, wait),
        }
    }

    /// Says once that the program's end is not the end of the watcher.
    fn say_waiting(&mut self) {
        if !std::mem::replace(&mut self.spooling.told_of_waiting, true) {
            let (wait, endpoint) = (Span(self.spooling.wait), self.uplink.endpoint());
            say(format_args!(
                "it has ended, and there is no room on disk for the last of it: waiting up to {wait} for a zerovisor at {endpoint}; \
                 interrupt to give up"
            ));
        }
    }

    /// Says once that there is no place on disk, when it would be needed.
    fn say_nowhere(&mut self, now: Instant) {
        if self.spooling.nowhere.is_some()
            && self.is_cut_off(now)
            && let Some(why) = self.spooling.nowhere.take()
        {
            say_memory_only(&why, Span(self.spooling.wait));
        }
    }
}

impl Spooling {
    /// Since when the window is full and nothing was acknowledged.
    fn blocked_since(&self, taken_at: Instant) -> Option<Instant> {
        self.full_since.map(|since| since.max(taken_at))
    }
}

fn refusal(error: &SpoolError) -> Refused {
    if error.is_full() { Refused::Full } else { Refused::Broken }
}

fn say_memory_only(why: &dyn std::fmt::Display, wait: Span) {
    let held = Bytes(HELD_MAX_BYTES as u64);
    say(format_args!(
        "its output cannot be kept on disk ({why}): {held} are kept in memory, then the program waits, and after {wait} its oldest output \
         is dropped"
    ));
}
