//! Born inside, signalled, frozen, killed: whatever a program does, all of it ends.

use super::*;
use nix::sys::signal::Signal;
use std::collections::BTreeSet;

/// Leaves its session, double-forks and ignores what can be ignored; says so when all of it is there.
const ESCAPING: &str = "trap '' TERM HUP INT; (setsid sh -c 'sleep 1000 & echo; exec sleep 1000' &) ; exec sleep 1000";

/// The pids of the leaf in every hierarchy that it is in.
fn members(leaf: &Leaf) -> BTreeSet<i32> {
    leaf.places().all.iter().flat_map(crate::place::Place::members).collect()
}

#[test]
fn a_child_is_in_every_cgroup_before_it_does_anything() {
    let Some(scene) = scene("born", Limits::default()) else { return };
    let (pid, birth) = hold(&scene.leaf, 0);
    println!("born {birth:?}, {} joins", scene.leaf.entrance().unwrap().joins().len());
    let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    for place in &scene.leaf.places().all {
        assert!(place.members().contains(&pid), "{place:?}\n{own}");
    }
    assert!(own.contains(&format!("/{}/run-1\n", scene.group.name())), "{own}");
    assert!(scene.leaf.is_populated().unwrap());
    scene.leaf.kill_until_empty(Instant::now() + PATIENCE).unwrap();
    assert!(matches!(ended(pid), WaitStatus::Signaled(_, Signal::SIGKILL, _)));
    scene.leaf.remove().unwrap();
    scene.group.remove().unwrap();
}

#[test]
fn grandchildren_that_left_session_and_parent_die() {
    let Some(scene) = scene("escaping", Limits::default()) else { return };
    let mut child = start(&scene.leaf, ESCAPING);
    said(&mut child);
    assert!(members(&scene.leaf).len() >= 3, "{:?}", members(&scene.leaf));
    scene.leaf.kill_until_empty(Instant::now() + PATIENCE).unwrap();
    assert_eq!(members(&scene.leaf), BTreeSet::new());
    assert!(!scene.leaf.is_populated().unwrap());
    child.wait().unwrap();
    scene.leaf.remove().unwrap();
    scene.group.remove().unwrap();
}

#[test]
fn a_fork_bomb_dies() {
    let Some(mut scene) = scene("bomb", Limits { pids: Some(60), ..Limits::default() }) else { return };
    let mut child = start(&scene.leaf, "bomb() { bomb & bomb & sleep 0.01; }; while :; do bomb; done");
    until("a bomb of forty", || scene.leaf.sample_costly().unwrap().pids.filter(|pids| *pids >= 40));
    scene.leaf.kill_until_empty(Instant::now() + PATIENCE).unwrap();
    assert_eq!(members(&scene.leaf), BTreeSet::new());
    child.wait().unwrap();
    scene.leaf.remove().unwrap();
}

#[test]
fn a_fork_bomb_dies_by_signals_alone() {
    let Some(mut scene) = scene("signals", Limits { pids: Some(60), ..Limits::default() }) else { return };
    let mut child = start(&scene.leaf, "bomb() { bomb & bomb & sleep 0.01; }; while :; do bomb; done");
    until("a bomb of forty", || scene.leaf.sample_costly().unwrap().pids.filter(|pids| *pids >= 40));
    until("the end of the bomb", || {
        crate::kill::by_signals(scene.leaf.places(), scene.leaf.name());
        members(&scene.leaf).is_empty().then_some(())
    });
    child.wait().unwrap();
    until("an empty leaf", || (!scene.leaf.is_populated().unwrap()).then_some(()));
}

#[test]
fn what_a_run_hides_in_cgroups_of_its_own_dies_and_is_removed_too() {
    let Some(scene) = scene("nested", Limits::default()) else { return };
    let (pid, _) = hold(&scene.leaf, 0);
    for place in &scene.leaf.places().all {
        let deep = place.below("a").below("b");
        fs::create_dir_all(&deep.dir).unwrap();
        deep.write("cgroup.procs", &pid.to_string()).unwrap();
    }
    assert!(scene.leaf.is_populated().unwrap());
    assert_eq!(scene.leaf.signal_all(0), 1);
    scene.leaf.kill_until_empty(Instant::now() + PATIENCE).unwrap();
    ended(pid);
    scene.leaf.remove().unwrap();
    scene.group.remove().unwrap();
}

#[test]
fn one_who_moved_itself_out_of_one_hierarchy_is_found_in_another() {
    let Some(scene) = scene("moved", Limits::default()) else { return };
    let places = &scene.leaf.places().all;
    let Some(v2) = scene.leaf.places().v2().filter(|_| places.len() > 1) else {
        return skip("there is one hierarchy only");
    };
    let (pid, _) = hold(&scene.leaf, 0);
    let home = v2.dir.parent().and_then(|group| group.parent()).unwrap();
    crate::place::write(&home.join("cgroup.procs"), &pid.to_string()).unwrap();
    assert!(!scene.leaf.is_populated().unwrap(), "v2 has lost it");
    scene.leaf.kill_until_empty(Instant::now() + PATIENCE).unwrap();
    assert!(matches!(ended(pid), WaitStatus::Signaled(_, Signal::SIGKILL, _)));
}

#[test]
fn a_signal_reaches_every_process() {
    let Some(scene) = scene("signal", Limits::default()) else { return };
    let script = "trap 'exit 7' TERM; (sh -c 'trap \"exit 8\" TERM; echo; while :; do sleep 0.05; done' &); while :; do sleep 0.05; done";
    let mut child = start(&scene.leaf, script);
    said(&mut child);
    assert!(scene.leaf.signal_all(Signal::SIGTERM as i32) >= 2);
    assert_eq!(child.wait().unwrap().code(), Some(7));
    until("an empty leaf", || (!scene.leaf.is_populated().unwrap()).then_some(()));
}

#[test]
fn the_end_of_the_last_process_is_an_event() {
    let Some(scene) = scene("event", Limits::default()) else { return };
    let Some(events) = scene.leaf.events_fd() else { return skip("v1 has no such event") };
    let mut child = start(&scene.leaf, "sleep 1000 & exec sleep 1000");
    until("a populated leaf", || (members(&scene.leaf).len() == 2).then_some(()));
    assert!(scene.leaf.is_populated().unwrap());
    assert_eq!(poll(&mut [PollFd::new(events, PollFlags::POLLPRI)], 0_u8).unwrap(), 0, "nothing new");
    scene.leaf.kill();
    let limit = u16::try_from(PATIENCE.as_millis()).unwrap();
    until("populated 0", || {
        assert_eq!(poll(&mut [PollFd::new(events, PollFlags::POLLPRI)], limit).unwrap(), 1, "no event");
        (!scene.leaf.is_populated().unwrap()).then_some(())
    });
    child.wait().unwrap();
}

#[test]
fn a_frozen_run_stands_still_goes_on_and_can_be_killed() {
    let Some(mut scene) = scene("frozen", Limits::default()) else { return };
    if let Err(error) = scene.leaf.freeze() {
        return skip(error);
    }
    scene.leaf.thaw().unwrap();
    let mut child = start(&scene.leaf, "while :; do :; done");
    let mut used = || scene.leaf.sample().unwrap().cpu_user_us.unwrap();
    until("some use of CPU", || (used() > 20_000).then_some(()));
    let place =
        scene.leaf.places().v2().or(scene.leaf.places().with(crate::place::Controller::Freezer)).unwrap().clone();
    scene.leaf.freeze().unwrap();
    until("the kernel to say that all are frozen", || {
        let v2 = place.read("cgroup.events").is_ok_and(|text| text.ends_with(b"frozen 1\n"));
        let v1 = place.read("freezer.state").is_ok_and(|text| text == b"FROZEN\n");
        (v2 || v1).then_some(())
    });
    let mut used = || scene.leaf.sample().unwrap().cpu_user_us.unwrap();
    let before = used();
    // The time in which it could have used some; nothing is waited for.
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(used(), before, "a frozen loop used CPU");
    scene.leaf.thaw().unwrap();
    let mut used = || scene.leaf.sample().unwrap().cpu_user_us.unwrap();
    until("more use of CPU", || (used() > before + 20_000).then_some(()));
    scene.leaf.freeze().unwrap();
    scene.leaf.kill_until_empty(Instant::now() + PATIENCE).unwrap();
    child.wait().unwrap();
}

#[test]
fn what_cannot_be_ended_in_time_is_told() {
    let Some(scene) = scene("late", Limits::default()) else { return };
    let (pid, _) = hold(&scene.leaf, 0);
    let elsewhere = crate::name::GroupName::new(&process("other"));
    // Its pid is listed here, and it is not of the group that is to be killed: so it is left alone.
    let places = crate::place::Places {
        all: scene.leaf.places().all.iter().filter(|p| p.version == crate::place::Version::V1).cloned().collect(),
        refused: [].into(),
    };
    if places.all.is_empty() {
        return skip("v2 kills by itself");
    }
    let error = crate::kill::until_empty(&places, &elsewhere, Instant::now()).unwrap_err().to_string();
    assert!(error.starts_with(&format!("1 processes outlived SIGKILL in {}", places.all[0].dir.display())), "{error}");
    assert!(error.contains(&format!("({pid})")), "{error}");
    scene.leaf.kill_until_empty(Instant::now() + PATIENCE).unwrap();
    ended(pid);
}
