//! The records of one process, as a journal or a spool holds them, against what it is known to have written.

use zerovisor::journal::LogReader;
use zerovisor::spool::{Left, Place};
use zerovisor_core::fact::{Fact, Gap};
use zerovisor_core::id::Id;
use zerovisor_core::record::Kind;
use zerovisor_core::wire;

use super::farm::Farm;

/// Bytes of one read.
const READ_BYTES: usize = 256 << 10;

/// What a record is about.
#[derive(Debug)]
pub(crate) enum Told {
    /// Output from this byte of the run on.
    Output(u64, Vec<u8>),
    Fact(Fact),
}

/// The first and the last number each record stands for, and what it says.
pub(crate) type Stream = Vec<(u64, u64, Told)>;

fn told(kind: Kind, seq: u64, offset: u64, payload: &[u8]) -> (u64, u64, Told) {
    if kind.is_output() {
        return (seq, seq, Told::Output(offset, payload.to_vec()));
    }
    let fact = wire::decode_fact(payload).expect("a fact");
    (if let Fact::Gap(gap) = &fact { gap.first_seq } else { seq }, seq, Told::Fact(fact))
}

/// Everything in the journal of the process of this name.
pub(crate) fn journaled(farm: &Farm, name: &str) -> Stream {
    let id = farm.row(name)["id"].as_str().expect("an id").to_owned();
    let (mut log, _) = LogReader::open(&farm.path(&format!("zerovisor.data/processes/{id}/log"))).expect("a log");
    let mut all = Vec::new();
    loop {
        let batch = log.next_batch(READ_BYTES).expect("an intact log");
        if batch.is_empty() {
            return all;
        }
        let kind = |kind: u8| Kind::try_from(kind).expect("a kind");
        all.extend(batch.iter().map(|r| told(kind(r.meta.kind), r.meta.seq, r.meta.offset, &r.payload)));
    }
}

/// The place of the spools of the farm's default endpoint.
pub(crate) fn spools(farm: &Farm) -> Place {
    Place::of(&format!("ipc://{}", farm.path("zerovisor.sock").display()).parse().expect("an endpoint"), None)
        .expect("a place")
}

/// The one spool in a place, once its watcher is gone.
pub(crate) fn left_in(place: &Place) -> Option<Left> {
    let ids: Vec<Id> = Left::ids(place).expect("a place that can be read");
    assert!(ids.len() <= 1, "{ids:?}");
    ids.into_iter().find_map(|id| Left::take(place, id).expect("a spool that can be read"))
}

/// Everything in a spool.
pub(crate) fn kept(left: &mut Left) -> Stream {
    let (mut all, mut after): (Stream, u64) = (Vec::new(), 0);
    loop {
        let batch = left.next_batch(after, READ_BYTES).expect("an intact spool");
        let Some(last) = batch.last() else { return all };
        after = last.head.seq;
        all.extend(batch.iter().map(|r| told(r.head.kind, r.head.seq, r.head.offset, &r.payload)));
    }
}

/// What is missing of a stream by its own account.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) gaps: usize,
    pub(crate) bytes: u64,
    pub(crate) lines: u64,
}

/// Asserts that the records follow each other and hold what one run wrote to its standard output, from its beginning on; that each gap
/// says exactly what is missing there; and returns the sum of them.
pub(crate) fn assert_accounted(stream: &Stream, written: &[u8]) -> Missing {
    let (mut next_seq, mut at, mut missing) = (stream[0].0, 0, Missing::default());
    let (mut said, sum) = ((0, 0), |(bytes, lines): (u64, u64), gap: &Gap| {
        (bytes + gap.bytes.expect("known bytes"), lines + gap.lines.expect("known lines"))
    });
    for (first, last, told) in stream {
        assert_eq!(*first, next_seq, "each once and in order");
        next_seq = last + 1;
        match told {
            Told::Output(offset, bytes) => {
                let from = usize::try_from(*offset).expect("an offset");
                let lost = &written[at..from];
                let lines = lost.iter().filter(|byte| **byte == b'\n').count() as u64;
                // Facts in between, which are never dropped, divide what is missing.
                assert_eq!(said, (lost.len() as u64, lines), "bytes and lines before byte {offset}");
                (missing.bytes, missing.lines) = (missing.bytes + said.0, missing.lines + said.1);
                said = (0, 0);
                at = from + bytes.len();
                assert!(written.get(from..at) == Some(bytes), "record {last} at byte {from}");
            }
            Told::Fact(Fact::Gap(gap)) => (said, missing.gaps) = (sum(said, gap), missing.gaps + 1),
            Told::Fact(_) => {}
        }
    }
    assert_eq!((said, at), ((0, 0), written.len()), "to the end");
    missing
}

/// How many facts are of this sort.
pub(crate) fn facts(stream: &Stream, is: impl Fn(&Fact) -> bool) -> usize {
    stream.iter().filter(|(_, _, told)| if let Told::Fact(fact) = told { is(fact) } else { false }).count()
}
