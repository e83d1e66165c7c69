//! The client against a peer that speaks frame by frame what a test wants.

use tempfile::TempDir;
use zerovisor_core::address::Selection;
use zerovisor_core::fact::State;
use zerovisor_core::id::Id;
use zerovisor_core::wire::{Refusal, Refused, Versions, Welcome, encode_page};

use zerovisor_core::view::Nodes;
use zerovisor_core::wire::Failure;

use super::*;
use crate::ctl::error::status;
use crate::ctl::json::tests::row;
use crate::net::Acceptor;
use crate::net::listen::Admission;

/// The other side of the links a client makes.
struct Peer {
    acceptor: Acceptor,
    door: Door,
    _directory: TempDir,
}

fn peer() -> Peer {
    let directory = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::Ipc(directory.path().join("zv.sock"));
    let acceptor = Acceptor::bind(&endpoint, Admission::default()).unwrap();
    Peer { acceptor, door: Door { endpoint, timeout: Duration::from_secs(20) }, _directory: directory }
}

async fn say(link: &mut Link, message: &ToPeer, payload: Option<Bytes>) {
    link.tx.send(Frames { header: encode_header(message).unwrap(), payload }).await.unwrap();
}

async fn hear(link: &mut Link) -> (ToNode, Option<Bytes>) {
    let frames = link.rx.recv().await.unwrap();
    (decode_header(&frames.header).unwrap(), frames.payload)
}

/// The next request, whatever is pinged before it.
async fn request(link: &mut Link) -> Request {
    loop {
        let message = hear(link).await.0;
        if let ToNode::Request(request) = message {
            return request;
        }
        assert!(matches!(message, ToNode::Ping { .. } | ToNode::Grant { .. }), "{message:?}");
    }
}

fn welcome() -> ToPeer {
    let node = "n1".parse().unwrap();
    ToPeer::Welcome(Welcome { version: 1, node, program: "zerovisor 0.1.0".into(), watcher: None })
}

async fn linked(peer: &mut Peer) -> (Client, Link) {
    let door = peer.door.clone();
    let serve = async {
        let mut link = peer.acceptor.accept().await.unwrap();
        assert!(matches!(hear(&mut link).await.0, ToNode::Hello(Hello { role: Role::Client, .. })));
        say(&mut link, &welcome(), None).await;
        link
    };
    let (client, link) = tokio::join!(Client::connect(&door), serve);
    (client.unwrap(), link)
}

fn end() -> Answer {
    Answer::End(Nodes::only("n1".parse().unwrap()))
}

#[tokio::test]
async fn no_zerovisor_is_told_at_once() {
    let mut peer = peer();
    peer.door.endpoint = "ipc:///nonexistent/zv.sock".parse().unwrap();
    let error = Client::connect(&peer.door).await.unwrap_err();
    assert_eq!((error.status(), error.is_transient()), (status::TRANSPORT, true));
    assert!(error.to_string().starts_with("no zerovisor at ipc:///nonexistent/zv.sock"), "{error}");
}

#[tokio::test]
async fn a_refusal_names_both_sides_versions() {
    let mut peer = peer();
    let door = peer.door.clone();
    let theirs = Versions { oldest: 7, newest: 9 };
    let serve = async {
        let mut link = peer.acceptor.accept().await.unwrap();
        hear(&mut link).await;
        let reason = Refusal::Versions { ours: VERSIONS, theirs };
        say(&mut link, &ToPeer::Refused(Refused { versions: theirs, reason }), None).await;
        link
    };
    let (error, _link) = tokio::join!(Client::connect(&door), serve);
    let error = error.unwrap_err();
    assert!(error.to_string().contains("7-9") && !error.is_transient(), "{error}");
    assert_eq!(error.status(), status::TRANSPORT);
}

#[tokio::test]
async fn answers_come_in_the_order_of_the_questions_whatever_the_order_on_the_wire() {
    let mut peer = peer();
    let (mut client, mut link) = linked(&mut peer).await;
    let asks = (0..IN_FLIGHT_MAX + 3).map(|_| Ask::List { select: Selection::default(), ended: false }).collect();
    let serve = async {
        let (mut open, mut asked, total) = (Vec::new(), 0, IN_FLIGHT_MAX + 3);
        while asked < total || !open.is_empty() {
            if asked < total && open.len() < IN_FLIGHT_MAX {
                open.push(request(&mut link).await.request);
                asked += 1;
                continue;
            }
            // The last one asked is answered first.
            let Some(number) = open.pop() else { break };
            let page = encode_page(&vec![row(&format!("p{number}"), State::Running)]).unwrap();
            say(&mut link, &ToPeer::Answer { request: number, answer: Answer::Rows }, Some(page)).await;
            let answer = if number == 2 { Answer::Failed(Failure::Unknown("x".into())) } else { end() };
            say(&mut link, &ToPeer::Answer { request: number, answer }, None).await;
        }
    };
    let (replies, ()) = tokio::join!(client.answers(asks, Some(Duration::from_secs(20))), serve);
    let names: Vec<String> = replies
        .unwrap()
        .iter()
        .map(|reply| match reply {
            Ok(reply) => client.pages::<zerovisor_core::view::ProcessRow>(reply).unwrap()[0].name.to_string(),
            Err(failure) => failure.to_string(),
        })
        .collect();
    let expected: Vec<String> = (1..=IN_FLIGHT_MAX + 3).map(|n| format!("p{n}")).collect();
    assert_eq!((names.len(), &names[2..]), (expected.len(), &expected[2..]));
    assert!(names[1].starts_with("no process 'x'"));
}

#[tokio::test]
async fn what_was_read_is_granted_again() {
    let mut peer = peer();
    let (mut client, mut link) = linked(&mut peer).await;
    let page = encode_page(&vec![row("web", State::Running)]).unwrap();
    let bytes = page.len() as u64;
    let serve = async {
        let number = request(&mut link).await.request;
        say(&mut link, &ToPeer::Answer { request: number, answer: Answer::Rows }, Some(page)).await;
        let granted = hear(&mut link).await.0;
        say(&mut link, &ToPeer::Answer { request: number, answer: end() }, None).await;
        (number, granted)
    };
    let ask = Ask::List { select: Selection::default(), ended: false };
    let (reply, (number, granted)) = tokio::join!(client.answer(ask), serve);
    assert_eq!((granted, reply.unwrap().parts.len()), (ToNode::Grant { request: number, bytes }, 1));
}

#[tokio::test]
async fn a_link_on_which_nothing_is_heard_for_three_pings_is_lost() {
    let mut peer = peer();
    let (mut client, mut link) = linked(&mut peer).await;
    client.ask(Ask::Ping, None, None).await.unwrap();
    let mut misses = 0;
    let error = loop {
        match client.on(Wake::Beat).await {
            Ok(_) => misses += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((misses, error.is_transient()), (MISSES_MAX, true));
    assert!(error.to_string().contains("nothing was heard for 3s"), "{error}");
    assert!(matches!(hear(&mut link).await.0, ToNode::Request(_)));
    for _ in 0..MISSES_MAX {
        assert!(matches!(hear(&mut link).await.0, ToNode::Ping { .. }));
    }
}

#[tokio::test]
async fn a_peer_that_hangs_up_or_talks_nonsense_is_named() {
    let mut peer = peer();
    let (mut client, link) = linked(&mut peer).await;
    drop(link);
    let error = client.answer(Ask::Ping).await.unwrap_err();
    assert!(error.to_string().starts_with("the link to the zerovisor at ipc://"), "{error}");
    let (mut client, mut link) = linked(&mut peer).await;
    say(&mut link, &ToPeer::Ack { seq: 1, window_bytes: 1 }, None).await;
    let error = client.answer(Ask::Ping).await.unwrap_err();
    assert!(error.to_string().contains("broke the protocol") && !error.is_transient(), "{error}");
}

#[tokio::test]
async fn done_and_ids_are_passed_on() {
    let mut peer = peer();
    let (mut client, mut link) = linked(&mut peer).await;
    let done = Answer::Done {
        id: Id::from_random([1; 16]),
        name: "web".parse().unwrap(),
        outcome: zerovisor_core::wire::Outcome::Done,
    };
    let serve = async {
        let asked = hear(&mut link).await;
        say(&mut link, &ToPeer::Answer { request: 1, answer: done.clone() }, None).await;
        say(&mut link, &ToPeer::Answer { request: 1, answer: end() }, None).await;
        asked
    };
    let select = Selection { addresses: vec!["web".parse().unwrap()], labels: vec![] };
    let ask = Ask::Do { select, deed: zerovisor_core::wire::Deed::Input { eof: true } };
    let (reply, (asked, input)) = tokio::join!(client.deliver(ask, Bytes::from_static(b"hi")), serve);
    assert_eq!(reply.unwrap().parts[0].0, done);
    assert!(matches!(asked, ToNode::Request(Request { deadline_ms: 20_000, .. })));
    assert_eq!(input.as_deref(), Some(&b"hi"[..]));
}
