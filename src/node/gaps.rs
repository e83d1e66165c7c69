//! Stretches of a process's stream that no record tells of: what retention removed, and what a watcher had not handed over when it died.
//! No record could: the one would expire itself, and in place of the other a spool may still come.

use zerovisor_core::fact::{Gap, GapReason, State};
use zerovisor_core::units::Timestamp;

use crate::journal::{JournalError, LogReader};

/// A stretch that retention removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Expired {
    /// The first record of it that was wanted.
    pub first_seq: u64,
    /// The first record behind it.
    pub next_seq: u64,
}

impl Expired {
    /// This, with what was removed before it and nobody has been told of: nothing was read in between.
    pub(super) fn behind(self, earlier: Option<Expired>) -> Expired {
        let first_seq = earlier.map_or(self.first_seq, |earlier| earlier.first_seq.min(self.first_seq));
        Expired { first_seq, ..self }
    }

    /// The gap it makes between what was written at these times.
    pub(super) fn gap(self, since: Timestamp, until: Timestamp) -> Gap {
        let reason = GapReason::Expired;
        Gap { first_seq: self.first_seq, bytes: None, lines: None, since: since.min(until), until, reason }
    }
}

/// What retention has removed from the beginning of a log, and the time of the first record that is kept. Moves the reader; reads the
/// disk.
pub(super) fn expired(reader: &mut LogReader) -> Option<(Expired, Timestamp)> {
    reader.seek_seq(1);
    let Err(JournalError::Expired { first_available }) = reader.next_batch(1) else { return None };
    // One that cannot be read tells no time; whoever reads on is told why.
    let kept = reader.next_batch(1).ok().and_then(|batch| batch.first().map(|record| record.meta.at_us));
    Some((Expired { first_seq: 1, next_seq: first_available }, Timestamp(kept.unwrap_or(0))))
}

/// The gap behind the last record (its number and time; none: there is none) of a process in this state: nobody knows how much it
/// wrote, nor until when.
pub(super) fn unknown_tail(state: State, last: Option<(u64, u64)>) -> Option<Gap> {
    if state != State::Lost {
        return None;
    }
    let (seq, at_us) = last.unwrap_or_default();
    let at = Timestamp(at_us);
    let reason = GapReason::WatcherDied;
    Some(Gap { first_seq: seq.saturating_add(1), bytes: None, lines: None, since: at, until: at, reason })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::journal::{LogConfig, Record, RecordMeta, SegmentLog};

    #[test]
    fn what_is_removed_twice_before_a_record_is_read_is_one_gap() {
        let of = |first_seq, next_seq| Expired { first_seq, next_seq };
        assert_eq!(of(50, 90).behind(Some(of(7, 50))), of(7, 90));
        assert_eq!(of(50, 90).behind(None), of(50, 90));
    }

    #[test]
    fn only_what_was_removed_counts_as_expired() {
        let dir = tempfile::tempdir().unwrap();
        let config = LogConfig { segment_bytes: 4096, ..LogConfig::default() };
        let (mut log, _) = SegmentLog::open(&dir.path().join("log"), config).unwrap();
        // As of a journal that was lost: it begins with a gap, at record 5.
        for seq in 5..40 {
            let meta = RecordMeta { seq, at_us: seq * 10, run: 1, kind: 1, offset: 0 };
            log.append(&[Record { meta, payload: Bytes::from(vec![b'x'; 1000]) }]).unwrap();
        }
        assert_eq!(expired(&mut log.reader()), None);
        let next_seq = log.drop_oldest().unwrap().unwrap().last_seq + 1;
        let (gone, kept_at) = expired(&mut log.reader()).unwrap();
        assert_eq!((gone, kept_at), (Expired { first_seq: 1, next_seq }, Timestamp(next_seq * 10)));
    }

    #[test]
    fn only_a_lost_process_has_an_unknown_tail() {
        let tail = unknown_tail(State::Lost, Some((7, 70))).unwrap();
        assert_eq!((tail.first_seq, tail.since), (8, Timestamp(70)));
        assert!(tail.to_string().starts_with("what it wrote after record 7 is unknown"), "{tail}");
        assert!(unknown_tail(State::Lost, None).unwrap().to_string().starts_with("what it wrote is unknown"));
        for state in [State::Running, State::Exited, State::Unreachable, State::Stopped, State::Fatal] {
            assert_eq!(unknown_tail(state, Some((7, 70))), None, "{state}");
        }
    }
}
