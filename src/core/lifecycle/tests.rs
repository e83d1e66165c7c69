#![allow(
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    reason = "a test may look at the clock and at one case"
)]

use proptest::prelude::*;

use super::*;
use crate::exit::SpawnFault;
use crate::restart::RestartPolicy;

fn spec(restart: &str, detached: bool) -> Spec {
    Spec {
        restart: restart.parse().unwrap(),
        backoff: "0..0".parse().unwrap(),
        detached,
        ..Spec::new("p".parse().unwrap(), vec!["p".into()])
    }
}

const AT: Timestamp = Timestamp(1_000_000);

fn ended(code: i32, others: bool) -> MainEnded {
    MainEnded { exit: Exit::Code(code), at: AT, others, oom: None }
}

/// The main process was taken by a SIGKILL.
fn killed(oom: Option<bool>) -> MainEnded {
    MainEnded { exit: KILLED, at: AT, others: false, oom }
}

/// What the exit report says of the OOM killer, which is counted to have killed somebody of the run at some time.
fn told_oom(life: &mut Lifecycle, ended: MainEnded, now: Instant) -> Option<bool> {
    let mut out = Vec::new();
    life.on_main_ended(now, ended, &mut out);
    life.on_cleared(now, Usage { oom_kills: ended.oom.map(|_| 1), ..Usage::default() }, &mut out);
    let told = |action: &Action| match action {
        Action::Record(Fact::Ended { report, .. }) => Some(report.oom),
        _ => None,
    };
    out.iter().find_map(told).unwrap()
}

/// A lifecycle with a run that has just been executed.
fn running(spec: &Spec, now: Instant) -> (Lifecycle, Vec<Action>) {
    let mut out = Vec::new();
    let mut life = Lifecycle::new(spec, 1);
    life.begin(&mut out);
    assert_eq!(out, [Action::Spawn { run: 1 }]);
    out.clear();
    life.on_spawned(now, AT, 42, &mut out);
    (life, out)
}

fn facts(out: &[Action]) -> Vec<String> {
    let tell = |action: &Action| match action {
        Action::Record(fact) => Some(fact.to_string()),
        _ => None,
    };
    out.iter().filter_map(tell).collect()
}

#[test]
fn a_run_that_ends_alone_is_reported_and_the_watcher_leaves() {
    let now = Instant::now();
    let (mut life, mut out) = running(&spec("no", false), now);
    life.on_main_ended(now, ended(3, false), &mut out);
    assert_eq!(life.state(), State::Stopping);
    life.on_cleared(now, Usage::default(), &mut out);
    assert_eq!(life.state(), State::Exited);
    assert_eq!(out.last(), Some(&Action::Finish));
    assert_eq!(life.shell_status(), 3);
}

#[test]
fn a_failed_exec_is_fatal_and_never_retried() {
    let mut out = Vec::new();
    let mut life = Lifecycle::new(&spec("always", true), 1);
    life.begin(&mut out);
    life.on_spawn_failed(SpawnFailure { fault: SpawnFault::NotFound, message: "no".into() }, &mut out);
    assert_eq!((life.state(), life.shell_status()), (State::Fatal, 127));
    assert_eq!(out.last(), Some(&Action::Finish), "nothing ever began, so even a detached watcher leaves");
}

#[test]
fn stop_signals_then_kills_after_the_grace_and_never_restarts() {
    let now = Instant::now();
    let (mut life, mut out) = running(&spec("always", true), now);
    assert_eq!(life.on_order(now, Order::Stop(Cause::Operator), &mut out), Verdict::Accepted);
    assert!(out.ends_with(&[Action::Signal(Signal::TERM), Action::Signal(Signal::CONT)]));
    let late = life.deadline().unwrap();
    assert_eq!(late, now + Duration::from_secs(10));
    life.on_timer(late, &mut out);
    assert_eq!(out.last(), Some(&Action::KillTree));
    life.on_main_ended(late, ended(0, false), &mut out);
    life.on_cleared(late, Usage::default(), &mut out);
    assert_eq!(life.state(), State::Stopped);
    assert!(!life.is_leaving(), "a detached watcher stays so that start works");
    assert_eq!(life.on_order(late, Order::Start { with_command: false }, &mut out), Verdict::Accepted);
    assert_eq!(out.last(), Some(&Action::Spawn { run: 2 }));
}

#[test]
fn a_kill_for_want_of_memory_is_one_that_was_counted_and_not_sent() {
    let now = Instant::now();
    let tell = |ended: MainEnded| told_oom(&mut running(&spec("no", false), now).0, ended, now);
    assert_eq!(tell(killed(Some(true))), Some(true));
    assert_eq!(tell(killed(Some(false))), Some(false), "a worker was killed long before");
    assert_eq!(tell(killed(None)), None);
    assert_eq!(
        tell(MainEnded { oom: Some(true), ..ended(137, false) }),
        Some(false),
        "a worker was, and the main followed"
    );
}

#[test]
fn a_kill_of_ours_is_never_the_kernels() {
    let now = Instant::now();
    let orders: [(&str, &[Order]); 3] = [
        ("grace", &[Order::Stop(Cause::Operator)]),
        ("kill", &[Order::Kill(Cause::Operator)]),
        ("signal", &[Order::Signal(Signal::KILL)]),
    ];
    for (what, orders) in orders {
        let (mut life, mut out) = running(&spec("no", false), now);
        for order in orders {
            life.on_order(now, order.clone(), &mut out);
        }
        let late = life.deadline().unwrap_or(now);
        life.on_timer(late, &mut out);
        assert_eq!(told_oom(&mut life, killed(Some(true)), late), Some(false), "{what}");
    }
    let again = Spec { stop_signal: Signal::KILL, ..spec("always", false) };
    let (mut life, mut out) = running(&again, now);
    life.on_order(now, Order::Restart, &mut out);
    assert_eq!(told_oom(&mut life, killed(Some(true)), now), Some(false));
    life.on_spawned(now, AT, 43, &mut out);
    assert_eq!(told_oom(&mut life, killed(Some(true)), now), Some(true), "the next run was not sent one");
}

#[test]
fn leftovers_are_stopped_before_the_end_is_recorded() {
    let now = Instant::now();
    let (mut life, mut out) = running(&spec("no", false), now);
    life.on_main_ended(now, ended(0, true), &mut out);
    assert_eq!(out.last(), Some(&Action::SignalTree(Signal::TERM)));
    assert!(!facts(&out).iter().any(|f| f.starts_with("ended")));
    life.on_timer(now + Duration::from_secs(10), &mut out);
    assert_eq!(out.last(), Some(&Action::KillTree));
    life.on_cleared(now, Usage::default(), &mut out);
    assert_eq!(life.state(), State::Exited);
}

#[test]
fn with_leftovers_wait_the_run_lives_until_its_tree_has_ended() {
    let now = Instant::now();
    let (mut life, mut out) = running(&Spec { leftovers: Leftovers::Wait, ..spec("no", false) }, now);
    life.on_main_ended(now, ended(0, true), &mut out);
    assert_eq!((life.state(), life.deadline()), (State::Running, None));
    assert_eq!(life.on_order(now, Order::Stop(Cause::Operator), &mut out), Verdict::Accepted);
    assert_eq!(out.last(), Some(&Action::SignalTree(Signal::TERM)));
    assert_eq!(life.state(), State::Stopping);
}

#[test]
fn waiting_needs_a_command() {
    let mut out = Vec::new();
    let now = Instant::now();
    let mut life = Lifecycle::new(&Spec { command: vec![], ..spec("no", true) }, 1);
    life.begin(&mut out);
    assert_eq!(life.state(), State::Waiting);
    assert_eq!(life.on_order(now, Order::Restart, &mut out), Verdict::Denied(Denial::NoCommand));
    assert_eq!(life.on_order(now, Order::Start { with_command: true }, &mut out), Verdict::Accepted);
    assert_eq!(out.last(), Some(&Action::Spawn { run: 1 }));
}

#[derive(Clone, Debug)]
enum Event {
    Spawned,
    SpawnFailed,
    Ended(u8, bool),
    Cleared,
    Timer,
    GuardDied,
    Start(bool),
    Stop,
    Kill,
    Restart,
    Signal,
    Remove(bool),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => Just(Event::Spawned),
        1 => Just(Event::SpawnFailed),
        3 => (0u8..3, any::<bool>()).prop_map(|(code, others)| Event::Ended(code, others)),
        3 => Just(Event::Cleared),
        3 => Just(Event::Timer),
        1 => Just(Event::GuardDied),
        1 => any::<bool>().prop_map(Event::Start),
        1 => Just(Event::Stop),
        1 => Just(Event::Kill),
        1 => Just(Event::Restart),
        1 => Just(Event::Signal),
        1 => any::<bool>().prop_map(Event::Remove),
    ]
}

/// A shell that keeps the lifecycle's side of the contract, so that only possible events reach it.
#[derive(Default)]
struct World {
    spawning: bool,
    main: bool,
    others: bool,
    clearing: bool,
    finished: bool,
    ended_runs: u32,
    last_state: Option<State>,
}

impl World {
    /// Named invariants of every single action.
    fn obey(&mut self, actions: &[Action], life: &Lifecycle) {
        for action in actions {
            match action {
                Action::Spawn { run } => {
                    assert!(!self.main && !self.others && !self.spawning, "one run at a time");
                    assert!(!self.finished, "nothing begins after Finish");
                    assert_eq!(*run, life.run(), "runs are numbered as they begin");
                    self.spawning = true;
                }
                Action::Signal(_) => assert!(self.main, "a signal goes to a main process that lives"),
                Action::SignalTree(_) | Action::KillTree => {
                    assert!(self.main || self.clearing, "a tree is signalled only while a run is there");
                }
                Action::Record(Fact::Ended { run, .. }) => {
                    assert!(!self.main && !self.others, "ended only when nothing of the tree is left");
                    assert!(*run > self.ended_runs, "each run ends once");
                    self.ended_runs = *run;
                }
                Action::Record(fact) => {
                    if let Some(state) = fact.state() {
                        self.last_state = Some(state);
                    }
                }
                Action::Finish => {
                    assert!(!self.finished, "Finish once");
                    assert!(!self.main && !self.others, "the watcher never leaves a run behind");
                    self.finished = true;
                }
            }
        }
    }

    fn step(&mut self, event: &Event, life: &mut Lifecycle, now: Instant) -> Vec<Action> {
        let mut out = Vec::new();
        let failure = SpawnFailure { fault: SpawnFault::Own, message: String::new() };
        match event {
            Event::Spawned if self.spawning => {
                (self.spawning, self.main) = (false, true);
                life.on_spawned(now, AT, 1, &mut out);
            }
            Event::SpawnFailed if self.spawning => {
                self.spawning = false;
                life.on_spawn_failed(failure, &mut out);
            }
            // The shell answers Spawn before it looks at anything else.
            _ if self.spawning => {}
            Event::Ended(code, others) if self.main => {
                (self.main, self.others, self.clearing) = (false, *others, true);
                life.on_main_ended(now, ended((*code).into(), *others), &mut out);
            }
            Event::Cleared if self.clearing => {
                (self.others, self.clearing) = (false, false);
                life.on_cleared(now, Usage::default(), &mut out);
            }
            Event::Timer => life.on_timer(now, &mut out),
            Event::GuardDied => life.on_guard_died(now, &mut out),
            Event::Start(with_command) => self.order(life, now, Order::Start { with_command: *with_command }, &mut out),
            Event::Stop => self.order(life, now, Order::Stop(Cause::Operator), &mut out),
            Event::Kill => self.order(life, now, Order::Kill(Cause::Operator), &mut out),
            Event::Restart => self.order(life, now, Order::Restart, &mut out),
            Event::Signal => self.order(life, now, Order::Signal(Signal::HUP), &mut out),
            Event::Remove(force) => self.order(life, now, Order::Remove { force: *force }, &mut out),
            Event::Spawned | Event::SpawnFailed | Event::Ended(..) | Event::Cleared => {}
        }
        out
    }

    fn order(&self, life: &mut Lifecycle, now: Instant, order: Order, out: &mut Vec<Action>) {
        let before = life.state();
        let verdict = life.on_order(now, order, out);
        if matches!(verdict, Verdict::Denied(_)) {
            assert!(out.is_empty() && life.state() == before, "a denied order changes nothing");
        }
    }
}

#[test]
fn who_ends_between_two_runs_has_stopped() {
    let now = Instant::now();
    let spec = Spec { backoff: "1s..1s".parse().unwrap(), ..spec("always", true) };
    let (mut life, mut out) = running(&spec, now);
    life.on_main_ended(now, ended(1, false), &mut out);
    life.on_cleared(now, Usage::default(), &mut out);
    assert_eq!(life.state(), State::Backoff);
    out.clear();
    life.on_guard_died(now, &mut out);
    assert_eq!(out, [Action::Record(Fact::Stopped), Action::Finish]);
    out.clear();
    life.on_timer(now + Duration::from_secs(3600), &mut out);
    assert_eq!(out, [], "no run follows");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_invariants_hold_under_any_order_of_events(
        events in prop::collection::vec((event(), 0u64..15), 1..60),
        policy in prop_oneof![Just("no"), Just("on-failure:2"), Just("always")],
        detached: bool,
        wait: bool,
        command: bool,
    ) {
        let leftovers = if wait { Leftovers::Wait } else { Leftovers::Stop };
        let mut spec = Spec { leftovers, ..spec(policy, detached) };
        prop_assume!(spec.restart != RestartPolicy::No || !spec.command.is_empty());
        if !command {
            spec.command.clear();
        }
        let mut now = Instant::now();
        let (mut life, mut world, mut out) = (Lifecycle::new(&spec, 3), World::default(), Vec::new());
        life.begin(&mut out);
        world.obey(&out, &life);
        for (event, seconds) in events {
            now += Duration::from_secs(seconds);
            let out = world.step(&event, &mut life, now);
            world.obey(&out, &life);
            // A phase that waits for time alone always says until when.
            if matches!(life.state(), State::Backoff) {
                prop_assert!(life.deadline().is_some());
            }
            // What the facts say is what the state machine says, except while a tree is cleared.
            if let (false, false, Some(last)) = (world.clearing, world.spawning, world.last_state) {
                prop_assert_eq!(last, life.state());
            }
            prop_assert_eq!(life.is_leaving(), world.finished);
            prop_assert!(!world.finished || !life.state().is_live(), "{:?} is no state to leave in", life.state());
        }
    }
}
