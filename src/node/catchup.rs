//! What the start finds: every process and its past, facts that a killed zerovisor journaled and had not yet told as events, so that events
//! miss none, and what of the journal is not intact.

use std::collections::HashMap;
use std::path::Path;

use zerovisor_core::fact::Fact;
use zerovisor_core::id::Id;
use zerovisor_core::name::ProcessName;
use zerovisor_core::record::Record;
use zerovisor_core::units::Timestamp;
use zerovisor_core::view::{Event, Happening, Story};

use super::store::{Meta, Store, StoreError, facts_behind, is_passable, loaded_event, read_story, tell};
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

/// A process as the directory has it.
#[derive(Debug)]
pub(crate) struct Past {
    /// What its watcher declared.
    pub(crate) meta: Meta,
    /// What its facts tell.
    pub(crate) story: Story,
    /// The last record of its journal; 0: none.
    pub(crate) last_seq: u64,
    /// It was seen that its logs hold nothing at all. False also where that could not be read.
    pub(crate) is_empty: bool,
}

/// What the logs of a process tell.
#[derive(Default)]
struct Looked {
    /// Its facts, if some of them may be untold.
    candidate: Option<Candidate>,
    story: Story,
    last_seq: u64,
    is_empty: bool,
}

/// All that was found.
#[derive(Debug, Default)]
pub(crate) struct Caught {
    /// Every process there is.
    pub(crate) known: Vec<Past>,
    /// Facts of all processes that lie behind their last event, by time.
    pub(crate) untold: Vec<Untold>,
    /// What is to be said.
    pub(crate) findings: Vec<Finding>,
    /// Facts that a power cut took could not be put back.
    pub(crate) lacks_facts: bool,
}

/// Looks through the data directory, and opens each log once: of thousands this is what a start takes. What is wrong with one process keeps
/// no other from being served. `booted`: perhaps behind a power cut, so that facts may be behind the output.
///
/// # Errors
/// The directory itself, or the events, cannot be read.
pub(crate) fn catch_up(
    store: &Store,
    events: &SegmentLog,
    found: &Recovery,
    booted: bool,
) -> Result<Caught, StoreError> {
    let mut caught = Caught::default();
    caught.find(None, "its events: ", found);
    let mut open = HashMap::new();
    for id in store.ids()? {
        let (meta, unreadable) = store.declaration(id);
        let about = (meta.id, meta.name.clone());
        if let Some(error) = unreadable {
            let what = format!("{error}; it is served under the name {}", meta.name);
            caught.findings.push(Finding { about: Some(about.clone()), what });
        }
        let looked = caught.look(store, &about, booted).unwrap_or_else(|error| {
            caught.findings.push(Finding { about: Some(about), what: error.to_string() });
            Looked::default()
        });
        let Looked { candidate, story, last_seq, is_empty } = looked;
        open.extend(candidate.map(|candidate| (id, candidate)));
        caught.known.push(Past { meta, story, last_seq, is_empty });
    }
    find_told(events, &mut open)?;
    for candidate in open.into_values() {
        let about = candidate.about.clone();
        if let Err(error) = candidate.collect(&mut caught.untold) {
            caught.findings.push(Finding { about: Some(about), what: error.to_string() });
        }
    }
    caught.untold.sort_by_key(|fact| fact.at);
    Ok(caught)
}

impl Caught {
    /// What the logs of a process tell, its facts if some of them may be untold, and its last record.
    fn look(&mut self, store: &Store, about: &(Id, ProcessName), booted: bool) -> Result<Looked, StoreError> {
        let is_empty = store.holds_nothing(about.0)?;
        let mut read = |dir: &Path, what: &str| -> Result<Option<LogReader>, StoreError> {
            if !dir.is_dir() {
                let what = format!("{what}{} is missing", dir.display());
                self.findings.push(Finding { about: Some(about.clone()), what });
                return Ok(None);
            }
            let (reader, found) = LogReader::open(dir)?;
            self.find(Some(about), what, &found);
            Ok(Some(reader))
        };
        let mut log = read(&store.log_dir(about.0), "its output: ")?;
        let mut facts = read(&store.facts_dir(about.0), "its facts: ")?;
        let end = log.as_ref().and_then(LogReader::last).map_or(0, |(seq, _)| seq);
        let lacking = match (&mut log, &mut facts) {
            (Some(log), Some(facts)) if booted => self.put_back(store, about, log, facts)?,
            (Some(_) | None, Some(_) | None) => Vec::new(),
        };
        // What cannot be read is said by whoever reads past it; the rest is served.
        let mut story = read_story(log.as_mut(), facts.as_mut()).unwrap_or_default();
        tell(&mut story, &lacking);
        let looked = Looked { candidate: None, story, last_seq: end, is_empty };
        let Some(facts) = facts else { return Ok(looked) };
        let Some((last, at_us)) = facts.last() else {
            if end > 0 {
                let what = "its facts are missing: all of its output is read for them".to_owned();
                self.findings.push(Finding { about: Some(about.clone()), what });
            }
            return Ok(looked);
        };
        let about = about.clone();
        let candidate = Some(Candidate { about, facts, end, last: last.min(end), at_us, told: 0 });
        Ok(Looked { candidate, ..looked })
    }

    /// Puts the facts back that a power cut took and the output has. Returns those that could not be.
    fn put_back(
        &mut self,
        store: &Store,
        about: &(Id, ProcessName),
        log: &mut LogReader,
        facts: &mut LogReader,
    ) -> Result<Vec<Record>, StoreError> {
        let mut behind = facts_behind(log, facts)?;
        if behind.is_empty() {
            return Ok(behind);
        }
        let count = behind.len();
        let what = match store.put_back(about.0, &behind) {
            Ok(()) => {
                *facts = LogReader::open(&store.facts_dir(about.0))?.0;
                behind.clear();
                format!("its facts lacked the last {count}: they were read from its output")
            }
            Err(error) => {
                self.lacks_facts = true;
                format!("its facts lack the last {count}, which its output has: {error}")
            }
        };
        self.findings.push(Finding { about: Some(about.clone()), what });
        Ok(behind)
    }

    fn find(&mut self, about: Option<&(Id, ProcessName)>, of: &str, found: &Recovery) {
        let torn = found.torn.map(|torn| format!("{of}the last {} bytes were never completely written", torn.bytes));
        let damaged = found.damaged.iter().map(|damage| format!("{of}damaged: {damage}"));
        self.findings.extend(torn.into_iter().chain(damaged).map(|what| Finding { about: about.cloned(), what }));
    }
}

struct Candidate {
    about: (Id, ProcessName),
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
                let about = self.about.clone();
                Some(Untold { at: record.head.at, about, what: Happening::Fact { seq: record.head.seq, fact } })
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use zerovisor_core::spec::Spec;
    use zerovisor_core::stats::{Placement, Rung};
    use zerovisor_core::wire::HostProof;

    use super::*;
    use crate::journal::{LogConfig, Record, RecordMeta};

    /// A process that was declared, and its logs opened for a first link.
    fn process(store: &Store, id: Id) {
        let spec = Spec::new("p".parse().unwrap(), vec![]);
        let meta = Meta {
            id,
            secret: [0; 32],
            name: spec.name.clone(),
            spec,
            created_at: Timestamp(1),
            host: HostProof::default(),
            local: true,
            placement: Placement { rung: Rung::None, why: "no cgroup".into() },
        };
        store.write_meta(&meta).unwrap();
        store.open_process(id).unwrap();
    }

    #[test]
    fn only_a_journal_without_a_file_is_seen_to_be_empty() {
        let dir = tempfile::tempdir().unwrap();
        let config =
            LogConfig { segment_bytes: 1 << 20, retain_bytes: None, retain_age_us: None, index_every_bytes: 1 << 20 };
        let store = Store::open(dir.path(), config).unwrap();
        let [declared, empty, written, unreadable] = [1, 2, 3, 4].map(|n| Id::from_random([n; 16]));
        for id in [declared, empty, written, unreadable] {
            process(&store, id);
        }
        std::fs::remove_dir(store.log_dir(declared)).unwrap();
        std::fs::remove_dir(store.facts_dir(declared)).unwrap();
        let meta = RecordMeta { seq: 7, at_us: 1, run: 1, kind: 1, offset: 0 };
        let record = [Record { meta, payload: Bytes::from_static(b"x") }];
        for id in [written, unreadable] {
            store.open_process(id).unwrap().log.append(&record).unwrap();
        }
        // One bad segment, older than the good one: a directory can be opened, and read(2) fails.
        std::fs::create_dir(store.log_dir(unreadable).join(format!("{:020}.seg", 1))).unwrap();
        let (events, found) = store.open_events().unwrap();
        let caught = catch_up(&store, &events, &found, false).unwrap();
        let of = |id| caught.known.iter().find(|past| past.meta.id == id).map(|past| (past.last_seq, past.is_empty));
        assert_eq!((of(declared), of(empty)), (Some((0, true)), Some((0, true))));
        assert_eq!((of(written), of(unreadable)), (Some((7, false)), Some((0, false))));
        assert!(caught.findings.iter().any(|finding| finding.what.contains("cannot read")), "{:?}", caught.findings);
        assert!(matches!(store.holds_nothing(unreadable), Ok(false)));
    }
}
