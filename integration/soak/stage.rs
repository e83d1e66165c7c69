//! Where the soak happens: one farm, its zerovisor, two residents that live throughout, and whoever comes and goes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::time::{Duration, Instant};

use zerovisor::spool::Place;
use zerovisor_core::id::Id;

use crate::harness::{Ended, Farm, Program, tell};

use super::SOON;
use super::actors::Actor;
use super::disk::{Disk, OF_NODE_MIB, OF_SPOOLS_MIB};
use super::faults::NODE;
use super::holdings::Holding;
use super::model::{ENDLESS_LINES, Keep, Made, Restart, Role, SMALL};
use super::plan::{Step, What};
use super::reckoning::spools;
use super::writer::{LOITER, TALKER, WRITER, Writing, filler};

/// How often a line of progress is told, at the end of a round.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// What a client is told while a watcher finds its way back to a zerovisor, or an end is on its way to it: it may try again.
const AWAY: [&str; 6] = [
    "cannot be reached",
    "has just gone",
    "went before it answered",
    "link was lost",
    "no process '",
    "it is not running",
];

/// The exit status of zvctl when there is no such process.
const UNKNOWN: i32 = 4;

/// The numbers of the residents: none of the plan's processes comes to have them.
pub(super) const RESIDENTS: [usize; 2] = [usize::MAX - 1, usize::MAX];

/// The farm and all that is known of it.
pub(super) struct Soak {
    pub(super) farm: Farm,
    seed: u64,
    number: usize,
    doing: String,
    /// With what the names of all processes begin: cgroups are found by it.
    pub(super) tag: String,
    pub(super) actors: BTreeMap<usize, Actor>,
    /// That of the journal.
    pub(super) disk: Option<Disk>,
    pub(super) is_full: bool,
    /// That of some spools.
    pub(super) small: Option<Disk>,
    /// Since when this zerovisor lives.
    pub(super) lives_since: Instant,
    /// `events -f`, over all of it.
    pub(super) events: Program,
    /// What those held who live throughout, before anything happened.
    pub(super) base: Vec<(&'static str, Holding)>,
    /// What was judged so far.
    pub(super) judged: Judged,
    began: Instant,
    told: Instant,
}

/// What was judged so far.
#[derive(Default)]
pub(super) struct Judged {
    pub(super) processes: usize,
    pub(super) runs: usize,
    pub(super) lost: usize,
    /// Gaps, and the bytes they say are missing.
    pub(super) gaps: usize,
    pub(super) missing: usize,
    /// Gaps of which nobody knows the size.
    pub(super) unknown: usize,
    pub(super) bytes: usize,
    pub(super) faults: usize,
    pub(super) rounds: usize,
}

/// Writes down what children run.
pub(super) fn scripts(farm: &Farm) {
    for (name, text) in [("writer", WRITER), ("talker", TALKER), ("loiter", LOITER)] {
        farm.script(name, text);
    }
    fs::write(farm.path("filler"), filler()).unwrap();
}

impl Soak {
    pub(super) fn new(seed: u64) -> Soak {
        let farm = Farm::empty();
        farm.kept_on_failure();
        scripts(&farm);
        let disk = Disk::mount(&farm.path("zerovisor.data"), OF_NODE_MIB);
        let small = Disk::mount(&farm.path(SMALL), OF_SPOOLS_MIB);
        if disk.is_none() {
            tell("soak: no file system can be mounted here: the disk is never full");
        }
        farm.start_node(NODE);
        let mut command = farm.ctl_command(&["events", "-f", "-o", "jsonl"]);
        let file = |name: &str| File::create(farm.path(name)).unwrap();
        let events = Program::start_as_is(command.stdout(file("events")).stderr(file("events.err")));
        let tag = format!("zs{}n", std::process::id());
        let now = Instant::now();
        let mut soak = Soak {
            farm,
            seed,
            number: 0,
            doing: "the residents".into(),
            tag,
            actors: BTreeMap::new(),
            disk,
            is_full: false,
            small,
            lives_since: now,
            events,
            base: Vec::new(),
            judged: Judged::default(),
            began: now,
            told: now,
        };
        soak.settles_residents();
        soak.base = soak.holdings();
        soak
    }

    /// A talker on a terminal, and one that writes on pipes throughout.
    fn settles_residents(&mut self) {
        let drip = Writing {
            key: self.seed % 1_000_000,
            lines: ENDLESS_LINES,
            batch: 20,
            pace: 50,
            ending: 0,
            errors: true,
            stubborn: false,
            offspring: 0,
        };
        for (index, role) in RESIDENTS.into_iter().zip([Role::Talker, Role::Writer(drip)]) {
            let terminal = matches!(role, Role::Talker);
            let (detached, console, restart, cgroup, limited) = (true, false, Restart::No, "auto", false);
            let (keep, told) = (Keep::All, false);
            self.starts(Made { index, role, terminal, detached, console, restart, cgroup, limited, keep, told });
            // Over all of it.
            self.follows(index);
        }
    }

    pub(super) fn name(&self, index: usize) -> String {
        match RESIDENTS.iter().position(|resident| *resident == index) {
            Some(at) => format!("{}r{at}", self.tag),
            None => format!("{}{index}", self.tag),
        }
    }

    /// Whether nothing but the residents is there, and all that was has been counted.
    pub(super) fn is_settled(&self) -> bool {
        self.actors.len() == RESIDENTS.len() && self.doing == "Count"
    }

    /// Takes a step of the plan.
    pub(super) fn does(&mut self, step: Step) {
        self.number += 1;
        self.doing = format!("{:?}", step.what);
        if super::asked("ZV_SOAK_TOLD").is_some() {
            tell(&format!("soak: {:.1} s, {}: {}", self.began.elapsed().as_secs_f64(), self.number, self.doing));
        }
        // The pace of the plan: nothing is waited for.
        std::thread::sleep(Duration::from_millis(step.pause_ms));
        self.act(step.what);
    }

    /// Tells how it goes, if it is time: between rounds, where the zerovisor serves the same two as ever.
    pub(super) fn tells_sometimes(&mut self) {
        if self.told.elapsed() >= TOLD_EVERY {
            self.told = Instant::now();
            self.tells();
        }
    }

    fn act(&mut self, what: What) {
        match what {
            What::Start(made) => self.starts(made),
            What::Follow(index) => self.follows(index),
            What::CutFollower(index) => self.cuts_follower(index),
            What::View(index) => self.views(index),
            What::Leave(index, how) => self.leaves(index, how),
            What::Look(index, look) => self.looks(index, look),
            What::Send(index) => self.sends(index),
            What::Visit(index) => self.visits(index),
            What::Signal(index) => self.signals(index),
            What::Interrupt(index) => self.interrupts(index),
            What::Stop(index) => self.stops(index),
            What::Restart(index) => self.restarts(index),
            What::Kill(index, victim) => self.kills(index, victim),
            What::NodeGoes(how) => self.node_goes(how),
            What::NodeReturns { synced } => self.node_returns(synced),
            What::Linger(ms) => self.lingers(ms),
            What::SpoolsFill => self.spools_fill(true),
            What::SpoolsHaveRoom => self.spools_fill(false),
            What::NodeHangs(ms) => self.node_hangs(ms),
            What::DiskFills => self.disk_fills(true),
            What::DiskHasRoom => self.disk_fills(false),
            What::Settle(index) => self.settles(index),
            What::Remove(index) => self.removes(index),
            What::Count => self.counts(),
        }
    }

    /// Does something with a process and the farm at once.
    pub(super) fn with<T>(&mut self, index: usize, does: impl FnOnce(&mut Actor, &Farm) -> T) -> T {
        let actor = self.actors.get_mut(&index).expect("the plan names those that are there");
        does(actor, &self.farm)
    }

    /// Runs zvctl until its exit code is one of these: while a watcher finds its way back it may be another.
    pub(super) fn told(&self, args: &[&str], codes: &[i32]) -> Ended {
        let deadline = Instant::now() + SOON;
        loop {
            let ended = self.farm.ctl_within(args, SOON * 2);
            if codes.contains(&ended.code()) || (ended.code() == UNKNOWN && self.is_unheard_of(args)) {
                return ended;
            }
            let is_away = AWAY.iter().any(|away| ended.err().contains(away)) && Instant::now() < deadline;
            assert!(is_away, "zvctl {args:?} ended with {}: {}{}", ended.code(), ended.out(), ended.err());
        }
    }

    /// Whether one of these words names a process of which no zerovisor may have heard: its watcher began without one, and was killed, or
    /// has found one that had no room for it.
    fn is_unheard_of(&self, args: &[&str]) -> bool {
        let unheard_of = |actor: &&Actor| actor.fate.began_alone && (actor.fate.watcher_killed || self.is_full);
        self.actors.values().filter(unheard_of).any(|actor| args.contains(&actor.name.as_str()))
    }

    /// What watchers keep on disk: of which process, and whether its watcher is gone.
    pub(super) fn spools(&self) -> Vec<(Id, bool)> {
        let endpoint = format!("ipc://{}", self.farm.path("zerovisor.sock").display()).parse().unwrap();
        let dirs = [None, Some(self.farm.path(SMALL))];
        let places = dirs.iter().map(|dir| Place::of(&endpoint, dir.as_deref()).unwrap());
        places.flat_map(|place| spools(&place)).collect()
    }

    /// The processes whose watchers are gone and have left something that nobody has taken in.
    pub(super) fn left_spools(&self) -> Vec<Id> {
        self.spools().into_iter().filter(|(_, left)| *left).map(|(id, _)| id).collect()
    }

    /// A line of progress.
    pub(super) fn tells(&self) {
        let Judged { processes, runs, lost, gaps, missing, unknown, bytes, faults, rounds } = self.judged;
        tell(&format!(
            "soak: {:4} s {:6} steps {rounds:4} rounds {processes:5} processes {runs:5} runs {lost:4} lost \
             {faults:4} faults {:8} KiB judged, {:6} KiB missing by {gaps} gaps ({unknown} of unknown size); \
             zerovisor of {:4} s",
            self.began.elapsed().as_secs(),
            self.number,
            bytes >> 10,
            missing >> 10,
            self.lives_since.elapsed().as_secs(),
        ));
        for (name, holding) in self.holdings() {
            tell(&format!("soak: {:4} s {name:21} {holding}", self.began.elapsed().as_secs()));
        }
    }
}

impl Drop for Soak {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Soak { seed, number, doing, .. } = self;
            tell(&format!("soak: FAILED at step {number} of seed {seed}: {doing}; again with ZV_SOAK_SEED={seed}"));
        }
    }
}
