//! Peers that break the protocol are dropped, told of once, and cost nobody else anything.

mod bystander;
mod crowds;
mod false_nodes;
mod false_owners;
mod fields;
mod floods;
mod tricks;

use std::time::{Duration, Instant};

use zerovisor_core::id::Id;
use zerovisor_core::record::{Head, Kind};
use zerovisor_core::units::Timestamp;
use zerovisor_core::wire::{Ask, Hello, Outcome, Request, Role, ToNode, ToPeer, VERSIONS, Versions};

use crate::harness::{Door, Farm, Peer, READY, SOON, greeting, hello, until, watcher_hello};

/// The head of a record of standard output.
fn head(seq: u64, offset: u64) -> Head {
    Head { seq, at: Timestamp(seq), run: 1, kind: Kind::Stdout, offset }
}

/// The longest another's request may take while somebody misbehaves.
const SERVED_WITHIN: Duration = Duration::from_secs(1);

fn door(farm: &Farm) -> Door {
    Door::Ipc(farm.path("zerovisor.sock"))
}

/// A farm whose zerovisor listens on tcp as well, and where.
fn tcp_farm() -> (Farm, Door) {
    let farm = Farm::empty();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    farm.start_node(&["--insecure", "-e", "ipc://zerovisor.sock", "-e", &format!("tcp://127.0.0.1:{port}")]);
    (farm, Door::Tcp(port))
}

/// Asserts that others are served, and soon.
fn others_are_served(farm: &Farm) {
    let begun = Instant::now();
    farm.ctl(&["ping"]).ok();
    assert!(begun.elapsed() < SERVED_WITHIN, "a ping took {:?}", begun.elapsed());
}

/// Lines of the zerovisor's own log that say that a link was dropped.
fn drops(farm: &Farm) -> Vec<String> {
    let told = farm.node_said();
    let is_drop = |line: &&str| {
        line.contains("WARN") && (line.contains("drop") || line.contains("refused") || line.contains("cut"))
    };
    told.lines().filter(is_drop).map(str::to_owned).collect()
}

/// What is no handshake of ours, by name, and the reason that is told.
fn false_starts() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let ready = |length: u64| [&greeting()[..], b"\x06", &length.to_be_bytes()].concat();
    let named = |bytes: &[u8]| [&greeting()[..], bytes].concat();
    let curve = {
        let mut greeting = greeting();
        greeting[12..17].copy_from_slice(b"CURVE");
        greeting
    };
    let old = {
        let mut greeting = greeting();
        greeting[10] = 1;
        greeting
    };
    vec![
        ("http", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), "does not speak ZMTP"),
        (
            "noise",
            (0..4096_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect(),
            "does not speak ZMTP",
        ),
        ("another mechanism", curve, "security mechanism"),
        ("an old version", old, "ZMTP 1"),
        ("a frame in place of READY", named(b"\x00\x05hello"), "not followed by READY"),
        ("frames without end in place of READY", named(&b"\x01\x00".repeat(10_000)), "not followed by READY"),
        ("a PING in place of READY", named(b"\x04\x07\x04PING\x00\x00"), "not followed by READY"),
        ("a READY of 2^47 bytes", ready(1 << 47), "READY command has 140737488355328 bytes"),
        ("a READY of 2^62 bytes", ready(1 << 62), "READY command has 4611686018427387904 bytes"),
        (
            "another kind of socket",
            named(b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03PUB"),
            "not a DEALER socket",
        ),
    ]
}

/// What is no message of ours behind a good handshake, by name, and the reason that is told.
fn false_frames() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let long = |flags: u8, length: u64| [&[flags][..], &length.to_be_bytes()].concat();
    let second = |frame: Vec<u8>| [b"\x01\x02Z\x01".to_vec(), frame].concat();
    vec![
        ("a frame of 2^47 bytes", long(2, 1 << 47), "frame too large: 140737488355328"),
        ("a frame of 2^62 bytes", long(2, 1 << 62), "frame too large: 4611686018427387904"),
        ("a frame of 2^64-1 bytes", long(2, u64::MAX), "frame too large: 18446744073709551615"),
        ("a second frame of 2^47 bytes", second(long(2, 1 << 47)), "frame too large: 140737488355328"),
        ("a second frame of 2^62 bytes", second(long(2, 1 << 62)), "frame too large: 4611686018427387904"),
        ("three frames", b"\x01\x01a\x01\x01b\x00\x01c".to_vec(), "too many frames"),
        ("frames without end", b"\x01\x01a".repeat(100_000), "too many frames"),
        ("empty frames without end", b"\x01\x00".repeat(100_000), "too many frames"),
        ("a PING", b"\x04\x07\x04PING\x00\x00".to_vec(), "ZMTP command"),
        ("reserved flags", b"\xf8\x01x".to_vec(), "reserved flags"),
        ("no message of ours", b"\x00\x05hello".to_vec(), "not a message of this protocol"),
        ("an empty message", b"\x00\x00".to_vec(), "not a message of this protocol"),
        ("a message that does not decode", b"\x00\x06Z\x01\xff\xff\xff\xff".to_vec(), "does not decode"),
        ("a newer format", b"\x00\x03Z\x09\x00".to_vec(), "newer than the one known"),
    ]
}

/// So often one reason is told of one user in a while; more of it is counted.
const TOLD_EACH: usize = 8;

fn garbage_meets_its_end(enter: impl Fn() -> (Farm, Door)) {
    let greeted: fn(&Door) -> Peer = Peer::greeted;
    for (connect, said) in [(Peer::silent as fn(&Door) -> Peer, false_starts()), (greeted, false_frames())] {
        for few in said.chunks(TOLD_EACH) {
            let (farm, door) = enter();
            for (told, (what, bytes, reason)) in few.iter().enumerate() {
                let mut peer = connect(&door);
                peer.bytes(bytes);
                peer.meets_its_end();
                others_are_served(&farm);
                let line = until(&format!("{what} is told of"), SOON, || drops(&farm).get(told).cloned());
                assert!(line.contains(reason), "{what} is dropped for '{reason}': {line}");
            }
            assert_eq!(drops(&farm).len(), few.len(), "each once: {:#?}", drops(&farm));
        }
    }
}

#[test]
fn garbage_over_a_socket_file_meets_its_end_and_is_told_of_once_with_the_reason() {
    garbage_meets_its_end(|| {
        let farm = Farm::new();
        let door = door(&farm);
        (farm, door)
    });
}

#[test]
fn garbage_over_tcp_meets_its_end_and_is_told_of_once_with_the_reason() {
    garbage_meets_its_end(tcp_farm);
}

#[test]
fn half_handshakes_hold_nobody_up_and_are_given_up() {
    let farm = Farm::new();
    let door = door(&farm);
    let mut halves = Vec::new();
    for cut in [0, 1, 10, 63, 64, 70] {
        let mut peer = Peer::silent(&door);
        peer.bytes(&[&greeting(), READY].concat()[..cut]);
        halves.push(peer);
    }
    let greeted = Peer::greeted(&door);
    others_are_served(&farm);
    let count = halves.len();
    for half in halves {
        half.meets_its_end();
    }
    greeted.meets_its_end();
    others_are_served(&farm);
    let told = |reason| drops(&farm).iter().filter(|line| line.contains(reason)).count();
    until("each is told of once", SOON, || (drops(&farm).len() == count + 1).then_some(()));
    assert_eq!((told("without a handshake"), told("no hello within")), (count, 1), "{:#?}", drops(&farm));
}

#[test]
fn two_of_one_identity_are_two() {
    let farm = Farm::new();
    let mut owner = Peer::greeted_as(&door(&farm), b"one and the same");
    owner.say(&watcher(7, 1, "owned"), None);
    assert!(matches!(owner.hear(), Some((ToPeer::Welcome(_), _))));
    let mut thief = Peer::greeted_as(&door(&farm), b"one and the same");
    thief.say(&hello(Role::Client), None);
    assert!(matches!(thief.hear(), Some((ToPeer::Welcome(_), _))), "what it calls itself is of no account");
    for seq in 1..=3 {
        owner.say(&ToNode::Record(head(seq, (seq - 1) * 5)), Some(b"mine\n"));
        assert!(matches!(owner.hear(), Some((ToPeer::Ack { seq: acknowledged, .. }, _)) if acknowledged == seq));
        thief.say(&ToNode::Ping { nonce: seq }, None);
        assert_eq!(thief.hear().map(|(said, _)| said), Some(ToPeer::Pong { nonce: seq }), "each hears its own");
    }
    thief.hangs_up();
    owner.say(&ToNode::Ping { nonce: 9 }, None);
    assert_eq!(owner.hear().map(|(said, _)| said), Some(ToPeer::Pong { nonce: 9 }), "and goes when it likes");
}

#[test]
fn a_version_that_is_not_spoken_is_refused_with_both_ranges() {
    let farm = Farm::new();
    let mut peer = Peer::greeted(&door(&farm));
    let versions = Versions { oldest: 900, newest: 901 };
    peer.say(&ToNode::Hello(Hello { versions, program: "future 9".into(), role: Role::Client }), None);
    let Some((ToPeer::Refused(refused), _)) = peer.hear() else { panic!("no refusal") };
    assert_eq!(refused.versions, VERSIONS);
    let words = refused.reason.to_string();
    assert!(words.contains("900-901") && words.contains(&VERSIONS.to_string()), "{words}");
    peer.meets_its_end();
}

#[test]
fn a_message_that_its_role_may_not_send_ends_the_link() {
    let farm = Farm::new();
    let door = door(&farm);
    let record = ToNode::Record(head(1, 0));
    let request = ToNode::Request(Request { request: 1, deadline_ms: 0, ask: Ask::Ping });
    let obeyed = ToNode::Obeyed { order: 7, outcome: Outcome::Done };
    for (what, first, second) in [
        ("no hello", None, request.clone()),
        ("a record before the hello", None, record.clone()),
        ("a client's record", Some(hello(Role::Client)), record.clone()),
        ("a client's obedience", Some(hello(Role::Client)), obeyed),
        ("a second hello", Some(hello(Role::Client)), hello(Role::Client)),
        ("a watcher's request", Some(watcher(3, 3, "rogue")), request),
    ] {
        let mut peer = Peer::greeted(&door);
        if let Some(first) = first {
            peer.say(&first, None);
            assert!(matches!(peer.hear(), Some((ToPeer::Welcome(_), _))), "{what}");
        }
        peer.say(&second, Some(b"payload"));
        // At once, not for its silence.
        assert!(!fields::is_answered(&mut peer), "{what}");
        others_are_served(&farm);
    }
}

fn watcher(id: u8, secret: u8, name: &str) -> ToNode {
    hello(Role::Watcher(Box::new(watcher_hello(Id::from_random([id; 16]), secret, name))))
}

#[test]
fn nobody_writes_the_journal_of_anothers_process() {
    let farm = Farm::new();
    let door = door(&farm);
    let mut owner = Peer::greeted(&door);
    owner.say(&watcher(9, 1, "owned"), None);
    assert!(matches!(owner.hear(), Some((ToPeer::Welcome(_), _))));
    let mut thief = Peer::greeted(&door);
    thief.say(&watcher(9, 2, "owned"), None);
    let Some((ToPeer::Refused(refused), _)) = thief.hear() else { panic!("no refusal") };
    assert!(refused.reason.to_string().contains("another watcher"), "{}", refused.reason);
    thief.meets_its_end();
    owner.say(&ToNode::Record(head(1, 0)), Some(b"mine\n"));
    let Some((ToPeer::Ack { seq, .. }, _)) = owner.hear() else { panic!("no acknowledgement") };
    assert_eq!(seq, 1);
    assert_eq!(farm.raw(&["owned"]), b"mine\n");
    owner.hangs_up();
}

#[test]
fn the_secret_binds_over_a_restart_of_the_zerovisor() {
    let farm = Farm::new();
    let mut owner = Peer::greeted(&door(&farm));
    owner.say(&watcher(9, 1, "owned"), None);
    assert!(matches!(owner.hear(), Some((ToPeer::Welcome(_), _))));
    farm.kill_node();
    farm.start_node(&[]);
    let mut thief = Peer::greeted(&door(&farm));
    thief.say(&watcher(9, 2, "owned"), None);
    assert!(matches!(thief.hear(), Some((ToPeer::Refused(_), _))));
}

#[test]
fn records_out_of_order_never_reach_the_journal_twice() {
    let farm = Farm::new();
    let mut peer = Peer::greeted(&door(&farm));
    peer.say(&watcher(5, 5, "jumper"), None);
    assert!(matches!(peer.hear(), Some((ToPeer::Welcome(_), _))));
    let mut say = |seq, offset, text: &[u8]| peer.say(&ToNode::Record(head(seq, offset)), Some(text));
    say(1, 0, b"one\n");
    say(1, 0, b"one\n");
    say(2, 4, b"two\n");
    say(9, 8, b"nine\n");
    peer.meets_its_end();
    assert_eq!(farm.raw(&["jumper"]), b"one\ntwo\n", "sent again is taken once; a hole is a violation");
    others_are_served(&farm);
}

#[test]
fn an_address_that_means_several_lists_them() {
    let farm = Farm::new();
    let door = door(&farm);
    let live = [1_u8, 2].map(|last| {
        let mut bits = [0xab; 16];
        bits[15] = last;
        let mut peer = Peer::greeted(&door);
        let hello_of = watcher_hello(Id::from_random(bits), last, &format!("twin-{last}"));
        peer.say(&hello(Role::Watcher(Box::new(hello_of))), None);
        assert!(matches!(peer.hear(), Some((ToPeer::Welcome(_), _))));
        peer
    });
    let prefix = farm.row("twin-1")["id"].as_str().unwrap()[..8].to_owned();
    farm.ctl(&["logs", &prefix]).refused(1, &["ambiguous", "twin-1", "twin-2"]);
    drop(live);
}
