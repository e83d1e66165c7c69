//! zvctl against what only looks like a zerovisor: it ends in time, with one clear line and little memory, and nothing of what the
//! other side says acts on the user's terminal.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use zerovisor_core::record::{Head, Kind};
use zerovisor_core::units::Timestamp;
use zerovisor_core::view::Nodes;
use zerovisor_core::wire::{Answer, Failure, STREAM_WINDOW_BYTES, Source, ToPeer, View, encode_page};

use super::tricks::{ESCAPES, before_the_welcome};
use crate::harness::{Farm, LONG, Peer, Program, client_welcome, impostor, impostor_on_tcp};

/// What a client waits for an answer.
const TIMEOUT: &str = "1s";
/// The longest it may take all in all, on a machine that is busy with other tests.
const ENDS_WITHIN: Duration = Duration::from_secs(8);
/// Address space a client may have, in KiB: what it takes to begin, 128 MiB of an answer at most, that twice while it is read, and room.
const ADDRESS_SPACE_KIB: &str = "700000";
/// A verb under limits, on its way.
fn asking(farm: &Farm, args: &[&str]) -> Program {
    let zvctl = farm.ctl_command(&[]);
    let mut command: Command = Program::command("sh", farm.dir());
    command.args(["-c", r#"ulimit -v "$1" && shift && exec "$@""#, "sh", ADDRESS_SPACE_KIB]);
    command.arg(zvctl.get_program()).args(["--timeout", TIMEOUT]).args(args);
    Program::start(&mut command)
}

/// Asserts that a verb ends in time, with this status and one line that no terminal obeys; the line.
fn ends_well(what: &str, program: Program, begun: Instant, status: i32) -> String {
    let ended = program.end(LONG);
    let took = begun.elapsed();
    assert!(took < ENDS_WITHIN, "{what} took {took:?}");
    assert_eq!(ended.code(), status, "{what}: {}{}", ended.out(), ended.err());
    for said in [ended.out(), ended.err()] {
        let acts = said.chars().find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
        assert_eq!(acts, None, "{what}: {said:?}");
    }
    assert_eq!(ended.err().lines().count(), 1, "{what}: {}", ended.err());
    ended.err()
}

#[test]
fn whatever_listens_in_place_of_a_zerovisor_a_client_ends_in_time_with_one_line() {
    for (what, trick) in before_the_welcome() {
        let farm = Farm::empty();
        impostor(farm.dir(), trick);
        let begun = Instant::now();
        for (verb, program) in
            [["ping", ""], ["logs", "x"], ["stop", "x"]].map(|verb| (verb, asking(&farm, args(&verb))))
        {
            ends_well(&format!("{} against {what}", verb[0]), program, begun, 255);
        }
    }
}

fn args<'a>(verb: &'a [&'a str; 2]) -> &'a [&'a str] {
    if verb[1].is_empty() { &verb[..1] } else { &verb[..] }
}

#[test]
fn over_tcp_as_well() {
    for (what, trick) in before_the_welcome() {
        let port = impostor_on_tcp(trick);
        let farm = Farm::empty();
        let begun = Instant::now();
        let endpoint = format!("tcp://127.0.0.1:{port}");
        let program = asking(&farm, &["--insecure", "-e", &endpoint, "ps"]);
        ends_well(what, program, begun, 255);
    }
}

/// Says the same to every request of a client, over and over if told so, until it goes.
fn answering(answer: Answer, payload: Vec<u8>, endless: bool) -> impl Fn(Peer) + Send + Sync {
    move |mut peer: Peer| {
        let Some(request) = peer.asked() else { return };
        let said = ToPeer::Answer { request, answer: answer.clone() };
        let payload = Some(&payload[..]).filter(|payload| !payload.is_empty());
        while peer.try_say(&said, payload).is_ok() && endless {}
        peer.is_left();
    }
}

fn ended() -> Answer {
    Answer::End(Nodes::only("n1".parse().unwrap()))
}

fn told(verb: &[&str], trick: impl Fn(Peer) + Send + Sync + 'static, status: i32) -> String {
    let farm = Farm::empty();
    impostor(farm.dir(), trick);
    let begun = Instant::now();
    ends_well(&verb.join(" "), asking(&farm, verb), begun, status)
}

#[test]
fn an_answer_that_never_ends_is_given_up() {
    let here = Answer::Here {
        node: "n1".parse().unwrap(),
        program: "x".repeat(60_000),
        pid: 1,
        started_at: Timestamp(u64::MAX),
    };
    told(&["ping"], answering(here, Vec::new(), true), 255);
    let rows = encode_page(&Vec::<u8>::new()).unwrap().to_vec();
    told(&["ps"], answering(Answer::Rows, rows, true), 255);
    told(&["ps"], answering(Answer::Rows, vec![0xff; 1 << 20], true), 255);
    told(&["inspect", "x"], answering(Answer::Detail, vec![0; 1 << 20], true), 255);
    told(&["events"], answering(Answer::Events, vec![0; 1 << 20], true), 255);
    let missing = |what: &str| Answer::Missing { source: 0, what: what.to_owned() };
    told(&["logs", "x", "-o", "json"], answering(missing("much"), Vec::new(), true), 255);
    told(&["logs", "x"], answering(missing(&"much".repeat(10_000)), Vec::new(), true), 255);
    let log = |heads| Answer::Log { source: 0, heads };
    let head = Head { seq: 1, at: Timestamp(1), run: 1, kind: Kind::Stdout, offset: 0 };
    told(&["logs", "-f", "x"], answering(log(vec![(head, 0); 1000]), Vec::new(), true), 255);
}

/// Sends records without waiting for anybody to take them, and tells how many bytes it got rid of.
fn without_credit(mut peer: Peer, sent: &Sender<u64>) {
    let Some(request) = peer.asked() else { return };
    let source =
        Source { id: "0".repeat(32).parse().unwrap(), name: "x".parse().unwrap(), node: "n1".parse().unwrap() };
    let sources = encode_page(&vec![source]).unwrap();
    peer.say(&ToPeer::Answer { request, answer: Answer::Sources }, Some(&sources));
    let bytes = vec![b'\n'; 256 << 10];
    for seq in 1..4096 {
        let head = Head { seq, at: Timestamp(1), run: 1, kind: Kind::Stdout, offset: 0 };
        let answer = Answer::Log { source: 0, heads: vec![(head, 256 << 10)] };
        if peer.try_say(&ToPeer::Answer { request, answer }, Some(&bytes)).is_err() {
            let _ = sent.send(seq * bytes.len() as u64);
            return;
        }
    }
}

#[test]
fn more_than_was_granted_is_never_kept_for_a_reader_who_does_not_read() {
    let farm = Farm::empty();
    let (sent, taken) = channel();
    impostor(farm.dir(), move |peer| without_credit(peer, &sent));
    let mut command = farm.ctl_command(&["logs", "-f", "x"]);
    let mut zvctl = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let taken = taken.recv_timeout(LONG).expect("it is cut off");
    assert!(taken < 32 << 20, "{taken} bytes were taken, of {STREAM_WINDOW_BYTES} granted");
    let (mut read, mut said) = (Vec::new(), String::new());
    zvctl.stdout.take().unwrap().read_to_end(&mut read).unwrap();
    zvctl.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(read.len() as u64 <= STREAM_WINDOW_BYTES, "{} bytes were kept", read.len());
    assert!(said.contains("granted") && said.lines().count() == 1, "{said}");
    assert_eq!(zvctl.wait().unwrap().code(), Some(255));
}

#[test]
fn answers_that_cannot_be_are_a_broken_protocol() {
    let head = Head { seq: 1, at: Timestamp(1), run: 1, kind: Kind::Stdout, offset: u64::MAX };
    let log = |source, heads| Answer::Log { source, heads };
    for (verb, answer, payload) in [
        (&["ps"][..], Answer::Rows, b"\xff\xff\xff".to_vec()),
        (&["inspect", "x"], Answer::Detail, b"\x01".to_vec()),
        (&["events"], Answer::Events, b"\xfd".to_vec()),
        (&["logs", "x"], Answer::Sources, b"\x01".to_vec()),
        (&["logs", "x"], log(u32::MAX, vec![(head, u32::MAX)]), b"short".to_vec()),
        (&["logs", "x"], log(0, vec![(head, 6)]), b"short".to_vec()),
    ] {
        let broken = move |mut peer: Peer| {
            let Some(request) = peer.asked() else { return };
            let payload = Some(&payload[..]);
            peer.say(&ToPeer::Answer { request, answer: answer.clone() }, payload);
            peer.say(&ToPeer::Answer { request, answer: ended() }, None);
            peer.is_left();
        };
        let line = told(verb, broken, 255);
        assert!(line.contains("broke the protocol"), "{verb:?}: {line}");
    }
}

#[test]
fn answers_to_questions_nobody_asked_are_passed_over_or_refused() {
    let unasked = |mut peer: Peer| {
        let Some(request) = peer.asked() else { return };
        for stranger in [0, request + 1, u64::MAX] {
            peer.say(&ToPeer::Answer { request: stranger, answer: ended() }, None);
        }
        peer.is_left();
    };
    told(&["ping"], unasked, 255);
    let endless = |mut peer: Peer| {
        let Some(request) = peer.asked() else { return };
        let stranger = ToPeer::Answer { request: request + 1, answer: ended() };
        while peer.try_say(&stranger, None).is_ok() {}
    };
    told(&["ping"], endless, 255);
    let order = ToPeer::Ack { seq: u64::MAX, window_bytes: 0 };
    let unmeant = move |mut peer: Peer| {
        if peer.asked().is_some() {
            peer.say(&order, None);
            peer.is_left();
        }
    };
    assert!(told(&["ping"], unmeant, 255).contains("broke the protocol"));
    let twice = |mut peer: Peer| {
        if peer.asked().is_some() {
            peer.say(&client_welcome(), None);
            peer.is_left();
        }
    };
    assert!(told(&["ps"], twice, 255).contains("broke the protocol"));
}

#[test]
fn no_word_of_a_zerovisor_acts_on_the_terminal() {
    let failed = |failure| answering(Answer::Failed(failure), Vec::new(), false);
    told(&["ping"], failed(Failure::Other(ESCAPES.into())), 1);
    told(&["logs", "x"], failed(Failure::Unknown(ESCAPES.into())), 4);
    told(&["stop", "x"], failed(Failure::NotRunning(ESCAPES.into())), 3);
    let missing = Nodes { missing: [("n2".parse().unwrap(), ESCAPES.to_owned())].into(), ..Nodes::default() };
    told(&["ps"], answering(Answer::End(missing), Vec::new(), false), 5);
    told(&["attach", "x"], answering(Answer::View(View::SentAway(ESCAPES.into())), Vec::new(), false), 2);
}
