use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::address::Selection;
use crate::limits::{CgroupMode, Limits};
use crate::name::Labels;
use crate::record::{Head, Kind};
use crate::restart::RestartPolicy;
use crate::signal::Signal;
use crate::size::Size;
use crate::spec::{ExitCodes, Leftovers, Spec};
use crate::stats::{Placement, Rung, Sample};
use crate::units::{SpanRange, Timestamp};
use crate::{fact::State, id::Id};
use std::time::Duration;

fn hello() -> ToNode {
    let spec = Spec {
        name: "sh".parse().unwrap(),
        name_given: true,
        labels: Labels::new(["app=web".parse().unwrap()]).unwrap(),
        command: vec!["bash".into(), "-i".into()],
        cwd: "/root".into(),
        env_names: vec!["LANG".into()],
        restart: RestartPolicy::OnFailure(3),
        start_secs: Duration::from_secs(1),
        exit_codes: ExitCodes::default(),
        backoff: SpanRange { min: Duration::from_millis(100), max: Duration::from_secs(60) },
        stop_signal: Signal::TERM,
        stop_timeout: Duration::from_secs(10),
        leftovers: Leftovers::Stop,
        detached: true,
        terminal: Some(Size::DEFAULT),
        cgroup: CgroupMode::Auto,
        limits: Limits { memory_bytes: Some(1 << 30), cpu_millis: None, pids: None },
    };
    let watcher = WatcherHello {
        id: Id::from_random([0xab; 16]),
        secret: [7; 32],
        welcomed_before: false,
        spec,
        created_at: Timestamp(1_700_000_000_000_000),
        host: HostProof { boot_id: "b".into(), pid_namespace: 4_026_531_836, pid: 4242, start_ticks: 99 },
        first_seq: 1,
        next_seq: 3,
        state: State::Running,
        placement: Placement { rung: Rung::V2, why: "w".into() },
    };
    ToNode::Hello(Hello {
        versions: Versions { oldest: 1, newest: 2 },
        program: "zvwatch 0.1.0".into(),
        role: Role::Watcher(Box::new(watcher)),
    })
}

fn head() -> Head {
    Head { seq: 300, at: Timestamp(1_700_000_000_000_000), run: 1, kind: Kind::Stdout, offset: 70_000 }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const HELLO: &str = concat!(
    "5a010001020d7a76776174636820302e312e3000abababababababababababababababab070707070707070707070707070707070707",
    "07070707070707070707070707070002736801010361707003776562020462617368022d69052f726f6f7401044c414e470103010001",
    "0000fc00e1f5053c001e0a0000010150180001fc000000400000fd00401e18240a06000162fcfcffffeffb242163010302000177",
);

/// The bytes written down here are what released watchers send; a change that breaks this test needs a new protocol version.
#[test]
fn golden_bytes() {
    let golden: [(&str, Bytes, &str); 11] = [
        ("hello", encode_header(&hello()).unwrap(), HELLO),
        ("ping", encode_header(&ToNode::Ping { nonce: 5 }).unwrap(), "5a010105"),
        ("record", encode_header(&ToNode::Record(head())).unwrap(), "5a0103fb2c01fd00401e18240a06000101fc70110100"),
        ("goodbye", encode_header(&ToNode::Goodbye).unwrap(), "5a0102"),
        ("ack", encode_header(&ToPeer::Ack { seq: 300, window_bytes: 262_144 }).unwrap(), "5a0104fb2c01fc00000400"),
        (
            "order",
            encode_header(&ToPeer::Order { order: 1, deed: Deed::Signal(Signal::TERM) }).unwrap(),
            "5a010501031e",
        ),
        (
            "list",
            encode_header(&ToNode::Request(Request {
                request: 9,
                deadline_ms: 5000,
                ask: Ask::List { select: Selection::default(), ended: true },
            }))
            .unwrap(),
            "5a010509fb881301000001",
        ),
        (
            "sampled",
            encode_header(&ToNode::Sampled(Box::new(Sample { run: 1, memory_bytes: Some(4096), ..Sample::default() })))
                .unwrap(),
            "5a010800010000000001fb00100000000000000000000000000000",
        ),
        (
            "typed by a viewer",
            encode_header(&ToPeer::FromViewer { viewer: 7, act: ViewerAct::Resize(Size::DEFAULT) }).unwrap(),
            "5a010707035018",
        ),
        (
            "news of a viewer",
            encode_header(&ToNode::ToViewer {
                viewer: 7,
                news: ViewerNews::Picture { seq: 300, size: Size::DEFAULT, last: true },
            })
            .unwrap(),
            "5a01090703fb2c01501801",
        ),
        ("fact", encode_fact(&Fact::Started { run: 1, pid: 42 }).unwrap(), "010154"),
    ];
    for (name, bytes, expected) in golden {
        assert_eq!(hex(&bytes), expected, "{name}");
    }
}

#[test]
fn a_header_reads_back_and_unknown_extensions_are_skipped() {
    let mut frame = encode_header(&hello()).unwrap().to_vec();
    assert_eq!(decode_header::<ToNode>(&frame), Ok(hello()));
    frame.extend_from_slice(&[99, 2, 0, 1, 2]);
    assert_eq!(decode_header::<ToNode>(&frame), Ok(hello()));
    frame.push(1);
    assert!(matches!(decode_header::<ToNode>(&frame), Err(WireError::BadExtensions(_))));
}

#[test]
fn a_stranger_is_told_from_a_newer_friend() {
    assert!(matches!(decode_header::<ToNode>(b"GET / HTTP/1.1"), Err(WireError::NotOurs(_))));
    assert_eq!(decode_header::<ToNode>(&[MAGIC, 9, 0]), Err(WireError::NewerFormat(9)));
    assert!(decode_header::<ToNode>(&[]).is_err());
}

#[test]
fn a_claimed_length_allocates_nothing() {
    // A string of 2^60 bytes where a program's name should be.
    let mut frame = vec![MAGIC, FORMAT, 0, 1, 1, 0xfd];
    frame.extend_from_slice(&(1u64 << 60).to_le_bytes());
    assert!(matches!(decode_header::<ToNode>(&frame), Err(WireError::Malformed(_))));
}

#[test]
fn versions_meet_at_the_newest_both_speak() {
    let range = |oldest, newest| Versions { oldest, newest };
    assert_eq!(range(1, 3).common(range(2, 9)), Some(3));
    assert_eq!(range(1, 1).common(range(2, 2)), None);
}

#[test]
fn a_long_list_becomes_pages_in_order() {
    let items: Vec<Vec<u8>> = (0..40u8).map(|n| vec![n; 100_000]).collect();
    let (pages, left_out) = encode_pages(&items);
    assert!(pages.len() > 1 && left_out == 0);
    let back: Vec<Vec<u8>> = pages.iter().flat_map(|page| decode_page::<Vec<Vec<u8>>>(page).unwrap()).collect();
    assert_eq!(back, items);
    assert_eq!(encode_pages(&[vec![0u8; PAGE_MAX_BYTES + 1]]).1, 1);
    assert_eq!(encode_pages::<u8>(&[]).0.len(), 1, "an empty list is one empty page");
}

proptest! {
    #[test]
    fn no_bytes_panic_a_decoder(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut framed = vec![MAGIC, FORMAT];
        framed.extend_from_slice(&bytes);
        let _ = decode_header::<ToNode>(&bytes);
        let _ = decode_header::<ToNode>(&framed);
        let _ = decode_header::<ToPeer>(&framed);
        let _ = decode_fact(&bytes);
        let _ = decode_page::<Vec<crate::view::Event>>(&bytes);
        let _ = decode_page::<crate::view::Detail>(&bytes);
    }

    #[test]
    fn a_flipped_byte_never_panics(at in 0usize..200, with: u8) {
        let mut frame = encode_header(&hello()).unwrap().to_vec();
        let at = at % frame.len();
        frame[at] ^= with;
        let _ = decode_header::<ToNode>(&frame);
    }
}
