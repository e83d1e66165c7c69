//! What a watcher leaves on disk, as a story wants it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use zerovisor::host::Host;
use zerovisor::spool::{Meta, Place, Spool};
use zerovisor_core::exit::{Exit, ExitReport, Usage};
use zerovisor_core::fact::{Fact, State};
use zerovisor_core::id::Id;
use zerovisor_core::record::{Head, Kind, Record};
use zerovisor_core::units::Timestamp;
use zerovisor_core::wire::{self, HostProof, ToNode, WatcherHello};

use super::farm::Farm;
use super::peer::watcher_hello;
use super::scripted::Watcher;
use super::wait::{LONG, until};

/// The most output one of its records holds, in bytes.
const PIECE_BYTES: usize = 64 << 10;

/// A process, and its records that no zerovisor has.
pub(crate) struct Kept {
    hello: WatcherHello,
    records: Vec<Record>,
    output: Vec<u8>,
    written: u64,
}

impl Kept {
    /// Of a process with this name; the number makes its id and its secret. Its watcher is dead.
    pub(crate) fn new(number: u8, name: &str) -> Kept {
        let mut hello = watcher_hello(Id::from_random([number; 16]), number, name);
        // Looked at while it lives: a zombie has no beginning.
        let mut dead = Command::new("sleep").arg("1d").spawn().unwrap();
        hello.host = Host::here().proof_of(i32::try_from(dead.id()).unwrap());
        dead.kill().unwrap();
        dead.wait().unwrap();
        Kept { hello, records: Vec::new(), output: Vec::new(), written: 0 }
    }

    /// One whose watcher was on another host, or in another pid namespace.
    pub(crate) fn from_elsewhere(number: u8, name: &str) -> Kept {
        let mut kept = Kept::new(number, name);
        kept.hello.host = HostProof::default();
        kept
    }

    pub(crate) fn id(&self) -> Id {
        self.hello.id
    }

    pub(crate) fn name(&self) -> &str {
        self.hello.spec.name.as_str()
    }

    /// What the process wrote and is kept.
    pub(crate) fn output(&self) -> &[u8] {
        &self.output
    }

    pub(crate) fn last_seq(&self) -> u64 {
        self.hello.next_seq - 1
    }

    /// Its name was given, not made of its command.
    pub(crate) fn names(&mut self) {
        self.hello.spec.name_given = true;
    }

    fn record(&mut self, kind: Kind, offset: u64, payload: Bytes) {
        let seq = self.hello.next_seq;
        let head = Head { seq, at: Timestamp(1_000_000 * seq), run: 1, kind, offset };
        self.records.push(Record { head, payload });
        self.hello.next_seq += 1;
    }

    fn fact(&mut self, fact: &Fact) {
        self.record(Kind::Fact, 0, wire::encode_fact(fact).unwrap());
    }

    /// A run began.
    pub(crate) fn begins(&mut self) {
        self.fact(&Fact::Started { run: 1, pid: 1 });
        self.fact(&Fact::Steady { run: 1 });
    }

    /// It wrote so many numbers, from 0 on; returns them.
    pub(crate) fn counts(&mut self, numbers: u32) -> Vec<u8> {
        let output: String = (0..numbers).map(|number| format!("{number}\n")).collect();
        self.writes(&output);
        output.into_bytes()
    }

    /// It wrote this.
    pub(crate) fn writes(&mut self, text: &str) {
        let output = text.as_bytes();
        for piece in output.chunks(PIECE_BYTES) {
            self.record(Kind::Stdout, self.written, Bytes::copy_from_slice(piece));
            self.written += piece.len() as u64;
        }
        self.output.extend_from_slice(output);
    }

    /// It ended with this code.
    pub(crate) fn ends(&mut self, code: i32) {
        let report = ExitReport {
            exit: Exit::Code(code),
            oom: None,
            started_at: Timestamp(1_000_000),
            ended_at: Timestamp(1_000_000 * self.hello.next_seq),
            runtime: Duration::from_secs(self.hello.next_seq),
            usage: Usage::default(),
            restarts: 0,
        };
        self.fact(&Fact::Ended { run: 1, report });
        self.fact(&Fact::Exited);
    }

    /// Everything so far was acknowledged, and is not kept.
    pub(crate) fn forgets(&mut self) {
        self.records.clear();
        self.hello.first_seq = self.hello.next_seq;
    }

    /// Its watcher says hello to the farm's zerovisor and hands over the records so far; it keeps them all the same.
    pub(crate) fn hands_over(&self, farm: &Farm) -> Watcher {
        let mut watcher = Watcher::saying(farm, WatcherHello { next_seq: 1, ..self.hello.clone() });
        for record in &self.records {
            watcher.peer.say(&ToNode::Record(record.head), Some(&record.payload));
        }
        watcher
    }

    /// All of it on disk for the farm's zerovisor, as of a watcher that lives.
    pub(crate) fn held(&self, farm: &Farm) -> Spool {
        self.held_at(&format!("ipc://{}", farm.path("zerovisor.sock").display()), None)
    }

    fn held_at(&self, endpoint: &str, dir: Option<&Path>) -> Spool {
        let place = Place::of(&endpoint.parse().unwrap(), dir).unwrap();
        let mut spool = Spool::create(&place, &self.meta(endpoint, State::Running)).unwrap();
        for batch in self.records.chunks(64) {
            spool.append(batch).unwrap();
        }
        spool
    }

    fn meta(&self, endpoint: &str, state: State) -> Meta {
        Meta { endpoint: endpoint.to_owned(), hello: WatcherHello { state, ..self.hello.clone() } }
    }

    /// All of it left on disk for the farm's zerovisor by a watcher that ended with its process in this state, or was killed while it
    /// ran; returns where.
    pub(crate) fn left(&self, farm: &Farm, state: State) -> PathBuf {
        self.close(self.held(farm), state)
    }

    /// As [`Kept::left`], below a directory that was given.
    pub(crate) fn left_at(&self, endpoint: &str, dir: &Path, state: State) -> PathBuf {
        self.close(self.held_at(endpoint, Some(dir)), state)
    }

    fn close(&self, spool: Spool, state: State) -> PathBuf {
        let dir = spool.dir().to_path_buf();
        if state.is_live() {
            drop(spool);
        } else {
            spool.close(&self.meta("ipc://left", state)).unwrap();
        }
        dir
    }
}

/// Waits until nothing is left of a spool.
pub(crate) fn until_taken(spool: &Path) {
    until(&format!("{} is taken in", spool.display()), LONG, || (!spool.exists()).then_some(()));
}

/// Starts the farm's zerovisor and waits until it has taken a spool in.
pub(crate) fn started_and_taken(farm: &Farm, spool: &Path) {
    farm.start_node(&[]);
    until_taken(spool);
}
