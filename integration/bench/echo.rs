//! From a key to its echo: the same program, a raw `cat`, in a bare pty and behind whoever else can hold its terminal.

use std::time::Duration;

use super::rig::{Budget, head, held, installed, knob, ratios, row, runs};
use super::sessions::{Kind, Session};
use super::typist::Typist;

/// Keys that no escape sequence of a client contains, so that one that appears is an echo. Their number and that of a line's share no
/// divisor, so that no cell is written with what it shows already.
const KEYS: &[u8] = b"&*+^_|,";
/// After so many the cursor goes back to the line's beginning.
const LINE: usize = 60;
/// Typed before it counts.
const WARM_UP: usize = 20;
/// How fast nobody types: enough for every process to have gone to sleep again.
const PAUSE: Duration = Duration::from_millis(3);
/// A silence this long after a return means that all of its echo has come.
const QUIET: Duration = Duration::from_millis(20);

/// `cat` on a terminal that neither echoes nor waits for lines: it is the program that echoes, as an editor does.
const CAT: &str = "stty raw -echo && echo $$ > pid.new && mv pid.new pid && exec cat";

const PEERS: [Kind; 5] = [Kind::Bare, Kind::Dtach, Kind::Tmux, Kind::Attach, Kind::Front];

struct Latency {
    p50: f64,
    p99: f64,
}

fn latency(typist: &mut Typist, keys: usize, pause: Duration) -> Latency {
    let mut micros: Vec<f64> = (0..WARM_UP + keys).map(|at| one(typist, at, pause)).skip(WARM_UP).collect();
    micros.sort_by(f64::total_cmp);
    Latency { p50: micros[keys / 2], p99: micros[keys * 99 / 100] }
}

fn one(typist: &mut Typist, at: usize, pause: Duration) -> f64 {
    if at % LINE == LINE - 1 {
        typist.type_key(b'\r');
        typist.drain(QUIET);
    }
    std::thread::sleep(pause);
    typist.echo(KEYS[at % KEYS.len()]).as_secs_f64() * 1e6
}

/// One user in front of one session: with pauses, then as fast as echoes come.
fn visit(kind: Kind, keys: usize) -> [Latency; 2] {
    let session = Session::start(kind, CAT);
    let mut typist = Typist::at(&session.client());
    session.wait_ready();
    typist.wait_raw();
    [latency(&mut typist, keys, PAUSE), latency(&mut typist, keys, Duration::ZERO)]
}

pub(crate) fn measure() {
    let keys = knob("KEYS", 600);
    let peers: Vec<Kind> =
        PEERS.into_iter().filter(|kind| kind.needs().is_none_or(|it| installed(it, "echo"))).collect();
    let mut got: Vec<Vec<[Latency; 2]>> = peers.iter().map(|_| Vec::new()).collect();
    for _ in 0..runs() {
        for (kind, got) in peers.iter().zip(&mut got) {
            got.push(visit(*kind, keys));
        }
    }
    for (which, how) in ["one every 3 ms and its echo", "the next at once"].iter().enumerate() {
        head(&format!("key to echo, {keys} keys, {how}"));
        let of = |kind: Kind, pick: fn(&Latency) -> f64| {
            let at = peers.iter().position(|peer| *peer == kind)?;
            Some(got[at].iter().map(|both| pick(&both[which])).collect::<Vec<f64>>())
        };
        for kind in &peers {
            row(kind.name(), "p50 µs", of(*kind, |it| it.p50).unwrap_or_default());
            row(kind.name(), "p99 µs", of(*kind, |it| it.p99).unwrap_or_default());
        }
        for (unit, pick) in [("x tmux p50", (|it| it.p50) as fn(&Latency) -> f64), ("x tmux p99", |it| it.p99)] {
            for kind in [Kind::Attach, Kind::Front] {
                if let (Some(ours), Some(tmux)) = (of(kind, pick), of(Kind::Tmux, pick)) {
                    held(kind.name(), unit, ratios(&ours, &tmux), Budget::AtMost(1.0));
                }
            }
        }
    }
}
