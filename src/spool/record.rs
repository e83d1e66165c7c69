//! Records as a log stores them.

use zerovisor_core::record::{Head, Kind, Record};
use zerovisor_core::units::Timestamp;

use super::error::SpoolError;
use crate::journal::{self, JournalError};

/// A record as the log stores it.
pub(super) fn stored(record: &Record) -> journal::Record {
    let Head { seq, at, run, kind, offset } = record.head;
    let meta = journal::RecordMeta { seq, at_us: at.0, run, kind: kind.into(), offset };
    journal::Record { meta, payload: record.payload.clone() }
}

/// A record as it was stored; none of a kind this version does not know.
pub(super) fn loaded(record: journal::Record) -> Option<Record> {
    let journal::RecordMeta { seq, at_us, run, kind, offset } = record.meta;
    let head = Head { seq, at: Timestamp(at_us), run, kind: Kind::try_from(kind).ok()?, offset };
    Some(Record { head, payload: record.payload })
}

/// The next records of a log, at least one; none at its end. What is damaged is left out.
pub(super) fn read(log: &mut journal::LogReader, max_bytes: usize) -> Result<Vec<Record>, SpoolError> {
    loop {
        match log.next_batch(max_bytes) {
            Ok(batch) if batch.is_empty() => return Ok(Vec::new()),
            Ok(batch) => {
                let records: Vec<Record> = batch.into_iter().filter_map(loaded).collect();
                if !records.is_empty() {
                    return Ok(records);
                }
            }
            Err(JournalError::Expired { .. } | JournalError::Damaged(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
