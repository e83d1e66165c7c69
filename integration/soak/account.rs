//! What a journal has of a process, by its own account: each record once and in order, and gaps of exactly the size of what is missing.

use std::collections::BTreeMap;
use std::ops::{Add, AddAssign};

use zerovisor::journal::{LogReader, Record};
use zerovisor_core::fact::{Fact, Gap, GapReason};
use zerovisor_core::record::Kind;
use zerovisor_core::wire;

use crate::harness::Farm;

use super::writer::{Stream, parting};

/// Bytes of one read.
const READ_BYTES: usize = 1 << 20;

/// How much is missing.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Missing {
    pub(super) bytes: usize,
    pub(super) lines: usize,
}

impl Missing {
    fn of(bytes: &[u8]) -> Missing {
        Missing { bytes: bytes.len(), lines: bytes.iter().filter(|byte| **byte == b'\n').count() }
    }

    fn is_within(&self, least: &Missing, most: &Missing) -> bool {
        (least.bytes..=most.bytes).contains(&self.bytes) && (least.lines..=most.lines).contains(&self.lines)
    }
}

impl Add for Missing {
    type Output = Missing;

    fn add(self, more: Missing) -> Missing {
        Missing { bytes: self.bytes + more.bytes, lines: self.lines + more.lines }
    }
}

impl AddAssign for Missing {
    fn add_assign(&mut self, more: Missing) {
        *self = *self + more;
    }
}

/// What is there of one stream of one run.
#[derive(Default)]
struct Pieces {
    /// From which byte on, and the bytes.
    all: Vec<(usize, Vec<u8>)>,
    end: usize,
    /// What gaps had said when the last of them came.
    said: Missing,
}

/// Everything a journal has of a process.
#[derive(Default)]
pub(super) struct Account {
    last_seq: u64,
    pieces: BTreeMap<(u32, Stream), Pieces>,
    /// What all gaps say together.
    pub(super) said: Missing,
    pub(super) gaps: usize,
    /// Gaps that were cut by a journal that had some of it: of these nobody knows the size.
    pub(super) unknown: usize,
    /// The least and the most that is missing of what was looked at.
    least: Missing,
    most: Missing,
}

impl Account {
    /// Reads the journal of a process; panics at the first record that is not the next.
    pub(super) fn of(farm: &Farm, id: &str) -> Account {
        let dir = farm.path(&format!("zerovisor.data/processes/{id}/log"));
        let (mut log, _) = LogReader::open(&dir).expect("a log");
        let mut account = Account::default();
        loop {
            let batch = log.next_batch(READ_BYTES).expect("an intact log");
            if batch.is_empty() {
                return account;
            }
            batch.iter().for_each(|record| account.takes(record));
        }
    }

    fn takes(&mut self, record: &Record) {
        let meta = &record.meta;
        let kind = Kind::try_from(meta.kind).expect("a kind");
        let mut first = meta.seq;
        match Stream::of(kind) {
            Some(of) => self.takes_output((meta.run, of), usize::try_from(meta.offset).unwrap(), &record.payload),
            None => {
                if let Fact::Gap(gap) = wire::decode_fact(&record.payload).expect("a fact") {
                    first = gap.first_seq;
                    self.takes_gap(&gap);
                }
            }
        }
        assert_eq!(first, self.last_seq + 1, "each record once and in order: {meta:?}");
        self.last_seq = meta.seq;
    }

    fn takes_gap(&mut self, gap: &Gap) {
        assert_eq!(gap.reason, GapReason::Offline, "nothing else costs output: {gap:?}");
        self.gaps += 1;
        match (gap.bytes, gap.lines) {
            (Some(bytes), Some(lines)) => {
                self.said += Missing { bytes: usize::try_from(bytes).unwrap(), lines: usize::try_from(lines).unwrap() };
            }
            _ => self.unknown += 1,
        }
    }

    fn takes_output(&mut self, stream: (u32, Stream), from: usize, bytes: &[u8]) {
        let pieces = self.pieces.entry(stream).or_default();
        let hole = from.checked_sub(pieces.end).expect("no byte comes twice");
        let said = self.said.bytes - pieces.said.bytes;
        assert!(
            hole <= said || self.unknown > 0,
            "{stream:?}: {hole} bytes are missing before byte {from}, {said} by gaps"
        );
        (pieces.end, pieces.said) = (from + bytes.len(), self.said);
        pieces.all.push((from, bytes.to_vec()));
    }

    /// All that is there of a stream of a run.
    pub(super) fn text(&self, run: u32, of: Stream) -> Vec<u8> {
        self.pieces_of(run, of).iter().flat_map(|(_, bytes)| bytes).copied().collect()
    }

    fn pieces_of(&self, run: u32, of: Stream) -> &[(usize, Vec<u8>)] {
        self.pieces.get(&(run, of)).map_or(&[], |pieces| &pieces.all)
    }

    /// Asserts that what is there of a stream is of one of these wholes, each byte in its place, and adds up what is missing if at least
    /// `least` bytes were written.
    pub(super) fn looks_at(&mut self, run: u32, of: Stream, least: usize, wholes: &[Vec<u8>]) {
        let pieces = self.pieces_of(run, of);
        let end = pieces.last().map_or(0, |(from, bytes)| from + bytes.len());
        let fits = |whole: &&Vec<u8>| {
            whole.len() >= least
                && pieces.iter().all(|(from, bytes)| whole.get(*from..from + bytes.len()) == Some(bytes))
        };
        let missing = |whole: &Vec<u8>, end: usize| {
            let mut at = 0;
            let mut missing = Missing::default();
            for (from, bytes) in pieces {
                missing += Missing::of(&whole[at..*from]);
                at = from + bytes.len();
            }
            missing + Missing::of(&whole[at..end])
        };
        let fitting: Vec<&Vec<u8>> = wholes.iter().filter(fits).collect();
        let told =
            || format!("run {run}, {}, of at least {least}: {}", of.name(), parting(&self.text(run, of), &wholes[0]));
        assert!(!fitting.is_empty(), "{}", told());
        let by_bytes = |missing: &Missing| (missing.bytes, missing.lines);
        let at_least = fitting.iter().map(|whole| missing(whole, least.max(end))).min_by_key(by_bytes);
        let at_most = fitting.iter().map(|whole| missing(whole, whole.len())).max_by_key(by_bytes);
        (self.least, self.most) = (self.least + at_least.unwrap(), self.most + at_most.unwrap());
    }

    /// Asserts that gaps say what is missing of all that was looked at, to the byte and the line.
    pub(super) fn assert_exact(&self) {
        let Account { said, least, most, gaps, unknown, .. } = self;
        let exact = said.is_within(least, most) || (*unknown > 0 && said.bytes <= most.bytes);
        assert!(
            exact,
            "{gaps} gaps say that {said:?} are missing, of which {unknown} do not; it is {least:?} to {most:?}"
        );
    }
}
