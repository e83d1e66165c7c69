//! Facts that a killed zerovisor journaled and had not yet told as events: found at the start, so that events miss none.

use std::collections::HashMap;

use zerovisor_core::fact::Fact;
use zerovisor_core::id::Id;
use zerovisor_core::name::ProcessName;
use zerovisor_core::units::Timestamp;
use zerovisor_core::view::{Event, Happening};

use super::store::{Meta, Store, StoreError, is_passable, loaded, loaded_event};
use crate::journal::{LogReader, SegmentLog};

/// Bytes one read takes at most.
const READ_BYTES: usize = 256 << 10;

/// A fact without its event.
#[derive(Debug)]
pub(crate) struct Untold {
    /// When it happened.
    pub(crate) at: Timestamp,
    /// To which process.
    pub(crate) about: (Id, ProcessName),
    /// The event's content.
    pub(crate) what: Happening,
}

/// The facts of all processes that lie behind their last event, by time.
///
/// # Errors
/// A log cannot be read.
pub(crate) fn untold(store: &Store, events: &SegmentLog) -> Result<Vec<Untold>, StoreError> {
    let mut open = HashMap::new();
    for meta in store.processes()?.into_iter().flatten() {
        let (facts, _) = LogReader::open(&store.facts_dir(meta.id))?;
        let (log, _) = LogReader::open(&store.log_dir(meta.id))?;
        let end = log.last().map_or(0, |(seq, _)| seq);
        if let Some((last, at_us)) = facts.last() {
            open.insert(meta.id, Candidate { meta, facts, end, last: last.min(end), at_us, told: 0 });
        }
    }
    find_told(events, &mut open)?;
    let mut untold = Vec::new();
    for candidate in open.into_values() {
        candidate.collect(&mut untold)?;
    }
    untold.sort_by_key(|fact| fact.at);
    Ok(untold)
}

struct Candidate {
    meta: Meta,
    facts: LogReader,
    /// The last record in the log; facts beyond it do not count.
    end: u64,
    last: u64,
    at_us: u64,
    told: u64,
}

/// Goes backwards through the events until each candidate's last one was met.
fn find_told(events: &SegmentLog, open: &mut HashMap<Id, Candidate>) -> Result<(), StoreError> {
    for block in events.reader().blocks_back() {
        let records = block?.read()?;
        for event in records.iter().filter_map(loaded_event) {
            if let Event { id: Some(id), what: Happening::Fact { seq, .. }, .. } = event
                && let Some(candidate) = open.get_mut(&id)
            {
                candidate.told = candidate.told.max(seq);
            }
        }
        // Backwards, the first block that mentions a process has its last event.
        if open.values().all(|c| c.told > 0) {
            break;
        }
    }
    // What ended before the oldest event that is kept was told long ago.
    let oldest = events.reader().next_batch(1).ok().and_then(|batch| batch.first().map(|record| record.meta.at_us));
    open.retain(|_, c| c.told < c.last && (c.told > 0 || oldest.is_none_or(|oldest| c.at_us >= oldest)));
    Ok(())
}

impl Candidate {
    fn collect(mut self, untold: &mut Vec<Untold>) -> Result<(), StoreError> {
        self.facts.seek_seq(self.told + 1);
        loop {
            let batch = match self.facts.next_batch(READ_BYTES) {
                Ok(batch) if batch.is_empty() => return Ok(()),
                Ok(batch) => batch,
                Err(error) if is_passable(&error) => continue,
                Err(error) => return Err(error.into()),
            };
            let facts = batch.into_iter().filter_map(loaded).filter(|record| record.head.seq <= self.end);
            untold.extend(facts.filter_map(|record| {
                let fact: Fact = zerovisor_core::wire::decode_fact(&record.payload).ok()?;
                let about = (self.meta.id, self.meta.name.clone());
                Some(Untold { at: record.head.at, about, what: Happening::Fact { seq: record.head.seq, fact } })
            }));
        }
    }
}
