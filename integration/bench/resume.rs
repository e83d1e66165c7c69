//! A zerovisor that is killed and started again: how long until all of its watchers are linked, and what they kept is acknowledged.
//!
//! The watchers are real, each of a shell that sleeps, with a journal of some MiB. While the zerovisor is away each shell is made to write
//! a line: back is who is RUNNING again, acknowledged is whose journal has grown by that line.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use zerovisor_core::wire::Role;

use super::families::stop;
use super::peer::{Door, Peer, hello};
use super::rig::{Budget, Rig, ZVCTL, head, held, knob, ratios, row, runs, wait_until};

/// Long enough for every watcher to have begun its spool and to dial at its longest interval.
const AWAY: Duration = Duration::from_secs(8);

/// A second for the last of the redials, and two for a thousand logs to be read by the zerovisor and again when their watchers come.
const BACK_WITHIN_MS: f64 = 3000.0;

/// A process as `zvctl ps` shows it.
struct Seen {
    running: bool,
    pid: i32,
    journal_bytes: u64,
}

fn seen(rig: &Rig) -> HashMap<String, Seen> {
    let output = rig.command(ZVCTL, &["ps", "-o", "jsonl"]).stdout(Stdio::piped()).output().expect("zvctl");
    let row = |line: String| {
        let row: serde_json::Value = serde_json::from_str(&line).ok()?;
        let pid = row["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).unwrap_or(0);
        let journal_bytes = row["journal_bytes"].as_u64()?;
        Some((row["name"].as_str()?.to_owned(), Seen { running: row["state"] == "RUNNING", pid, journal_bytes }))
    };
    BufReader::new(&output.stdout[..]).lines().map_while(Result::ok).filter_map(row).collect()
}

fn launch(rig: &Rig, many: usize, mib: usize) {
    let script = format!("head -c {mib}M /dev/zero; trap 'echo back' USR1; sleep 100000 & while :; do wait; done");
    for number in 0..many {
        let name = format!("sleeper{number}");
        let mut watch = rig.watch(&["-d", "--start-secs", "0", "--name", &name, "-l", "bench=1", "sh", "-c", &script]);
        assert!(watch.status().expect("zvwatch").success());
    }
    let least = (mib as u64) << 20;
    wait_until("all of them have written", || {
        seen(rig).values().filter(|seen| seen.running && seen.journal_bytes > least).count() == many
    });
}

/// What a start took, in ms since the program was started.
struct Back {
    listening: f64,
    shown: f64,
    acknowledged: f64,
}

fn again(rig: &mut Rig, away: Duration) -> Back {
    let before = seen(rig);
    rig.kill();
    for seen in before.values() {
        kill(Pid::from_raw(seen.pid), Signal::SIGUSR1).expect("the shell lives");
    }
    // How long it stays away is the thing measured against.
    std::thread::sleep(away);
    let began = Instant::now();
    rig.start_again(&["--log", "none"]);
    let passed = || began.elapsed().as_secs_f64() * 1e3;
    let listening = passed();
    let (mut shown, mut now) = (None, HashMap::new());
    let is_back = |now: &HashMap<String, Seen>| now.values().filter(|seen| seen.running).count() == before.len();
    let is_acknowledged = |now: &HashMap<String, Seen>| {
        before.iter().all(|(name, before)| now.get(name).is_some_and(|now| now.journal_bytes > before.journal_bytes))
    };
    while shown.is_none() || !is_acknowledged(&now) {
        assert!(began.elapsed() < Duration::from_secs(60), "a minute, and not all are back");
        now = seen(rig);
        shown = shown.or(is_back(&now).then(passed));
        // A look takes the zerovisor's time too.
        std::thread::sleep(Duration::from_millis(20));
    }
    Back { listening, shown: shown.unwrap_or(f64::NAN), acknowledged: passed() }
}

/// So many links that say hello as clients, one after another: the least that links can cost.
fn bare(many: usize) -> f64 {
    let rig = Rig::start(&["--log", "none"]);
    let door = Door::Ipc(rig.path("zerovisor.sock"));
    let began = Instant::now();
    let greet = |_| {
        let mut peer = Peer::greeted(&door);
        peer.say(&hello(Role::Client), None);
        assert!(peer.hear().is_some(), "welcome");
        peer
    };
    let peers: Vec<Peer> = (0..many).map(greet).collect();
    let took = began.elapsed().as_secs_f64() * 1e3;
    drop(peers);
    took
}

pub(crate) fn measure() {
    let (many, mib) = (knob("CROWD", 1000), knob("RESUME_MIB", 2));
    head(&format!("kill -9 and start of a zerovisor with {many} watchers, {mib} MiB of journal each"));
    let mut rig = Rig::start(&["--log", "none"]);
    launch(&rig, many, mib);
    let times = runs().min(2);
    let hellos: Vec<f64> = (0..times).map(|_| bare(many)).collect();
    row(&format!("{many} x connect and hello, one after another"), "ms", hellos.clone());
    for (what, away) in [("at once", Duration::ZERO), ("after 8 s", AWAY)] {
        let back: Vec<Back> = (0..times).map(|_| again(&mut rig, away)).collect();
        let of = |pick: fn(&Back) -> f64| back.iter().map(pick).collect::<Vec<_>>();
        row(&format!("{what}: listens"), "ms", of(|back| back.listening));
        row(&format!("{what}: all RUNNING in zvctl ps"), "ms", of(|back| back.shown));
        let acknowledged = of(|back| back.acknowledged);
        row(&format!("{what}: all acknowledged"), "x hellos", ratios(&acknowledged, &hellos));
        held(&format!("{what}: all acknowledged"), "ms", acknowledged, Budget::AtMost(BACK_WITHIN_MS));
    }
    stop(&rig);
}
