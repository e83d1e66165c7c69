//! One process whose logs are open: which of its records are admitted, and how they are written.

use std::collections::HashMap;

use tokio::sync::watch;
use zerovisor_core::fact::Fact;
use zerovisor_core::name::ProcessName;
use zerovisor_core::record::{Head, Kind, Record};
use zerovisor_core::wire;

use super::{Break, Receipt, Receipts, Written};
use crate::journal::{SyncWork, stored};
use crate::node::store::{ProcessLogs, StoreError};

pub(super) struct Process {
    pub(super) logs: ProcessLogs,
    pub(super) name: ProcessName,
    receipts: Receipts,
    pub(super) written: watch::Sender<Written>,
    /// For each kind the run that wrote last, and where its next byte must be.
    offsets: HashMap<Kind, (u32, u64)>,
    broken: bool,
    batch: Vec<Record>,
}

impl Process {
    pub(super) fn new(
        logs: ProcessLogs,
        name: ProcessName,
        receipts: Receipts,
        written: watch::Sender<Written>,
    ) -> Process {
        Process { logs, name, receipts, written, offsets: HashMap::new(), broken: false, batch: Vec::new() }
    }

    /// A newer link of the same watcher: what the older one left waiting is forgotten, and will be sent again if need be.
    pub(super) fn relink(&mut self, name: ProcessName, receipts: Receipts) {
        (self.name, self.receipts, self.broken) = (name, receipts, false);
        self.batch.clear();
    }

    /// The last record in the log; 0: none.
    pub(super) fn end(&self) -> u64 {
        self.logs.log.last().map_or(0, |(seq, _)| seq)
    }

    /// Takes a record for the next batch; true if it is the first of it.
    pub(super) fn collect(&mut self, record: Record) -> bool {
        if self.broken {
            return false;
        }
        self.batch.push(record);
        self.batch.len() == 1
    }

    pub(super) fn take_batch(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.batch)
    }

    pub(super) fn receipts(&self) -> Receipts {
        self.receipts.clone()
    }

    /// What is not yet on the disk.
    pub(super) fn dirty(&mut self) -> Vec<SyncWork> {
        [self.logs.log.dirty(), self.logs.facts.dirty()].into_iter().flatten().collect()
    }

    /// Those records of a batch that follow the end of the log, and what is wrong with the next one, if anything is.
    pub(super) fn admit(&mut self, batch: Vec<Record>) -> (Vec<Record>, Option<String>) {
        let mut end = self.end();
        let mut admitted = Vec::with_capacity(batch.len());
        for record in batch {
            if record.head.seq <= end {
                continue;
            }
            if let Err(why) = self.check(&record, end) {
                return (admitted, Some(why));
            }
            end = record.head.seq;
            admitted.push(record);
        }
        (admitted, None)
    }

    fn check(&mut self, record: &Record, end: u64) -> Result<(), String> {
        let Head { seq, run, kind, offset, .. } = record.head;
        if !kind.is_output() {
            let fact = wire::decode_fact(&record.payload).map_err(|error| format!("record {seq}: {error}"))?;
            let first = if let Fact::Gap(gap) = &fact { gap.first_seq } else { seq };
            return if first == end + 1 { Ok(()) } else { Err(format!("record {first} follows record {end}")) };
        }
        if seq != end + 1 {
            return Err(format!("record {seq} follows record {end}"));
        }
        let next = offset.checked_add(record.payload.len() as u64);
        let next = next.ok_or_else(|| format!("{kind} of run {run} at an offset beyond all numbers"))?;
        match self.offsets.insert(kind, (run, next)) {
            // Only a gap may lie between the two, never a repetition.
            Some((before, expected)) if before == run && offset < expected => {
                Err(format!("{kind} of run {run} repeats from byte {offset}"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Facts first: a crash in between must leave too many of them, never too few.
    pub(super) fn append(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let facts: Vec<_> = records.iter().filter(|r| r.head.kind == Kind::Fact).map(stored).collect();
        let known = self.logs.facts.last().map_or(0, |(seq, _)| seq);
        let fresh: Vec<_> = facts.into_iter().filter(|fact| fact.meta.seq > known).collect();
        self.logs.facts.append(&fresh)?;
        Ok(self.logs.log.append(&records.iter().map(stored).collect::<Vec<_>>())?)
    }

    pub(super) fn break_off(&mut self, why: Break) {
        self.broken = true;
        self.batch.clear();
        self.offsets.clear();
        // The link may be gone already.
        let _ = self.receipts.send(Receipt::Broken(why));
    }
}

pub(super) fn facts_of(records: &[Record]) -> Vec<(Head, Fact)> {
    let fact = |record: &Record| Some((record.head, wire::decode_fact(&record.payload).ok()?));
    records.iter().filter(|record| record.head.kind == Kind::Fact).filter_map(fact).collect()
}
