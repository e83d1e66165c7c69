//! The window against a disk, a journal that loses its end, and everything in between.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::*;
use super::AT;
use crate::fact::Gap;
use crate::record::Record;
use crate::wire;

/// Small, so that a few records are more than the disk takes.
const SEGMENT_RECORDS: usize = 4;
const DISK_RECORDS: usize = 16;

#[derive(Clone, Copy, Debug)]
enum Step {
    Output(usize, Kind),
    Fact,
    Send(usize),
    /// So many of what is in flight arrive, and are acknowledged.
    Ack(usize),
    Disconnect,
    /// The link is new; so many of what was in flight had arrived, and the journal has lost this many of its last records.
    Reconnect(usize, u64),
    /// What waits is handed to the disk, which takes so much of it before the next step but that many.
    Spill(usize),
    Spilled,
    Load(usize),
    /// The oldest segment is counted; then so much of what is in flight is still acknowledged before the link is given up and it goes.
    DropFromDisk(usize),
    DropFromMemory(usize),
    /// A record on the disk can't be read any more.
    Damage(usize),
    Trim,
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![Just(Kind::Stdout), Just(Kind::Stderr)];
    prop_oneof![
        6 => (1usize..40_000, kind).prop_map(|(n, kind)| Step::Output(n, kind)),
        2 => Just(Step::Fact),
        4 => (1usize..20).prop_map(Step::Send),
        3 => (0usize..20).prop_map(Step::Ack),
        2 => Just(Step::Disconnect),
        2 => (0usize..20, prop_oneof![4 => Just(0), 1 => 0u64..10]).prop_map(|(n, lost)| Step::Reconnect(n, lost)),
        4 => (0usize..12).prop_map(Step::Spill),
        4 => Just(Step::Spilled),
        4 => (1usize..6).prop_map(Step::Load),
        2 => (0usize..4).prop_map(Step::DropFromDisk),
        1 => (1usize..200_000).prop_map(Step::DropFromMemory),
        1 => (0usize..16).prop_map(Step::Damage),
        1 => Just(Step::Trim),
    ]
}

/// What a record held when it was made.
#[derive(Clone, PartialEq, Debug)]
enum Made {
    Output(Kind, Vec<u8>),
    Fact(u32),
}

/// The spool's half: segments of records, and the front that would be found if the watcher died.
#[derive(Default)]
struct Disk {
    log: VecDeque<Record>,
    front: Vec<Record>,
    on_its_way: Option<(Vec<Record>, u64)>,
}

#[derive(Default)]
struct Farm {
    window: Window,
    linked: bool,
    made: BTreeMap<u64, Made>,
    facts: u32,
    byte: u8,
    disk: Disk,
    /// The journal: what each of its records stands for.
    journal: Vec<(u64, Head, Body)>,
    in_flight: VecDeque<(Head, Body)>,
    /// Whether a stretch may be missing without an account of it.
    lost_journal: bool,
    damaged: bool,
}

impl Farm {
    fn end(&self) -> u64 {
        self.journal.last().map_or(0, |(_, head, _)| head.seq)
    }

    fn output(&mut self, n: usize, kind: Kind) {
        if n > self.window.room() {
            return;
        }
        let data: Vec<u8> = (0..n)
            .map(|_| {
                self.byte = self.byte.wrapping_add(1);
                self.byte
            })
            .collect();
        self.window.push_output(AT, 1, kind, data.clone().into());
        match self.made.entry(self.window.next_seq() - 1).or_insert_with(|| Made::Output(kind, Vec::new())) {
            Made::Output(_, bytes) => bytes.extend_from_slice(&data),
            Made::Fact(_) => panic!("output in the place of a fact"),
        }
    }

    fn fact(&mut self) {
        self.facts += 1;
        self.window.push_fact(AT, 1, Fact::Killed { run: self.facts });
        self.made.insert(self.window.next_seq() - 1, Made::Fact(self.facts));
    }

    fn arrive(&mut self, count: usize) {
        for (head, body) in self.in_flight.drain(..count.min(self.in_flight.len())).collect::<Vec<_>>() {
            let first = match &body {
                Body::Fact(Fact::Gap(gap)) => gap.first_seq,
                Body::Fact(_) | Body::Output(_) => head.seq,
            };
            assert_eq!(first, self.end() + 1, "in order, without a hole and without a repetition");
            self.journal.push((first, head, body));
        }
    }

    fn spill(&mut self, takes: usize) {
        if self.disk.on_its_way.is_some() {
            return;
        }
        let records = self.window.to_spill();
        let room = DISK_RECORDS.saturating_sub(self.disk.log.len()).min(takes);
        let written: Vec<Record> = records.into_iter().take(room).collect();
        if let Some(last) = written.last().map(|record| record.head.seq) {
            assert!(self.disk.log.back().is_none_or(|before| before.head.seq < written[0].head.seq), "only upwards");
            self.disk.on_its_way = Some((written, last));
        }
    }

    fn spilled(&mut self) {
        if let Some((records, last)) = self.disk.on_its_way.take() {
            self.disk.log.extend(records);
            self.window.on_spilled(last);
        }
    }

    fn load(&mut self, count: usize) {
        let Some(from) = self.window.wants_load().filter(|_| self.linked && self.disk.on_its_way.is_none()) else {
            return;
        };
        let records = self.disk.log.iter().filter(|record| record.head.seq >= from).take(count).cloned().collect();
        self.window.on_loaded(from, records, AT);
    }

    fn drop_from_disk(&mut self, acknowledged: usize) {
        if self.disk.on_its_way.is_some() || self.disk.log.is_empty() || !self.window.is_spilled() {
            return;
        }
        let oldest: Vec<Record> = self.disk.log.iter().take(SEGMENT_RECORDS).cloned().collect();
        let standing = stand_ins(self.window.first_on_disk(), self.window.sent_to(), oldest);
        self.take(Step::Ack(acknowledged));
        self.disk.front = self.window.front_with(&standing).unwrap();
        self.take(Step::Disconnect);
        self.disk.log.drain(..SEGMENT_RECORDS.min(self.disk.log.len()));
        self.window.on_dropped(standing);
    }

    fn drop_from_memory(&mut self, bytes: usize) {
        if !self.linked && self.disk.on_its_way.is_none() {
            self.window.drop_oldest_output(bytes);
        }
    }

    fn reconnect(&mut self, arrived: usize, lost: u64) {
        self.arrive(arrived);
        self.in_flight.clear();
        for _ in 0..lost {
            self.lost_journal |= self.journal.pop().is_some();
        }
        self.window.on_welcome(self.end(), WINDOW_START_BYTES, AT).unwrap();
        self.linked = true;
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Output(n, kind) => self.output(n, kind),
            Step::Fact => self.fact(),
            Step::Send(n) if self.linked => (0..n).for_each(|_| self.in_flight.extend(self.window.next_to_send())),
            Step::Ack(n) if self.linked => {
                self.arrive(n);
                self.window.on_ack(self.end(), WINDOW_START_BYTES).unwrap();
            }
            Step::Send(_) | Step::Ack(_) => {}
            Step::Disconnect => {
                self.window.on_disconnect();
                self.linked = false;
            }
            Step::Reconnect(n, lost) => self.reconnect(n, lost),
            Step::Spill(takes) => self.spill(takes),
            Step::Spilled => self.spilled(),
            Step::Load(count) => self.load(count),
            Step::DropFromDisk(acknowledged) => self.drop_from_disk(acknowledged),
            Step::DropFromMemory(bytes) => self.drop_from_memory(bytes),
            Step::Damage(at) => self.damaged |= self.disk.log.remove(at).is_some(),
            Step::Trim => {
                let first = self.window.first_seq();
                while self.disk.log.len() > SEGMENT_RECORDS && self.disk.log[SEGMENT_RECORDS - 1].head.seq < first {
                    self.disk.log.drain(..SEGMENT_RECORDS);
                }
            }
        }
    }

    /// Should the watcher die now: what the journal and the disk have together, as far as the disk was told.
    fn check_disk(&self) {
        let seqs = self.disk.front.iter().map(|record| record.head.seq).collect::<Vec<_>>();
        assert!(seqs.is_sorted_by(|a, b| a < b), "{seqs:?}");
        for record in &self.disk.front {
            let Fact::Gap(gap) = wire::decode_fact(&record.payload).unwrap() else { continue };
            self.check_gap(&gap, record.head.seq);
        }
    }

    /// What is said of a gap is what is missing.
    fn check_gap(&self, gap: &Gap, last: u64) {
        let missing: Vec<&Made> = self.made.range(gap.first_seq..=last).map(|(_, made)| made).collect();
        let output = |made: &&Made| match made {
            Made::Output(_, bytes) => Some(bytes.clone()),
            Made::Fact(_) => None,
        };
        let bytes: Vec<u8> = missing.iter().filter_map(output).flatten().collect();
        match (gap.reason, gap.bytes, gap.lines) {
            (GapReason::Offline, Some(counted), Some(lines)) => {
                assert!(
                    missing.iter().all(|made| matches!(made, Made::Output(..))),
                    "facts are never dropped: {gap:?}"
                );
                assert_eq!(
                    (counted, lines),
                    (bytes.len() as u64, bytes.iter().filter(|b| **b == b'\n').count() as u64)
                );
            }
            // Of one that the journal had a part of before it lost its end only that much is known.
            (GapReason::Offline | GapReason::JournalLost, None, None) => {
                assert!(self.lost_journal || gap.reason == GapReason::Offline);
            }
            // What the journal lost may have been trimmed from the disk in part.
            (GapReason::SpoolLost, None, None) => assert!(self.damaged || self.lost_journal, "{gap:?}"),
            other => panic!("{other:?}"),
        }
    }

    /// Everything goes out, and is what was made.
    fn settle(mut self) {
        self.spilled();
        self.reconnect(0, 0);
        loop {
            self.load(5);
            self.in_flight.extend(std::iter::from_fn(|| self.window.next_to_send()));
            if self.in_flight.is_empty() && self.window.wants_load().is_none() {
                break;
            }
            self.arrive(usize::MAX);
            self.window.on_ack(self.end(), WINDOW_START_BYTES).unwrap();
        }
        assert!(self.window.is_empty() && self.window.held_bytes() == 0 && self.window.unspilled_bytes() == 0);
        assert_eq!(self.window.unacknowledged_facts(), 0);
        assert_eq!((self.end(), self.window.first_seq()), (self.window.next_seq() - 1, self.window.next_seq()));
        for (_, head, body) in &self.journal {
            match body {
                Body::Output(bytes) => {
                    assert_eq!(self.made[&head.seq], Made::Output(head.kind, bytes.to_vec()), "record {}", head.seq);
                }
                Body::Fact(Fact::Gap(gap)) => self.check_gap(gap, head.seq),
                Body::Fact(Fact::Killed { run }) => assert_eq!(self.made[&head.seq], Made::Fact(*run)),
                Body::Fact(other) => panic!("{other:?}"),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn whatever_disk_links_and_journal_do_every_record_arrives_once_or_is_accounted_for(
        steps in prop::collection::vec(step(), 1..150)
    ) {
        let mut farm = Farm::default();
        for step in steps {
            farm.take(step);
            farm.check_disk();
            prop_assert!(farm.window.held_bytes() <= HELD_MAX_BYTES + RECORD_COST * (farm.facts as usize + 40_000));
        }
        farm.settle();
    }
}

fn window_with(records: usize) -> Window {
    let mut window = Window::default();
    for _ in 0..records {
        window.push_output(AT, 1, Kind::Stdout, Bytes::from(vec![b'\n'; COALESCE_BELOW]));
    }
    window
}

#[test]
fn what_is_on_the_disk_leaves_memory_but_for_what_is_in_flight() {
    let mut window = window_with(10);
    window.on_welcome(0, WINDOW_START_BYTES, AT).unwrap();
    for _ in 0..3 {
        window.next_to_send().unwrap();
    }
    let spilled = window.to_spill();
    assert_eq!(spilled.len(), 10);
    let room = window.room();
    window.on_spilled(7);
    assert!(window.room() > room + 6 * COALESCE_BELOW && window.unspilled_bytes() > 0, "{}", window.room());
    assert_eq!((window.front.len(), window.disk), (3, Some(OnDisk { next_load: 4, last: 7 })));
    assert_eq!(window.to_spill(), spilled[7..]);
    window.on_spilled(10);
    assert_eq!((window.room(), window.unspilled_bytes()), (HELD_MAX_BYTES, 0));
    assert_eq!(window.wants_load(), Some(4));
    window.on_loaded(4, spilled[3..6].to_vec(), AT);
    window.on_disconnect();
    assert_eq!((window.front.len(), window.disk), (0, Some(OnDisk { next_load: 1, last: 10 })));
    window.on_ack(9, WINDOW_START_BYTES).unwrap();
    assert_eq!((window.first_seq(), window.wants_load()), (10, Some(10)));
    window.on_ack(10, WINDOW_START_BYTES).unwrap();
    assert!(window.is_empty());
}

#[test]
fn what_grows_no_more_once_it_is_on_its_way_to_the_disk() {
    let mut window = Window::default();
    window.push_output(AT, 1, Kind::Stdout, Bytes::from_static(b"a"));
    assert_eq!(window.to_spill()[0].payload, "a");
    window.push_output(AT, 1, Kind::Stdout, Bytes::from_static(b"b"));
    window.on_spilled(1);
    assert_eq!(window.to_spill()[0].payload, "b");
    window.on_loaded(1, vec![], AT);
    let (head, body) = window.next_to_send().unwrap();
    let Body::Fact(Fact::Gap(gap)) = body else { panic!("{body:?}") };
    assert_eq!((head.seq, gap.first_seq, gap.reason), (1, 1, GapReason::SpoolLost), "what the disk lost is said");
    assert_eq!(window.next_to_send().unwrap().1, Body::Output(Bytes::from_static(b"b")));
}
