//! Judgement: each process when it has ended, and the farm when all have.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{Ended, LONG, live_with_argument, until};

use super::SOON;
use super::account::Account;
use super::actors::{Actor, Follower};
use super::model::{assert_ended, assert_heard_once, may_have_written};
use super::plan::Leaving;
use super::reckoning::{cgroups, shown, sockets, stems_from};
use super::stage::{RESIDENTS, Soak};
use super::writer::{Diary, Stream, parting};

/// States in which nothing more happens by itself.
const FINAL: [&str; 4] = ["EXITED", "STOPPED", "FATAL", "LOST"];
/// How often a client looks whether a process has ended: others want the machine too.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The exit status of a foreground zvwatch whose watcher was killed.
const WATCHER_KILLED: i32 = 125;

impl Soak {
    /// Brings a process to its end, judges what is known of it, and removes it.
    pub(super) fn settles(&mut self, index: usize) {
        if self.actors[&index].made.is_to_be_told() {
            self.stops(index);
        }
        let row = self.final_row(index);
        while !self.actors[&index].viewers.is_empty() {
            self.leaves(index, Leaving::WindowClosed);
        }
        let mut actor = self.actors.remove(&index).unwrap();
        if let Some(row) = row {
            self.judges(&mut actor, &row);
            self.told(&["rm", &actor.name], &[0]);
            assert!(self.farm.rows(&actor.name).is_empty(), "{} is removed", actor.name);
        }
        self.leaves_nothing(&actor);
        actor.forget(&self.farm);
        self.judged.processes += 1;
    }

    /// Removes a process as it is.
    pub(super) fn removes(&mut self, index: usize) {
        while !self.actors[&index].viewers.is_empty() {
            self.leaves(index, Leaving::WindowClosed);
        }
        while !self.actors[&index].followers.is_empty() {
            self.cuts_follower(index);
        }
        self.told(&["rm", "-f", &self.name(index)], &[0]);
        let mut actor = self.actors.remove(&index).unwrap();
        if let Some(program) = actor.program.take() {
            program.end(LONG);
        }
        self.leaves_nothing(&actor);
        assert!(self.farm.rows(&actor.name).is_empty(), "{} stays removed", actor.name);
        actor.forget(&self.farm);
        self.judged.processes += 1;
    }

    /// Its row once it is over. None: no zerovisor ever heard of it, since its watcher was killed before there was one.
    fn final_row(&mut self, index: usize) -> Option<Value> {
        let actor = &self.actors[&index];
        let unheard_of = actor.fate.began_alone && actor.fate.watcher_killed;
        let mut last = Value::Null;
        let deadline = Instant::now() + LONG;
        loop {
            // What it left may tell more than the journal.
            let all_taken = self.left_spools().is_empty();
            last = self.farm.rows(&actor.name).into_iter().next().unwrap_or(last);
            if all_taken && last["state"].as_str().is_some_and(|state| FINAL.contains(&state)) {
                return Some(last);
            }
            if all_taken && last.is_null() && unheard_of && actor.family().is_none() {
                return None;
            }
            assert!(Instant::now() < deadline, "{} does not come to its end: {last}\n{:?}", actor.name, actor.fate);
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn judges(&mut self, actor: &mut Actor, row: &Value) {
        let program = actor.program.take();
        let actor = &*actor;
        let name = &actor.name;
        let lost = row["state"] == "LOST";
        let diaries = actor.diaries(&self.farm);
        let context = Context { name, row };
        assert_ended(&actor.made, &actor.fate, row, &diaries);
        assert_heard_once(&actor.fate, &diaries);
        self.judges_status(program.map(|program| program.end(LONG)), actor, row);
        let runs = u32::try_from(row["run"].as_u64().unwrap()).unwrap();
        let mut account = Account::of(&self.farm, row["id"].as_str().unwrap());
        let mut first_streams = Vec::new();
        for run in 1..=runs {
            for (at, of) in actor.made.streams().into_iter().enumerate() {
                let written = self.written(name, &["--run", &run.to_string()], of);
                let nothing = Diary::default();
                let diary = diaries.get(run as usize - 1).unwrap_or(&nothing);
                let (least, wholes) = may_have_written(&actor.made, &actor.fate, run, of, diary, lost && run == runs);
                account.looks_at(run, of, least, &wholes);
                assert!(written == account.text(run, of), "logs shows what the journal has of {name}, run {run}");
                self.judged.bytes += written.len();
                if at == 0 {
                    first_streams.push(written);
                }
            }
        }
        account.assert_exact();
        assert!(account.gaps == 0 || actor.made.may_drop(), "all of it could be kept, and {} gaps", account.gaps);
        if let [.., previous, _] = &first_streams[..] {
            let read = self.written(name, &["--previous"], actor.made.streams()[0]);
            assert!(read == *previous, "{name}: logs --previous is run {}", runs - 1);
        }
        self.judges_facts(name, runs, lost, account.gaps);
        for follower in &actor.followers {
            judges_follower(actor, follower, &first_streams);
        }
        self.judged.runs += runs as usize;
        self.judged.gaps += account.gaps;
        self.judged.missing += account.said.bytes;
        self.judged.unknown += account.unknown;
        self.judged.lost += usize::from(lost);
        drop(context);
    }

    /// The exit status of a watcher in the foreground is its child's, and what `zvctl wait` says.
    fn judges_status(&self, ended: Option<Ended>, actor: &Actor, row: &Value) {
        let exit = (row["exit"]["code"].as_i64(), row["exit"]["signal"].as_i64());
        let child = exit.0.or(exit.1.map(|signal| 128 + signal));
        if row["state"] != "LOST" {
            let waited = self.farm.json(&["wait", &actor.name]);
            assert_eq!(waited["results"][0]["status"].as_i64(), child, "{}: {waited}", actor.name);
        }
        let Some(ended) = ended.filter(|_| !actor.fate.guard_killed && !actor.fate.front_killed) else { return };
        if let Some(console) = &actor.console {
            assert!(console.is_itself(), "{}: -it leaves the terminal as it was", actor.name);
        }
        let is = i64::from(ended.code());
        let may = Some(is) == child || (actor.fate.watcher_killed && ended.code() == WATCHER_KILLED);
        assert!(may, "{}: zvwatch ended with {is}, {}: {row}", actor.name, ended.err());
    }

    /// What `zvctl logs` gives of one run.
    fn written(&self, name: &str, run: &[&str], of: Stream) -> Vec<u8> {
        let read = self.farm.ctl_within(&[&["logs", "--raw", "--stream", of.name(), name], run].concat(), LONG);
        assert_eq!(read.code(), 0, "{name}, {run:?}: {}", read.err());
        read.stdout
    }

    /// Each run begins once and ends once, in order, and as many gaps are told as the journal has; of a lost one also that its end is unknown.
    fn judges_facts(&self, name: &str, runs: u32, lost: bool, gaps: usize) {
        let told = self.farm.jsonl(&["events", name]);
        let of = |event: &str| {
            told.iter()
                .filter(|told| told["event"] == event)
                .filter_map(|told| told["run"].as_u64())
                .collect::<Vec<_>>()
        };
        let all: Vec<u64> = (1..=u64::from(runs)).collect();
        assert_eq!(of("started"), all, "{name}: {told:?}");
        let ended = of("ended");
        assert!(ended == all || (lost && ended == all[..all.len().saturating_sub(1)]), "{name}: {told:?}");
        let seqs: Vec<u64> = told.iter().filter_map(|told| told["process_seq"].as_u64()).collect();
        assert!(seqs.windows(2).all(|pair| pair[0] < pair[1]), "{name}: {told:?}");
        let inspected = self.farm.json(&["inspect", name]);
        assert_eq!(inspected["processes"][0]["gaps"], gaps + usize::from(lost), "{name}: {inspected}");
    }

    /// Neither a process nor a cgroup of it stays.
    fn leaves_nothing(&self, actor: &Actor) {
        if actor.fate.watcher_killed && actor.fate.guard_killed {
            // Nobody was left to do it: the next start does.
            self.farm.watched(&["--name", &format!("{}sweep", self.tag), "true"]).ok();
            self.told(&["rm", &format!("{}sweep", self.tag)], &[0]);
        }
        until(&format!("nothing is left of {}", actor.name), SOON, || {
            (live_with_argument(&actor.name).is_empty() && cgroups(&format!("{}-", actor.name)).is_empty())
                .then_some(())
        });
    }

    /// Counts what is there, and compares it with what was behind the first round.
    pub(super) fn counts(&mut self) {
        let residents = RESIDENTS.map(|index| self.actors[&index].family().expect("residents stay"));
        let mut known: Vec<i32> = residents.iter().map(|family| family.guard).collect();
        known.extend([self.farm.node_pid(), self.events.pid]);
        known.extend(
            RESIDENTS.iter().flat_map(|index| &self.actors[index].followers).map(|follower| follower.program.pid),
        );
        let strangers = || self.farm.members().into_iter().filter(|pid| !stems_from(*pid, &known)).collect::<Vec<_>>();
        let deadline = Instant::now() + SOON;
        while let Some(pid) = strangers().first() {
            assert!(Instant::now() < deadline, "processes are left: {}", shown(*pid));
        }
        let expected = RESIDENTS.map(|index| (self.name(index).into(), "RUNNING".into()));
        until("ps -a lists the residents, and nobody else", SOON, || {
            let listed = self.farm.jsonl(&["ps", "-a"]);
            let mut states: Vec<_> = listed.iter().map(|row| (row["name"].clone(), row["state"].clone())).collect();
            states.sort_by_key(|(name, _)| name.to_string());
            (states == expected).then_some(())
        });
        let kept = RESIDENTS.map(|index| format!("{}-", self.name(index)));
        let left =
            cgroups(&self.tag).into_iter().filter(|dir| !kept.iter().any(|name| dir.to_string_lossy().contains(name)));
        assert_eq!(left.collect::<Vec<_>>(), Vec::<std::path::PathBuf>::new(), "cgroups are left");
        assert_eq!(sockets(self.farm.dir()), ["zerovisor.sock"]);
        until("no spool is left", SOON, || self.spools().is_empty().then_some(()));
        self.judges_events();
        self.judges_holdings();
        self.judged.rounds += 1;
        self.tells_sometimes();
    }

    /// Whoever followed the events of all that time missed none and saw none twice.
    fn judges_events(&self) {
        let text = fs::read_to_string(self.farm.path("events")).unwrap();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let seqs: Vec<u64> =
            whole.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64().unwrap()).collect();
        let apart = seqs.windows(2).find(|pair| pair[1] != pair[0] + 1);
        assert_eq!(apart, None, "events -f missed some, or saw some twice");
        assert!(self.events.ended().is_none(), "events -f ended: {}", self.farm.text("events.err"));
    }

    /// The residents end, the zerovisor ends, and nothing at all is left.
    pub(super) fn ends(mut self) {
        self.tells();
        for index in RESIDENTS {
            self.settles(index);
        }
        self.events.signal(Signal::SIGTERM);
        let ended = self.farm.end_node(Signal::SIGTERM);
        assert_eq!(ended.status.code(), Some(0), "the zerovisor ends when it is asked to");
        until("no process is left", SOON, || self.farm.members().is_empty().then_some(()));
        assert_eq!(cgroups(&self.tag), Vec::<std::path::PathBuf>::new(), "cgroups are left");
        assert_eq!(sockets(self.farm.dir()), Vec::<String>::new());
    }
}

/// Names the process in whatever fails while it is judged.
struct Context<'a> {
    name: &'a str,
    row: &'a Value,
}

impl Drop for Context<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- of {}: {}", self.name, self.row);
        }
    }
}

/// Whoever followed from the beginning has all of it and ends when the process has ended for good. One that was stopped counts as ended:
/// what follows a start by hand is for new followers.
fn judges_follower(actor: &Actor, follower: &Follower, runs: &[Vec<u8>]) {
    let name = &actor.name;
    let whole = runs.concat();
    let ended_early = |read: &[u8]| {
        let ends = runs.iter().scan(0, |at, run| {
            *at += run.len();
            Some(*at)
        });
        actor.fate.told_to_end && actor.fate.restarted && ends.into_iter().any(|end| read == &whole[..end])
    };
    let deadline = Instant::now() + SOON;
    let ended = loop {
        let ended = follower.program.ended();
        let read = fs::read(&follower.read).unwrap();
        if read == whole || (ended.is_some() && ended_early(&read)) {
            break ended;
        }
        let late = ended.is_some() || Instant::now() > deadline;
        let said = || fs::read_to_string(&follower.said).unwrap();
        assert!(
            !late,
            "{name}, logs -f --stream {}, {ended:?}, {}: {}",
            follower.of.name(),
            said(),
            parting(&read, &whole)
        );
        std::thread::sleep(LOOK_EVERY);
    };
    match ended {
        Some(ended) => assert_eq!(ended.code(), 0, "{name}: {}", fs::read_to_string(&follower.said).unwrap()),
        None => follower.program.signal(Signal::SIGKILL),
    }
}
