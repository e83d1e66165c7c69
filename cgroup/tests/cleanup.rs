//! What watchers leave behind is removed, and nothing else.

use super::*;
use std::path::PathBuf;

/// The directories of a group in every home.
fn directories(name: &str) -> Vec<PathBuf> {
    site().homes().all.iter().map(|home| home.dir.join(name)).collect()
}

fn is_gone(name: &str) -> bool {
    directories(name).iter().all(|dir| !dir.exists())
}

#[test]
fn the_guard_cleans_up_with_paths_alone() {
    let Some(scene) = scene("remains", Limits::default()) else { return };
    let mut child = start(&scene.leaf, "sleep 1000 & echo; exec sleep 1000");
    said(&mut child);
    let text = scene.group.remains().to_text();
    assert!(text.len() <= crate::REMAINS_MAX_BYTES);
    let remains = Remains::parse(&text).unwrap();
    assert_eq!(remains.to_text(), text);
    remains.kill_and_remove(Instant::now() + PATIENCE).unwrap();
    assert!(is_gone(scene.group.name()));
    child.wait().unwrap();
    // Both the watcher and its guard may come to it.
    remains.kill_and_remove(Instant::now() + PATIENCE).unwrap();
}

#[test]
fn a_sweep_takes_what_is_stale_and_nothing_else() {
    let Some(live) = scene("live", Limits::default()) else { return };
    let owner = Owner { pid: own_pid(), start_ticks: 2, pid_namespace: own_pid_namespace() };
    let create = |owner| {
        let group = site().create(&ProcessCgroup { owner, ..process("swept") }).unwrap();
        (Broom(group.remains().clone()), group)
    };
    let (_broom, stale) = create(owner);
    let (_broom, foreign) = create(Owner { pid_namespace: owner.pid_namespace + 1, ..owner });
    let leaf = stale.run(3, &Limits::default()).unwrap();
    let mut child = start(&leaf, "sleep 1000 & echo; exec sleep 1000");
    said(&mut child);
    let others = stale.name().replace(".2", ".02");
    let others = directories(&others);
    others.iter().for_each(|dir| fs::create_dir(dir).unwrap());

    let late = site().sweep(own_pid_namespace(), |found| found != owner, Instant::now());
    assert!(
        late.removed.is_empty() && late.failed.is_empty() && late.postponed == 1,
        "no time, nothing done: {late:?}"
    );
    let swept = site().sweep(own_pid_namespace(), |found| found != owner, Instant::now() + PATIENCE);
    let kept = others.iter().all(|dir| dir.exists());
    others.iter().for_each(|dir| fs::remove_dir(dir).unwrap());
    assert_eq!(swept.removed, [stale.name()]);
    assert!(swept.failed.is_empty() && swept.postponed == 0, "{swept:?}");
    child.wait().unwrap();
    assert!(is_gone(stale.name()));
    assert!(kept, "a name that is nearly ours");
    assert!(!is_gone(live.group.name()) && !is_gone(foreign.name()));
}

#[test]
fn runs_follow_each_other_with_peaks_of_their_own() {
    let Some(scene) = scene("runs", Limits::default()) else { return };
    let (pid, _) = hold(&scene.leaf, 32 << 20);
    scene.leaf.kill_until_empty(Instant::now() + PATIENCE).unwrap();
    ended(pid);
    scene.leaf.remove().unwrap();
    let mut second = scene.group.run(2, &Limits::default()).unwrap();
    if holds(Resource::Memory) {
        let peak = second.sample_costly().unwrap().memory_peak_bytes.unwrap();
        assert!(peak < 1 << 20, "{peak}");
    }
    second.remove().unwrap();
    let name = scene.group.name().to_owned();
    scene.group.remove().unwrap();
    assert!(is_gone(&name));
}

#[test]
fn a_busy_leaf_is_neither_waited_for_nor_forgotten() {
    let Some(scene) = scene("busy", Limits::default()) else { return };
    let mut child = start(&scene.leaf, "echo; exec sleep 1000");
    said(&mut child);
    let begun = Instant::now();
    scene.leaf.remove_now().unwrap_err();
    scene.group.remove_run(1).unwrap_err();
    // Waiting would take a quarter of a second each time, in each hierarchy.
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    child.kill().unwrap();
    child.wait().unwrap();
    until("the leaf can be removed", || scene.group.remove_run(1).ok());
    assert!(directories(scene.group.name()).iter().all(|dir| !dir.join("run-1").exists()));
    scene.group.remove_run(1).unwrap();
}

#[test]
fn a_sample_of_a_removed_leaf_is_an_error() {
    let Some(mut scene) = scene("removed", Limits::default()) else { return };
    scene.group.remains().kill_and_remove(Instant::now() + PATIENCE).unwrap();
    assert!(scene.leaf.sample().is_err() || scene.leaf.sample().unwrap() == crate::Reading::default());
    assert!(scene.leaf.is_populated().is_err() || scene.leaf.events_fd().is_none());
    assert!(scene.leaf.entrance().is_err());
}
