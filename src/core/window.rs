//! The watcher's window: every record that no zerovisor has acknowledged, in order, ready to be sent again.
//!
//! ```text
//!   acknowledged | sent in this connection | not yet sent | (the last one may still grow)
//!                ^ front                   ^ sent         ^ back
//! ```
//! The window owns the one sequence of a watcher's life. It is bounded: [`Window::room`] says how much more output may be taken from
//! the child, and while it is nothing the child waits in write(2). Facts are always taken; there are few.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::credit::{IN_FLIGHT_MAX, WINDOW_START_BYTES};
use crate::fact::{Fact, Gap, GapReason};
use crate::record::{Head, Kind, OUTPUT_MAX_BYTES};
use crate::units::Timestamp;

/// The most unacknowledged output a watcher holds in memory, in bytes. Full, the child waits.
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

#[derive(Debug)]
enum Held {
    Open(BytesMut),
    Output(Bytes),
    Fact(Box<Fact>),
}

impl Held {
    /// Bytes of output.
    fn len(&self) -> usize {
        match self {
            Held::Open(bytes) => bytes.len(),
            Held::Output(bytes) => bytes.len(),
            Held::Fact(_) => 0,
        }
    }

    /// What it counts against the bound.
    fn cost(&self) -> usize {
        self.len() + RECORD_COST
    }
}

#[derive(Debug)]
struct Entry {
    head: Head,
    held: Held,
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
    entries: VecDeque<Entry>,
    sent: usize,
    sent_cost: usize,
    held_cost: usize,
    next_seq: u64,
    credit: usize,
    offsets: [(u32, u64); 3],
}

impl Default for Window {
    fn default() -> Window {
        Window {
            entries: VecDeque::new(),
            sent: 0,
            sent_cost: 0,
            held_cost: 0,
            next_seq: 1,
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

    /// Whether everything that was ever put in is acknowledged.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of output held, and a flat rate for each record.
    pub fn held_bytes(&self) -> usize {
        self.held_cost
    }

    /// Bytes of output held: what would be lost if the watcher ended now.
    pub fn held_output_bytes(&self) -> usize {
        let output = self.entries.iter().filter(|entry| entry.head.kind.is_output());
        output.map(|entry| entry.held.len()).sum()
    }

    /// The sequence number the next record gets.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// The oldest record that is still here, or the next one.
    pub fn first_seq(&self) -> u64 {
        self.entries.front().map_or(self.next_seq, first_of)
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
        if data.len() < COALESCE_BELOW {
            let unsent = self.sent < self.entries.len();
            if let Some(Entry { head, held: Held::Open(open) }) = self.entries.back_mut() {
                let same = head.run == run && head.kind == kind && unsent;
                if same && open.len() + data.len() <= OUTPUT_MAX_BYTES {
                    open.extend_from_slice(&data);
                    self.held_cost += data.len();
                    return written;
                }
            }
            self.push(at, run, kind, offset, Held::Open(BytesMut::from(&data[..])));
        } else {
            self.push(at, run, kind, offset, Held::Output(data));
        }
        written
    }

    /// Takes a fact.
    pub fn push_fact(&mut self, at: Timestamp, run: u32, fact: Fact) {
        self.push(at, run, Kind::Fact, 0, Held::Fact(Box::new(fact)));
    }

    fn push(&mut self, at: Timestamp, run: u32, kind: Kind, offset: u64, held: Held) {
        let head = Head { seq: self.next_seq, at, run, kind, offset };
        self.next_seq += 1;
        self.held_cost += held.cost();
        self.entries.push_back(Entry { head, held });
    }

    /// The next record to send within the credit; it then counts as sent.
    pub fn next_to_send(&mut self) -> Option<(Head, Body)> {
        if self.sent >= IN_FLIGHT_MAX {
            return None;
        }
        let entry = self.entries.get_mut(self.sent)?;
        let cost = entry.held.cost();
        // Something may always be in flight, or a record larger than the window would never go.
        if self.sent_cost > 0 && self.sent_cost + cost > self.credit {
            return None;
        }
        let body = match &mut entry.held {
            Held::Open(open) => {
                let bytes = std::mem::take(open).freeze();
                entry.held = Held::Output(bytes.clone());
                Body::Output(bytes)
            }
            Held::Output(bytes) => Body::Output(bytes.clone()),
            Held::Fact(fact) => Body::Fact(Fact::clone(fact)),
        };
        self.sent += 1;
        self.sent_cost += cost;
        Some((entry.head, body))
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
            let gap = Gap {
                first_seq: journal_end + 1,
                bytes: None,
                lines: None,
                since: now,
                until: now,
                reason: GapReason::JournalLost,
            };
            self.push_gap_front(first - 1, now, gap);
        }
        Ok(())
    }

    /// The connection is gone: nothing counts as sent.
    pub fn on_disconnect(&mut self) {
        (self.sent, self.sent_cost) = (0, 0);
    }

    /// Drops the oldest output until `bytes` of it are gone or none is left; what was dropped stands as gaps in its place. Facts stay.
    /// Only while disconnected. Returns the bytes dropped.
    pub fn drop_oldest_output(&mut self, bytes: usize) -> usize {
        debug_assert_eq!(self.sent, 0, "what is in flight is not dropped");
        let (mut dropped, mut kept) = (0, VecDeque::with_capacity(self.entries.len()));
        for entry in std::mem::take(&mut self.entries) {
            let output = match &entry.held {
                Held::Open(open) => &open[..],
                Held::Output(output) => &output[..],
                Held::Fact(_) => &[],
            };
            if output.is_empty() || dropped >= bytes {
                kept.push_back(entry);
                continue;
            }
            dropped += output.len();
            self.held_cost -= output.len();
            if extend_gap(kept.back_mut(), &entry.head, output) {
                self.held_cost -= RECORD_COST;
                continue;
            }
            kept.push_back(gap_in_place(&entry.head, output));
        }
        self.entries = kept;
        dropped
    }

    fn forget_up_to(&mut self, seq: u64) {
        while self.entries.front().is_some_and(|entry| entry.head.seq <= seq) {
            let Some(entry) = self.entries.pop_front() else { break };
            let cost = entry.held.cost();
            self.held_cost -= cost;
            if self.sent > 0 {
                self.sent -= 1;
                self.sent_cost -= cost;
            }
        }
        if self.entries.is_empty() {
            // An idle watcher holds no memory for the time when it was busy.
            self.entries.shrink_to(16);
        }
    }

    /// A gap at the front that the journal turns out to have the beginning of: how much of it is missing is no longer known.
    fn trim_gap(&mut self, journal_end: u64) {
        if let Some(Entry { held: Held::Fact(fact), .. }) = self.entries.front_mut()
            && let Fact::Gap(gap) = &mut **fact
            && gap.first_seq <= journal_end
        {
            (gap.first_seq, gap.bytes, gap.lines) = (journal_end + 1, None, None);
        }
    }

    fn push_gap_front(&mut self, seq: u64, at: Timestamp, gap: Gap) {
        let head = Head { seq, at, run: 0, kind: Kind::Fact, offset: 0 };
        self.held_cost += RECORD_COST;
        self.entries.push_front(Entry { head, held: Held::Fact(Box::new(Fact::Gap(gap))) });
    }
}

/// The first sequence number an entry stands for: a gap stands for a stretch.
fn first_of(entry: &Entry) -> u64 {
    if let Held::Fact(fact) = &entry.held
        && let Fact::Gap(gap) = &**fact
    {
        return gap.first_seq;
    }
    entry.head.seq
}

fn lines_in(output: &[u8]) -> u64 {
    output.iter().filter(|byte| **byte == b'\n').count() as u64
}

fn gap_in_place(head: &Head, output: &[u8]) -> Entry {
    let gap = Gap {
        first_seq: head.seq,
        bytes: Some(output.len() as u64),
        lines: Some(lines_in(output)),
        since: head.at,
        until: head.at,
        reason: GapReason::Offline,
    };
    Entry { head: Head { kind: Kind::Fact, offset: 0, ..*head }, held: Held::Fact(Box::new(Fact::Gap(gap))) }
}

#[expect(clippy::needless_pass_by_value, reason = "an optional mutable borrow is consumed by being used")]
/// Adds dropped output to the gap right before it, if there is one.
fn extend_gap(before: Option<&mut Entry>, dropped: &Head, output: &[u8]) -> bool {
    let Some(Entry { head, held: Held::Fact(fact) }) = before else { return false };
    let Fact::Gap(gap) = &mut **fact else { return false };
    if gap.reason != GapReason::Offline || head.seq + 1 != dropped.seq {
        return false;
    }
    gap.bytes = gap.bytes.map(|bytes| bytes + output.len() as u64);
    gap.lines = gap.lines.map(|lines| lines + lines_in(output));
    gap.until = dropped.at;
    head.seq = dropped.seq;
    true
}

#[cfg(test)]
mod tests;
