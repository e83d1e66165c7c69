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

/// What is no handshake of ours, by name.
fn false_starts() -> Vec<(&'static str, Vec<u8>)> {
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
        ("http", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("noise", (0..4096_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect()),
        ("another mechanism", curve),
        ("an old version", old),
        ("a frame in place of READY", [greeting(), b"\x00\x05hello".to_vec()].concat()),
        ("a READY of 2^47 bytes", [&greeting()[..], b"\x06\x00\x00\x80\x00\x00\x00\x00\x00"].concat()),
        ("another kind of socket", [&greeting()[..], b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03PUB"].concat()),
    ]
}

/// What is no message of ours behind a good handshake, by name.
fn false_frames() -> Vec<(&'static str, Vec<u8>)> {
    let long = |flags: u8, length: u64| [&[flags][..], &length.to_be_bytes()].concat();
    vec![
        ("a frame of 2^47 bytes", long(2, 1 << 47)),
        ("a frame of 2^64-1 bytes", long(2, u64::MAX)),
        ("a second frame of 2^47 bytes", [b"\x01\x02Z\x01".to_vec(), long(2, 1 << 47)].concat()),
        ("three frames", b"\x01\x01a\x01\x01b\x00\x01c".to_vec()),
        ("a command", b"\x04\x05\x04PING".to_vec()),
        ("reserved flags", b"\xf8\x01x".to_vec()),
        ("no message of ours", b"\x00\x05hello".to_vec()),
        ("an empty message", b"\x00\x00".to_vec()),
        ("a message that does not decode", b"\x00\x06Z\x01\xff\xff\xff\xff".to_vec()),
        ("a newer format", b"\x00\x03Z\x09\x00".to_vec()),
    ]
}

fn garbage_meets_its_end(farm: &Farm, door: &Door) {
    let mut expected = drops(farm).len();
    for (what, bytes) in false_starts() {
        let mut peer = Peer::silent(door);
        peer.bytes(&bytes);
        peer.meets_its_end();
        others_are_served(farm);
        expected += 1;
        until(&format!("{what} is told of"), SOON, || (drops(farm).len() >= expected).then_some(()));
    }
    for (what, bytes) in false_frames() {
        let mut peer = Peer::greeted(door);
        peer.bytes(&bytes);
        peer.meets_its_end();
        others_are_served(farm);
        expected += 1;
        until(&format!("{what} is told of"), SOON, || (drops(farm).len() >= expected).then_some(()));
    }
    assert_eq!(drops(farm).len(), expected, "each once: {:#?}", drops(farm));
}

#[test]
fn garbage_over_a_socket_file_meets_its_end_and_told_once() {
    let farm = Farm::new();
    garbage_meets_its_end(&farm, &door(&farm));
}

#[test]
fn garbage_over_tcp_meets_its_end_and_told_once() {
    let (farm, door) = tcp_farm();
    garbage_meets_its_end(&farm, &door);
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
    for half in halves {
        half.meets_its_end();
    }
    greeted.meets_its_end();
    others_are_served(&farm);
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
        peer.meets_its_end();
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
