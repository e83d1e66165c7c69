//! What the start finds: facts that a killed zerovisor journaled and had not yet told as events, so that events miss none, and what of the
//! journal is not intact.

use std::collections::HashMap;
use std::path::Path;

use zerovisor_core::fact::Fact;
use zerovisor_core::id::Id;
use zerovisor_core::name::ProcessName;
use zerovisor_core::units::Timestamp;
use zerovisor_core::view::{Event, Happening};

use super::store::{Meta, Store, StoreError, is_passable, loaded_event};
use crate::journal::{LogReader, Recovery, SegmentLog, loaded};

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

/// Something that is not intact.
#[derive(Debug)]
pub(crate) struct Finding {
    /// Of which process; none: the events of the node.
    pub(crate) about: Option<(Id, ProcessName)>,
    /// What it is.
    pub(crate) what: String,
}

/// All that was found.
#[derive(Debug, Default)]
pub(crate) struct Caught {
    /// Facts of all processes that lie behind their last event, by time.
    pub(crate) untold: Vec<Untold>,
    /// What is to be said.
    pub(crate) findings: Vec<Finding>,
}

/// Looks through the data directory. What is wrong with one process keeps no other from being served.
///
/// # Errors
/// The directory itself, or the events, cannot be read.
pub(crate) fn catch_up(store: &Store, events: &SegmentLog, found: &Recovery) -> Result<Caught, StoreError> {
    let mut caught = Caught::default();
    caught.find(None, "its events: ", found);
    let mut open = HashMap::new();
    for meta in store.processes()? {
        let about = (meta.id, meta.name.clone());
        if let Some(error) = store.meta_error(meta.id) {
            let what = format!("{error}; it is served under the name {}", meta.name);
            caught.findings.push(Finding { about: Some(about.clone()), what });
        }
        match caught.candidate(store, meta) {
            Ok(Some(candidate)) => drop(open.insert(about.0, candidate)),
            Ok(None) => {}
            Err(error) => caught.findings.push(Finding { about: Some(about), what: error.to_string() }),
        }
    }
    find_told(events, &mut open)?;
    for candidate in open.into_values() {
        let about = (candidate.meta.id, candidate.meta.name.clone());
        if let Err(error) = candidate.collect(&mut caught.untold) {
            caught.findings.push(Finding { about: Some(about), what: error.to_string() });
        }
    }
    caught.untold.sort_by_key(|fact| fact.at);
    Ok(caught)
}

impl Caught {
    fn candidate(&mut self, store: &Store, meta: Meta) -> Result<Option<Candidate>, StoreError> {
        let about = (meta.id, meta.name.clone());
        let mut read = |dir: &Path, what: &str| -> Result<Option<LogReader>, StoreError> {
            if !dir.is_dir() {
                let what = format!("{what}{} is missing", dir.display());
                self.findings.push(Finding { about: Some(about.clone()), what });
                return Ok(None);
            }
            let (reader, found) = LogReader::open(dir)?;
            self.find(Some(&about), what, &found);
            Ok(Some(reader))
        };
        let log = read(&store.log_dir(meta.id), "its output: ")?;
        let facts = read(&store.facts_dir(meta.id), "its facts: ")?;
        let end = log.and_then(|log| log.last()).map_or(0, |(seq, _)| seq);
        let Some(facts) = facts else { return Ok(None) };
        let Some((last, at_us)) = facts.last() else {
            if end > 0 {
                let what = "its facts are missing: all of its output is read for them".to_owned();
                self.findings.push(Finding { about: Some(about), what });
            }
            return Ok(None);
        };
        Ok(Some(Candidate { meta, facts, end, last: last.min(end), at_us, told: 0 }))
    }

    fn find(&mut self, about: Option<&(Id, ProcessName)>, of: &str, found: &Recovery) {
        let torn = found.torn.map(|torn| format!("{of}the last {} bytes were never completely written", torn.bytes));
        let damaged = found.damaged.iter().map(|damage| format!("{of}damaged: {damage}"));
        self.findings.extend(torn.into_iter().chain(damaged).map(|what| Finding { about: about.cloned(), what }));
    }
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
