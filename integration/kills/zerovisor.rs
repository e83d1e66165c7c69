//! A zerovisor that is killed, ended or held at any instant, again and again, while programs write at full speed: its journal has every byte
//! once and in order, and so has whoever follows.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::rng::Rng;
use super::writers::{self, STREAMS, Stream};
use crate::harness::{Farm, LONG, Program, SOON, enough, until};

/// What must be written before the next fault: all of a short life without a watcher would prove nothing.
const PROGRESS_BYTES: u64 = 1 << 20;
/// For how long at most a zerovisor lives beyond that; it is killed at any instant of this.
const LIFE: Duration = Duration::from_millis(300);
/// For how long at most one that starts does; in less than that it has read the ends of its journal.
const BIRTH: Duration = Duration::from_millis(120);

/// What happens to a zerovisor.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// kill -9 while it works.
    Kill,
    /// kill -9 before it serves, or just then.
    KillStarting,
    /// SIGTERM, which it obeys.
    Terminate,
    /// SIGSTOP for so long.
    Stop(Duration),
}

struct Story {
    farm: Farm,
    args: &'static [&'static str],
    rng: Rng,
    watchers: Vec<Program>,
    followers: Vec<LogFollower>,
    events: Follower,
}

/// Follows one of the streams, into a file.
struct LogFollower {
    stream: usize,
    program: Program,
    seen: std::path::PathBuf,
}

impl LogFollower {
    /// Follows, and has begun to see.
    fn new(farm: &Farm, stream: usize, style: &[&str]) -> LogFollower {
        let Stream { process, stream: kind, .. } = STREAMS[stream];
        let seen = farm.path(&format!("seen.{process}.{kind}{}", style.concat()));
        let mut command = farm.ctl_command(&[&["logs", "-f"], style, &[process, "--stream", kind]].concat());
        command.stdout(fs::File::create(&seen).unwrap()).stderr(Stdio::piped());
        let program = Program::start_as_is(&mut command);
        until("it follows", SOON, || (fs::metadata(&seen).unwrap().len() > 0).then_some(()));
        LogFollower { stream, program, seen }
    }

    /// It has come to the end, and saw what was written.
    fn saw(self, written: &[u8]) {
        let ended = self.program.end(LONG).ok();
        let said = format!("a follower, which said {:?},", ended.err());
        STREAMS[self.stream].assert_whole(&said, &fs::read(&self.seen).unwrap(), written);
    }
}

/// Follows all events.
struct Follower {
    child: std::process::Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Follower {
    fn new(farm: &Farm) -> Follower {
        let mut command = farm.ctl_command(&["events", "-f", "-o", "jsonl"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Follower { child, lines }
    }

    /// What it was told, from the first to the last of these.
    fn told(mut self, last: u64) -> Vec<Value> {
        let mut told = Vec::new();
        for line in &mut self.lines {
            let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
            let seq = event["seq"].as_u64().unwrap();
            told.push(event);
            if seq >= last {
                break;
            }
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        told
    }
}

fn journal_bytes(farm: &Farm) -> u64 {
    fn under(dir: &std::path::Path) -> u64 {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let size = |entry: fs::DirEntry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => under(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        };
        entries.map(size).sum()
    }
    under(&farm.path("zerovisor.data"))
}

impl Story {
    fn begin(args: &'static [&'static str]) -> Story {
        let (farm, rng) = (Farm::empty(), Rng::seeded());
        farm.start_node(args);
        let events = Follower::new(&farm);
        let watchers = writers::start(&farm);
        for stream in &STREAMS {
            farm.reaches(stream.process, "RUNNING");
        }
        // Each as bytes, and one as lines.
        let mut followers: Vec<_> = (0..STREAMS.len()).map(|at| LogFollower::new(&farm, at, &["--raw"])).collect();
        followers.push(LogFollower::new(&farm, 3, &[]));
        Story { farm, args, rng, watchers, followers, events }
    }

    /// The journal grows: watchers are linked and programs write.
    fn progress(&self) {
        let before = journal_bytes(&self.farm);
        until("the journal grows", LONG, || (journal_bytes(&self.farm) > before + PROGRESS_BYTES).then_some(()));
    }

    /// Not for anything to happen, but as long as the story says.
    fn hold(time: Duration) {
        let until = Instant::now() + time;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            std::thread::sleep(left);
        }
    }

    fn suffers(&mut self, fault: Fault) {
        match fault {
            Fault::Kill => {
                self.progress();
                Story::hold(self.rng.below(LIFE));
                self.farm.kill_node();
                self.farm.start_node(self.args);
            }
            Fault::KillStarting => {
                self.farm.kill_node();
                self.farm.launch_node(self.args);
                Story::hold(self.rng.below(BIRTH));
                self.farm.kill_node();
                self.farm.start_node(self.args);
            }
            Fault::Terminate => {
                self.progress();
                Story::hold(self.rng.below(LIFE));
                assert_eq!(self.farm.end_node(Signal::SIGTERM).status.code(), Some(0));
                self.farm.start_node(self.args);
            }
            Fault::Stop(time) => {
                self.progress();
                let node = Pid::from_raw(self.farm.node_pid());
                kill(node, Signal::SIGSTOP).unwrap();
                Story::hold(time);
                kill(node, Signal::SIGCONT).unwrap();
            }
        }
    }

    /// All end, and everybody has everything.
    fn every_byte_once(self) {
        self.progress();
        enough(&self.farm);
        for watcher in self.watchers {
            let ended = watcher.end(LONG).ok();
            assert_eq!(ended.out(), "", "all of it went to the zerovisor");
            // Shown where one of what follows fails.
            eprintln!("a watcher said: {}", ended.err());
        }
        let written: Vec<Vec<u8>> = STREAMS.iter().map(|stream| stream.written(&self.farm)).collect();
        for (stream, written) in STREAMS.iter().zip(&written) {
            stream.assert_journaled(&self.farm, written);
            let row = self.farm.reaches(stream.process, "EXITED");
            assert_eq!((&row["exit"]["code"], &row["run"]), (&0.into(), &1.into()), "{row}");
            let ended = self.farm.events(stream.process).iter().filter(|event| *event == "ended").count();
            assert_eq!(ended, 1, "each fact once");
        }
        for follower in self.followers {
            let written = &written[follower.stream];
            follower.saw(written);
        }
        let all = self.farm.jsonl(&["events"]);
        let told = self.events.told(all.last().unwrap()["seq"].as_u64().unwrap());
        assert_eq!(told, all, "who follows the events was told each once");
        let seqs: Vec<u64> = all.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
        assert!(seqs.iter().copied().eq(1..=seqs.len() as u64), "none is missing: {seqs:?}");
    }
}

fn told(args: &'static [&'static str], faults: &[Fault]) {
    let mut story = Story::begin(args);
    for fault in faults {
        story.suffers(*fault);
    }
    story.every_byte_once();
}

#[test]
fn a_zerovisor_killed_at_any_instant_loses_and_doubles_nothing() {
    let round = [Fault::Kill, Fault::Kill, Fault::KillStarting];
    let faults: Vec<Fault> = round.into_iter().cycle().take(18).collect();
    told(&["--log", "none"], &faults);
}

#[test]
fn a_zerovisor_that_syncs_always_or_never_loses_nothing_when_it_is_killed() {
    let faults = [Fault::Kill, Fault::KillStarting, Fault::Kill, Fault::Kill];
    told(&["--log", "none", "--sync", "always"], &faults);
    told(&["--log", "none", "--sync", "none"], &faults);
}

#[test]
fn a_zerovisor_that_ends_in_order_hands_over_to_the_next_and_nothing_is_lost() {
    // With zerovisor.log, which is rendered from the same journal meanwhile.
    told(&[], &[Fault::Terminate, Fault::Terminate, Fault::Kill, Fault::Terminate]);
}

/// One that is held for less than its links live, and one for longer: they are dropped, dialled again, and wait in its backlog.
#[test]
fn a_zerovisor_that_is_held_for_seconds_loses_and_doubles_nothing() {
    let short = Fault::Stop(Duration::from_secs(2));
    let long = Fault::Stop(Duration::from_secs(8));
    told(&["--log", "none"], &[short, long]);
}
