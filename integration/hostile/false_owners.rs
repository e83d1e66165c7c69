//! zvwatch against what only looks like a zerovisor: its program runs on undisturbed, its exit status is right, its memory bounded.

use zerovisor_core::keys::{Key, KeyCode};
use zerovisor_core::name::ProcessName;
use zerovisor_core::signal::Signal;
use zerovisor_core::size::Size;
use zerovisor_core::view::Nodes;
use zerovisor_core::wire::{Answer, Deed, Outcome, Role, ToNode, ToPeer, ViewerAct};

use super::tricks::{Trick, before_the_welcome};
use crate::harness::{
    Farm, LONG, Peer, Program, SOON, bytes_below, children_of, impostor, impostor_on_tcp, resident_kib, until,
    watcher_welcome,
};

/// Writes for about a second and says in a file that it came to its end.
const PROGRAM: &str = "i=0
while [ $i -lt 20 ]; do echo $i; i=$((i + 1)); sleep 0.05; done
echo whole > ended
exit 7
";

/// Reads a watcher's hello; the name of its process. None: it has gone.
fn watcher_of(peer: &mut Peer) -> Option<ProcessName> {
    let Some(ToNode::Hello(hello)) = peer.hello() else { return None };
    let Role::Watcher(watcher) = hello.role else { return None };
    Some(watcher.spec.name)
}

/// Welcomes a watcher; false if it has gone.
fn welcomes(peer: &mut Peer, window_bytes: u64) -> bool {
    let Some(name) = watcher_of(peer) else { return false };
    peer.say(&watcher_welcome(&name, 0, window_bytes), None);
    true
}

/// Says this behind a good welcome, and then listens until the watcher has gone.
fn behind_a_welcome(window_bytes: u64, said: Vec<(ToPeer, Option<Vec<u8>>)>) -> Trick {
    Box::new(move |mut peer: Peer| {
        if welcomes(&mut peer, window_bytes) {
            for (message, payload) in &said {
                peer.say(message, payload.as_deref());
            }
            peer.is_left();
        }
    })
}

fn order(order: u64, deed: Deed) -> (ToPeer, Option<Vec<u8>>) {
    (ToPeer::Order { order, deed }, None)
}

/// Orders that change nothing of a program that runs, with every field odd.
fn odd_orders() -> Vec<(ToPeer, Option<Vec<u8>>)> {
    let key = Key::new(KeyCode::F12, 0).unwrap();
    let start = |argv: Vec<Vec<u8>>| Deed::Start { command: Some(argv) };
    let mut said = vec![
        order(0, Deed::Signal(Signal::CONT)),
        order(0, Deed::Signal(Signal::CONT)),
        order(u64::MAX, start(Vec::new())),
        order(1, start(vec![Vec::new()])),
        order(2, start(vec![b"a\0b".to_vec(), vec![0xff; 40_000]])),
        order(3, Deed::Start { command: None }),
        order(4, Deed::Remove { force: false }),
        order(5, Deed::Keys { keys: vec![key; 10_000] }),
        (ToPeer::Order { order: 6, deed: Deed::Keys { keys: Vec::new() } }, Some(vec![0xff; 1 << 20])),
        (ToPeer::Order { order: 7, deed: Deed::Input { eof: true } }, Some(vec![0; 1 << 20])),
        (ToPeer::Order { order: 8, deed: Deed::Input { eof: true } }, None),
    ];
    let size = Size::new(1000, 500).unwrap();
    for viewer in [0, 1, u64::MAX] {
        for act in [
            ViewerAct::Type,
            ViewerAct::Attach { size: Some(size), read_only: false, steal: true },
            ViewerAct::Picture,
            ViewerAct::Resize(size),
            ViewerAct::Read { ansi: true },
            ViewerAct::Type,
            ViewerAct::Detach,
            ViewerAct::Detach,
        ] {
            said.push((ToPeer::FromViewer { viewer, act }, Some(vec![b'x'; 4096])));
        }
    }
    said
}

/// What a watcher meets behind a good handshake, by name.
fn behind_the_hello() -> Vec<(&'static str, Trick)> {
    let ack = |seq, window_bytes| (ToPeer::Ack { seq, window_bytes }, None);
    let welcome = |journal_end: u64| -> Trick {
        Box::new(move |mut peer: Peer| {
            if let Some(name) = watcher_of(&mut peer) {
                peer.say(&watcher_welcome(&name, journal_end, 1 << 20), None);
                peer.is_left();
            }
        })
    };
    let ends = ToPeer::Answer { request: 9, answer: Answer::End(Nodes::default()) };
    vec![
        ("a journal that ends beyond all records", welcome(u64::MAX)),
        ("a journal that ends a little beyond", welcome(1_000_000)),
        ("no acknowledgement", behind_a_welcome(1 << 20, Vec::new())),
        ("no window", behind_a_welcome(0, Vec::new())),
        ("a window without end", behind_a_welcome(u64::MAX, vec![ack(0, u64::MAX)])),
        ("acknowledgements of nothing", behind_a_welcome(1, vec![ack(0, 0); 1000])),
        ("an acknowledgement ahead", behind_a_welcome(1 << 20, vec![ack(u64::MAX, 1)])),
        ("an answer to a question", behind_a_welcome(1 << 20, vec![(ends, None)])),
        ("a farewell", behind_a_welcome(1 << 20, vec![(ToPeer::Farewell, None)])),
        ("odd orders", behind_a_welcome(1 << 20, odd_orders())),
        (
            "noise",
            Box::new(|mut peer: Peer| {
                if welcomes(&mut peer, 1 << 20) {
                    peer.bytes(&[0x5a; 70_000]);
                }
            }),
        ),
        (
            "a link that is never read",
            Box::new(|mut peer: Peer| {
                if welcomes(&mut peer, u64::MAX) {
                    while peer.try_say(&ToPeer::Pong { nonce: 0 }, None).is_ok() {}
                }
            }),
        ),
    ]
}

/// What is said of some of them.
fn reason(what: &str) -> &'static str {
    match what {
        "silence behind the handshake" => "did not answer within 2 s",
        "a frame of 2^47 bytes" => "frame too large: 140737488355328",
        "a frame of 2^62 bytes" | "a second frame of 2^62 bytes" => "frame too large: 4611686018427387904",
        "frames without end" => "too many frames",
        "a ZMTP PING" => "ZMTP command",
        "a journal that ends a little beyond" => "journal ends at record 1000000",
        "an acknowledgement ahead" => "acknowledged record 18446744073709551615",
        _ => "",
    }
}

#[test]
fn whatever_listens_in_place_of_a_zerovisor_the_program_runs_on_and_its_status_is_right() {
    let over_a_file = before_the_welcome().into_iter().chain(behind_the_hello()).map(|(what, trick)| {
        let farm = Farm::empty();
        impostor(farm.dir(), trick);
        farm.script("program", PROGRAM);
        let program = farm.watch(&["sh", "program"]);
        (what, farm, program)
    });
    let over_tcp = before_the_welcome().into_iter().map(|(what, trick)| {
        let (farm, port) = (Farm::empty(), impostor_on_tcp(trick));
        farm.script("program", PROGRAM);
        let (endpoint, spool) = (format!("tcp://127.0.0.1:{port}"), farm.path("spool"));
        let program = farm.watch(&["--insecure", "-e", &endpoint, "--spool", spool.to_str().unwrap(), "sh", "program"]);
        (what, farm, program)
    });
    let watched: Vec<(&str, Farm, Program)> = over_a_file.chain(over_tcp).collect();
    for (what, farm, _) in &watched {
        until(&format!("against {what} the program comes to its end"), LONG, || {
            farm.path("ended").exists().then_some(())
        });
    }
    for (what, _farm, program) in watched {
        let ended = until(&format!("against {what} it ends"), LONG, || program.ended());
        assert_eq!(ended.code(), 7, "{what}: {}", ended.err());
        assert!(ended.stdout.is_empty(), "{what}: {}", ended.out());
        let said = ended.err();
        let acts = said.chars().find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
        assert_eq!(acts, None, "{what}: {said:?}");
        assert!((1..8).contains(&said.lines().count()), "{what}: {said}");
        assert!(said.contains(reason(what)), "{what} is no '{}': {said}", reason(what));
        assert!(said.contains("zerovisor at") || said.contains("no use in what listens at"), "{what}: {said}");
    }
}

/// By how much a watcher may grow, in KiB, whatever it is ordered: 8,192 facts that nobody acknowledges, some 3 MiB, and what an allocator
/// keeps.
const GROWTH_MAX_KIB: u64 = 8 << 10;
/// What they may take of its disk, in bytes: some 60 each, and the room a spool reserves.
const SPOOL_MAX_BYTES: u64 = 1 << 20;
/// Orders that each make a record; kept, they would take some 25 MiB of memory, or 6 of disk.
const ORDERS: u64 = 100_000;

/// Orders a watcher about and acknowledges nothing. Returns how many orders it refused for now.
fn orders_without_end(peer: &mut Peer, order: impl Fn(u64) -> Vec<ToPeer>) -> u64 {
    let mut busy = 0;
    for batch in 0..ORDERS / 500 {
        for number in batch * 500..(batch + 1) * 500 {
            order(number).iter().for_each(|order| peer.say(order, None));
        }
        // An order at the end of each batch: its answer says that the rest has been done.
        let last = u64::MAX - batch;
        peer.say(&ToPeer::Order { order: last, deed: Deed::Signal(Signal::CONT) }, None);
        loop {
            match peer.hears::<ToNode>() {
                Some((ToNode::Obeyed { order, outcome }, _)) => {
                    busy += u64::from(matches!(outcome, Outcome::Busy(_)));
                    if order == last {
                        break;
                    }
                }
                Some(_) => {}
                None => return busy,
            }
        }
    }
    busy
}

fn keeps_its_size_under(args: &[&str], order: impl Fn(u64) -> Vec<ToPeer> + Send + Sync + 'static) {
    let farm = Farm::empty();
    let (done, told) = std::sync::mpsc::channel();
    impostor(farm.dir(), move |mut peer: Peer| {
        if welcomes(&mut peer, 1 << 20) {
            let _ = done.send(orders_without_end(&mut peer, &order));
            peer.is_left();
        }
    });
    let program = farm.watch(args);
    let watcher = until("the watcher is there", SOON, || children_of(program.pid).first().copied());
    until("its program runs", SOON, || (!children_of(watcher).is_empty()).then_some(()));
    let before = resident_kib(watcher);
    let busy = told.recv_timeout(LONG).expect("all orders are answered");
    let grown = resident_kib(watcher).saturating_sub(before);
    assert!(grown < GROWTH_MAX_KIB, "it grew by {grown} KiB");
    let spool = bytes_below(&farm.path("zerovisor.spool"));
    assert!(spool < SPOOL_MAX_BYTES, "it put {spool} bytes on the disk");
    assert!(busy > 0, "what it cannot keep it refuses for now");
    assert!(!children_of(watcher).is_empty(), "its program runs on");
}

#[test]
fn orders_that_are_never_acknowledged_are_refused_in_the_end() {
    let signal = |number| vec![ToPeer::Order { order: number, deed: Deed::Signal(Signal::CONT) }];
    keeps_its_size_under(&["sleep", "1000"], signal);
}

#[test]
fn sizes_that_are_never_acknowledged_are_passed_over_in_the_end() {
    let resize = |number: u64| {
        let size = Size::new(100 + u16::try_from(number % 2).unwrap(), 30).unwrap();
        let attach = ViewerAct::Attach { size: Some(size), read_only: false, steal: false };
        let act = if number == 0 { attach } else { ViewerAct::Resize(size) };
        vec![ToPeer::FromViewer { viewer: 1, act }]
    };
    keeps_its_size_under(&["--pty", "--screen", "off", "sleep", "1000"], resize);
}

#[test]
fn viewers_of_two_sizes_that_type_in_turns_make_no_records_without_end() {
    let viewer = |viewer, act| ToPeer::FromViewer { viewer, act };
    let attach = |columns| {
        let size = Size::new(columns, 30).unwrap();
        ViewerAct::Attach { size: Some(size), read_only: false, steal: false }
    };
    let turns = move |number: u64| match number {
        0 => vec![viewer(1, attach(100)), viewer(2, attach(101))],
        _ => vec![viewer(1 + number % 2, ViewerAct::Type)],
    };
    keeps_its_size_under(&["--pty", "--screen", "off", "sleep", "1000"], turns);
}
