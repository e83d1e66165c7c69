//! What happens, in which order: a pure function of the seed, whatever the machine makes of it.

use super::chance::Chance;
use super::model::{ENDLESS_LINES, Made, Restart, Role};
use super::writer::Writing;

/// Steps of a round, at whose end everything is settled and counted.
const ROUND_STEPS: usize = 40;
/// Processes that live at once, at most.
const LIVE_MAX: usize = 6;
/// The longest pause before a step, in milliseconds.
const PAUSE_MAX_MS: u64 = 300;

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
    Stop(usize),
    Restart(usize),
    Kill(usize, Victim),
    NodeGoes(Going),
    NodeReturns,
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
    steps_left: usize,
    calm: bool,
    made: usize,
    live: Vec<Made>,
    now: Now,
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
    Stop,
    Restart,
    Kill,
    Fault,
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
    (2, Kind::Stop),
    (3, Kind::Restart),
    (3, Kind::Kill),
    (5, Kind::Fault),
    (3, Kind::Settle),
    (1, Kind::Remove),
];
const ALONE: &[(u64, Kind)] = &[(2, Kind::Start), (2, Kind::Kill), (3, Kind::Mend)];
const FULL: &[(u64, Kind)] =
    &[(2, Kind::Look), (1, Kind::CutFollower), (1, Kind::Follow), (1, Kind::Leave), (3, Kind::Mend)];

impl Plan {
    /// The first round is calm: nothing happens to the zerovisor, so that what it needs can be told from what it leaks.
    pub(super) fn new(seed: u64) -> Plan {
        Plan {
            chance: Chance::new(seed),
            steps_left: ROUND_STEPS,
            calm: true,
            made: 0,
            live: Vec::new(),
            now: Now::Well,
        }
    }

    fn what(&mut self) -> What {
        if self.steps_left == 0 {
            return self.round_ends();
        }
        self.steps_left -= 1;
        let kind = match self.now {
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
            Kind::Start
            | Kind::Settle
            | Kind::Follow
            | Kind::CutFollower
            | Kind::View
            | Kind::Leave
            | Kind::Look
            | Kind::Talk
            | Kind::Signal
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
            Kind::Stop => What::Stop(index),
            Kind::Restart => What::Restart(index),
            Kind::Remove => What::Remove(self.live.swap_remove(at).index),
            Kind::Kill if console && self.chance.one_in(2) => What::Kill(index, Victim::Front),
            Kind::Kill => What::Kill(index, self.victim(may_lose_all)),
            // While its journal cannot be written a watcher is not linked.
            Kind::Look if terminal && self.now == Now::Well && self.chance.one_in(3) => What::Look(index, Look::Screen),
            Kind::Look | Kind::View | Kind::Talk | Kind::Signal => {
                What::Look(index, self.chance.of(&[Look::Ps, Look::Inspect, Look::Why, Look::Top, Look::Logs]))
            }
            Kind::Start | Kind::Settle | Kind::Mend | Kind::Fault => self.mend(),
        }
    }

    fn victim(&mut self, may_lose_all: bool) -> Victim {
        let all = (u64::from(may_lose_all), Victim::WatcherAndGuard);
        self.chance.weighed(&[(3, Victim::Child), (2, Victim::Watcher), (2, Victim::Guard), all])
    }

    fn mend(&mut self) -> What {
        match std::mem::replace(&mut self.now, Now::Well) {
            Now::Alone => What::NodeReturns,
            Now::Full => What::DiskHasRoom,
            Now::Well => self.start(),
        }
    }

    fn fault(&mut self) -> What {
        if self.calm {
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
        if let Some(one) = self.live.pop() {
            return What::Settle(one.index);
        }
        self.steps_left = ROUND_STEPS;
        self.calm = self.chance.one_in(4);
        What::Count
    }

    fn start(&mut self) -> What {
        let made = self.process();
        self.live.push(made.clone());
        What::Start(made)
    }

    fn process(&mut self) -> Made {
        let chance = &mut self.chance;
        let index = self.made;
        self.made += 1;
        let role = if chance.one_in(4) { Role::Talker } else { Role::Writer(writing(chance)) };
        let endless = matches!(&role, Role::Talker | Role::Writer(Writing { lines: ENDLESS_LINES, .. }));
        // At full speed for ever it would fill the small disk by itself.
        let is_slow = matches!(&role, Role::Writer(writing) if writing.pauses_ms() >= 300);
        let restart = match chance.below(4) {
            0 if !endless && is_slow => Restart::Always,
            1 if !endless => Restart::OnFailure,
            _ => Restart::No,
        };
        let terminal = chance.one_in(2);
        let detached = chance.below(3) > 0 || self.now == Now::Alone;
        let console = terminal && !detached && chance.one_in(2);
        let cgroup = if chance.one_in(4) { "off" } else { "auto" };
        let limited = cgroup == "auto" && chance.one_in(4);
        Made { index, role, terminal, detached, console, restart, cgroup, limited }
    }
}

fn writing(chance: &mut Chance) -> Writing {
    let (lines, batch, pace) = match chance.below(8) {
        // All at once.
        0 | 1 => (1 + chance.below(60_000), 5_000, 0),
        2 | 3 => (ENDLESS_LINES, 1 + chance.below(50), 5 + chance.below(20)),
        _ => (1 + chance.below(3_000), 1 + chance.below(200), 2 + chance.below(20)),
    };
    Writing {
        key: chance.below(1 << 30),
        lines,
        batch,
        pace,
        ending: chance.of(&[0, 0, 0, 1, 3, 7, 42, 100, 255, -9, -6, -15]),
        errors: chance.one_in(3),
        stubborn: chance.one_in(5),
        offspring: chance.below(4).saturating_sub(1),
    }
}

impl Iterator for Plan {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let pause_ms = self.chance.below(PAUSE_MAX_MS);
        Some(Step { pause_ms, what: self.what() })
    }
}
