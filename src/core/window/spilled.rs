//! What of the window is on the disk.
//!
//! ```text
//!   front: in memory, sent or sent next | on the disk only: next_load..=last | back: in memory, newer
//! ```
//! What is on its way to the disk leaves memory only once it is there; what is in flight to a zerovisor stays in both. What was loaded
//! to be sent is forgotten again when the link ends: it is still on the disk.

use std::collections::VecDeque;

use super::Window;
use super::entry::{Entry, Kept, cost_of, unknown_gap};
use crate::fact::GapReason;
use crate::record::{Head, Kind, Record};
use crate::units::Timestamp;
use crate::wire;

/// So much that was loaded waits to be sent, in bytes, before more is wanted. With one read and what is in flight that is what draining a
/// spool takes of memory.
const LOAD_BELOW_BYTES: usize = 1 << 20;

/// Records that are on the disk and not in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct OnDisk {
    /// The first of them, or of what it stands for.
    pub(super) next_load: u64,
    /// The last.
    pub(super) last: u64,
}

impl Window {
    /// Bytes in memory that are not on the disk, of output and a flat rate for each record.
    pub fn unspilled_bytes(&self) -> usize {
        // What was dropped from the disk stands before it and has a place of its own there.
        if self.disk.is_some() {
            cost_of(&self.back)
        } else {
            cost_of(self.front.iter().filter(|e| self.is_unspilled(e)))
        }
    }

    fn is_unspilled(&self, entry: &Entry) -> bool {
        !entry.is_on_disk() && entry.head.seq > self.spilled_to
    }

    /// The last record that was ever on the disk; 0: none was.
    pub fn spilled_to(&self) -> u64 {
        self.spilled_to
    }

    /// Whether any record is on the disk, alone or beside what was read of it to be sent.
    pub fn is_spilled(&self) -> bool {
        self.disk.is_some() || self.front.iter().any(Entry::is_on_disk)
    }

    /// The first record that is on the disk, or would be next: what [`super::stand_ins`] begin with. What was read to be sent is among
    /// them, since the link is given up, and that forgotten, before anything is dropped.
    pub fn first_on_disk(&self) -> u64 {
        let loaded = self.front.iter().find(|entry| entry.is_on_disk()).map(Entry::first_seq);
        loaded.or(self.disk.map(|disk| disk.next_load)).unwrap_or(self.next_seq)
    }

    /// Everything that is not on the disk yet, in order, to be put there; it stays here until [`Window::on_spilled`].
    pub fn to_spill(&mut self) -> Vec<Record> {
        let spilled_to = self.spilled_to;
        let unspilled = self.newest().iter_mut().filter(|entry| !entry.is_on_disk() && entry.head.seq > spilled_to);
        let record = |entry: &mut Entry| {
            entry.kept = Kept::Spilling;
            let payload = match (entry.freeze(), entry.held.body()) {
                (Some(bytes), _) => bytes,
                // One that does not encode could not be sent either; its place will be a gap.
                (None, body) => body.fact().and_then(|fact| wire::encode_fact(&fact).ok())?,
            };
            Some(Record { head: entry.head, payload })
        };
        unspilled.filter_map(record).collect()
    }

    /// Everything that was to be spilled is on the disk, up to this record.
    pub fn on_spilled(&mut self, last: u64) {
        for entry in self.front.iter_mut().chain(&mut self.back).filter(|entry| entry.kept == Kept::Spilling) {
            entry.kept = if entry.head.seq <= last { Kept::Disk } else { Kept::Memory };
        }
        self.spilled_to = self.spilled_to.max(last);
        match &mut self.disk {
            Some(disk) => {
                while let Some(entry) = self.back.front().filter(|entry| entry.is_on_disk()) {
                    disk.last = entry.head.seq;
                    self.back.pop_front();
                }
            }
            None => self.release(self.sent),
        }
        self.recount();
    }

    /// Of what is both here and on the disk, all from the entry `from` on leaves memory. Only while nothing is on the disk alone.
    fn release(&mut self, from: usize) {
        let first = self.front.iter().skip(from).position(Entry::is_on_disk);
        let Some(first) = first.map(|first| first + from) else { return };
        let mut gone = self.front.split_off(first);
        let count = gone.iter().take_while(|entry| entry.is_on_disk()).count();
        let newer = gone.split_off(count);
        if let (Some(first), Some(last)) = (gone.front(), gone.back()) {
            self.disk = Some(OnDisk { next_load: first.first_seq(), last: last.head.seq });
            self.back = newer;
        }
    }

    /// What was loaded is forgotten: it is on the disk.
    pub(super) fn forget_loaded(&mut self) {
        match &mut self.disk {
            Some(disk) => {
                while let Some(entry) = self.front.back().filter(|entry| entry.is_on_disk()) {
                    disk.next_load = entry.first_seq();
                    self.front.pop_back();
                }
            }
            None => self.release(0),
        }
        self.recount();
    }

    /// Whether records are to be read from the disk now, to be sent: those from this one on.
    pub fn wants_load(&self) -> Option<u64> {
        let unsent = self.front_cost.saturating_sub(self.sent_cost);
        self.disk.filter(|_| unsent < LOAD_BELOW_BYTES).map(|disk| disk.next_load)
    }

    /// These are the records on the disk from `from` on, as was wanted; none: there are no more. What they leave out is damaged, and
    /// becomes a gap.
    pub fn on_loaded(&mut self, from: u64, records: Vec<Record>, now: Timestamp) {
        let Some(mut disk) = self.disk.filter(|disk| from <= disk.next_load) else { return };
        if records.is_empty() {
            return self.on_unreadable(now);
        }
        for mut entry in records.into_iter().filter_map(Entry::of) {
            let seq = entry.head.seq;
            if seq < disk.next_load || seq > disk.last {
                continue;
            }
            entry.begin_at(disk.next_load);
            let first = entry.first_seq();
            if first > disk.next_load {
                self.put_lost(disk.next_load, Head { seq: first - 1, ..entry.head });
            }
            disk.next_load = seq.saturating_add(1);
            self.front_cost += entry.cost();
            self.front.push_back(entry);
        }
        self.disk = Some(disk);
        self.join();
    }

    /// Nothing can be had from the disk any more: what was on it alone is a gap.
    pub fn on_unreadable(&mut self, now: Timestamp) {
        if let Some(disk) = self.disk.take() {
            let run = self.back.front().or(self.front.back()).map_or(0, |entry| entry.head.run);
            self.put_lost(disk.next_load, Head { seq: disk.last, at: now, run, kind: Kind::Fact, offset: 0 });
        }
        self.front.iter_mut().for_each(|entry| entry.kept = Kept::Memory);
        self.join();
    }

    /// A stretch that the disk did not give back; like what it did give back it can be had again.
    fn put_lost(&mut self, first_seq: u64, head: Head) {
        let since = self.front.back().map_or(head.at, |entry| entry.head.at);
        let gap = unknown_gap(first_seq, (since, head.at), GapReason::SpoolLost);
        let entry = Entry { kept: Kept::Disk, ..Entry::gap(head, gap) };
        self.front_cost += entry.cost();
        self.front.push_back(entry);
    }

    /// Once nothing is on the disk alone, front and back are one.
    pub(super) fn join(&mut self) {
        if self.disk.is_some_and(|disk| disk.next_load > disk.last) {
            self.disk = None;
        }
        if self.disk.is_none() {
            self.front.append(&mut self.back);
            self.back = VecDeque::new();
        }
        self.recount();
    }

    /// Where new records go.
    pub(super) fn newest(&mut self) -> &mut VecDeque<Entry> {
        if self.disk.is_some() { &mut self.back } else { &mut self.front }
    }

    /// Counts again after a change of many.
    pub(super) fn recount(&mut self) {
        self.front_cost = cost_of(&self.front);
        self.held_cost = cost_of(self.front.iter().chain(&self.back).filter(|entry| !entry.is_on_disk()));
    }
}
