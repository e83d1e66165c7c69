//! The end of a watcher: when it waits for its last records to be taken, and when it gives up.

use std::time::{Duration, Instant};

use zerovisor_core::fact::State;
use zerovisor_core::units;

use super::Session;
use crate::spool::{Place, SpoolError};
use crate::watcher::say::say;
use crate::watcher::spooling::Left;

/// So many interrupts stop the run, kill it, and then stop waiting for anything.
pub(super) const GIVES_UP: u32 = 3;
/// How long an ended watcher waits for an acknowledgement while there is no zerovisor; then the last records are left on disk.
const LAST_WAIT: Duration = Duration::from_secs(2);
/// How long the disk may take to keep them.
const LAST_SPILL: Duration = Duration::from_secs(10);
/// How long an ended foreground watcher that has no disk waits where there was a zerovisor: it is being restarted, more likely than not.
const LAST_WAIT_RETURN: Duration = Duration::from_secs(30);
/// How long while there is one: a slow disk or line acknowledges now and then.
const LAST_WAIT_LINKED: Duration = Duration::from_secs(10);
/// How long a slow console is given for the last of the output.
const FRONT_WAIT: Duration = Duration::from_secs(2);
/// A detached watcher without a run ends after so long without any zerovisor.
const ABANDONED: Duration = Duration::from_secs(3600);

impl Session {
    /// The lifecycle is over: ends once the stream is acknowledged, or nobody is there to do it.
    pub(super) async fn leave(&mut self) -> Option<u8> {
        if self.left_at.is_none() {
            self.left_at = Some(Instant::now());
            self.uplink.hurry();
            let waits = !self.detached && !self.spooling.is_able();
            if waits && self.uplink.was_welcomed() && self.uplink.away_since().is_some() {
                let (seconds, endpoint) = (LAST_WAIT_RETURN.as_secs(), self.uplink.endpoint());
                say(format_args!(
                    "it has ended, and the zerovisor at {endpoint} is away: waiting up to {seconds} s for it to take the \
                     last records; interrupt to give up"
                ));
            }
        }
        let status = self.process.life().shell_status();
        let out_of_patience = self.is_out_of_patience();
        if self.tell_front(status, out_of_patience) {
            return None;
        }
        let clears_up = self.spooling.holds_one() && !out_of_patience;
        if self.removed {
            // Nobody wants the records of a process that was removed.
            return (!clears_up).then_some(status);
        }
        if self.tee.as_ref().is_some_and(|tee| !tee.is_empty()) && self.interrupted < GIVES_UP {
            return None;
        }
        if self.window.is_empty() {
            let stays = clears_up || self.uplink.is_parting() || self.uplink.goodbye(&mut self.window).await;
            return (!stays).then_some(status);
        }
        if let Some(left) = self.spooling.take_left() {
            self.say_left(left);
            return Some(status);
        }
        if self.shown_at.is_none() {
            self.shown_at = Some(Instant::now());
            self.settle_spool();
        }
        if !self.is_out_of_patience() {
            return None;
        }
        let output = units::Bytes(self.window.held_output_bytes() as u64);
        let endpoint = self.uplink.endpoint();
        say(format_args!(
            "lost: the exit record and {output} of output, which no zerovisor at {endpoint} took in time"
        ));
        Some(status)
    }

    /// Tells what becomes of the last records.
    fn say_left(&self, left: Result<Left, SpoolError>) {
        let endpoint = self.uplink.endpoint();
        match left {
            Ok(Left { dir, bytes }) => {
                let (bytes, place) = (units::Bytes(bytes), dir.parent().unwrap_or(&dir));
                let by_itself = Place::of(endpoint, None).is_ok_and(|own| own.dir() == place);
                let given = place.parent().filter(|_| !by_itself);
                let option =
                    given.map_or_else(String::new, |given| format!(", told of it by --spool {}", given.display()));
                let dir = dir.display();
                say(format_args!("kept: {bytes} in {dir}, which the next zerovisor at {endpoint} takes in{option}"));
            }
            Err(error) => say(format_args!("its end and last output may be lost: {error}")),
        }
    }

    /// Ends the user's console with the process, as soon as its end is recorded, or nobody is there to do it. True if that takes a while.
    fn tell_front(&mut self, status: u8, out_of_patience: bool) -> bool {
        let waits = self.front_by().is_some();
        let (recorded, linked, endpoint) = (self.window.is_empty(), self.uplink.is_linked(), self.uplink.endpoint());
        let (alternate, able) = (self.viewers.alternate, self.spooling.is_able());
        let Some(front) = &mut self.viewers.front else { return false };
        if waits && front.ended_at().is_none() {
            return true;
        }
        let now = Instant::now();
        if recorded {
            front.end(status, alternate, "", now);
        } else if !linked || out_of_patience {
            let why = if linked { "does not take" } else { "is not there to take" };
            let then = if able { "they are kept on disk for the next one" } else { "they may be lost" };
            let line = format!("zvwatch: the zerovisor at {endpoint} {why} its end and last output: {then}");
            front.end(status, alternate, &line, now);
        }
        if front.ended_at().is_some_and(|at| now >= at + FRONT_WAIT) {
            self.viewers.front = None;
        }
        self.viewers.front.as_ref().is_some_and(|front| !front.is_sent())
    }

    /// Until when the user's console is waited for: to take what the program wrote last, and then the word that it has ended.
    pub(super) fn front_by(&self) -> Option<Instant> {
        let front = self.viewers.front.as_ref()?;
        match front.ended_at() {
            Some(at) => (!front.is_sent()).then(|| at + FRONT_WAIT),
            None if self.viewers.console_has_caught_up() => None,
            None => self.left_at.map(|at| at + FRONT_WAIT).filter(|by| Instant::now() < *by),
        }
    }

    /// When the last records are put on disk, where that can be had.
    fn spools_last_at(&self) -> Option<Instant> {
        let left_at = self.left_at.filter(|_| self.spooling.is_able())?;
        if self.interrupted >= GIVES_UP {
            return Some(left_at);
        }
        let since = left_at.max(self.uplink.taken_at());
        let at = match self.uplink.outage_since() {
            Some(outage) if !self.uplink.is_linked() => left_at.max(outage) + LAST_WAIT,
            // One that is back has its time from then on, however late it is.
            Some(_) | None => self.uplink.linked_at().map_or(since, |at| since.max(at)) + LAST_WAIT_LINKED,
        };
        // One that welcomes again and again, and takes nothing, is waited for no longer than for room.
        Some(at.min(since + self.spooling.wait() + LAST_WAIT_LINKED))
    }

    /// Whether the last records are put on disk now.
    pub(super) fn is_spooling_last(&self, now: Instant) -> bool {
        self.spools_last_at().is_some_and(|at| now >= at)
    }

    /// When waiting for the last records to be taken, or put on disk, ends.
    fn patience(&self) -> Option<Instant> {
        let left_at = self.left_at?;
        let gives_up = self.interrupted >= GIVES_UP;
        // On a disk without room, where nothing is ours that could be dropped, they wait as if there were none.
        let hopeless = self.spooling.is_out_of_room() && !self.window.is_spilled() && !gives_up;
        if let Some(at) = self.spools_last_at().filter(|_| !hopeless) {
            let for_room = if gives_up { Duration::ZERO } else { self.spooling.wait_for_room() };
            return Some(at.max(left_at).max(self.shown_at.unwrap_or(at)) + for_room + LAST_SPILL);
        }
        if gives_up {
            return Some(left_at);
        }
        let since = left_at.max(self.uplink.progress_at());
        // Whoever is told of the failed start of a detached watcher is told by its front.
        let patient = self.detached && self.process.has_begun() && !self.guard_died;
        // Of one that comes back again and again, and takes nothing.
        let at_most = left_at.max(self.uplink.taken_at()) + LAST_WAIT_RETURN + LAST_WAIT_LINKED;
        match self.uplink.away_since() {
            Some(away) if patient => Some(away.max(left_at) + ABANDONED),
            None if patient => None,
            Some(_) if self.uplink.was_welcomed() => Some(at_most.min(since + LAST_WAIT_RETURN)),
            Some(_) => Some(since + LAST_WAIT),
            None => Some(at_most.min(since + LAST_WAIT_LINKED)),
        }
    }

    fn is_out_of_patience(&self) -> bool {
        self.patience().is_some_and(|end| Instant::now() >= end)
    }

    /// When an ending watcher has something to do, if nothing else happens.
    pub(super) fn leaves_at(&self) -> Option<Instant> {
        let now = Instant::now();
        self.spools_last_at().filter(|at| now < *at).or_else(|| self.patience())
    }

    /// When a detached watcher without a run gives up waiting for a zerovisor that could start one.
    pub(super) fn abandoned_at(&self) -> Option<Instant> {
        let life = self.process.life();
        let idle = self.detached
            && self.begun
            && !life.is_leaving()
            && (!life.state().has_run() && life.state() != State::Backoff);
        self.uplink.away_since().filter(|_| idle).map(|since| since + ABANDONED)
    }
}
