//! Reading against a peer that sends what a test wants, record by record.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use zerovisor_core::id::Id;
use zerovisor_core::record::Kind;
use zerovisor_core::units::Timestamp;
use zerovisor_core::wire::{Request, Runs, ToNode, ToPeer, Welcome, decode_header, encode_header, encode_page};

use super::*;
use crate::ctl::client::Door;
use crate::net::listen::Admission;
use crate::net::{Acceptor, Endpoint, Frames, Link};

const LONG: Duration = Duration::from_secs(20);

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

struct Stage {
    asker: Asker,
    written: Shared,
    _directory: TempDir,
}

fn stage() -> (Stage, Acceptor) {
    let directory = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::Ipc(directory.path().join("zv.sock"));
    let acceptor = Acceptor::bind(&endpoint, Admission::default()).unwrap();
    let door = Door { endpoint, timeout: LONG };
    let asker = Asker { door, format: None, look: Look::default(), limit: None };
    (Stage { asker, written: Shared::default(), _directory: directory }, acceptor)
}

fn ask() -> LogsAsk {
    LogsAsk {
        select: Selection::default(),
        follow: false,
        tail: None,
        since: None,
        until: None,
        kind: None,
        runs: Runs::All,
        after_seq: None,
    }
}

const TEXT: Style = Style::Text { timestamps: false, prefix: false };

/// Reads the output of processes `a`, `b`, ... as `zvctl logs` does; what it wrote is in the stage's `written`.
async fn read(stage: &Stage, names: &[&str], style: Option<Style>, filter: Option<&str>, extents: &[Extent]) -> Nodes {
    let select = |name: &&str| Selection { addresses: vec![name.parse().unwrap()], labels: vec![] };
    let filter = filter.map(|regex| Regex::new(regex).unwrap());
    let paper = Paper::onto(stage.written.clone());
    let selections = names.iter().map(select).collect();
    let mut reading = Reading::new(&stage.asker, selections, ask(), style, filter, Nodes::default(), paper);
    let mut client = stage.asker.client().await.unwrap();
    for extent in extents {
        client = reading.read(client, *extent).await.unwrap();
    }
    reading.finish().unwrap().0
}

async fn say(link: &mut Link, message: &ToPeer, payload: Option<Bytes>) {
    link.tx.send(Frames { header: encode_header(message).unwrap(), payload }).await.unwrap();
}

async fn hear(link: &mut Link) -> ToNode {
    loop {
        let frames = link.rx.recv().await.unwrap();
        let message = decode_header(&frames.header).unwrap();
        let ToNode::Ping { nonce } = message else { return message };
        say(link, &ToPeer::Pong { nonce }, None).await;
    }
}

async fn accept(acceptor: &mut Acceptor) -> Link {
    let mut link = acceptor.accept().await.unwrap();
    assert!(matches!(hear(&mut link).await, ToNode::Hello(_)));
    let node = "n1".parse().unwrap();
    let welcome = Welcome { version: 1, node, program: "zerovisor".into(), watcher: None };
    say(&mut link, &ToPeer::Welcome(welcome), None).await;
    link
}

/// The next request for output, whose source is told at once.
async fn asked(link: &mut Link) -> (u64, LogsAsk) {
    loop {
        let message = hear(link).await;
        if let ToNode::Request(Request { request, ask: Ask::Logs(ask), .. }) = message {
            let name = if request == 1 { "web" } else { "base" };
            let source = Source {
                id: Id::from_random([u8::try_from(request).unwrap(); 16]),
                name: name.parse().unwrap(),
                node: "n1".parse().unwrap(),
            };
            let page = encode_page(&vec![source]).unwrap();
            say(link, &ToPeer::Answer { request, answer: Answer::Sources }, Some(page)).await;
            return (request, ask);
        }
        assert!(matches!(message, ToNode::Grant { .. }), "{message:?}");
    }
}

async fn log(link: &mut Link, request: u64, records: &[(u64, u64, &str)]) {
    let head = |(seq, at, text): &(u64, u64, &str)| {
        let head = Head { seq: *seq, at: Timestamp(*at), run: 1, kind: Kind::Stdout, offset: 0 };
        (head, u32::try_from(text.len()).unwrap())
    };
    let heads = records.iter().map(head).collect();
    let payload: String = records.iter().map(|(_, _, text)| *text).collect();
    say(link, &ToPeer::Answer { request, answer: Answer::Log { source: 0, heads } }, Some(payload.into())).await;
}

async fn end(link: &mut Link, request: u64) {
    let nodes = Nodes::only("n1".parse().unwrap());
    say(link, &ToPeer::Answer { request, answer: Answer::End(nodes) }, None).await;
}

#[tokio::test]
async fn a_follower_that_lost_its_link_neither_misses_nor_repeats_a_byte() {
    let (stage, mut acceptor) = stage();
    let serve = async {
        let mut link = accept(&mut acceptor).await;
        let (request, ask) = asked(&mut link).await;
        assert_eq!((ask.after_seq, ask.follow), (None, true));
        log(&mut link, request, &[(1, 1, "one\ntw"), (2, 2, "o\nth")]).await;
        link.close().await.unwrap();
        let mut link = accept(&mut acceptor).await;
        let (request, ask) = asked(&mut link).await;
        assert_eq!(ask.after_seq, Some(2));
        assert_eq!(ask.select.addresses[0].to_string(), Id::from_random([1; 16]).to_string());
        log(&mut link, request, &[(2, 2, "o\nth"), (3, 3, "ree\nend")]).await;
        end(&mut link, request).await;
        link
    };
    let (nodes, _link) = tokio::join!(read(&stage, &["web"], Some(TEXT), None, &[Extent::Follow]), serve);
    assert_eq!(stage.written.text(), "one\ntwo\nthree\nend\n");
    assert!(!nodes.is_partial());
}

#[tokio::test]
async fn several_are_joined_by_time_whichever_comes_first() {
    let (stage, mut acceptor) = stage();
    let serve = async {
        let mut link = accept(&mut acceptor).await;
        let (first, _) = asked(&mut link).await;
        let (second, _) = asked(&mut link).await;
        log(&mut link, second, &[(1, 2, "b2\n"), (2, 5, "b5\n")]).await;
        log(&mut link, first, &[(7, 1, "a1\n"), (8, 3, "a3"), (9, 6, "\na6\n")]).await;
        end(&mut link, second).await;
        end(&mut link, first).await;
        link
    };
    let style = Style::Text { timestamps: false, prefix: true };
    let (_, _link) = tokio::join!(read(&stage, &["web", "base"], Some(style), None, &[Extent::Present]), serve);
    assert_eq!(stage.written.text(), "web  | a1\nbase | b2\nbase | b5\nweb  | a3\nweb  | a6\n");
}

#[tokio::test]
async fn raw_output_is_the_bytes_and_they_are_granted_again_once_written() {
    let (stage, mut acceptor) = stage();
    let piece = "\x1b[2J\r".repeat(20_000);
    let serve = async {
        let mut link = accept(&mut acceptor).await;
        let (request, _) = asked(&mut link).await;
        let mut granted = 0;
        for seq in 1..=40 {
            log(&mut link, request, &[(seq, seq, &piece)]).await;
            // A node that keeps to the window.
            while seq * piece.len() as u64 > granted + STREAM_WINDOW_BYTES - piece.len() as u64 {
                if let ToNode::Grant { request: 1, bytes } = hear(&mut link).await {
                    granted += bytes;
                }
            }
        }
        end(&mut link, request).await;
        link
    };
    let reading = read(&stage, &["web"], None, None, &[Extent::Present]);
    let (_, _link) = tokio::time::timeout(LONG, async { tokio::join!(reading, serve) }).await.unwrap();
    assert!(stage.written.text() == piece.repeat(40));
}

#[tokio::test]
async fn the_last_lines_that_match_are_followed_by_those_that_will() {
    let (stage, mut acceptor) = stage();
    let serve = async {
        let mut link = accept(&mut acceptor).await;
        let (request, ask) = asked(&mut link).await;
        assert_eq!((ask.follow, ask.tail), (false, None));
        log(&mut link, request, &[(1, 1, "x1\nx2\nno\nx3\n")]).await;
        end(&mut link, request).await;
        let (request, ask) = asked(&mut link).await;
        assert_eq!((ask.follow, ask.after_seq), (true, Some(1)));
        log(&mut link, request, &[(2, 2, "no\nx4\n")]).await;
        end(&mut link, request).await;
        link
    };
    let extents = [Extent::Tail(2), Extent::Follow];
    let (_, _link) = tokio::join!(read(&stage, &["web"], Some(TEXT), Some("^x"), &extents), serve);
    assert_eq!(stage.written.text(), "x2\nx3\nx4\n");
}

#[tokio::test]
async fn what_is_missing_stands_in_its_place() {
    let (stage, mut acceptor) = stage();
    let serve = async {
        let mut link = accept(&mut acceptor).await;
        let (request, _) = asked(&mut link).await;
        log(&mut link, request, &[(1, 1, "one\n")]).await;
        let missing = Answer::Missing { source: 0, what: "1.0 MiB of output missing".into() };
        say(&mut link, &ToPeer::Answer { request, answer: missing }, None).await;
        log(&mut link, request, &[(9, 9, "nine\n")]).await;
        end(&mut link, request).await;
        link
    };
    let (_, _link) = tokio::join!(read(&stage, &["web"], Some(Style::Jsonl), None, &[Extent::Present]), serve);
    let objects: Vec<serde_json::Value> =
        stage.written.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((objects.len(), &objects[1]["missing"]), (3, &"1.0 MiB of output missing".into()));
    assert_eq!((&objects[0]["text"], &objects[2]["seq"]), (&"one".into(), &9.into()));
}
