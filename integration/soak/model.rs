//! What must be there: of each process what it was made to do, what befell it, and which outcomes that allows.

use serde_json::Value;

use super::writer::{Diary, Stream, Writing, parting};

/// What a process runs.
#[derive(Clone, Debug)]
pub(super) enum Role {
    /// Writes until it is through.
    Writer(Writing),
    /// Says again what it hears.
    Talker,
}

/// What a process is made to do.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) index: usize,
    pub(super) role: Role,
    pub(super) terminal: bool,
    pub(super) detached: bool,
    /// `-it`, on a terminal that nobody reads.
    pub(super) console: bool,
    /// `--restart`.
    pub(super) restart: Restart,
    /// `--cgroup`.
    pub(super) cgroup: &'static str,
    /// `--pids`, where that can be had.
    pub(super) limited: bool,
    pub(super) keep: Keep,
    /// Begun without a command, and told it by `zvctl start`.
    pub(super) told: bool,
}

/// Where it keeps what no zerovisor takes, and how much of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Keep {
    /// Beside the socket, all of it.
    All,
    /// There, but little; then it waits for a moment and drops the oldest.
    Little,
    /// On a disk of a few MiB, which is full now and then.
    SmallDisk,
}

/// The restart policies that are tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Restart {
    No,
    OnFailure,
    Always,
}

/// `on-failure:2`.
const FAILURES: u64 = 2;

impl Keep {
    fn options(self) -> &'static [&'static str] {
        match self {
            Keep::All => &[],
            Keep::Little => &["--spool-max", "1M", "--offline-wait", "300ms"],
            Keep::SmallDisk => &["--spool", SMALL, "--offline-wait", "300ms"],
        }
    }
}

/// The directory that is a small disk.
pub(super) const SMALL: &str = "small";

impl Made {
    /// What comes behind `zvwatch --name NAME`, but for the command.
    pub(super) fn options(&self) -> Vec<String> {
        let mut words: Vec<String> = ["--cgroup", self.cgroup, "--backoff", "10ms..100ms", "--start-secs", "50ms"]
            .into_iter()
            .chain(["-l", if self.terminal { "soak=terminal" } else { "soak=pipes" }, "--env", "LC_ALL=C"])
            .chain(if self.terminal { Some("--pty") } else { None })
            .chain(if self.detached { Some("-d") } else { None })
            .chain(if self.console { Some("-it") } else { None })
            .chain(if self.limited { &["--pids", "200"][..] } else { &[] }.iter().copied())
            .chain(self.keep.options().iter().copied())
            .map(str::to_owned)
            .collect();
        let policy = match self.restart {
            Restart::No => "no".into(),
            Restart::OnFailure => format!("on-failure:{FAILURES}"),
            Restart::Always => "always".into(),
        };
        words.extend(["--restart".into(), policy]);
        let grace = match &self.role {
            // Offspring is as stubborn.
            Role::Writer(writing) if writing.stubborn || writing.offspring > 0 => "500ms",
            Role::Writer(_) | Role::Talker => "8s",
        };
        words.extend(["--stop-timeout", grace].map(str::to_owned));
        words
    }

    pub(super) fn command(&self, name: &str) -> Vec<String> {
        match &self.role {
            Role::Writer(writing) => {
                ["sh", "writer", name].map(str::to_owned).into_iter().chain(writing.arguments()).collect()
            }
            Role::Talker => ["sh", "talker", name].map(str::to_owned).to_vec(),
        }
    }

    /// Whether some of its output may be missing, by its own account.
    pub(super) fn may_drop(&self) -> bool {
        self.keep != Keep::All
    }

    pub(super) fn streams(&self) -> Vec<Stream> {
        match (&self.role, self.terminal) {
            (_, true) => vec![Stream::Terminal],
            (Role::Writer(writing), false) if writing.errors => vec![Stream::Output, Stream::Error],
            (Role::Writer(_) | Role::Talker, false) => vec![Stream::Output],
        }
    }

    /// Whether it ends only when it is told to, or is not waited for.
    pub(super) fn is_to_be_told(&self) -> bool {
        match &self.role {
            Role::Writer(writing) => self.restart == Restart::Always || writing.pauses_ms() > AWAITED_MS,
            Role::Talker => true,
        }
    }

    pub(super) fn has_offspring(&self) -> bool {
        matches!(&self.role, Role::Writer(Writing { offspring: 1.., .. }))
    }
}

/// How long a run may take that is waited for, in milliseconds.
const AWAITED_MS: u64 = 2_000;
/// More than any run comes to write.
pub(super) const ENDLESS_LINES: u64 = 1_000_000_000;

/// What befell a process.
#[derive(Clone, Default, Debug)]
pub(super) struct Fate {
    /// Told to stop, or hung up on.
    pub(super) told_to_end: bool,
    pub(super) restarted: bool,
    pub(super) child_killed: bool,
    pub(super) watcher_killed: bool,
    pub(super) guard_killed: bool,
    pub(super) front_killed: bool,
    /// Times it was sent USR1.
    pub(super) signalled: usize,
    /// Its watcher began while no zerovisor was there.
    pub(super) began_alone: bool,
    /// What was typed into it, each once.
    pub(super) typed: Vec<String>,
}

impl Fate {
    fn may_be_cut_short(&self) -> bool {
        self.told_to_end || self.restarted || self.child_killed || self.guard_killed || self.signalled > 0
    }
}

/// What a run wrote to a stream: how many bytes at least (a `lost` one may lack any part of its end), and what all of it may be.
pub(super) fn may_have_written(
    made: &Made,
    fate: &Fate,
    run: u32,
    of: Stream,
    diary: &Diary,
    lost: bool,
) -> (usize, Vec<Vec<u8>>) {
    let (least, wholes) = match &made.role {
        Role::Writer(writing) => written(writing, run, of, diary),
        Role::Talker => heard(fate, of, diary),
    };
    (if lost { 0 } else { least }, wholes)
}

/// Asserts that this is the beginning of what a run wrote to a stream, at least as much of it as is certain.
pub(super) fn assert_written(made: &Made, fate: &Fate, run: u32, of: Stream, diary: &Diary, is: &[u8], lost: bool) {
    let (least, wholes) = may_have_written(made, fate, run, of, diary, lost);
    let fits = |whole: &Vec<u8>| is.len() >= least && whole.starts_with(is);
    let told = || format!("run {run}, {}, of at least {least}: {}", of.name(), parting(is, &wholes[0]));
    assert!(wholes.iter().any(fits), "{}\ndiary: {diary:?}", told());
}

/// How many bytes a writer has certainly written, and what all of it may be.
fn written(writing: &Writing, run: u32, of: Stream, diary: &Diary) -> (usize, Vec<Vec<u8>>) {
    if let Some((lines, _)) = diary.end {
        let whole = writing.stream(run, of, lines, true);
        return (whole.len(), vec![whole]);
    }
    let next = (diary.at + writing.batch).min(writing.lines);
    let wholes = [diary.at, next].map(|lines| writing.stream(run, of, lines, true));
    (
        writing.stream(run, of, diary.at, false).len(),
        [vec![writing.stream(run, of, next, false)], wholes.to_vec()].concat(),
    )
}

/// Likewise of a talker: what it wrote down, and perhaps one more.
fn heard(fate: &Fate, of: Stream, diary: &Diary) -> (usize, Vec<Vec<u8>>) {
    let line = |words: &String| [b"heard ", words.as_bytes(), of.line_end()].concat();
    let certain: Vec<u8> = diary.heard.iter().flat_map(line).collect();
    let more = fate.typed.iter().filter(|words| !diary.heard.contains(words));
    let wholes = more.map(|words| [certain.clone(), line(words)].concat());
    (certain.len(), std::iter::once(certain.clone()).chain(wholes).collect())
}

/// Asserts that a process came to an end that is allowed. `diaries` are those of its runs, from the first.
pub(super) fn assert_ended(made: &Made, fate: &Fate, row: &Value, diaries: &[Diary]) {
    let state = row["state"].as_str().unwrap();
    let may = match state {
        "LOST" => fate.watcher_killed,
        "STOPPED" => fate.told_to_end || fate.guard_killed,
        "FATAL" => made.restart == Restart::OnFailure,
        "EXITED" => made.restart != Restart::Always || fate.guard_killed,
        _ => false,
    };
    assert!(may, "it may not be {state}: {row}");
    let begun = diaries.len();
    let runs = usize::try_from(row["run"].as_u64().unwrap()).unwrap();
    if state == "LOST" {
        assert!(runs <= begun + 1, "{runs} runs, and {begun} wrote a diary: {row}");
        return;
    }
    let unborn = usize::from(fate.may_be_cut_short());
    assert!(runs == begun || (runs > begun && runs <= begun + unborn * runs), "{runs} runs, {begun} diaries: {row}");
    if let Some(last) = diaries.get(runs.wrapping_sub(1)) {
        assert_status(fate, &row["exit"], last);
    }
    if state == "FATAL" && !fate.restarted && !fate.told_to_end {
        assert_eq!(u64::try_from(runs).unwrap(), FAILURES + 1, "it gives up behind so many: {row}");
    }
}

/// Asserts that an exit is the one that the run wrote down, or one that befell it.
fn assert_status(fate: &Fate, exit: &Value, diary: &Diary) {
    let is = match (exit["code"].as_i64(), exit["signal"].as_i64()) {
        (Some(code), None) => code,
        (None, Some(signal)) => -signal,
        _ => panic!("an exit is a code or a signal: {exit}"),
    };
    assert_ne!(exit["oom"], true, "nobody wanted for memory: {exit}");
    match diary.end {
        Some((_, ending)) if i64::from(ending) == is => {}
        // Cut short between its last word and its end, or before it could say any.
        Some(_) | None => {
            let may = is < 0 && fate.may_be_cut_short();
            assert!(may, "it ended with {is}: {diary:?}, {fate:?}");
        }
    }
}

/// Asserts that each input came at most once.
pub(super) fn assert_heard_once(fate: &Fate, diaries: &[Diary]) {
    let mut heard: Vec<&String> = diaries.iter().flat_map(|diary| &diary.heard).collect();
    heard.sort();
    assert!(heard.windows(2).all(|pair| pair[0] != pair[1]), "input came twice: {heard:?}");
    assert!(heard.iter().all(|words| fate.typed.contains(words)), "nobody typed all of it: {heard:?}");
    let hits: usize = diaries.iter().map(|diary| diary.hits).sum();
    assert!(hits <= fate.signalled, "{hits} of {} signals came", fate.signalled);
}
