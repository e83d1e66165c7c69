//! Memory over a long life: what a zerovisor, and a watcher, hold more after many records, restarts and short processes.
//!
//! Each thing is done in two halves. The first fills what is bounded; what the second adds would be added for ever.

use std::process::Stdio;
use std::time::Instant;

use zerovisor_core::fact::Fact;
use zerovisor_core::id::Id;
use zerovisor_core::record::{Head, Kind};
use zerovisor_core::units::Timestamp;
use zerovisor_core::wire::{self, Role, ToNode, ToPeer};

use super::families::{launch, stop};
use super::peer::{Door, Peer, hello, watcher_hello};
use super::rig::{Budget, Rig, ZVCTL, head, held, knob, row, wait_until};

/// Records on their way: half of what a link may have.
const AHEAD: u64 = 128;

/// What the second half may add, in KiB: an allocator's pages, not one structure a record or process (1,000,000 and 1,000 of them).
const ADDS_KIB: f64 = 512.0;

/// Memory that is a process's own, in KiB: what is not a file's.
fn own_kib(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("a living process");
    let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:")).expect("its anonymous memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// One half after another, and what a process holds after each.
fn halves(what: &str, pid: u32, mut half: impl FnMut(u64)) {
    let before = own_kib(pid);
    half(0);
    let middle = own_kib(pid);
    half(1);
    let after = own_kib(pid);
    row(&format!("{what}: before"), "KiB", vec![before]);
    row(&format!("{what}: the first half adds"), "KiB", vec![middle - before]);
    held(&format!("{what}: the second half adds"), "KiB", vec![after - middle], Budget::AtMost(ADDS_KIB));
}

/// A watcher that is nothing but a link, and writes records of a few bytes.
struct Chatterer {
    peer: Peer,
    seq: u64,
    acknowledged: u64,
}

impl Chatterer {
    fn new(rig: &Rig) -> Chatterer {
        let mut peer = Peer::greeted(&Door::Ipc(rig.path("zerovisor.sock")));
        let watcher = watcher_hello(Id::from_random([7; 16]), 7, "chatterer");
        peer.say(&hello(Role::Watcher(Box::new(watcher))), None);
        assert!(matches!(peer.hear(), Some((ToPeer::Welcome(_), _))));
        let mut chatterer = Chatterer { peer, seq: 0, acknowledged: 0 };
        let started = wire::encode_fact(&Fact::Started { run: 1, pid: 1 }).expect("a fact");
        chatterer.record(Kind::Fact, 0, &started);
        chatterer
    }

    fn record(&mut self, kind: Kind, offset: u64, payload: &[u8]) {
        self.seq += 1;
        let head = Head { seq: self.seq, at: Timestamp(self.seq), run: 1, kind, offset };
        self.peer.say(&ToNode::Record(head), Some(payload));
    }

    /// So many lines more, all acknowledged.
    fn write(&mut self, records: u64) {
        let line = b"a line of 16 b.\n";
        let last = self.seq + records;
        // Anything said is a heartbeat; answers come while records are written.
        while self.acknowledged < last {
            if self.seq < last && self.seq - self.acknowledged < AHEAD {
                // Behind the first record, which is a fact.
                let offset = (self.seq - 1) * line.len() as u64;
                self.record(Kind::Stdout, offset, line);
            } else if let Some((ToPeer::Ack { seq, .. }, _)) = self.peer.hear() {
                self.acknowledged = seq;
            }
        }
    }
}

fn records() {
    let many = knob("RECORDS", 1_000_000) as u64;
    head(&format!("memory over {many} records of 16 bytes"));
    let rig = Rig::start(&[]);
    let mut chatterer = Chatterer::new(&rig);
    let began = Instant::now();
    halves("zerovisor", rig.node.id(), |_| chatterer.write(many / 2));
    row("records", "1000/s", vec![many as f64 / began.elapsed().as_secs_f64() / 1e3]);
}

fn restarts() {
    let many = knob("RESTARTS", 100) as u64;
    head(&format!("memory over {many} restarts of the zerovisor"));
    let mut rig = Rig::start(&[]);
    let families = launch(&rig, 10, &[]);
    let (guard, watcher) = *families.first().expect("a family");
    let guard_before = own_kib(guard);
    let mut afresh = Vec::new();
    halves("a watcher", watcher, |_| {
        for _ in 0..many / 2 {
            rig.kill();
            rig.start_again(&[]);
            wait_until("all are back", || running(&rig) == families.len());
        }
        afresh.push(own_kib(rig.node.id()));
    });
    held("its guard, in all", "KiB", vec![own_kib(guard) - guard_before], Budget::AtMost(0.0));
    // Of a new program each time, with a longer past to read.
    let adds = afresh.last().copied().unwrap_or(f64::NAN) - afresh.first().copied().unwrap_or(f64::NAN);
    row("zerovisor, at the end", "KiB", afresh);
    held("zerovisor: the second half adds", "KiB", vec![adds], Budget::AtMost(ADDS_KIB));
    stop(&rig);
}

fn running(rig: &Rig) -> usize {
    let output = rig.command(ZVCTL, &["ps", "-o", "jsonl"]).stdout(Stdio::piped()).output().expect("zvctl");
    String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.contains("\"RUNNING\"")).count()
}

fn lives() {
    let many = knob("LIVES", 1000) as u64;
    head(&format!("memory over {many} processes that ran and were removed"));
    let rig = Rig::start(&[]);
    let live = || {
        for _ in 0..10 {
            assert!(rig.watch(&["-l", "bench=1", "/bin/true"]).status().expect("zvwatch").success());
        }
        stop(&rig);
    };
    live();
    let began = Instant::now();
    halves("zerovisor", rig.node.id(), |_| (0..many / 20).for_each(|_| live()));
    row("from start to removal, each", "ms", vec![began.elapsed().as_secs_f64() * 1e3 / many as f64]);
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", rig.node.id())).expect("its descriptors").count();
    row("zerovisor's descriptors", "count", vec![descriptors as f64]);
}

pub(crate) fn measure() {
    records();
    lives();
    restarts();
}
