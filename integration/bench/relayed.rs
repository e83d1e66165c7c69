//! Key to echo: what the zerovisor adds to a key that is typed and a program that repeats it.
//!
//! Watcher and client are peers written by hand that block in read(2), so the figure is that of the zerovisor, its two links and the
//! kernel's wake-ups, four context switches and more. A ping on one link is the floor for half of it.

use std::time::{Duration, Instant};

use zerovisor_core::fact::Fact;
use zerovisor_core::id::Id;
use zerovisor_core::record::{Head, Kind};
use zerovisor_core::size::Size;
use zerovisor_core::units::Timestamp;
use zerovisor_core::wire::{self, Answer, Ask, AttachAsk, Request, Role, ToNode, ToPeer, View, ViewerAct, ViewerNews};

use crate::peer::{Door, Peer, hello, watcher_hello};
use crate::rig::{Rig, head, knob, row, runs};

/// Keys typed in one run, each a byte: together within the window of a viewer.
const KEYS: usize = 5000;

pub(crate) fn measure() {
    head("key to echo through a zerovisor");
    let keys = knob("KEYS", KEYS);
    let (mut ping, mut half, mut most) = (vec![], vec![], vec![]);
    for _ in 0..runs() {
        let rig = Rig::start(&["--log", "none"]);
        let door = Door::Ipc(rig.path("zerovisor.sock"));
        let watcher = watcher(&door);
        let echoing = std::thread::spawn(move || echo(watcher));
        let mut client = Peer::greeted(&door);
        client.say(&hello(Role::Client), None);
        client.hear();
        let mut times: Vec<Duration> = (0..keys).map(|_| round_trip(&mut client)).collect();
        ping.push(percentile(&mut times, 50));
        attach(&mut client);
        let mut times: Vec<Duration> = (0..keys).map(|_| key(&mut client)).collect();
        half.push(percentile(&mut times, 50));
        most.push(percentile(&mut times, 99));
        drop(client);
        echoing.join().expect("the watcher ends");
    }
    row("a ping and its answer, p50", "µs", ping);
    row("key to echo, p50", "µs", half);
    row("key to echo, p99", "µs", most);
}

fn percentile(times: &mut [Duration], part: usize) -> f64 {
    times.sort();
    times[times.len() * part / 100].as_secs_f64() * 1e6
}

fn round_trip(client: &mut Peer) -> Duration {
    let begun = Instant::now();
    client.ping();
    client.hear();
    begun.elapsed()
}

fn key(client: &mut Peer) -> Duration {
    let begun = Instant::now();
    client.say(&ToNode::Typed { request: 1 }, Some(b"k"));
    loop {
        match client.hear() {
            Some((ToPeer::Answer { answer: Answer::View(View::Terminal), .. }, _)) => return begun.elapsed(),
            Some(_) => {}
            None => panic!("the zerovisor is gone"),
        }
    }
}

fn attach(client: &mut Peer) {
    let address = "echo".parse().expect("an address");
    let ask = Ask::Attach(AttachAsk { address, size: Some(Size::DEFAULT), read_only: false, steal: false });
    client.say(&ToNode::Request(Request { request: 1, deadline_ms: 0, ask }), None);
    while !matches!(client.hear(), Some((ToPeer::Answer { answer: Answer::View(View::Picture { .. }), .. }, _))) {}
}

fn watcher(door: &Door) -> Peer {
    let mut peer = Peer::greeted(door);
    let mut of = watcher_hello(Id::from_random([7; 16]), 7, "echo");
    of.spec.terminal = Some(Size::DEFAULT);
    peer.say(&hello(Role::Watcher(Box::new(of))), None);
    peer.hear();
    let fact = wire::encode_fact(&Fact::Started { run: 1, pid: 1 }).expect("a fact");
    peer.say(&ToNode::Record(Head { seq: 1, at: Timestamp(1), run: 1, kind: Kind::Fact, offset: 0 }), Some(&fact));
    peer
}

/// Repeats what is typed until the viewer leaves.
fn echo(mut peer: Peer) {
    let (mut seq, mut offset) = (1, 0);
    while let Some((message, payload)) = peer.hear() {
        let ToPeer::FromViewer { viewer, act } = message else { continue };
        match act {
            ViewerAct::Attach { .. } => {
                peer.say(&ToNode::ToViewer { viewer, news: ViewerNews::Attached { run: 1 } }, None);
                let picture = ViewerNews::Picture { seq, size: Size::DEFAULT, last: true };
                peer.say(&ToNode::ToViewer { viewer, news: picture }, Some(b""));
            }
            ViewerAct::Type => {
                seq += 1;
                let head = Head { seq, at: Timestamp(seq), run: 1, kind: Kind::Terminal, offset };
                peer.say(&ToNode::Record(head), Some(&payload));
                offset += payload.len() as u64;
            }
            ViewerAct::Detach => return,
            ViewerAct::Picture | ViewerAct::Resize(_) | ViewerAct::Read { .. } => {}
        }
    }
}
