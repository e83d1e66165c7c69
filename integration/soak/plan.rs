//! What happens, in which order: a pure function of the seed, whatever the machine makes of it.

use super::casting;
use super::chance::Chance;
use super::model::{Made, Role};

/// Steps of a round, at whose end everything is settled and counted.
const ROUND_STEPS: usize = 40;
/// Processes that live at once, at most.
const LIVE_MAX: usize = 6;
/// The longest pause before a step, in milliseconds.
const PAUSE_MAX_MS: u64 = 300;
/// How long the zerovisor stays away while nothing else happens, in milliseconds: watchers put on disk what they hold, and end.
const LINGER_MS: (u64, u64) = (1_000, 5_000);
/// Rounds in a row in which one zerovisor lives on, now and then: what it needs comes to show. None of the first ones.
const LONG_LIFE_ROUNDS: usize = 12;
const LONG_LIVES_BEHIND: usize = 16;

/// One thing that is done, and how long nothing is done before it.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) pause_ms: u64,
    pub(super) what: What,
}

/// What is done; numbers are those of processes.
#[derive(Clone, Debug)]
pub(super) enum What {
    Start(Made),
    Follow(usize),
    /// A follower is killed, if there is one.
    CutFollower(usize),
    /// A viewer comes and stays.
    View(usize),
    /// A viewer leaves, if there is one.
    Leave(usize, Leaving),
    Look(usize, Look),
    Send(usize),
    /// Attach, type, see the answer, and detach.
    Visit(usize),
    Signal(usize),
    /// The console of a foreground watcher sends it SIGTERM.
    Interrupt(usize),
    Stop(usize),
    Restart(usize),
    Kill(usize, Victim),
    NodeGoes(Going),
    /// With `--sync always`, or without.
    NodeReturns {
        synced: bool,
    },
    /// Nothing happens for so many milliseconds.
    Linger(u64),
    /// The disk of some spools is full.
    SpoolsFill,
    SpoolsHaveRoom,
    /// It stops for so many milliseconds.
    NodeHangs(u64),
    DiskFills,
    DiskHasRoom,
    /// The process comes to its end, is judged, and is removed.
    Settle(usize),
    /// The process is removed as it is, alive or not.
    Remove(usize),
    /// Everything is settled: what is left is counted.
    Count,
}

/// How a viewer leaves.
#[derive(Clone, Copy, Debug)]
pub(super) enum Leaving {
    ByKeys,
    WindowClosed,
    Killed,
}

/// What a client asks for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Look {
    Ps,
    Inspect,
    Why,
    Top,
    Screen,
    Logs,
}

/// Who is killed by SIGKILL.
#[derive(Clone, Copy, Debug)]
pub(super) enum Victim {
    Child,
    Watcher,
    Guard,
    WatcherAndGuard,
    /// Who relays a console: its end is a hang-up.
    Front,
}

/// How the zerovisor goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Going {
    Killed,
    Asked,
}

/// The steps that follow from a seed, without end.
pub(super) struct Plan {
    chance: Chance,
    rounds: usize,
    steps_left: usize,
    /// Rounds to come, this one included, in which nothing happens to the zerovisor.
    calm_rounds: usize,
    made: usize,
    live: Vec<Made>,
    now: Now,
    spools_full: bool,
    /// Whether the zerovisor is to stay away for a while.
    lingers: bool,
}

/// How things stand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Now {
    Well,
    Alone,
    Full,
}

/// Kinds of steps, by how often they are taken.
#[derive(Clone, Copy)]
enum Kind {
    Start,
    Follow,
    CutFollower,
    View,
    Leave,
    Look,
    Talk,
    Signal,
    Interrupt,
    Stop,
    Restart,
    Kill,
    Fault,
    Linger,
    SpoolDisk,
    Settle,
    Remove,
    Mend,
}

const WELL: &[(u64, Kind)] = &[
    (12, Kind::Start),
    (5, Kind::Follow),
    (1, Kind::CutFollower),
    (3, Kind::View),
    (2, Kind::Leave),
    (5, Kind::Look),
    (6, Kind::Talk),
    (3, Kind::Signal),
    (1, Kind::Interrupt),
    (2, Kind::Stop),
    (3, Kind::Restart),
    (3, Kind::Kill),
    (5, Kind::Fault),
    (1, Kind::SpoolDisk),
    (3, Kind::Settle),
    (1, Kind::Remove),
];
const ALONE: &[(u64, Kind)] = &[
    (3, Kind::Start),
    (3, Kind::Kill),
    (1, Kind::Interrupt),
    (3, Kind::Linger),
    (1, Kind::SpoolDisk),
    (3, Kind::Mend),
];
const FULL: &[(u64, Kind)] =
    &[(2, Kind::Look), (1, Kind::CutFollower), (1, Kind::Follow), (1, Kind::Leave), (3, Kind::Mend)];

impl Plan {
    /// The first round is calm: nothing happens to the zerovisor, so that what it needs can be told from what it leaks.
    pub(super) fn new(seed: u64) -> Plan {
        Plan {
            chance: Chance::new(seed),
            rounds: 0,
            steps_left: ROUND_STEPS,
            calm_rounds: 1,
            made: 0,
            live: Vec::new(),
            now: Now::Well,
            spools_full: false,
            lingers: false,
        }
    }

    fn what(&mut self) -> What {
        if self.steps_left == 0 {
            return self.round_ends();
        }
        self.steps_left -= 1;
        let kind = match self.now {
            Now::Alone if std::mem::take(&mut self.lingers) => Kind::Linger,
            Now::Well if self.live.is_empty() => Kind::Start,
            Now::Well => self.chance.weighed(WELL),
            Now::Alone => self.chance.weighed(ALONE),
            Now::Full => self.chance.weighed(FULL),
        };
        match kind {
            Kind::Start if self.live.len() < LIVE_MAX => self.start(),
            Kind::Start | Kind::Settle if self.now == Now::Well => self.settle(),
            Kind::Mend => self.mend(),
            Kind::Fault => self.fault(),
            Kind::Linger => What::Linger(self.chance.between(LINGER_MS)),
            Kind::SpoolDisk => self.spool_disk(),
            Kind::Start
            | Kind::Settle
            | Kind::Follow
            | Kind::CutFollower
            | Kind::View
            | Kind::Leave
            | Kind::Look
            | Kind::Talk
            | Kind::Signal
            | Kind::Interrupt
            | Kind::Stop
            | Kind::Restart
            | Kind::Remove
            | Kind::Kill => self.somebody(kind),
        }
    }

    /// What happens to one of those that live.
    fn somebody(&mut self, kind: Kind) -> What {
        if self.live.is_empty() {
            return if self.now == Now::Well { self.start() } else { self.mend() };
        }
        let at = usize::try_from(self.chance.below(self.live.len() as u64)).unwrap();
        let one = &self.live[at];
        let (index, terminal, console) = (one.index, one.terminal, one.console);
        let in_front = !one.detached && !console;
        let talks = matches!(one.role, Role::Talker);
        let may_lose_all = !one.has_offspring() || one.cgroup == "auto";
        match kind {
            Kind::Follow => What::Follow(index),
            Kind::CutFollower => What::CutFollower(index),
            Kind::View if terminal => What::View(index),
            Kind::Leave => {
                What::Leave(index, self.chance.of(&[Leaving::ByKeys, Leaving::WindowClosed, Leaving::Killed]))
            }
            Kind::Talk if talks && terminal && self.chance.one_in(2) => What::Visit(index),
            Kind::Talk if talks => What::Send(index),
            Kind::Signal if !talks => What::Signal(index),
            Kind::Interrupt if in_front => What::Interrupt(index),
            Kind::Interrupt if self.now == Now::Alone => What::Kill(index, Victim::Child),
            Kind::Stop => What::Stop(index),
            Kind::Restart => What::Restart(index),
            Kind::Remove => What::Remove(self.live.swap_remove(at).index),
            Kind::Kill if console && self.chance.one_in(2) => What::Kill(index, Victim::Front),
            Kind::Kill => What::Kill(index, self.victim(may_lose_all)),
            // While its journal cannot be written a watcher is not linked.
            Kind::Look if terminal && self.now == Now::Well && self.chance.one_in(3) => What::Look(index, Look::Screen),
            Kind::Look | Kind::View | Kind::Talk | Kind::Signal | Kind::Interrupt => {
                What::Look(index, self.chance.of(&[Look::Ps, Look::Inspect, Look::Why, Look::Top, Look::Logs]))
            }
            Kind::Start | Kind::Settle | Kind::Mend | Kind::Fault | Kind::Linger | Kind::SpoolDisk => self.mend(),
        }
    }

    fn victim(&mut self, may_lose_all: bool) -> Victim {
        let all = (u64::from(may_lose_all), Victim::WatcherAndGuard);
        self.chance.weighed(&[(3, Victim::Child), (2, Victim::Watcher), (2, Victim::Guard), all])
    }

    fn mend(&mut self) -> What {
        match std::mem::replace(&mut self.now, Now::Well) {
            Now::Alone => What::NodeReturns { synced: self.chance.one_in(3) },
            Now::Full => What::DiskHasRoom,
            Now::Well => self.start(),
        }
    }

    fn spool_disk(&mut self) -> What {
        self.spools_full = !self.spools_full;
        if self.spools_full { What::SpoolsFill } else { What::SpoolsHaveRoom }
    }

    fn fault(&mut self) -> What {
        if self.calm_rounds > 0 {
            return What::NodeHangs(100 + self.chance.below(400));
        }
        match self.chance.below(6) {
            0 => What::NodeHangs(200 + self.chance.below(3_000)),
            1 | 2 => {
                self.now = Now::Full;
                What::DiskFills
            }
            at => {
                self.now = Now::Alone;
                What::NodeGoes(if at == 3 { Going::Asked } else { Going::Killed })
            }
        }
    }

    fn settle(&mut self) -> What {
        let at = usize::try_from(self.chance.below(self.live.len() as u64)).unwrap();
        What::Settle(self.live.swap_remove(at).index)
    }

    fn round_ends(&mut self) -> What {
        if self.now != Now::Well {
            return self.mend();
        }
        if self.spools_full {
            return self.spool_disk();
        }
        if let Some(one) = self.live.pop() {
            return What::Settle(one.index);
        }
        self.steps_left = ROUND_STEPS;
        self.rounds += 1;
        self.calm_rounds = match self.calm_rounds.saturating_sub(1) {
            0 if self.rounds > LONG_LIVES_BEHIND && self.chance.one_in(12) => LONG_LIFE_ROUNDS,
            0 => usize::from(self.chance.one_in(4)),
            more => more,
        };
        What::Count
    }

    fn start(&mut self) -> What {
        let made = casting::process(&mut self.chance, self.made, self.now == Now::Alone);
        self.made += 1;
        // Given the time, it drops.
        self.lingers |= made.may_drop() && self.now == Now::Alone;
        self.live.push(made.clone());
        What::Start(made)
    }
}

impl Iterator for Plan {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let pause_ms = self.chance.below(PAUSE_MAX_MS);
        Some(Step { pause_ms, what: self.what() })
    }
}
