#![allow(
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    reason = "a test may look at the clock and at one case"
)]

mod spilled;

use proptest::prelude::*;

use super::*;
use crate::fact::Gap;

const AT: Timestamp = Timestamp(7);

fn output(window: &mut Window, data: &[u8]) {
    window.push_output(AT, 1, Kind::Stdout, Bytes::copy_from_slice(data));
}

fn sent_output(window: &mut Window) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some((_, body)) = window.next_to_send() {
        match body {
            Body::Output(bytes) => all.extend_from_slice(&bytes),
            Body::Fact(_) => {}
        }
    }
    all
}

#[test]
fn small_writes_travel_together() {
    let mut window = Window::default();
    output(&mut window, b"a");
    output(&mut window, b"b");
    let (head, body) = window.next_to_send().unwrap();
    assert_eq!((head.seq, body), (1, Body::Output(Bytes::from_static(b"ab"))));
    output(&mut window, b"c");
    let (head, _) = window.next_to_send().unwrap();
    assert_eq!((head.seq, head.offset), (2, 2), "what was sent no longer grows");
}

#[test]
fn an_impossible_acknowledgement_is_a_violation() {
    let mut window = Window::default();
    output(&mut window, b"a");
    assert_eq!(window.on_ack(2, 1), Err(Violation::AckAhead { acknowledged: 2, made: 1 }));
    assert_eq!(window.on_welcome(2, 1, AT), Err(Violation::JournalAhead { journal: 2, made: 1 }));
}

#[test]
fn a_journal_that_lost_records_gets_a_gap_in_their_place() {
    let mut window = Window::default();
    output(&mut window, b"a");
    assert!(window.next_to_send().is_some());
    window.on_ack(1, 1 << 20).unwrap();
    window.on_welcome(0, 1 << 20, AT).unwrap();
    let (head, body) = window.next_to_send().unwrap();
    assert_eq!(head.seq, 1);
    assert!(matches!(body, Body::Fact(Fact::Gap(Gap { first_seq: 1, reason: GapReason::JournalLost, .. }))));
}

#[test]
fn dropped_output_stands_as_one_gap_and_facts_stay() {
    let mut window = Window::default();
    let big = vec![b'\n'; COALESCE_BELOW];
    output(&mut window, &big);
    output(&mut window, &big);
    window.push_fact(AT, 1, Fact::Exited);
    output(&mut window, &big);
    assert_eq!(window.drop_oldest_output(COALESCE_BELOW + 1), 2 * COALESCE_BELOW);
    let (head, body) = window.next_to_send().unwrap();
    let Body::Fact(Fact::Gap(gap)) = body else { panic!("{body:?}") };
    assert_eq!((gap.first_seq, head.seq), (1, 2));
    assert_eq!((gap.bytes, gap.lines), (Some(2 * COALESCE_BELOW as u64), Some(2 * COALESCE_BELOW as u64)));
    assert!(matches!(window.next_to_send(), Some((Head { seq: 3, .. }, Body::Fact(Fact::Exited)))));
    assert_eq!(sent_output(&mut window), big);
}

#[test]
fn of_dropped_output_that_arrived_after_all_the_rest_is_still_told_to_the_byte() {
    let mut window = Window::default();
    let big = vec![b'\n'; COALESCE_BELOW];
    (0..4).for_each(|_| output(&mut window, &big));
    // Three are in flight, of which the zerovisor journals one before it dies.
    (0..3).for_each(|_| drop(window.next_to_send().unwrap()));
    window.on_disconnect();
    window.drop_oldest_output(usize::MAX);
    window.on_welcome(1, 1 << 20, AT).unwrap();
    let mut missing = 0;
    while let Some((_, body)) = window.next_to_send() {
        let Body::Fact(Fact::Gap(gap)) = body else { panic!("{body:?}") };
        missing += gap.bytes.unwrap();
    }
    assert_eq!(missing, 3 * COALESCE_BELOW as u64);
}

#[test]
fn many_tiny_records_are_bounded_too() {
    let mut window = Window::default();
    let mut records = 0;
    while window.room() > 0 {
        let kind = if records % 2 == 0 { Kind::Stdout } else { Kind::Stderr };
        window.push_output(AT, 1, kind, Bytes::from_static(b"x"));
        records += 1;
    }
    assert!(records <= HELD_MAX_BYTES / RECORD_COST, "{records}");
    window.drop_oldest_output(usize::MAX);
    assert_eq!(window.held_bytes(), RECORD_COST, "all of it is one gap");
}

#[derive(Clone, Debug)]
enum Step {
    Output(usize, Kind),
    Fact,
    Send(usize),
    Ack(usize),
    /// The link dies; what was sent had arrived up to a share of it, and only that is journaled.
    Reconnect(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![Just(Kind::Stdout), Just(Kind::Stderr)];
    prop_oneof![
        4 => (1usize..40_000, kind).prop_map(|(n, kind)| Step::Output(n, kind)),
        1 => Just(Step::Fact),
        3 => (1usize..20).prop_map(Step::Send),
        2 => (0usize..20).prop_map(Step::Ack),
        1 => (0usize..20).prop_map(Step::Reconnect),
    ]
}

/// The other side: a journal that takes what arrives in order and may be cut off from the rest.
#[derive(Default)]
struct Journal {
    last: u64,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    in_flight: VecDeque<(Head, Body)>,
}

impl Journal {
    fn take(&mut self, count: usize) {
        for (head, body) in self.in_flight.drain(..count.min(self.in_flight.len())) {
            assert_eq!(head.seq, self.last + 1, "in order, without a hole and without a repetition");
            self.last = head.seq;
            if let Body::Output(bytes) = body {
                let stream = if head.kind == Kind::Stdout { &mut self.stdout } else { &mut self.stderr };
                assert_eq!(head.offset, stream.len() as u64, "the offset says how much came before");
                stream.extend_from_slice(&bytes);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn every_byte_arrives_once_and_in_order_whatever_the_links_do(steps in prop::collection::vec(step(), 1..200)) {
        let (mut window, mut journal) = (Window::default(), Journal::default());
        let (mut stdout, mut stderr, mut byte) = (Vec::new(), Vec::new(), 0u8);
        window.on_welcome(0, WINDOW_START_BYTES, AT).unwrap();
        for step in steps {
            match step {
                Step::Output(n, kind) if n <= window.room() => {
                    let data: Vec<u8> = (0..n).map(|_| { byte = byte.wrapping_add(1); byte }).collect();
                    if kind == Kind::Stdout { stdout.extend_from_slice(&data) } else { stderr.extend_from_slice(&data) }
                    window.push_output(AT, 1, kind, data.into());
                }
                Step::Output(..) => {}
                Step::Fact => window.push_fact(AT, 1, Fact::Exited),
                Step::Send(n) => {
                    for _ in 0..n {
                        journal.in_flight.extend(window.next_to_send());
                    }
                    prop_assert!(journal.in_flight.len() <= IN_FLIGHT_MAX);
                }
                Step::Ack(n) => {
                    journal.take(n);
                    window.on_ack(journal.last, WINDOW_START_BYTES).unwrap();
                }
                Step::Reconnect(n) => {
                    journal.take(n);
                    journal.in_flight.clear();
                    window.on_welcome(journal.last, WINDOW_START_BYTES, AT).unwrap();
                }
            }
            prop_assert!(window.room() <= HELD_MAX_BYTES);
        }
        loop {
            journal.in_flight.extend(std::iter::from_fn(|| window.next_to_send()));
            if journal.in_flight.is_empty() {
                break;
            }
            journal.take(usize::MAX);
            window.on_ack(journal.last, WINDOW_START_BYTES).unwrap();
        }
        prop_assert!(window.is_empty() && window.held_bytes() == 0 && window.unacknowledged_facts() == 0);
        prop_assert_eq!(journal.stdout, stdout);
        prop_assert_eq!(journal.stderr, stderr);
    }
}
