//! Promises of the text log, each kept against real files and real logs.

mod follow;
mod lines;
mod rotate;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use zerovisor_core::fact::Fact;
use zerovisor_core::id::Id;
use zerovisor_core::record::Kind;
use zerovisor_core::view::{Event, Happening};
use zerovisor_core::wire;

use super::{Target, TextConfig, TextLog};
use crate::journal::{LogConfig, Record, RecordMeta, SegmentLog};

/// 2026-11-23T04:12:00Z.
const BASE_US: u64 = 1_795_407_120_000_000;
/// A fact that has not come by then will not.
const DEADLINE: Duration = Duration::from_secs(60);

/// A process with a journal of its own; each record is 1 ms later than the one before.
struct Source {
    id: Id,
    name: &'static str,
    log: SegmentLog,
    run: u32,
    offset: u64,
}

impl Source {
    fn new(dir: &Path, number: u8, name: &'static str, config: LogConfig) -> Source {
        let (log, _) = SegmentLog::open(&dir.join(format!("log{number}")), config).unwrap();
        Source { id: Id::from_random([number; 16]), name, log, run: 1, offset: 0 }
    }

    fn next_record(&self, ahead: u64, kind: Kind, payload: &[u8]) -> Record {
        let seq = self.log.last().map_or(0, |(seq, _)| seq) + 1 + ahead;
        let meta =
            RecordMeta { seq, at_us: BASE_US + seq * 1000, run: self.run, kind: kind.into(), offset: self.offset };
        Record { meta, payload: payload.to_vec().into() }
    }

    fn write(&mut self, kind: Kind, payload: &[u8]) {
        let record = self.next_record(0, kind, payload);
        self.offset += payload.len() as u64;
        self.log.append(&[record]).unwrap();
    }

    fn out(&mut self, text: &str) {
        self.write(Kind::Stdout, text.as_bytes());
    }

    fn fact(&mut self, fact: &Fact) {
        self.write(Kind::Fact, &wire::encode_fact(fact).unwrap());
    }

    fn started(&mut self, pid: i32) {
        self.fact(&Fact::Started { run: self.run, pid });
    }

    fn open_in(&self, text: &TextLog) {
        text.opened(self.id, self.name.parse().unwrap(), self.log.reader());
    }
}

/// A text log in a directory, and what is needed to start it again.
struct Desk {
    dir: TempDir,
    config: TextConfig,
    running: Option<(TextLog, JoinHandle<()>)>,
}

impl Desk {
    /// With a partial-line delay that never comes.
    fn new() -> Desk {
        let dir = tempfile::tempdir().unwrap();
        let mut config =
            TextConfig::new(Target::File(dir.path().join("zerovisor.log")), dir.path().join("text-cursor"));
        config.partial_after = Duration::from_secs(3600);
        Desk { dir, config, running: None }
    }

    fn start(&mut self) -> TextLog {
        let (text, thread) = TextLog::start(self.config.clone()).unwrap();
        self.running = Some((text.clone(), thread));
        text
    }

    fn stop(&mut self) {
        let (text, thread) = self.running.take().unwrap();
        text.stop();
        thread.join().unwrap();
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("zerovisor.log")
    }

    fn read(&self) -> String {
        fs::read_to_string(self.path()).unwrap_or_default()
    }

    /// What stands behind the time of every line.
    fn lines(&self) -> Vec<String> {
        self.read().lines().map(|line| line[28..].to_owned()).collect()
    }

    /// Waits for the file to be as wanted.
    fn wait(&self, wanted: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + DEADLINE;
        loop {
            let text = self.read();
            if wanted(&text) {
                return text;
            }
            assert!(Instant::now() < until, "not as wanted: {}", &text[..text.len().min(4000)]);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until all that is in the journal of a process is written, as the saved cursor says. A stop alone has 5 s.
    fn wait_rendered(&self, source: &Source) {
        let (until, next) = (Instant::now() + DEADLINE, source.log.last().unwrap().0 + 1);
        let wanted = format!("{} {next} ", source.id);
        while !fs::read_to_string(&self.config.cursors).is_ok_and(|text| text.contains(&wanted)) {
            assert!(Instant::now() < until, "not rendered in time");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn source(&self, number: u8, name: &'static str) -> Source {
        Source::new(self.dir.path(), number, name, LogConfig::default())
    }
}

fn event(what: Happening, about: Option<&Source>) -> Event {
    Event {
        seq: 1,
        at: zerovisor_core::units::Timestamp(BASE_US),
        node: "lab1".parse().unwrap(),
        id: about.map(|source| source.id),
        name: about.map(|source| source.name.parse().unwrap()),
        what,
    }
}
