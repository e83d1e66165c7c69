//! The records of a process's stream as a log stores them: in a zerovisor's journal and in a watcher's spool.

use zerovisor_core::record::{Head, Kind, Record};
use zerovisor_core::units::Timestamp;

use super::segment;

/// A record as a log stores it.
pub fn stored(record: &Record) -> segment::Record {
    let Head { seq, at, run, kind, offset } = record.head;
    let meta = segment::RecordMeta { seq, at_us: at.0, run, kind: kind.into(), offset };
    segment::Record { meta, payload: record.payload.clone() }
}

/// A record as it was stored; none of a kind this version does not know.
pub fn loaded(record: segment::Record) -> Option<Record> {
    let segment::RecordMeta { seq, at_us, run, kind, offset } = record.meta;
    let head = Head { seq, at: Timestamp(at_us), run, kind: Kind::try_from(kind).ok()?, offset };
    Some(Record { head, payload: record.payload })
}
