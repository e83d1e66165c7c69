//! Dropping the oldest output, once nothing more can be kept: gaps in its place, exact in bytes and lines. Facts are never dropped.

use std::collections::VecDeque;

use super::entry::{Entry, gap_for, put_behind, unknown_gap};
use super::{Body, Held, Window};
use crate::fact::{Fact, GapReason};
use crate::record::{Head, Kind, Record};
use crate::wire::{self, WireError};

/// What stands for records that are dropped: gaps and facts, in order.
pub type StandIns = Vec<(Head, Fact)>;

/// What stands for these records, of which only those from `from` on count; a stretch that is missing among them is a gap, too. Those up to
/// `sent_to` stay apart ([`Window::sent_to`]).
#[must_use]
pub fn stand_ins(from: u64, sent_to: u64, records: Vec<Record>) -> StandIns {
    let (mut entries, mut next) = (VecDeque::new(), from);
    for mut entry in records.into_iter().filter_map(Entry::of).filter(|entry| entry.head.seq >= from) {
        entry.begin_at(next);
        let (head, first) = (entry.head, entry.first_seq());
        if first > next {
            let gap = unknown_gap(next, (head.at, head.at), GapReason::SpoolLost);
            put_behind(&mut entries, 0, sent_to, Entry::gap(Head { seq: first - 1, ..head }, gap));
        }
        let stands = match head.kind {
            Kind::Stdout | Kind::Stderr | Kind::Terminal => Entry::gap(head, gap_for(&head, entry.output())),
            Kind::Fact => entry,
        };
        put_behind(&mut entries, 0, sent_to, stands);
        next = head.seq.saturating_add(1);
    }
    entries.into_iter().filter_map(parts).collect()
}

/// A gap or another fact.
fn parts(entry: Entry) -> Option<(Head, Fact)> {
    match entry.held {
        Held::Fact(fact) => Some((entry.head, *fact)),
        Held::Open(_) | Held::Output(_) => None,
    }
}

impl Window {
    /// Drops the oldest output in memory until `bytes` of it are gone or none is left; what was dropped stands as gaps in its place. Only
    /// while disconnected, and while none of it is on its way to the disk. Returns the bytes dropped.
    pub fn drop_oldest_output(&mut self, bytes: usize) -> usize {
        debug_assert_eq!(self.sent, 0, "what is in flight is not dropped");
        let sent_to = self.sent_to;
        let entries = self.newest();
        let (mut dropped, mut kept) = (0, VecDeque::with_capacity(entries.len()));
        for entry in std::mem::take(entries) {
            let output = entry.output();
            if output.is_empty() || dropped >= bytes {
                kept.push_back(entry);
                continue;
            }
            dropped += output.len();
            let gap = gap_for(&entry.head, output);
            put_behind(&mut kept, 0, sent_to, Entry::gap(entry.head, gap));
        }
        *self.newest() = kept;
        self.recount();
        dropped
    }

    /// Everything that stands for what is no longer on the disk, once these take the place of its oldest records: what the next zerovisor
    /// has to be told, should it find nothing but the disk.
    ///
    /// # Errors
    /// A fact that does not encode.
    pub fn front_with(&self, standing: &StandIns) -> Result<Vec<Record>, WireError> {
        let dropped = self.front.iter().filter(|entry| !entry.is_on_disk() && entry.head.seq <= self.spilled_to);
        let facts = dropped.filter_map(|entry| match &entry.held {
            Held::Fact(fact) => Some(Entry::fact(entry.head, Fact::clone(fact))),
            Held::Open(_) | Held::Output(_) => None,
        });
        let mut all: VecDeque<Entry> = facts.collect();
        for (head, fact) in standing {
            put_behind(&mut all, 0, self.sent_to, Entry::fact(*head, fact.clone()));
        }
        let record = |(head, fact)| Ok(Record { head, payload: wire::encode_fact(&fact)? });
        all.into_iter().filter_map(parts).map(record).collect()
    }

    /// The oldest records have gone from the disk; these stand for them.
    pub fn on_dropped(&mut self, standing: StandIns) {
        let Some(mut disk) = self.disk else { return };
        for (head, fact) in standing.into_iter().filter(|(head, _)| head.seq <= disk.last) {
            // It was acknowledged meanwhile.
            if head.seq < disk.next_load {
                continue;
            }
            let mut entry = Entry::fact(head, fact);
            entry.begin_at(disk.next_load);
            disk.next_load = head.seq.saturating_add(1);
            put_behind(&mut self.front, self.sent, self.sent_to, entry);
        }
        self.disk = Some(disk);
        self.join();
    }
}

impl Held {
    /// As it is sent.
    pub(super) fn body(&self) -> Body {
        match self {
            Held::Open(open) => Body::Output(open.clone().freeze()),
            Held::Output(bytes) => Body::Output(bytes.clone()),
            Held::Fact(fact) => Body::Fact(Fact::clone(fact)),
        }
    }
}
