use std::time::Duration;

use tokio::sync::mpsc;
use zerovisor_core::address::Selection;
use zerovisor_core::name::Labels;
use zerovisor_core::spec::Spec;
use zerovisor_core::wire::{Failure, HostProof};

use zerovisor_core::stats::{Placement, Rung};

use super::ghosts::GHOSTS_MAX;
use super::*;

fn hello(id: u8, name: &str, given: bool) -> WatcherHello {
    let spec = Spec {
        name_given: given,
        labels: Labels::new([format!("app={name}").parse().unwrap()]).unwrap(),
        detached: true,
        ..Spec::new(name.parse().unwrap(), vec![name.into()])
    };
    WatcherHello {
        id: Id::from_random([id; 16]),
        secret: [id; 32],
        welcomed_before: false,
        spec,
        created_at: Timestamp(1),
        host: HostProof::default(),
        first_seq: 1,
        next_seq: 1,
        state: State::Starting,
        placement: Placement { rung: Rung::None, why: "no cgroup".into() },
    }
}

fn registry() -> Registry {
    Registry::new("n1".parse().unwrap())
}

/// Declares and keeps the link open: the receiver must live as long as the link.
fn declare(registry: &mut Registry, hello: &WatcherHello) -> Result<(u64, Change), Refusal> {
    registry.declare(hello, true, mpsc::channel(1).0)
}

/// As it was found on disk, with something in its journal.
fn past(meta: Meta, story: Story) -> Past {
    Past { meta, story, last_seq: 1, is_empty: false }
}

fn name_of(registry: &Registry, id: u8) -> &str {
    registry.get(Id::from_random([id; 16])).unwrap().meta.name.as_str()
}

fn state_of(registry: &Registry, id: u8) -> State {
    registry.get(Id::from_random([id; 16])).unwrap().shown_state()
}

#[test]
fn a_given_name_that_a_live_process_holds_is_refused_and_a_default_one_is_extended() {
    let mut all = registry();
    declare(&mut all, &hello(1, "web", true)).unwrap();
    let refused = declare(&mut all, &hello(2, "web", true)).unwrap_err();
    assert!(matches!(refused, Refusal::NameTaken { ref holder, .. } if holder == "01010101"), "{refused}");
    assert!(all.get(Id::from_random([2; 16])).is_none(), "a refused watcher leaves no trace");
    declare(&mut all, &hello(3, "web", false)).unwrap();
    assert_eq!(name_of(&all, 3), "web~03030303");
}

#[test]
fn a_clash_met_on_reconnect_extends_even_a_given_name() {
    let mut all = registry();
    declare(&mut all, &hello(1, "web", true)).unwrap();
    let late = WatcherHello { welcomed_before: true, ..hello(2, "web", true) };
    declare(&mut all, &late).unwrap();
    assert_eq!(name_of(&all, 2), "web~02020202");
}

#[test]
fn who_had_ended_before_it_came_has_ended_once_its_facts_say_how() {
    let mut all = registry();
    let ended = WatcherHello { state: State::Exited, ..hello(1, "web", true) };
    let (generation, _) = declare(&mut all, &ended).unwrap();
    assert_eq!(state_of(&all, 1), State::Stopping);
    assert_eq!(all.unlink(ended.id, generation, false, Instant::now()), Some(Change::Unreachable));
    assert_eq!(state_of(&all, 1), State::Unreachable, "its watcher has them still");
    declare(&mut all, &ended).unwrap();
    all.tell(ended.id, Timestamp(2), &Fact::Exited, Instant::now(), Timestamp(2));
    assert_eq!(state_of(&all, 1), State::Exited);
    let (generation, _) = declare(&mut all, &WatcherHello { id: Id::from_random([2; 16]), ..ended }).unwrap();
    assert_eq!(all.unlink(Id::from_random([2; 16]), generation, true, Instant::now()), None);
    assert_eq!(state_of(&all, 2), State::Exited, "one that has said farewell tells no more");
}

#[test]
fn the_name_of_an_ended_process_is_free() {
    let mut all = registry();
    let (generation, _) = declare(&mut all, &hello(1, "web", true)).unwrap();
    let id = Id::from_random([1; 16]);
    all.tell(id, Timestamp(2), &Fact::Exited, Instant::now(), Timestamp(2));
    assert_eq!(all.unlink(id, generation, true, Instant::now()), None);
    assert!(declare(&mut all, &hello(2, "web", true)).is_ok());
}

#[test]
fn an_id_is_bound_to_the_secret_of_its_first_hello() {
    let mut all = registry();
    declare(&mut all, &hello(1, "web", true)).unwrap();
    let thief = WatcherHello { secret: [9; 32], ..hello(1, "web", true) };
    assert!(matches!(declare(&mut all, &thief), Err(Refusal::NotYours(_))));
}

#[test]
fn only_proof_makes_a_silent_watcher_lost() {
    let mut all = registry();
    let id = Id::from_random([1; 16]);
    let now = Instant::now();
    let (first, _) = declare(&mut all, &hello(1, "web", true)).unwrap();
    all.tell(id, Timestamp(2), &Fact::Started { run: 1, pid: 7 }, now, Timestamp(2));
    let (second, change) = declare(&mut all, &hello(1, "web", true)).unwrap();
    assert_eq!(change, Change::Returned);
    assert_eq!(all.unlink(id, first, false, now), None, "an older link says nothing");
    assert_eq!(all.unlink(id, second, false, now), Some(Change::Unreachable));
    assert_eq!(state_of(&all, 1), State::Unreachable);
    assert_eq!(all.unreachable(), [id]);
    assert!(all.bury(id));
    assert_eq!(state_of(&all, 1), State::Lost);
    let row = &all.rows(&Selection::default(), true, now, Timestamp(9)).unwrap()[0];
    assert_eq!((row.run, row.pid), (1, None), "the last that is known stays, but no pid");
}

#[test]
fn whose_end_came_to_be_known_is_not_lost() {
    let mut all = registry();
    let (id, now) = (Id::from_random([1; 16]), Instant::now());
    let (generation, _) = declare(&mut all, &hello(1, "web", true)).unwrap();
    assert_eq!(all.unlink(id, generation, false, now), Some(Change::Unreachable));
    all.tell(id, Timestamp(2), &Fact::Exited, now, Timestamp(2));
    assert!(!all.bury(id), "its last record was still on its way");
    assert_eq!((state_of(&all, 1), all.unreachable().len()), (State::Exited, 0));
}

#[test]
fn what_a_restart_finds_on_disk_is_unreachable_until_heard_of() {
    let mut all = registry();
    declare(&mut all, &hello(1, "web", true)).unwrap();
    let meta = all.forget(Id::from_random([1; 16])).unwrap().meta;
    let mut again = registry();
    let mut story = Story::default();
    story.tell(Timestamp(3), &Fact::Steady { run: 1 });
    again.restore(past(meta.clone(), story.clone()), false, Instant::now());
    assert_eq!(state_of(&again, 1), State::Unreachable);
    story.tell(Timestamp(4), &Fact::Stopped);
    again.restore(past(meta, story), false, Instant::now());
    assert_eq!(state_of(&again, 1), State::Stopped, "what had ended has ended");
}

#[test]
fn only_what_was_seen_to_be_empty_is_too_much() {
    let mut first = registry();
    declare(&mut first, &hello(1, "web", true)).unwrap();
    let meta = first.forget(Id::from_random([1; 16])).unwrap().meta;
    let found = |is_empty| {
        let mut all = registry();
        for n in 0..u128::try_from(GHOSTS_MAX).unwrap() + 2 {
            let meta = Meta { id: Id::from_random(n.to_be_bytes()), ..meta.clone() };
            all.restore(Past { meta, story: Story::default(), last_seq: 0, is_empty }, false, Instant::now());
        }
        std::iter::from_fn(move || all.forget_ghost()).count()
    };
    assert_eq!(found(true), 2);
    assert_eq!(found(false), 0, "what could not be read is not thrown away");
}

#[test]
fn one_that_leaves_again_and_again_is_one_too_many_once() {
    let mut all = registry();
    for _ in 0..GHOSTS_MAX + 2 {
        let (generation, _) = declare(&mut all, &hello(1, "web", true)).unwrap();
        all.unlink(Id::from_random([1; 16]), generation, false, Instant::now());
    }
    assert_eq!(all.forget_ghost(), None);
}

#[test]
fn selections_mean_each_process_once() {
    let mut all = registry();
    declare(&mut all, &hello(1, "web", true)).unwrap();
    declare(&mut all, &hello(2, "db", true)).unwrap();
    let select = Selection { addresses: vec!["web".parse().unwrap()], labels: vec!["app=web".parse().unwrap()] };
    assert_eq!(all.select(&select).unwrap().len(), 1);
    assert_eq!(all.select(&Selection::default()).unwrap().len(), 2);
    let unknown = Selection { addresses: vec!["nope".parse().unwrap()], labels: vec![] };
    assert!(matches!(all.select(&unknown), Err(Failure::Unknown(_))));
}

#[test]
fn a_watcher_that_was_away_when_its_process_was_removed_does_not_bring_it_back() {
    let mut all = registry();
    declare(&mut all, &hello(1, "web", true)).unwrap();
    assert!(all.remove(Id::from_random([1; 16])).is_some());
    assert_eq!(declare(&mut all, &hello(1, "web", true)).unwrap_err(), Refusal::Removed);
    assert!(declare(&mut all, &hello(2, "web", true)).is_ok(), "its name is free");
}

#[test]
fn a_run_that_is_heard_of_late_has_been_up_since_it_began() {
    let mut all = registry();
    let id = Id::from_random([1; 16]);
    declare(&mut all, &hello(1, "web", true)).unwrap();
    let (now, wall) = (Instant::now() + Duration::from_secs(60), Timestamp(100_000_000));
    let uptime = |all: &Registry, now, wall| all.rows(&Selection::default(), true, now, wall).unwrap()[0].uptime;
    all.tell(id, Timestamp(70_000_000), &Fact::Started { run: 1, pid: 7 }, now, wall);
    assert_eq!(uptime(&all, now, wall), Some(Duration::from_secs(30)));
    let later = now + Duration::from_secs(5);
    assert_eq!(uptime(&all, later, Timestamp(1)), Some(Duration::from_secs(35)), "whatever becomes of the wall clock");
    // One that began before the monotonic clock did, and one of the future.
    let years = Timestamp(u64::MAX);
    all.tell(id, Timestamp(1), &Fact::Started { run: 2, pid: 8 }, now, years);
    assert_eq!(uptime(&all, now, years), Some(years.since(Timestamp(1))));
    all.tell(id, years, &Fact::Started { run: 3, pid: 9 }, now, wall);
    assert_eq!(uptime(&all, now, wall), Some(Duration::ZERO));
}
