//! Many programs that write as fast as they can into one zerovisor, beside the same programs into a `cat > file` each.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::capture::{children_cpu, kid_command, write_all};
use super::rig::{Budget, Rig, cpu_of, head, held, knob, ratios, row, runs};

/// How many write at once.
const CROWDS: [usize; 3] = [1, 10, 100];

/// What a writer says of itself: pid (u32) and the CPU it has used, in nanoseconds (u64); below PIPE_BUF, so that none is torn.
const WORD_BYTES: usize = 12;

/// `kid gated DIR lines|blocks BYTES`: says that it is there, waits for the gate, writes, and says what that cost.
pub(crate) fn gated(arguments: &[String]) -> ExitCode {
    let [dir, mode, bytes] = arguments else { return ExitCode::from(2) };
    let (dir, bytes) = (Path::new(dir), bytes.parse().unwrap_or(0));
    let mut words = File::options().write(true).open(dir.join("words")).expect("somebody listens");
    let mut say = || words.write_all(&word()).expect("a word is heard");
    say();
    // Opening it for reading waits until it is open for writing.
    drop(File::open(dir.join("gate")).expect("the gate"));
    let written = write_all(mode, bytes);
    say();
    written
}

fn word() -> [u8; WORD_BYTES] {
    let (pid, used) = (std::process::id(), cpu_of(std::process::id()).as_nanos() as u64);
    let mut word = [0; WORD_BYTES];
    word[..4].copy_from_slice(&pid.to_le_bytes());
    word[4..].copy_from_slice(&used.to_le_bytes());
    word
}

/// Where writers wait for each other.
struct Gate {
    dir: tempfile::TempDir,
    words: File,
}

impl Gate {
    fn new() -> Gate {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for name in ["words", "gate"] {
            mkfifo(&dir.path().join(name), Mode::S_IRWXU).expect("mkfifo");
        }
        // Both ends, so that neither opening nor the end of a writer is an event.
        let words = File::options().read(true).write(true).open(dir.path().join("words")).expect("words");
        Gate { dir, words }
    }

    fn command(&self, mode: &str, bytes: usize) -> Vec<String> {
        let [program, kid, mode, bytes] = kid_command(mode, bytes);
        vec![program, kid, "gated".into(), self.dir.path().display().to_string(), mode, bytes]
    }

    /// What so many writers say next: their pids, and the CPU of all.
    fn hear(&mut self, many: usize) -> (Vec<u32>, Duration) {
        let mut all = vec![0; many * WORD_BYTES];
        self.words.read_exact(&mut all).expect("words");
        let pid = |word: &[u8]| u32::from_le_bytes(word[..4].try_into().expect("four bytes"));
        let used = |word: &[u8]| u64::from_le_bytes(word[4..].try_into().expect("eight bytes"));
        let words = || all.chunks(WORD_BYTES);
        (words().map(pid).collect(), Duration::from_nanos(words().map(used).sum()))
    }

    /// Open for as long as the file lives: who has said that it is there may not yet be at the gate.
    fn open(&self) -> File {
        File::options().write(true).open(self.dir.path().join("gate")).expect("the gate")
    }
}

struct Run {
    wall: Duration,
    /// CPU of what takes the bytes: every `cat`, or every watcher with its guard.
    takers: Duration,
    /// CPU of the zerovisor.
    node: Duration,
}

impl Run {
    /// Less what the same takes with nothing to write: a hundred processes that end take longer than some MiB each.
    fn beyond(&self, nothing: &Run) -> Run {
        Run {
            wall: self.wall.saturating_sub(nothing.wall),
            takers: self.takers.saturating_sub(nothing.takers),
            node: self.node.saturating_sub(nothing.node),
        }
    }
}

/// From the opening of the gate until all of the family, which is what takes the bytes and whatever else is ours to wait for, have ended.
/// What they did before it is not counted.
fn run(gate: &mut Gate, mut family: Vec<Child>, many: usize, began_cpu: Duration, rig: Option<&Rig>) -> Run {
    let (pids, _) = gate.hear(many);
    let takers: Vec<u32> = match rig {
        // Writer, watcher, guard.
        Some(_) => pids.iter().flat_map(|pid| [parent(*pid), parent(parent(*pid))]).collect(),
        None => family.iter().map(Child::id).filter(|pid| !pids.contains(pid)).collect(),
    };
    let before: Duration = takers.iter().map(|pid| cpu_of(*pid)).sum();
    let node_cpu = || rig.map_or(Duration::ZERO, Rig::node_cpu);
    let (node_before, began) = (node_cpu(), Instant::now());
    let _open = gate.open();
    let (_, writers) = gate.hear(many);
    for child in &mut family {
        assert!(child.wait().expect("wait").success());
    }
    let wall = began.elapsed();
    let all = (children_cpu() - began_cpu).saturating_sub(before);
    Run { wall, takers: all.saturating_sub(writers), node: node_cpu() - node_before }
}

fn parent(pid: u32) -> u32 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a living process");
    let parent = text.lines().find_map(|line| line.strip_prefix("PPid:")).expect("its parent");
    parent.trim().parse().expect("a pid")
}

fn cats(mode: &str, many: usize, each: usize) -> Run {
    let (mut gate, began) = (Gate::new(), children_cpu());
    let pair = |number: usize| {
        let command = gate.command(mode, each);
        let mut writer = Command::new(&command[0]);
        let mut writer = writer.args(&command[1..]).stdout(Stdio::piped()).spawn().expect("a writer");
        let log = File::create(gate.dir.path().join(format!("log{number}"))).expect("a file");
        let pipe = writer.stdout.take().expect("its pipe");
        [writer, Command::new("cat").stdin(pipe).stdout(log).spawn().expect("cat")]
    };
    let family = (0..many).flat_map(pair).collect();
    run(&mut gate, family, many, began, None)
}

/// Seconds that so many watchers take under a zerovisor with these options.
pub(crate) fn watched_for(mode: &str, many: usize, each: usize, extra: &[&str]) -> f64 {
    watched(mode, many, each, extra).wall.as_secs_f64()
}

fn watched(mode: &str, many: usize, each: usize, extra: &[&str]) -> Run {
    let rig = Rig::start(extra);
    let (mut gate, began) = (Gate::new(), children_cpu());
    let command = gate.command(mode, each);
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    // Each ends once its exit record, behind its last byte, is acknowledged.
    let family = (0..many).map(|_| rig.watch(&command).process_group(0).spawn().expect("zvwatch")).collect();
    run(&mut gate, family, many, began, Some(&rig))
}

pub(crate) fn measure() {
    let bytes = knob("CHATTY_MIB", 512) << 20;
    let gib = bytes as f64 / f64::from(1 << 30);
    for (mode, what) in [("blocks", "64 KiB writes"), ("lines", "100-byte writes")] {
        head(&format!("{} MiB by so many writers, in {what}, --log none, less the same of nothing", bytes >> 20));
        for many in CROWDS {
            let (mut cat, mut ours) = (Vec::new(), Vec::new());
            let quiet = &["--log", "none"];
            let (cat_of_nothing, ours_of_nothing) = (cats(mode, many, 0), watched(mode, many, 0, quiet));
            for _ in 0..runs().min(3) {
                cat.push(cats(mode, many, bytes / many).beyond(&cat_of_nothing));
                ours.push(watched(mode, many, bytes / many, quiet).beyond(&ours_of_nothing));
            }
            let of = |runs: &[Run], pick: fn(&Run) -> Duration| -> Vec<f64> {
                runs.iter().map(|run| pick(run).as_secs_f64()).collect()
            };
            let a_gib = |seconds: Vec<f64>| seconds.into_iter().map(|seconds| seconds / gib).collect::<Vec<_>>();
            let rate = |runs: &[Run]| of(runs, |run| run.wall).iter().map(|wall| gib * 1024.0 / wall).collect();
            let cat_cpu = a_gib(of(&cat, |run| run.takers));
            row(&format!("{many} x | cat > file"), "MiB/s", rate(&cat));
            row(&format!("{many} x | cat > file"), "cpu s/GiB", cat_cpu);
            row(&format!("{many} x zvwatch"), "MiB/s", rate(&ours));
            let slower = ratios(&of(&cat, |run| run.wall), &of(&ours, |run| run.wall));
            // As of one watcher in `capture`.
            let (least, most) = if mode == "blocks" { (0.8, 1.5) } else { (0.9, 3.0) };
            held(&format!("{many} x zvwatch"), "x cat", slower, Budget::AtLeast(least));
            row("  of nothing", "ms", vec![ours_of_nothing.wall.as_secs_f64() * 1e3]);
            row("  of its watchers", "cpu s/GiB", a_gib(of(&ours, |run| run.takers)));
            row("  of its zerovisor", "cpu s/GiB", a_gib(of(&ours, |run| run.node)));
            let both = a_gib(of(&ours, |run| run.takers + run.node));
            held("  of both", "cpu s/GiB", both, Budget::AtMost(most));
        }
    }
}
