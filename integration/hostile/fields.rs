//! Messages that decode, with every field out of range, and messages that almost do: each costs its own sender at most the link, and what
//! is kept of it is shown as safely as anything else.

use std::time::Duration;

use zerovisor_core::address::Selection;
use zerovisor_core::exit::{Exit, ExitReport, SpawnFailure, SpawnFault, Usage};
use zerovisor_core::fact::{Cause, Fact, Gap, GapReason, State};
use zerovisor_core::id::Id;
use zerovisor_core::record::{Head, Kind, OUTPUT_MAX_BYTES};
use zerovisor_core::signal::Signal;
use zerovisor_core::size::Size;
use zerovisor_core::stats::{Pressure, Sample};
use zerovisor_core::units::{SpanRange, Timestamp};
use zerovisor_core::wire::{
    Ask, AttachAsk, Deed, EventsAsk, Hello, LogsAsk, Outcome, Request, Role, Runs, ScreenShown, ToNode, ToPeer, Until,
    VERSIONS, Versions, ViewerNews, WatcherHello, encode_fact, encode_header,
};

use super::bystander::Bystander;
use super::tricks::ESCAPES;
use super::{door, tcp_farm};
use crate::harness::{Door, Farm, Peer, SOON, frame, hello, until, watcher_hello};

type Message = (ToNode, Option<Vec<u8>>);

fn id(number: u16) -> Id {
    let mut bits = [0x5f; 16];
    bits[..2].copy_from_slice(&number.to_be_bytes());
    Id::from_random(bits)
}

/// Hellos of watchers that no watcher says.
fn hellos() -> Vec<ToNode> {
    let odd = |number: u16, change: &dyn Fn(&mut WatcherHello)| {
        let mut of = watcher_hello(id(number), 1, &format!("odd-{number}"));
        change(&mut of);
        hello(Role::Watcher(Box::new(of)))
    };
    let states = [State::Lost, State::Unreachable, State::Fatal, State::Exited, State::Backoff];
    let mut all: Vec<ToNode> = (0..).zip(states).map(|(n, state)| odd(n, &|of| of.state = state)).collect();
    for (number, (first, next)) in (10..).zip([(0, 0), (0, 1), (2, 1), (u64::MAX, u64::MAX), (1, u64::MAX)]) {
        all.push(odd(number, &|of| (of.first_seq, of.next_seq) = (first, next)));
    }
    all.push(odd(20, &|of| of.created_at = Timestamp(u64::MAX)));
    for (number, pid) in (30..).zip([i32::MIN, -1, 0, 1, i32::MAX]) {
        all.push(odd(number, &|of| {
            of.host.boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim().to_owned();
            (of.host.pid, of.host.pid_namespace, of.host.start_ticks) = (pid, u64::MAX, u64::MAX);
        }));
    }
    all.push(odd(40, &|of| {
        of.spec.start_secs = Duration::MAX;
        of.spec.stop_timeout = Duration::MAX;
        of.spec.backoff = SpanRange { min: Duration::MAX, max: Duration::ZERO };
    }));
    all.push(odd(41, &|of| of.spec.command = vec![ESCAPES.into(); 50]));
    all.push(odd(42, &|of| of.spec.command = vec!["x".repeat(60_000)]));
    all.push(odd(43, &|of| of.spec.command = vec![String::new(); 50_000]));
    all.push(odd(44, &|of| of.spec.command = Vec::new()));
    all.push(odd(45, &|of| of.spec.cwd = ESCAPES.into()));
    all.push(odd(46, &|of| of.spec.env_names = vec![ESCAPES.into(); 500]));
    all.push(odd(47, &|of| of.spec.name = "n".repeat(128).parse().unwrap()));
    all.push(odd(48, &|of| of.placement.why = ESCAPES.into()));
    all.push(odd(49, &|of| of.host.boot_id = "b".repeat(60_000)));
    for (number, (oldest, newest)) in (50..).zip([(0, 0), (u16::MAX, 0), (0, u16::MAX), (2, 1)]) {
        let ToNode::Hello(mut hello) = odd(number, &|_| {}) else { unreachable!() };
        hello.versions = Versions { oldest, newest };
        all.push(ToNode::Hello(hello));
    }
    all.push(ToNode::Hello(Hello { versions: VERSIONS, program: ESCAPES.repeat(1000), role: Role::Client }));
    all
}

/// Facts that cannot be true.
fn facts() -> Vec<Fact> {
    let never = Timestamp(u64::MAX);
    let usage = Usage {
        cpu_user_us: u64::MAX,
        cpu_system_us: u64::MAX,
        peak_rss_bytes: u64::MAX,
        output_bytes: u64::MAX,
        input_bytes: u64::MAX,
        memory_peak_bytes: Some(u64::MAX),
        read_bytes: Some(u64::MAX),
        written_bytes: Some(u64::MAX),
        oom_kills: Some(u64::MAX),
    };
    let report = |exit| ExitReport {
        exit,
        oom: None,
        started_at: never,
        ended_at: Timestamp(0),
        runtime: Duration::MAX,
        usage,
        restarts: u32::MAX,
    };
    let gap = |first_seq, reason| {
        let (since, until) = (never, Timestamp(0));
        Fact::Gap(Gap { first_seq, bytes: Some(u64::MAX), lines: Some(u64::MAX), since, until, reason })
    };
    let failure = SpawnFailure { fault: SpawnFault::Own, message: ESCAPES.into() };
    let signal = Signal::CONT;
    vec![
        Fact::Started { run: u32::MAX, pid: i32::MIN },
        Fact::Started { run: 0, pid: 0 },
        Fact::Steady { run: u32::MAX },
        Fact::SpawnFailed { run: u32::MAX, failure },
        Fact::Stopping { run: 0, cause: Cause::Console(signal) },
        Fact::Ended { run: u32::MAX, report: report(Exit::Code(i32::MIN)) },
        Fact::Ended { run: 0, report: report(Exit::Signal { signal, core: true }) },
        Fact::Backoff { delay: Duration::MAX, failures: u32::MAX },
        Fact::Fatal { why: ESCAPES.into() },
        Fact::Fatal { why: "w".repeat(32_000) },
        Fact::Signalled { run: u32::MAX, signal },
        Fact::Commanded { command: vec![ESCAPES.into(); 100] },
        Fact::Commanded { command: vec![String::new(); 30_000] },
        gap(1, GapReason::JournalLost),
        gap(0, GapReason::Expired),
        gap(u64::MAX, GapReason::WatcherDied),
        Fact::Resized { run: u32::MAX, size: Size::new(1000, 500).unwrap() },
        Fact::Waiting,
    ]
}

/// What a watcher says behind its welcome, each on a link of its own.
fn of_watchers() -> Vec<Message> {
    let head = |seq, at, run, kind, offset| ToNode::Record(Head { seq, at: Timestamp(at), run, kind, offset });
    let max = u64::MAX;
    let mut all = Vec::new();
    for seq in [0, 1, 2, max - 1, max] {
        for kind in [Kind::Stdout, Kind::Terminal, Kind::Fact] {
            all.push((head(seq, max, u32::MAX, kind, max), Some(ESCAPES.as_bytes().to_vec())));
            all.push((head(seq, 0, 0, kind, 0), None));
        }
    }
    all.push((head(1, 1, 1, Kind::Stderr, 0), Some(vec![b'x'; OUTPUT_MAX_BYTES])));
    all.push((head(1, 1, 1, Kind::Stderr, 0), Some(vec![b'x'; OUTPUT_MAX_BYTES + 1])));
    all.push((head(1, 1, 1, Kind::Stdout, max - 3), Some(b"four".to_vec())));
    for fact in facts() {
        let encoded = encode_fact(&fact).unwrap().to_vec();
        // Of a gap that swallows all numbers there are, and of the first record.
        all.push((head(max, max, u32::MAX, Kind::Fact, max), Some(encoded.clone())));
        all.push((head(1, max, 1, Kind::Fact, 0), Some(encoded)));
    }
    for outcome in [Outcome::Done, Outcome::Denied(ESCAPES.repeat(500))] {
        all.push((ToNode::Obeyed { order: max, outcome }, Some(vec![0; 1 << 20])));
    }
    for percent in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, f64::MAX] {
        let sample = Sample { run: 1, cpu_percent: Some(percent), ..Sample::default() };
        all.push((ToNode::Sampled(Box::new(sample)), None));
    }
    let pressure = Pressure { cpu: Some(f32::NAN), memory: Some(-1.0), io: Some(f32::INFINITY) };
    all.push((ToNode::Sampled(Box::new(Sample { run: 1, pressure, ..Sample::default() })), None));
    let whole = |run| Sample {
        run,
        at: Timestamp(max),
        cpu_user_us: max,
        cpu_system_us: max,
        memory_bytes: Some(max),
        memory_peak_bytes: Some(max),
        pids: Some(max),
        main_state: Some('\u{1b}'),
        ..Sample::default()
    };
    all.push((ToNode::Sampled(Box::new(whole(0))), None));
    all.push((ToNode::Sampled(Box::new(Sample { main_state: None, ..whole(u32::MAX) })), None));
    let shown = ScreenShown {
        size: Size::DEFAULT,
        cursor: Some((u16::MAX, u16::MAX)),
        title: Some(ESCAPES.into()),
        alternate: true,
    };
    for news in [
        ViewerNews::Attached { run: u32::MAX },
        ViewerNews::Denied("d".repeat(60_000)),
        ViewerNews::Stolen,
        ViewerNews::Picture { seq: max, size: Size::DEFAULT, last: false },
        ViewerNews::Took { bytes: max },
        ViewerNews::Screen { shown, last: false },
    ] {
        all.push((ToNode::ToViewer { viewer: max, news }, Some(vec![0; 1 << 20])));
    }
    all
}

/// What a client says behind its welcome.
fn of_clients() -> Vec<Message> {
    let max = u64::MAX;
    let nobody = Selection::default;
    let many = Selection { addresses: vec!["bystander".parse().unwrap(); 5000], labels: Vec::new() };
    let unknown =
        Selection { addresses: (0..4000).map(|n| format!("n{n}").parse().unwrap()).collect(), labels: Vec::new() };
    let labels = Selection { addresses: Vec::new(), labels: vec!["no=body".parse().unwrap(); 5000] };
    let address = || "bystander".parse().unwrap();
    let logs = |select: Selection, runs| LogsAsk {
        select,
        follow: true,
        tail: Some(max),
        since: Some(Timestamp(max)),
        until: Some(Timestamp(0)),
        kind: Some(Kind::Fact),
        runs,
        after_seq: Some(max),
    };
    let events = EventsAsk { select: nobody(), after_seq: Some(max), tail: Some(max), follow: true };
    let size = Some(Size::new(1000, 500).unwrap());
    let attach = AttachAsk { address: address(), size, read_only: true, steal: true };
    let deed = |deed| Ask::Do { select: nobody(), deed };
    let asks = vec![
        Ask::List { select: many.clone(), ended: true },
        Ask::List { select: unknown, ended: true },
        Ask::List { select: labels, ended: true },
        Ask::Logs(logs(many, Runs::All)),
        Ask::Logs(logs(Selection { addresses: vec![address()], labels: Vec::new() }, Runs::Number(u32::MAX))),
        Ask::Logs(logs(Selection { addresses: vec![address()], labels: Vec::new() }, Runs::Number(0))),
        Ask::Logs(logs(nobody(), Runs::Previous)),
        Ask::Events(events),
        Ask::Attach(attach),
        Ask::Screen { address: address(), ansi: true },
        Ask::Wait { select: nobody(), until: Until::Running },
        deed(Deed::Start { command: Some(vec![vec![0xff; 100]; 500]) }),
        deed(Deed::Input { eof: true }),
        Ask::NodeRows,
    ];
    let mut all = Vec::new();
    for ask in asks {
        for (request, deadline_ms) in [(0, 0), (1, 1), (max, max)] {
            let request = Request { request, deadline_ms, ask: ask.clone() };
            all.push((ToNode::Request(request), Some(vec![0xff; 100])));
        }
    }
    all.push((ToNode::Ping { nonce: max }, Some(vec![0; 1 << 20])));
    all
}

/// Says hello as a client, or as a watcher of a process of its own.
fn welcomed(door: &Door, as_watcher: Option<u16>) -> Peer {
    let mut peer = Peer::greeted(door);
    let role = as_watcher.map_or(Role::Client, |number| {
        let mut of = watcher_hello(id(number), 1, &format!("odd-{number}"));
        of.spec.terminal = Some(Size::DEFAULT);
        Role::Watcher(Box::new(of))
    });
    peer.say(&hello(role), None);
    assert!(matches!(peer.hear(), Some((ToPeer::Welcome(_), _))));
    peer
}

/// Whether a peer still has its link and is answered; else it is closed.
pub(super) fn is_answered(peer: &mut Peer) -> bool {
    peer.say(&ToNode::Ping { nonce: 77 }, None);
    hears_pong(peer, 77)
}

/// What a watcher of ours would never say, by name, as its hello or behind its welcome.
fn false_words() -> Vec<(&'static str, ToNode, Option<Vec<u8>>)> {
    let declared = |change: &dyn Fn(&mut WatcherHello)| {
        let mut of = watcher_hello(id(500), 1, "false-hello");
        change(&mut of);
        hello(Role::Watcher(Box::new(of)))
    };
    let sampled = |change: &dyn Fn(&mut Sample)| {
        let mut of = Sample { run: 1, ..Sample::default() };
        change(&mut of);
        ToNode::Sampled(Box::new(of))
    };
    let record = |seq, kind, offset| ToNode::Record(Head { seq, at: Timestamp(1), run: 1, kind, offset });
    let long = "x".repeat(60_000);
    let pressed = |cpu| Pressure { cpu: Some(cpu), memory: None, io: None };
    vec![
        ("a state that a zerovisor gives", declared(&|of| of.state = State::Lost), None),
        ("a record of number 0", declared(&|of| (of.first_seq, of.next_seq) = (0, 1)), None),
        ("numbers out of order", declared(&|of| (of.first_seq, of.next_seq) = (2, 1)), None),
        ("a command longer than is shown", declared(&|of| of.spec.command = vec![long.clone()]), None),
        ("CPU that is no number", sampled(&|of| of.cpu_percent = Some(f64::NAN)), None),
        ("CPU without end", sampled(&|of| of.cpu_percent = Some(f64::INFINITY)), None),
        ("CPU given back", sampled(&|of| of.cpu_percent = Some(-1.0)), None),
        ("pressure that is no number", sampled(&|of| of.pressure = pressed(f32::NAN)), None),
        ("more pressure than time", sampled(&|of| of.pressure = pressed(101.0)), None),
        ("a state that acts on terminals", sampled(&|of| of.main_state = Some('\u{1b}')), None),
        ("a sample of no run", sampled(&|of| of.run = 0), None),
        ("a record behind a hole", record(2, Kind::Stdout, 0), Some(b"two".to_vec())),
        ("the last record there can be", record(u64::MAX, Kind::Stdout, 0), Some(b"last".to_vec())),
        ("output beyond all numbers", record(1, Kind::Stdout, u64::MAX - 3), Some(b"four".to_vec())),
        ("too much at once", record(1, Kind::Stdout, 0), Some(vec![b'x'; OUTPUT_MAX_BYTES + 1])),
        ("a fact that is none", record(1, Kind::Fact, 0), Some(b"\xff\xff".to_vec())),
    ]
}

#[test]
fn what_no_watcher_of_ours_says_ends_its_link() {
    let farm = Farm::new();
    let door = door(&farm);
    for (number, (what, word, payload)) in (600..).zip(false_words()) {
        let begins = matches!(word, ToNode::Hello(_));
        let mut peer = if begins { Peer::greeted(&door) } else { welcomed(&door, Some(number)) };
        peer.say(&word, payload.as_deref());
        // A record is judged when it is journaled, perhaps behind the first ping.
        until(&format!("{what} ends the link"), SOON, || (!is_answered(&mut peer)).then_some(()));
    }
    Bystander::of(&farm).is_served(&farm);
}

/// Asserts that everything that can be looked at is, and that nothing of it acts on a terminal.
fn all_can_be_looked_at(farm: &Farm) {
    let named = |row: &serde_json::Value| row["id"].as_str().unwrap().to_owned();
    let ids: Vec<String> = farm.json(&["ps", "-a"])["processes"].as_array().unwrap().iter().map(named).collect();
    assert!(ids.len() > 50, "{ids:?}");
    let whole = [
        &["ps", "-a"][..],
        &["ps", "-a", "-o", "wide"],
        &["events"],
        &["events", "-o", "table"],
        &["top", "-b", "-n", "1"],
    ];
    let each =
        ids.iter().flat_map(|id| [vec!["inspect", id], vec!["why", id], vec!["logs", id], vec!["logs", "-t", id]]);
    for verb in whole.into_iter().map(<[&str]>::to_vec).chain(each) {
        let ended = farm.ctl(&verb).ok();
        let out = ended.out() + &ended.err();
        let acts = out.chars().find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
        assert_eq!(acts, None, "{verb:?}: {out:?}");
    }
    let log = farm.text("zerovisor.log");
    assert_eq!(log.chars().find(|c| c.is_control() && *c != '\n'), None, "zerovisor.log");
}

/// Asserts that what happens now is told as of now, whatever others said of time.
fn time_goes_on(farm: &Farm) {
    farm.watched(&["--name", "present", "true"]).ok();
    let now = jiff::Timestamp::now();
    let events = until("it is told of", SOON, || {
        let events = farm.jsonl(&["events", "present"]);
        events.iter().any(|event| event["event"] == "exited").then_some(events)
    });
    for event in events {
        let at: jiff::Timestamp = event["at"].as_str().unwrap().parse().unwrap();
        let apart = at.duration_since(now).as_secs().abs();
        assert!(apart < 60, "it is {now}, and this is told: {event}");
    }
    farm.file_says("zerovisor.log", "present");
}

fn odd_fields_cost_their_sender_at_most(farm: &Farm, door: &Door) {
    let mut bystander = Bystander::of(farm);
    for message in hellos() {
        let mut peer = Peer::greeted(door);
        peer.say(&message, None);
        is_answered(&mut peer);
    }
    bystander.is_served(farm);
    for (number, (message, payload)) in (1000..).zip(of_watchers()) {
        let mut peer = welcomed(door, Some(number));
        peer.say(&message, payload.as_deref());
        is_answered(&mut peer);
        // And what may follow the last of all numbers.
        let next = Head { seq: u64::MAX, at: Timestamp(0), run: 1, kind: Kind::Stdout, offset: 0 };
        peer.say(&ToNode::Record(next), Some(b"next"));
        is_answered(&mut peer);
    }
    bystander.is_served(farm);
    for (message, payload) in of_clients() {
        let mut peer = welcomed(door, None);
        peer.say(&message, payload.as_deref());
        is_answered(&mut peer);
        bystander.is_answered(farm);
    }
    bystander.is_served(farm);
    time_goes_on(farm);
    all_can_be_looked_at(farm);
}

#[test]
fn fields_out_of_range_cost_their_sender_at_most() {
    let farm = Farm::new();
    odd_fields_cost_their_sender_at_most(&farm, &door(&farm));
}

#[test]
fn fields_out_of_range_over_tcp_cost_their_sender_at_most() {
    let (farm, door) = tcp_farm();
    odd_fields_cost_their_sender_at_most(&farm, &door);
}

/// Bytes that mean the end of a range somewhere: numbers, lengths and variants, one byte and more.
const BYTES: [u8; 7] = [0, 1, 0x7f, 0xfa, 0xfb, 0xfd, 0xff];
/// Changed messages, about; each takes a link or two.
const CHANGED: usize = 1500;

#[test]
fn messages_that_are_almost_right_cost_their_sender_at_most() {
    let farm = Farm::new();
    let mut bystander = Bystander::of(&farm);
    let door = door(&farm);
    let watchers = of_watchers().into_iter().map(|(message, _)| (Some(3000), message));
    let clients = of_clients().into_iter().map(|(message, _)| (None, message));
    let said: Vec<(Option<u16>, Vec<u8>)> = watchers
        .chain(clients)
        .map(|(role, message)| (role, encode_header(&message).unwrap().to_vec()))
        .filter(|(_, bytes)| bytes.len() < 300)
        .collect();
    let places: usize = said.iter().map(|(_, bytes)| bytes.len() * (BYTES.len() + 1)).sum();
    let step = places.div_ceil(CHANGED);
    let mut number = 0;
    let mut peers: [Option<Peer>; 2] = [None, None];
    for (role, bytes) in said {
        for at in 0..bytes.len() {
            for change in BYTES.into_iter().map(Some).chain([None]) {
                number += 1;
                if number % step != 0 {
                    continue;
                }
                let mut changed = bytes.clone();
                match change {
                    Some(byte) => changed[at] = byte,
                    None => changed.truncate(at),
                }
                // Something may stand behind it as well.
                changed.extend(&bytes[..at % 4]);
                let peer = &mut peers[usize::from(role.is_some())];
                let linked = peer.get_or_insert_with(|| welcomed(&door, role));
                linked.bytes(&frame(0, &changed));
                linked.say(&ToNode::Ping { nonce: number as u64 }, None);
                if !hears_pong(linked, number as u64) {
                    *peer = None;
                }
                if number % (100 * step) == 0 {
                    bystander.is_served(&farm);
                }
            }
        }
    }
    bystander.is_served(&farm);
}

fn hears_pong(peer: &mut Peer, wanted: u64) -> bool {
    while let Some((said, _)) = peer.hear() {
        if said == (ToPeer::Pong { nonce: wanted }) {
            return true;
        }
    }
    false
}
