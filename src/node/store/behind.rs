//! Facts that a power cut took of the facts' own log, and not of the output's.
//!
//! Both are synced in one round, but they are files of their own: what the disk has of each at the moment of a cut is another thing.

use zerovisor_core::id::Id;
use zerovisor_core::record::Record;

use super::{READ_BYTES, Store, StoreError, is_fact, is_passable};
use crate::journal::{LogReader, SegmentLog, loaded, stored};

/// So many bytes of output are looked through at most, and as much again as a segment has: what a fast writer journals in a round of syncing.
const LOOK_BACK_BYTES: u64 = 64 << 20;

/// The facts of the log that come behind the last one of the facts, if they have any: without one, all of the output is read for them anyhow.
///
/// # Errors
/// The log cannot be read.
pub(in crate::node) fn facts_behind(log: &mut LogReader, facts: &LogReader) -> Result<Vec<Record>, StoreError> {
    let (Some((last, _)), Some((end, _))) = (facts.last(), log.last()) else { return Ok(Vec::new()) };
    let mut behind = Vec::new();
    if last >= end {
        return Ok(behind);
    }
    log.seek_seq_within(last.saturating_add(1), LOOK_BACK_BYTES);
    loop {
        match log.next_batch(READ_BYTES) {
            Ok(batch) if batch.is_empty() => break,
            Ok(batch) => behind.extend(batch.into_iter().filter_map(loaded).filter(is_fact)),
            Err(error) if is_passable(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    log.seek_first();
    Ok(behind)
}

impl Store {
    /// Puts facts back that [`facts_behind`] found.
    ///
    /// # Errors
    /// They cannot be written.
    pub(in crate::node) fn put_back(&self, id: Id, behind: &[Record]) -> Result<(), StoreError> {
        self.settle_facts(id)?;
        let (mut facts, _) = SegmentLog::open(&self.facts_dir(id), self.facts_config())?;
        Ok(facts.append(&behind.iter().map(stored).collect::<Vec<_>>())?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use bytes::Bytes;
    use zerovisor_core::fact::{Fact, State};
    use zerovisor_core::record::{Head, Kind};
    use zerovisor_core::units::Timestamp;
    use zerovisor_core::wire;

    use super::super::{Meta, read_story};
    use super::*;
    use crate::journal::LogConfig;

    fn record(seq: u64, kind: Kind, payload: Bytes) -> Record {
        Record { head: Head { seq, at: Timestamp(seq), run: 1, kind, offset: 0 }, payload }
    }

    fn fact(seq: u64, fact: &Fact) -> Record {
        record(seq, Kind::Fact, wire::encode_fact(fact).unwrap())
    }

    /// A life with output between its facts.
    fn life() -> Vec<Record> {
        let output = |seq| record(seq, Kind::Stdout, Bytes::from(vec![b'x'; 1000]));
        vec![
            fact(1, &Fact::Started { run: 1, pid: 1 }),
            output(2),
            fact(3, &Fact::Steady { run: 1 }),
            output(4),
            output(5),
            fact(6, &Fact::InputClosed { run: 1 }),
            output(7),
            fact(8, &Fact::Exited),
        ]
    }

    fn store(dir: &std::path::Path) -> (Store, Id) {
        let store = Store::open(dir, LogConfig { segment_bytes: 2500, ..LogConfig::default() }).unwrap();
        let id = Id::from_random([1; 16]);
        store.write_meta(&Meta::unknown(id)).unwrap();
        (store, id)
    }

    fn readers(store: &Store, id: Id) -> (LogReader, LogReader) {
        let open = |dir| LogReader::open(dir).unwrap().0;
        (open(&store.log_dir(id)), open(&store.facts_dir(id)))
    }

    #[test]
    fn facts_cut_behind_any_record_are_found_in_the_log_and_put_back() {
        let facts: Vec<Record> = life().into_iter().filter(is_fact).collect();
        for kept in 0..=facts.len() {
            let dir = tempfile::tempdir().unwrap();
            let (store, id) = store(dir.path());
            let mut logs = store.open_process(id).unwrap();
            logs.log.append(&life().iter().map(stored).collect::<Vec<_>>()).unwrap();
            logs.facts.append(&facts[..kept].iter().map(stored).collect::<Vec<_>>()).unwrap();
            drop(logs);
            let (mut log, told) = readers(&store, id);
            let behind = facts_behind(&mut log, &told).unwrap();
            // Without one fact all of the output is read anyhow.
            assert_eq!(behind, if kept == 0 { &[] } else { &facts[kept..] }, "{kept}");
            assert_eq!(log.next_batch(1).unwrap()[0].meta.seq, 1, "left at the first record");
            store.put_back(id, &behind).unwrap();
            let (mut log, mut told) = readers(&store, id);
            assert_eq!(read_story(Some(&mut log), Some(&mut told)).unwrap().state, Some(State::Exited));
            let logs = store.open_process(id).unwrap();
            assert_eq!(logs.facts.last(), Some((8, 8)), "{kept}");
        }
    }

    #[test]
    fn a_torn_fact_is_cut_before_others_are_put_behind_it() {
        let dir = tempfile::tempdir().unwrap();
        let (store, id) = store(dir.path());
        let mut logs = store.open_process(id).unwrap();
        let facts: Vec<_> = life().iter().filter(|record| is_fact(record)).map(stored).collect();
        logs.log.append(&life().iter().map(stored).collect::<Vec<_>>()).unwrap();
        logs.facts.append(&facts).unwrap();
        drop(logs);
        let segment = store.facts_dir(id).join(format!("{:020}.seg", 1));
        let whole = fs::metadata(&segment).unwrap().len();
        for cut in [3, 40, 50] {
            fs::OpenOptions::new().write(true).open(&segment).unwrap().set_len(whole - cut).unwrap();
            let (mut log, told) = readers(&store, id);
            let behind = facts_behind(&mut log, &told).unwrap();
            assert!(!behind.is_empty(), "{cut}");
            store.put_back(id, &behind).unwrap();
            assert_eq!(fs::metadata(&segment).unwrap().len(), whole, "{cut}");
        }
    }
}
