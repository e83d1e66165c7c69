//! Floods of what is valid in itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use zerovisor_core::address::Selection;
use zerovisor_core::id::Id;
use zerovisor_core::size::Size;
use zerovisor_core::wire::{Answer, Ask, Deed, Failure, Request, Role, ToNode, ToPeer, Until};

use super::bystander::Bystander;
use super::{door, drops, head, tcp_farm};
use crate::harness::{Client, Door, Farm, LONG, Peer, SOON, hello, resident_kib, until, watcher_hello};

#[test]
fn requests_beyond_the_most_are_refused_and_the_link_goes_on() {
    let (farm, tcp) = tcp_farm();
    let mut bystander = Bystander::of(&farm);
    for door in [door(&farm), tcp] {
        requests_beyond_the_most_are_refused(Client::at(&door));
        bystander.is_served(&farm);
    }
}

fn requests_beyond_the_most_are_refused(mut client: Client) {
    let all = || Selection { addresses: vec!["bystander".parse().unwrap()], labels: Vec::new() };
    for _ in 0..1000 {
        client.asks(Ask::Wait { select: all(), until: Until::Ended });
    }
    let mut refused = 0;
    while refused < 1000 - 64 {
        match client.peer.hear() {
            Some((ToPeer::Answer { answer: Answer::Failed(Failure::TooMany(64)), .. }, _)) => refused += 1,
            Some((ToPeer::Pong { .. }, _)) => {}
            other => panic!("{other:?}"),
        }
    }
    for unknown in [0, 5000, u64::MAX] {
        for bytes in [0, 1, u64::MAX] {
            client.peer.say(&ToNode::Grant { request: unknown, bytes }, None);
        }
        client.peer.say(&ToNode::Cancel { request: unknown }, None);
        client.peer.say(&ToNode::Typed { request: unknown }, Some(b"x"));
        client.peer.say(&ToNode::Resized { request: unknown, size: Size::DEFAULT }, None);
    }
    for known in 1..=64 {
        client.peer.say(&ToNode::Grant { request: known, bytes: u64::MAX }, None);
        client.peer.say(&ToNode::Grant { request: known, bytes: u64::MAX }, None);
        client.peer.say(&ToNode::Cancel { request: known }, None);
        client.peer.say(&ToNode::Cancel { request: known }, None);
    }
    // Those that were cancelled make room.
    until("there is room again", SOON, || {
        client.asks(Ask::Ping);
        matches!(client.hears().answer, Answer::Here { .. }).then_some(())
    });
}

/// Asks and pings as fast as it can and reads nothing, again and again, until it is told that it is enough.
fn floods(door: &Door, enough: &AtomicBool) {
    let request = ToNode::Request(Request { request: 1, deadline_ms: 0, ask: Ask::Ping });
    let (ping, ballast) = (ToNode::Ping { nonce: 1 }, [0; 1024]);
    while !enough.load(Ordering::Relaxed) {
        let Ok(mut peer) = Peer::try_greeted(door) else { continue };
        peer.say(&hello(Role::Client), None);
        while !enough.load(Ordering::Relaxed)
            && peer.try_say(&request, None).and(peer.try_say(&ping, Some(&ballast))).is_ok()
        {}
    }
}

#[test]
fn floods_of_requests_delay_nobody() {
    let (farm, tcp) = tcp_farm();
    let mut bystander = Bystander::of(&farm);
    let kib = resident_kib(farm.node_pid());
    let enough = AtomicBool::new(false);
    let doors = [door(&farm), tcp];
    std::thread::scope(|scope| {
        // Told so also when the story fails, or its threads would keep it from ending.
        let _ends = Enough(&enough);
        for door in doors.iter().chain(&doors) {
            scope.spawn(|| floods(door, &enough));
        }
        for _ in 0..10 {
            bystander.is_served(&farm);
            let grown = resident_kib(farm.node_pid()).saturating_sub(kib);
            assert!(grown < FLOODED_KIB_MAX, "it grew by {grown} KiB");
        }
    });
}

/// What four links may cost, in KiB: 16 MiB each of what they do not read, and what an allocator keeps of the peak.
const FLOODED_KIB_MAX: u64 = 128 << 10;

struct Enough<'a>(&'a AtomicBool);

impl Drop for Enough<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_request_names_so_many_processes_at_most() {
    let farm = Farm::new();
    let mut client = Client::of(&farm);
    let named = |count| Selection { addresses: vec!["nobody".parse().unwrap(); count], labels: Vec::new() };
    client.asks(Ask::Do { select: named(257), deed: Deed::Restart });
    assert!(client.failure().to_string().contains("at most 256"));
    client.asks(Ask::List { select: named(256), ended: true });
    assert!(matches!(client.failure(), Failure::Unknown(_)));
}

/// What a zerovisor may grow by, in KiB, for clients that ask for much and read nothing.
const UNREAD_KIB_MAX: u64 = 512 << 10;

#[test]
fn large_answers_that_nobody_reads_are_few() {
    let farm = Farm::empty();
    farm.start_node(&["--log", "none"]);
    let mut bystander = Bystander::of(&farm);
    // Rows of 4 KiB.
    let _watchers: Vec<Peer> = (0..500_u16)
        .map(|number| {
            let mut bits = [7; 16];
            bits[..2].copy_from_slice(&number.to_be_bytes());
            let mut of = watcher_hello(Id::from_random(bits), 1, &format!("large-{number}"));
            of.spec.command = vec!["x".repeat(4000)];
            of.spec.detached = true;
            let mut peer = Peer::greeted(&door(&farm));
            peer.say(&hello(Role::Watcher(Box::new(of))), None);
            assert!(matches!(peer.hear(), Some((ToPeer::Welcome(_), _))));
            peer
        })
        .collect();
    let kib = resident_kib(farm.node_pid());
    let mut clients: Vec<Client> = (0..10).map(|_| Client::of(&farm)).collect();
    for client in &mut clients {
        for _ in 0..64 {
            client.asks(Ask::List { select: Selection::default(), ended: true });
        }
    }
    for _ in 0..3 {
        clients.iter_mut().for_each(|client| client.peer.ping());
        bystander.is_served(&farm);
        let grown = resident_kib(farm.node_pid()).saturating_sub(kib);
        assert!(grown < UNREAD_KIB_MAX, "it keeps {grown} KiB for {} clients", clients.len());
    }
}

/// Processes declared that never wrote, which a zerovisor keeps when their watchers have gone.
const KEPT_MAX: usize = 1024;

#[test]
fn watchers_that_only_say_hello_fill_neither_memory_nor_disk() {
    let farm = Farm::empty();
    farm.start_node(&["--log", "none"]);
    let mut bystander = Bystander::of(&farm);
    let kib = resident_kib(farm.node_pid());
    for number in 0..3000_u16 {
        let mut bits = [9; 16];
        bits[..2].copy_from_slice(&number.to_be_bytes());
        let mut of = watcher_hello(Id::from_random(bits), 1, &format!("ghost-{number}"));
        of.spec.cwd = "/".repeat(4000);
        let mut peer = Peer::greeted(&door(&farm));
        peer.say(&hello(Role::Watcher(Box::new(of))), None);
        assert!(matches!(peer.hear(), Some((ToPeer::Welcome(_) | ToPeer::Refused(_), _))));
        if number % 500 == 0 {
            bystander.is_served(&farm);
        }
    }
    let directories = || std::fs::read_dir(farm.path("zerovisor.data/processes")).unwrap().count();
    until("the oldest are forgotten", LONG, || (directories() <= KEPT_MAX + 16).then_some(()));
    let grown = resident_kib(farm.node_pid()).saturating_sub(kib);
    assert!(grown < 64 << 10, "it grew by {grown} KiB");
    bystander.is_served(&farm);
    assert!(farm.json(&["ps", "-a"])["processes"].as_array().unwrap().len() <= KEPT_MAX + 16);
}

#[test]
fn a_flood_of_one_offence_is_told_a_few_times_and_then_counted() {
    let farm = Farm::new();
    let mut bystander = Bystander::of(&farm);
    for _ in 0..300 {
        let mut peer = Peer::silent(&door(&farm));
        peer.bytes(b"GET / HTTP/1.1\r\n\r\n");
        peer.meets_its_end();
        let mut peer = Peer::greeted(&door(&farm));
        peer.say(&ToNode::Ping { nonce: 1 }, None);
    }
    for _ in 0..300 {
        let mut peer = Peer::greeted(&door(&farm));
        peer.say(&hello(Role::Client), None);
        assert!(matches!(peer.hear(), Some((ToPeer::Welcome(_), _))));
        peer.say(&ToNode::Record(head(1, 0)), Some(b"x"));
    }
    bystander.is_served(&farm);
    let told = drops(&farm);
    assert!(told.len() <= 30, "{} lines: {:#?}", told.len(), &told[..30]);
    let counted = || drops(&farm).iter().filter(|line| line.contains("more")).count();
    until("the rest is counted", Duration::from_secs(30), || (counted() >= 2).then_some(()));
}
