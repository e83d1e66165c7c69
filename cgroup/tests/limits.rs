//! Limits hold, and those that nobody can hold are refused.

use super::*;
use crate::CgroupError;
use crate::place::{Controller, Version};
use nix::sys::signal::Signal;

const MIB: u64 = 1 << 20;

#[test]
fn memory_beyond_the_limit_is_killed_for_and_counted() {
    let Some(mut scene) = scene("greedy", Limits { memory_bytes: Some(48 * MIB), ..Limits::default() }) else { return };
    assert_eq!(scene.leaf.oom_kills(), Some(0));
    let (pid, _) = hold(&scene.leaf, 512 << 20);
    let end = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG)).unwrap();
    if end == WaitStatus::StillAlive && scene.leaf.sample_costly().unwrap().swap_bytes.is_some_and(|bytes| bytes > 0) {
        return skip("this machine swaps, so that nothing need be killed");
    }
    assert!(matches!(ended_or(end, pid), WaitStatus::Signaled(_, Signal::SIGKILL, _)));
    assert_eq!(scene.leaf.oom_kills(), Some(1));
    let reading = scene.leaf.sample_costly().unwrap();
    assert_eq!(reading.oom_kills, Some(1));
    let peak = reading.memory_peak_bytes.unwrap();
    assert!(peak <= 48 * MIB, "{peak}");
    assert!(peak > 40 * MIB || !has_peak(&scene.leaf), "{peak}");
}

/// The end that was seen already, or the one to come.
fn ended_or(seen: WaitStatus, pid: i32) -> WaitStatus {
    if seen == WaitStatus::StillAlive { ended(pid) } else { seen }
}

/// Whether this kernel remembers the peak itself: v2 since Linux 5.19.
fn has_peak(leaf: &Leaf) -> bool {
    let memory = leaf.places().with(Controller::Memory).unwrap();
    ["memory.peak", "memory.max_usage_in_bytes"].iter().any(|file| memory.path(file).exists())
}

#[test]
fn forks_beyond_the_limit_fail_until_it_is_lifted() {
    let Some(scene) = scene("forks", Limits { pids: Some(2), ..Limits::default() }) else { return };
    // Every shell gives up when it cannot fork; what it did start stays behind.
    let forking = "sleep 1000 & sleep 1000 & sleep 1000 & echo done; exit 0";
    let mut child = start(&scene.leaf, forking);
    let mut told = String::new();
    assert_ne!(child.wait().unwrap().code(), Some(0), "the limit held nothing back");
    scene.leaf.kill_until_empty(Instant::now() + PATIENCE).unwrap();
    child.stdout.take().unwrap().read_to_string(&mut told).unwrap();
    assert_eq!(told, "");
    scene.leaf.limit(&Limits { pids: Some(Limits::LIFTED), ..Limits::default() }).unwrap();
    let mut child = start(&scene.leaf, forking);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn cpu_beyond_the_limit_is_held_back() {
    let Some(mut scene) = scene("slow", Limits { cpu_millis: Some(100), ..Limits::default() }) else { return };
    let mut child = start(&scene.leaf, "while :; do :; done");
    let begun = Instant::now();
    let reading = until("half a second held back", || {
        let reading = scene.leaf.sample().unwrap();
        (reading.throttled_us? > 500_000).then_some(reading)
    });
    let used = Duration::from_micros(reading.cpu_user_us.unwrap() + reading.cpu_system_us.unwrap());
    // A tenth of a CPU, and a period's worth for how the kernel rounds.
    assert!(used < begun.elapsed() / 10 + Duration::from_millis(150), "{used:?} in {:?}", begun.elapsed());
    scene.leaf.kill_until_empty(Instant::now() + PATIENCE).unwrap();
    child.wait().unwrap();
}

#[test]
fn soft_limit_swap_and_weight_are_set_or_refused_by_version() {
    let only_v2 = Limits { memory_high_bytes: Some(32 * MIB), swap_bytes: Some(0), ..Limits::default() };
    let Some(scene) = scene("soft", Limits { cpu_weight: Some(50), ..Limits::default() }) else { return };
    let cpu = scene.leaf.places().with(Controller::Cpu).unwrap();
    let (file, weight) = if cpu.version == Version::V2 { ("cpu.weight", "50\n") } else { ("cpu.shares", "512\n") };
    assert_eq!(cpu.read(file).unwrap(), weight.as_bytes());
    let Some(memory) = scene.leaf.places().with(Controller::Memory) else { return };
    match (memory.version, scene.leaf.limit(&only_v2)) {
        (Version::V2, Ok(())) => assert_eq!(memory.read("memory.high").unwrap(), format!("{}\n", 32 * MIB).as_bytes()),
        (Version::V2, Err(CgroupError::Io { path, .. })) if path.ends_with("memory.swap.max") => {
            skip("this kernel counts no swap");
        }
        (Version::V1, Err(CgroupError::Refused(refusal))) => {
            assert_eq!(refusal.barrier, crate::Barrier::OnlyV2(memory.dir.clone()));
        }
        (version, limited) => panic!("{version:?}: {limited:?}"),
    }
}

#[test]
fn a_limit_that_nobody_can_hold_is_refused_with_the_reason() {
    let Some(scene) = scene("refused", Limits::default()) else { return };
    let all = [
        (Resource::Memory, Limits { memory_bytes: Some(64 * MIB), ..Limits::default() }),
        (Resource::Cpu, Limits { cpu_millis: Some(500), ..Limits::default() }),
        (Resource::Pids, Limits { pids: Some(100), ..Limits::default() }),
    ];
    for (number, (resource, limits)) in (2..).zip(all) {
        match (site().holds(resource), scene.group.run(number, &limits)) {
            (Ok(()), Ok(leaf)) => leaf.remove().unwrap(),
            (Err(why), Err(CgroupError::Refused(refusal))) => assert_eq!(refusal, why),
            (site, run) => panic!("{resource}: {site:?}, but {run:?}"),
        }
        let nested = format!("run-{number}");
        assert!(scene.leaf.places().all.iter().all(|place| !place.dir.with_file_name(&nested).exists()));
    }
    let zero = Limits { pids: Some(0), ..Limits::default() };
    assert!(matches!(scene.leaf.limit(&zero), Err(CgroupError::OutOfRange { limit: "processes", .. })));
}
