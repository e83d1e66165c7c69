//! The watcher's window: every record that no zerovisor has acknowledged, in order, ready to be sent again.
//!
//! ```text
//!   acknowledged | sent in this connection | not yet sent | on the disk only | newer, in memory (the last one may still grow)
//!                ^ front                   ^ sent         ^ disk             ^ back
//! ```
//! The window owns the one sequence of a watcher's life. What it holds in memory alone is bounded: [`Window::room`] says how much more
//! output may be taken from the child, and while it is nothing the child waits in write(2). Facts are always taken; there are few.
//! Without a zerovisor records go to the disk (`spilled`), and when no more can be kept the oldest output is dropped (`dropping`).

mod dropping;
mod entry;
mod spilled;

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::credit::{IN_FLIGHT_MAX, WINDOW_START_BYTES};
use crate::fact::{Fact, GapReason};
use crate::record::{Head, Kind, OUTPUT_MAX_BYTES};
use crate::units::Timestamp;

pub use dropping::{StandIns, stand_ins};
use entry::{Entry, Held, Kept, unknown_gap};
use spilled::OnDisk;

/// The most unacknowledged output a watcher holds in memory and nowhere else, in bytes. Full, the child waits.
pub const HELD_MAX_BYTES: usize = 4 << 20;
/// Output of fewer bytes is copied behind the record before it, if that has not been sent: one message for many small writes.
const COALESCE_BELOW: usize = 16 << 10;
/// What each record is counted as beside its output, in bytes: about what it takes of memory, so that many tiny ones are bounded too.
const RECORD_COST: usize = 128;

/// What a record that waits holds.
#[derive(Clone, PartialEq, Debug)]
pub enum Body {
    /// Bytes of the program.
    Output(Bytes),
    /// A fact, not yet encoded.
    Fact(Fact),
}

impl Body {
    /// The fact, if it is one.
    fn fact(self) -> Option<Fact> {
        match self {
            Body::Output(_) => None,
            Body::Fact(fact) => Some(fact),
        }
    }
}

/// The zerovisor claimed something that cannot be: drop it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// It acknowledged what was never made.
    #[error("the zerovisor acknowledged record {acknowledged}, but only {made} were made")]
    AckAhead {
        /// What it said.
        acknowledged: u64,
        /// The last that exists.
        made: u64,
    },
    /// Its journal ends behind the last record there is.
    #[error("the zerovisor's journal ends at record {journal}, but only {made} were made")]
    JournalAhead {
        /// What it said.
        journal: u64,
        /// The last that exists.
        made: u64,
    },
}

/// Unacknowledged records.
#[derive(Debug)]
pub struct Window {
    /// What is sent next; all, while nothing is on the disk alone.
    front: VecDeque<Entry>,
    disk: Option<OnDisk>,
    back: VecDeque<Entry>,
    sent: usize,
    sent_cost: usize,
    /// The last record that was ever sent.
    sent_to: u64,
    front_cost: usize,
    /// Of everything that is not on the disk.
    held_cost: usize,
    /// The last record that was ever on the disk.
    spilled_to: u64,
    next_seq: u64,
    /// Sequence numbers of the facts that were put in and are not acknowledged, wherever they are.
    facts: VecDeque<u64>,
    credit: usize,
    offsets: [(u32, u64); 3],
}

impl Default for Window {
    fn default() -> Window {
        Window {
            front: VecDeque::new(),
            disk: None,
            back: VecDeque::new(),
            sent: 0,
            sent_cost: 0,
            sent_to: 0,
            front_cost: 0,
            held_cost: 0,
            spilled_to: 0,
            next_seq: 1,
            facts: VecDeque::new(),
            credit: usize::try_from(WINDOW_START_BYTES).unwrap_or(usize::MAX),
            offsets: [(0, 0); 3],
        }
    }
}

fn slot(kind: Kind) -> usize {
    match kind {
        Kind::Stdout | Kind::Fact => 0,
        Kind::Stderr => 1,
        Kind::Terminal => 2,
    }
}

impl Window {
    /// How many more bytes of output may be taken.
    pub fn room(&self) -> usize {
        HELD_MAX_BYTES.saturating_sub(self.held_cost)
    }

    /// The last record that was ever sent: some zerovisor may have those up to it, acknowledged or not. At most [`IN_FLIGHT_MAX`] of them
    /// are still here.
    pub fn sent_to(&self) -> u64 {
        self.sent_to
    }

    /// Whether everything that was ever put in is acknowledged.
    pub fn is_empty(&self) -> bool {
        self.front.is_empty() && self.disk.is_none()
    }

    /// Facts that were put in and are not acknowledged, in memory and on the disk.
    pub fn unacknowledged_facts(&self) -> usize {
        self.facts.len()
    }

    /// Whether anything was sent in this connection and is not acknowledged.
    pub fn is_in_flight(&self) -> bool {
        self.sent > 0
    }

    /// Bytes of output held in memory alone, and a flat rate for each record.
    #[cfg(test)]
    fn held_bytes(&self) -> usize {
        self.held_cost
    }

    /// Bytes of output held in memory alone: what would be lost if the watcher ended now.
    pub fn held_output_bytes(&self) -> usize {
        let held = self.front.iter().chain(&self.back).filter(|entry| !entry.is_on_disk());
        held.map(|entry| entry.output().len()).sum()
    }

    /// The sequence number the next record gets.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// The oldest record that is still here or on the disk, or the next one.
    pub fn first_seq(&self) -> u64 {
        let first = self.front.front().map(Entry::first_seq);
        first.or(self.disk.map(|disk| disk.next_load)).unwrap_or(self.next_seq)
    }

    /// Takes output of a run, at most [`OUTPUT_MAX_BYTES`]; returns how many bytes of this kind the run has written by now.
    pub fn push_output(&mut self, at: Timestamp, run: u32, kind: Kind, data: Bytes) -> u64 {
        let of_run = &mut self.offsets[slot(kind)];
        if of_run.0 != run {
            *of_run = (run, 0);
        }
        let offset = of_run.1;
        of_run.1 += data.len() as u64;
        let written = of_run.1;
        let bytes = data.len();
        if bytes >= COALESCE_BELOW {
            self.push(at, run, kind, offset, Held::Output(data));
            return written;
        }
        let unsent = self.disk.is_some() || self.sent < self.front.len();
        if let Some(Entry { head, held: Held::Open(open), .. }) = self.newest().back_mut()
            && (head.run == run && head.kind == kind && unsent)
            && open.len() + bytes <= OUTPUT_MAX_BYTES
        {
            open.extend_from_slice(&data);
            self.count_new(bytes);
        } else {
            self.push(at, run, kind, offset, Held::Open(BytesMut::from(&data[..])));
        }
        written
    }

    /// Takes a fact.
    pub fn push_fact(&mut self, at: Timestamp, run: u32, fact: Fact) {
        self.facts.push_back(self.next_seq);
        self.push(at, run, Kind::Fact, 0, Held::Fact(Box::new(fact)));
    }

    fn push(&mut self, at: Timestamp, run: u32, kind: Kind, offset: u64, held: Held) {
        let entry = Entry { head: Head { seq: self.next_seq, at, run, kind, offset }, held, kept: Kept::Memory };
        self.next_seq += 1;
        self.count_new(entry.cost());
        self.newest().push_back(entry);
    }

    /// Counts what is new in memory.
    fn count_new(&mut self, cost: usize) {
        self.held_cost += cost;
        if self.disk.is_none() {
            self.front_cost += cost;
        }
    }

    /// The next record to send within the credit; it then counts as sent.
    pub fn next_to_send(&mut self) -> Option<(Head, Body)> {
        if self.sent >= IN_FLIGHT_MAX {
            return None;
        }
        let entry = self.front.get_mut(self.sent)?;
        let cost = entry.cost();
        // Something may always be in flight, or a record larger than the window would never go.
        if self.sent_cost > 0 && self.sent_cost + cost > self.credit {
            return None;
        }
        entry.freeze();
        let sent = (entry.head, entry.held.body());
        self.sent_to = self.sent_to.max(entry.head.seq);
        self.sent += 1;
        self.sent_cost += cost;
        Some(sent)
    }

    /// The zerovisor has this record and all before it; it grants a window of `window_bytes`. That may be ahead of what was sent in
    /// this connection: what an earlier one had in flight can arrive late.
    ///
    /// # Errors
    /// [`Violation::AckAhead`]; nothing was changed.
    pub fn on_ack(&mut self, seq: u64, window_bytes: u64) -> Result<(), Violation> {
        if seq >= self.next_seq {
            return Err(Violation::AckAhead { acknowledged: seq, made: self.next_seq - 1 });
        }
        self.credit = usize::try_from(window_bytes).unwrap_or(usize::MAX);
        self.forget_up_to(seq);
        Ok(())
    }

    /// A connection begins: the journal ends at `journal_end` (0: it has nothing) and everything behind that is sent from there on.
    /// Acknowledged records that the journal has lost become a gap.
    ///
    /// # Errors
    /// [`Violation::JournalAhead`]; nothing was changed.
    pub fn on_welcome(&mut self, journal_end: u64, window_bytes: u64, now: Timestamp) -> Result<(), Violation> {
        if journal_end >= self.next_seq {
            return Err(Violation::JournalAhead { journal: journal_end, made: self.next_seq - 1 });
        }
        self.on_disconnect();
        self.credit = usize::try_from(window_bytes).unwrap_or(usize::MAX);
        self.forget_up_to(journal_end);
        self.trim_gap(journal_end);
        let first = self.first_seq();
        if first > journal_end + 1 {
            let head = Head { seq: first - 1, at: now, run: 0, kind: Kind::Fact, offset: 0 };
            let lost = unknown_gap(journal_end + 1, (now, now), GapReason::JournalLost);
            self.front.push_front(Entry::gap(head, lost));
            self.recount();
        }
        Ok(())
    }

    /// The connection is gone: nothing counts as sent.
    pub fn on_disconnect(&mut self) {
        (self.sent, self.sent_cost) = (0, 0);
        self.forget_loaded();
    }

    fn forget_up_to(&mut self, seq: u64) {
        while self.facts.front().is_some_and(|fact| *fact <= seq) {
            self.facts.pop_front();
        }
        loop {
            while self.front.front().is_some_and(|entry| entry.head.seq <= seq) {
                let Some(entry) = self.front.pop_front() else { break };
                self.forget(&entry);
            }
            // What was never sent here may have arrived by an earlier connection.
            match &mut self.disk {
                Some(disk) if disk.next_load <= seq => disk.next_load = seq + 1,
                Some(_) | None => break,
            }
            self.join();
        }
        if self.front.is_empty() {
            // An idle watcher holds no memory for the time when it was busy.
            self.front.shrink_to(16);
            self.facts.shrink_to(16);
        }
    }

    fn forget(&mut self, entry: &Entry) {
        let cost = entry.cost();
        self.front_cost -= cost;
        if !entry.is_on_disk() {
            self.held_cost -= cost;
        }
        if self.sent > 0 {
            self.sent -= 1;
            self.sent_cost -= cost;
        }
    }

    /// A gap at the front that the journal turns out to have the beginning of.
    fn trim_gap(&mut self, journal_end: u64) {
        if let Some(entry) = self.front.front_mut() {
            entry.begin_at(journal_end + 1);
        }
    }
}

#[cfg(test)]
mod tests;
