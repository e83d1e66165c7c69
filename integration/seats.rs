//! Seats at a terminal: how many there are, whose they are, and that one who makes a nuisance of itself costs nobody else's.

use std::collections::HashMap;
use std::time::Instant;

use zerovisor_core::address::Selection;
use zerovisor_core::id::Id;
use zerovisor_core::size::Size;
use zerovisor_core::wire::{Answer, Ask, AttachAsk, TYPED_WINDOW_BYTES, ToNode, Until, View, ViewerAct};

use crate::harness::{Client, Farm, SOON, Watcher, until, watcher_hello};

fn attach_ask(steal: bool) -> Ask {
    Ask::Attach(AttachAsk { address: "sh".parse().unwrap(), size: None, read_only: false, steal })
}

#[test]
fn a_full_terminal_is_denied_but_can_be_taken_and_read() {
    let farm = Farm::new();
    let mut watcher = Watcher::on_terminal(&farm, "sh");
    let mut clients: Vec<Client> = (0..4).map(|_| Client::of(&farm)).collect();
    for client in &mut clients {
        for _ in 0..64 {
            client.asks(attach_ask(false));
            watcher.welcomes();
        }
        watcher.peer.ping();
    }
    let mut late = Client::of(&farm);
    late.asks(attach_ask(false));
    let why = late.failure().to_string();
    assert!(why.contains("256 viewers") && why.contains("--steal"), "{why}");
    late.asks(Ask::Screen { address: "sh".parse().unwrap(), ansi: false });
    assert!(matches!(watcher.asked().1, ViewerAct::Read { .. }));
    late.asks(attach_ask(true));
    let (viewer, act, _) = watcher.asked();
    assert_eq!(act, ViewerAct::Attach { size: None, read_only: false, steal: true });
    watcher.attaches(viewer);
    assert!(matches!(late.view().0, View::Attached { .. }));
}

/// The watcher of `Watcher::on_terminal`, once it has made so many records, over a new link.
fn again(farm: &Farm, seq: u64) -> Watcher {
    let mut hello = watcher_hello(Id::from_random([9; 16]), 1, "sh");
    hello.spec.terminal = Some(Size::DEFAULT);
    (hello.welcomed_before, hello.next_seq) = (true, seq + 1);
    let mut watcher = Watcher::saying(farm, hello);
    watcher.seq = seq;
    watcher
}

#[test]
fn the_number_of_a_viewer_is_never_given_again() {
    let farm = Farm::new();
    let mut watcher = Watcher::on_terminal(&farm, "sh");
    let (_one, first) = Client::attached(&farm, &mut watcher, "sh");
    watcher.writes(b"of the first link");
    watcher.is_journaled();
    let mut watcher = again(&farm, watcher.seq);
    let (_two, second) = Client::attached(&farm, &mut watcher, "sh");
    assert!(second > first, "over another link: {second} after {first}");
    farm.kill_node();
    farm.start_node(&[]);
    let mut watcher = again(&farm, watcher.seq);
    let (_three, third) = Client::attached(&farm, &mut watcher, "sh");
    assert!(third > second, "of another node: {third} after {second}");
}

#[test]
fn a_link_that_was_taken_over_ends_whoever_waits_for_its_process() {
    let farm = Farm::new();
    let mut old = Watcher::on_terminal(&farm, "sh");
    let (_viewer, _) = Client::attached(&farm, &mut old, "sh");
    let mut waiting = Client::of(&farm);
    let select = Selection { addresses: vec!["sh".parse().unwrap()], labels: vec![] };
    waiting.asks(Ask::Wait { select: select.clone(), until: Until::Running });
    assert!(matches!(waiting.hears().answer, Answer::Reached { .. }));
    waiting.asks(Ask::Wait { select, until: Until::Ended });
    // What is asked behind it is answered when it is under way.
    waiting.asks(Ask::Ping);
    assert!(matches!(waiting.hears().answer, Answer::Here { .. }));
    let mut new = again(&farm, old.seq);
    until("the old link ends, though it is heard", SOON, || {
        old.peer.ping();
        old.peer.hear().is_none().then_some(())
    });
    new.writes(b"of the new one");
    new.is_journaled();
}

/// Viewers that have typed all they may: more than the sockets on the way hold.
const CROWD: u64 = 60;

fn window() -> usize {
    usize::try_from(TYPED_WINDOW_BYTES).unwrap()
}

/// A client with so many viewers. All but the last one have typed a window each, and the watcher has not read it.
fn crowd(farm: &Farm, watcher: &mut Watcher) -> Client {
    let mut crowd = Client::of(farm);
    for _ in 0..CROWD {
        crowd.asks(attach_ask(false));
        watcher.welcomes();
    }
    watcher.peer.ping();
    for request in 1..CROWD {
        crowd.peer.say(&ToNode::Typed { request }, Some(&vec![b'x'; window()]));
    }
    crowd
}

#[test]
fn windows_typed_in_single_bytes_at_a_watcher_that_reads_nothing_cost_nobody_the_link() {
    let farm = Farm::new();
    let mut watcher = Watcher::on_terminal(&farm, "sh");
    let (mut other, _) = Client::attached(&farm, &mut watcher, "sh");
    let (mut typist, one) = Client::attached(&farm, &mut watcher, "sh");
    typist.asks(attach_ask(false));
    let two = watcher.welcomes();
    let mut crowd = crowd(&farm, &mut watcher);
    let all: Vec<u8> = (0..window()).map(|at| u8::try_from(at % 251).unwrap()).collect();
    for (at, byte) in all.iter().enumerate() {
        for request in [1, 2] {
            typist.peer.say(&ToNode::Typed { request }, Some(&[*byte]));
        }
        if at % 1024 == 0 {
            watcher.peer.ping();
            other.peer.ping();
            crowd.peer.ping();
        }
    }
    let (mut typed, mut messages) = (HashMap::from([(one, Vec::new()), (two, Vec::new())]), 0);
    while typed.values().any(|typed| typed.len() < all.len()) {
        watcher.peer.ping();
        for client in [&mut other, &mut crowd, &mut typist] {
            client.peer.ping();
        }
        let (from, act, bytes) = watcher.asked();
        assert_eq!(act, ViewerAct::Type);
        if let Some(typed) = typed.get_mut(&from) {
            typed.extend(bytes);
            messages += 1;
        }
    }
    assert!(typed[&one] == all && typed[&two] == all, "in order, each byte once");
    assert!(messages < 4096, "{messages}: what has to wait goes out together");
    watcher.writes(b"goes on");
    assert_eq!(other.reads(7), b"goes on");
}

#[test]
fn a_viewer_that_never_stops_resizing_resizes_a_few_times_a_second_and_ends_at_its_last_size() {
    let farm = Farm::new();
    let mut watcher = Watcher::on_terminal(&farm, "sh");
    let (mut client, viewer) = Client::attached(&farm, &mut watcher, "sh");
    let begun = Instant::now();
    let size = |cols| Size::new(cols, 24).unwrap();
    for cols in 100..400 {
        client.peer.say(&ToNode::Resized { request: client.request, size: size(cols) }, None);
    }
    let mut sizes = Vec::new();
    while sizes.last() != Some(&size(399)) {
        match watcher.asked() {
            (from, ViewerAct::Resize(size), _) if from == viewer => sizes.push(size),
            (from, ViewerAct::Picture, _) if from == viewer => watcher.peer.ping(),
            other => panic!("{other:?}"),
        }
    }
    let most = 2 + begun.elapsed().as_millis() / 200;
    assert!(sizes[0] == size(100) && sizes.len() as u128 <= most, "{most} at most: {sizes:?}");
}

#[test]
fn what_was_typed_before_leaving_arrives_however_busy_the_link_is() {
    let farm = Farm::new();
    let mut watcher = Watcher::on_terminal(&farm, "sh");
    let (mut leaving, viewer) = Client::attached(&farm, &mut watcher, "sh");
    let mut crowd = crowd(&farm, &mut watcher);
    // More calls than wait.
    (0..200).for_each(|_| crowd.types(b"y"));
    crowd.asks(Ask::Ping);
    while !matches!(crowd.hears().answer, Answer::Here { .. }) {}
    leaving.types(b"last words");
    leaving.peer.say(&ToNode::Cancel { request: leaving.request }, None);
    leaving.asks(Ask::Ping);
    assert!(matches!(leaving.hears().answer, Answer::Here { .. }), "it has left");
    let (mut typed, mut left) = (Vec::new(), false);
    while !left {
        watcher.peer.ping();
        match watcher.asked() {
            (from, ViewerAct::Type, bytes) if from == viewer => typed.extend(bytes),
            (from, act, _) => left = from == viewer && act == ViewerAct::Detach,
        }
    }
    assert_eq!(typed, b"last words");
}
