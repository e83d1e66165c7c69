//! Holes in a sequence of records: what was kept for a journal, and comes back with some of it gone, is passed on whole, with a gap in
//! the place of each record that is not there.
//!
//! ```text
//!  journal ends at 4      kept from 7 on, 9 and 10 are damaged      passed on
//!  1 2 3 4                7 8 . . 11 12                             (5..6 journal lost) 7 8 (9..10 spool lost) 11 12
//! ```

use std::collections::BTreeMap;

use crate::fact::{Fact, Gap, GapReason};
use crate::record::{Head, Kind, OUTPUT_MAX_BYTES, Record};
use crate::units::Timestamp;
use crate::wire::{self, FACT_MAX_BYTES, WireError};

/// A record that no journal takes; a gap will stand in its place.
#[derive(Debug, thiserror::Error)]
pub enum BadRecord {
    /// More bytes than a record holds.
    #[error("record {seq} has {bytes} bytes, at most {most} are allowed")]
    TooLarge {
        /// Its number.
        seq: u64,
        /// Bytes of its payload.
        bytes: usize,
        /// The most of its kind.
        most: usize,
    },
    /// A fact that is none.
    #[error("record {seq} is no fact: {source}")]
    Fact {
        /// Its number.
        seq: u64,
        /// What is wrong with it.
        source: WireError,
    },
    /// A gap that ends before it begins.
    #[error("record {seq} is a gap from record {first_seq} on")]
    Gap {
        /// Its number.
        seq: u64,
        /// Where it says to begin.
        first_seq: u64,
    },
    /// Output that overlaps what came before it, or lies beyond all numbers.
    #[error(
        "record {seq} is {kind} of run {run} from byte {offset} on, which repeats what was written before or is no position"
    )]
    Offset {
        /// Its number.
        seq: u64,
        /// Its stream.
        kind: Kind,
        /// Its run.
        run: u32,
        /// Where it says to begin.
        offset: u64,
    },
}

/// Fills the holes between the end of a journal and what was kept for it.
#[derive(Debug)]
pub struct Holes {
    end: u64,
    kept_from: u64,
    before: Option<(Timestamp, u32)>,
    offsets: BTreeMap<Kind, (u32, u64)>,
}

impl Holes {
    /// Behind the last record of a journal (0: it has none). What was kept begins with `kept_from`: everything before it had been
    /// acknowledged, so what the journal has not of that it has lost.
    pub fn behind(journal_end: u64, kept_from: u64) -> Holes {
        Holes { end: journal_end, kept_from, before: None, offsets: BTreeMap::new() }
    }

    /// The last record that was passed on, or was in the journal.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Takes the next record, and gives it out behind a gap for what is missing before it; nothing if the journal has it.
    ///
    /// # Errors
    /// [`BadRecord`]: it counts as missing.
    pub fn push(&mut self, mut record: Record, out: &mut Vec<Record>) -> Result<(), BadRecord> {
        let Head { seq, at, run, .. } = record.head;
        if seq <= self.end {
            return Ok(());
        }
        let first = match self.check(&record)? {
            Some(gap) if gap.first_seq <= self.end => {
                // How much of it is missing is no longer known.
                let gap = Gap { first_seq: self.end + 1, bytes: None, lines: None, ..gap };
                record.payload = encoded(seq, gap)?;
                self.end + 1
            }
            Some(gap) => gap.first_seq,
            None => seq,
        };
        if first > self.end + 1 {
            self.fill(first - 1, at, run, out)?;
        }
        (self.end, self.before) = (seq, Some((at, run)));
        out.push(record);
        Ok(())
    }

    /// Nothing follows, and the last record that was made is the one before `next_seq`: what is missing of them is a gap.
    ///
    /// # Errors
    /// [`BadRecord`], of the gap itself.
    pub fn finish(&mut self, next_seq: u64, now: Timestamp, out: &mut Vec<Record>) -> Result<(), BadRecord> {
        let (at, run) = self.before.unwrap_or((now, 0));
        if next_seq > self.end.saturating_add(1) { self.fill(next_seq - 1, at, run, out) } else { Ok(()) }
    }

    /// What is wrong with it; its gap, if it is one.
    fn check(&mut self, record: &Record) -> Result<Option<Gap>, BadRecord> {
        let Head { seq, run, kind, offset, .. } = record.head;
        let (bytes, most) = (record.payload.len(), if kind.is_output() { OUTPUT_MAX_BYTES } else { FACT_MAX_BYTES });
        if bytes > most {
            return Err(BadRecord::TooLarge { seq, bytes, most });
        }
        if kind.is_output() {
            let next = offset.checked_add(bytes as u64);
            let known = self.offsets.get(&kind).filter(|(of, _)| *of == run);
            let next = next.filter(|_| known.is_none_or(|(_, expected)| offset >= *expected));
            let next = next.ok_or(BadRecord::Offset { seq, kind, run, offset })?;
            self.offsets.insert(kind, (run, next));
            return Ok(None);
        }
        match wire::decode_fact(&record.payload) {
            Ok(Fact::Gap(gap)) if gap.first_seq == 0 || gap.first_seq > seq => {
                Err(BadRecord::Gap { seq, first_seq: gap.first_seq })
            }
            Ok(Fact::Gap(gap)) => Ok(Some(gap)),
            Ok(_) => Ok(None),
            Err(source) => Err(BadRecord::Fact { seq, source }),
        }
    }

    /// Gaps up to this record, the next thing known being of that time and run.
    fn fill(&mut self, last: u64, until: Timestamp, run: u32, out: &mut Vec<Record>) -> Result<(), BadRecord> {
        let acknowledged = last.min(self.kept_from.saturating_sub(1));
        for (last, reason) in [(acknowledged, GapReason::JournalLost), (last, GapReason::SpoolLost)] {
            if last <= self.end {
                continue;
            }
            let (since, run) = self.before.unwrap_or((until, run));
            let gap = Gap { first_seq: self.end + 1, bytes: None, lines: None, since: since.min(until), until, reason };
            let head = Head { seq: last, at: until, run, kind: Kind::Fact, offset: 0 };
            out.push(Record { head, payload: encoded(last, gap)? });
            self.end = last;
        }
        Ok(())
    }
}

fn encoded(seq: u64, gap: Gap) -> Result<bytes::Bytes, BadRecord> {
    wire::encode_fact(&Fact::Gap(gap)).map_err(|source| BadRecord::Fact { seq, source })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn output(seq: u64) -> Record {
        let head = Head { seq, at: Timestamp(seq * 10), run: 1, kind: Kind::Stdout, offset: seq * 4 };
        Record { head, payload: Bytes::from_static(b"abc\n") }
    }

    fn fact(seq: u64, fact: &Fact) -> Record {
        let head = Head { seq, at: Timestamp(seq * 10), run: 1, kind: Kind::Fact, offset: 0 };
        Record { head, payload: wire::encode_fact(fact).unwrap() }
    }

    fn gap(first_seq: u64, seq: u64) -> Record {
        let (since, until) = (Timestamp(first_seq * 10), Timestamp(seq * 10));
        fact(
            seq,
            &Fact::Gap(Gap { first_seq, bytes: Some(9), lines: Some(1), since, until, reason: GapReason::Offline }),
        )
    }

    /// What a record stands for: its stretch, and the reason if it is a gap.
    fn stretch(record: &Record) -> (u64, u64, Option<GapReason>) {
        let seq = record.head.seq;
        match wire::decode_fact(&record.payload) {
            Ok(Fact::Gap(gap)) if record.head.kind == Kind::Fact => (gap.first_seq, seq, Some(gap.reason)),
            Ok(_) | Err(_) => (seq, seq, None),
        }
    }

    fn passed(holes: &mut Holes, records: impl IntoIterator<Item = Record>) -> Vec<(u64, u64, Option<GapReason>)> {
        let mut out = Vec::new();
        for record in records {
            let _ = holes.push(record, &mut out);
        }
        out.iter().map(stretch).collect()
    }

    #[test]
    fn what_is_missing_is_told_by_whom_it_was_lost() {
        let mut holes = Holes::behind(4, 7);
        let told = passed(&mut holes, [output(7), output(8), output(11)]);
        let (lost, damaged) = (Some(GapReason::JournalLost), Some(GapReason::SpoolLost));
        assert_eq!(told, [(5, 6, lost), (7, 7, None), (8, 8, None), (9, 10, damaged), (11, 11, None)]);
        let mut out = Vec::new();
        holes.finish(14, Timestamp(0), &mut out).unwrap();
        assert_eq!(out.iter().map(stretch).collect::<Vec<_>>(), [(12, 13, damaged)]);
        holes.finish(14, Timestamp(0), &mut out).unwrap();
        assert_eq!((out.len(), holes.end()), (1, 13), "once");
    }

    #[test]
    fn a_gap_whose_beginning_the_journal_has_is_cut() {
        let mut holes = Holes::behind(6, 1);
        let mut out = Vec::new();
        holes.push(gap(3, 9), &mut out).unwrap();
        assert_eq!(stretch(&out[0]), (7, 9, Some(GapReason::Offline)));
        assert_eq!(passed(&mut holes, [gap(8, 9), output(9), gap(10, 12)]), [(10, 12, Some(GapReason::Offline))]);
    }

    #[test]
    fn what_no_journal_takes_is_a_gap() {
        let mut holes = Holes::behind(0, 1);
        let repeats = Record { head: Head { offset: 0, ..output(2).head }, ..output(2) };
        let beyond = Record { head: Head { offset: u64::MAX, ..output(3).head }, ..output(3) };
        let no_fact =
            Record { head: Head { kind: Kind::Fact, ..output(4).head }, payload: Bytes::from_static(b"\xff") };
        let backwards = Record { head: fact(5, &Fact::Exited).head, payload: gap(9, 9).payload };
        let large = Record { payload: Bytes::from(vec![0; OUTPUT_MAX_BYTES + 1]), ..output(6) };
        let mut out = Vec::new();
        holes.push(output(1), &mut out).unwrap();
        for (bad, says) in [
            (repeats, "repeats"),
            (beyond, "no position"),
            (no_fact, "no fact"),
            (backwards, "from record 9"),
            (large, "262145"),
        ] {
            let why = holes.push(bad, &mut out).unwrap_err().to_string();
            assert!(why.contains(says) && !why.contains('\n'), "{why}");
        }
        holes.push(output(7), &mut out).unwrap();
        let damaged = Some(GapReason::SpoolLost);
        assert_eq!(out.iter().map(stretch).collect::<Vec<_>>(), [(1, 1, None), (2, 6, damaged), (7, 7, None)]);
    }

    proptest! {
        #[test]
        fn every_record_behind_the_journal_is_passed_on_or_in_a_gap_once_and_in_order(
            kept in proptest::collection::vec(any::<bool>(), 1..60),
            journal_end in 0u64..40,
            kept_from in 1u64..40,
        ) {
            let records = (1..).zip(&kept).filter(|(_, kept)| **kept).map(|(seq, _)| output(seq));
            let mut holes = Holes::behind(journal_end, kept_from);
            let told = passed(&mut holes, records);
            let mut next = journal_end + 1;
            for (first, last, reason) in told {
                prop_assert_eq!(first, next);
                for seq in first..=last {
                    let there = kept[usize::try_from(seq).unwrap() - 1];
                    prop_assert_eq!(there, reason.is_none(), "record {}", seq);
                    let acknowledged = seq < kept_from;
                    prop_assert!(reason.is_none() || (reason == Some(GapReason::JournalLost)) == acknowledged);
                }
                next = last + 1;
            }
            prop_assert_eq!(next, holes.end() + 1);
        }
    }
}
