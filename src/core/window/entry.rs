//! One record of the window, in memory.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::RECORD_COST;
use crate::fact::{Fact, Gap, GapReason};
use crate::record::{Head, Kind, Record};
use crate::units::Timestamp;
use crate::wire;

#[derive(Debug)]
pub(super) enum Held {
    /// Output that may still grow.
    Open(BytesMut),
    Output(Bytes),
    Fact(Box<Fact>),
}

/// Where a record is beside memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kept {
    /// Nowhere.
    Memory,
    /// On its way to the disk.
    Spilling,
    /// On the disk: it can be had from there again.
    Disk,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) head: Head,
    pub(super) held: Held,
    pub(super) kept: Kept,
}

impl Entry {
    pub(super) fn fact(head: Head, fact: Fact) -> Entry {
        Entry { head, held: Held::Fact(Box::new(fact)), kept: Kept::Memory }
    }

    /// A stretch that is gone, up to the record with this head.
    pub(super) fn gap(head: Head, gap: Gap) -> Entry {
        Entry::fact(Head { kind: Kind::Fact, offset: 0, ..head }, Fact::Gap(gap))
    }

    /// As it was kept elsewhere; none if that is no record.
    pub(super) fn of(record: Record) -> Option<Entry> {
        let held = match record.head.kind {
            Kind::Stdout | Kind::Stderr | Kind::Terminal => Held::Output(record.payload),
            Kind::Fact => Held::Fact(Box::new(wire::decode_fact(&record.payload).ok()?)),
        };
        let entry = Entry { head: record.head, held, kept: Kept::Disk };
        (entry.first_seq() <= entry.head.seq).then_some(entry)
    }

    pub(super) fn is_on_disk(&self) -> bool {
        self.kept == Kept::Disk
    }

    /// Its output, or nothing.
    pub(super) fn output(&self) -> &[u8] {
        match &self.held {
            Held::Open(open) => open,
            Held::Output(output) => output,
            Held::Fact(_) => &[],
        }
    }

    /// What it counts against the bound.
    pub(super) fn cost(&self) -> usize {
        self.output().len() + RECORD_COST
    }

    /// Its output, which grows no more; none of a fact.
    pub(super) fn freeze(&mut self) -> Option<Bytes> {
        if let Held::Open(open) = &mut self.held {
            self.held = Held::Output(std::mem::take(open).freeze());
        }
        match &self.held {
            Held::Output(bytes) => Some(bytes.clone()),
            Held::Open(_) | Held::Fact(_) => None,
        }
    }

    pub(super) fn as_gap(&self) -> Option<&Gap> {
        let Held::Fact(fact) = &self.held else { return None };
        if let Fact::Gap(gap) = &**fact { Some(gap) } else { None }
    }

    fn as_gap_mut(&mut self) -> Option<&mut Gap> {
        let Held::Fact(fact) = &mut self.held else { return None };
        if let Fact::Gap(gap) = &mut **fact { Some(gap) } else { None }
    }

    /// The first sequence number it stands for: a gap stands for a stretch.
    pub(super) fn first_seq(&self) -> u64 {
        self.as_gap().map_or(self.head.seq, |gap| gap.first_seq)
    }

    /// A gap of which the beginning turns out to be somewhere: how much of it is missing is no longer known.
    pub(super) fn begin_at(&mut self, seq: u64) {
        if let Some(gap) = self.as_gap_mut()
            && gap.first_seq < seq
        {
            (gap.first_seq, gap.bytes, gap.lines) = (seq, None, None);
        }
    }

    /// Adds what a later gap is about, if one can stand for both.
    pub(super) fn absorb(&mut self, head: &Head, later: &Gap) -> bool {
        let end = self.head.seq;
        let Some(gap) = self.as_gap_mut() else { return false };
        if gap.reason != later.reason || end.checked_add(1) != Some(later.first_seq) {
            return false;
        }
        let sum = |a: Option<u64>, b: Option<u64>| Some(a?.saturating_add(b?));
        (gap.bytes, gap.lines) = (sum(gap.bytes, later.bytes), sum(gap.lines, later.lines));
        (gap.until, self.head.seq) = (later.until, head.seq);
        true
    }
}

/// What takes the place of dropped output.
pub(super) fn gap_for(head: &Head, output: &[u8]) -> Gap {
    Gap {
        first_seq: head.seq,
        bytes: Some(output.len() as u64),
        lines: Some(output.iter().filter(|byte| **byte == b'\n').count() as u64),
        since: head.at,
        until: head.at,
        reason: GapReason::Offline,
    }
}

/// A stretch of unknown size that is gone.
pub(super) fn unknown_gap(first_seq: u64, (since, until): (Timestamp, Timestamp), reason: GapReason) -> Gap {
    Gap { first_seq, bytes: None, lines: None, since, until, reason }
}

/// Adds a gap or a fact behind the others; a gap goes into the one before it, unless that is among the first `fixed`, which are no longer
/// ours to change, or a zerovisor may have the record it stands for, as it may those up to `sent_to`: then it is not missing, and what is
/// could not be told in bytes.
pub(super) fn put_behind(entries: &mut VecDeque<Entry>, fixed: usize, sent_to: u64, entry: Entry) {
    if entries.len() > fixed
        && let (Some(last), Some(gap)) = (entries.back_mut(), entry.as_gap())
        && last.head.seq > sent_to
        && last.absorb(&entry.head, gap)
    {
        return;
    }
    entries.push_back(entry);
}

pub(super) fn cost_of<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> usize {
    entries.into_iter().map(Entry::cost).sum()
}
