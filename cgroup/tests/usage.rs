//! What is read is what was used.

use super::*;
use crate::place::Controller;

#[test]
fn cpu_burnt_by_a_grandchild_is_seen_after_its_end_too() {
    let Some(mut scene) = scene("burner", Limits::default()) else { return };
    if scene.leaf.sample().unwrap().cpu_user_us.is_none() {
        return skip("nobody counts CPU time here");
    }
    let begun = Instant::now();
    let mut child = start(&scene.leaf, "(sh -c 'while :; do :; done' &)");
    let mut used = || {
        let reading = scene.leaf.sample().unwrap();
        Duration::from_micros(reading.cpu_user_us.unwrap() + reading.cpu_system_us.unwrap())
    };
    let seen = until("a quarter of a second of CPU", || Some(used()).filter(|used| used.as_millis() > 250));
    assert!(seen < begun.elapsed() + Duration::from_millis(100), "{seen:?} in {:?}", begun.elapsed());
    scene.leaf.kill_until_empty(Instant::now() + PATIENCE).unwrap();
    child.wait().unwrap();
    let reading = scene.leaf.sample().unwrap();
    assert!(Duration::from_micros(reading.cpu_user_us.unwrap() + reading.cpu_system_us.unwrap()) >= seen);
}

#[test]
fn a_working_set_is_read_within_a_twentieth() {
    let Some(mut scene) = scene("holder", Limits::default()) else { return };
    if !holds(Resource::Memory) {
        return skip(site().holds(Resource::Memory).unwrap_err());
    }
    let held: usize = 200 << 20;
    let (pid, _) = hold(&scene.leaf, held);
    let reading = scene.leaf.sample_costly().unwrap();
    let near = |bytes: Option<u64>| bytes.is_some_and(|bytes| bytes.abs_diff(held as u64) < held as u64 / 20);
    assert!(near(reading.memory_bytes) && near(reading.anon_bytes) && near(reading.memory_peak_bytes), "{reading:?}");
    scene.leaf.kill_until_empty(Instant::now() + PATIENCE).unwrap();
    ended(pid);
    let after = scene.leaf.sample_costly().unwrap();
    assert!(after.memory_bytes.unwrap() < held as u64 / 20, "{after:?}");
    assert!(near(after.memory_peak_bytes), "the peak stays: {after:?}");
}

#[test]
fn every_rung_tells_what_it_promises() {
    let Some(mut scene) = scene("promise", Limits::default()) else { return };
    let mut child = start(&scene.leaf, "sleep 1000 & echo; exec sleep 1000");
    said(&mut child);
    let (cheap, whole) = (scene.leaf.sample().unwrap(), scene.leaf.sample_costly().unwrap());
    println!("{whole:?}");
    let memory = [cheap.memory_bytes, cheap.memory_peak_bytes, cheap.anon_bytes, cheap.file_bytes, whole.oom_kills];
    assert!(memory.iter().all(|value| value.is_some() == holds(Resource::Memory)), "{whole:?}");
    assert_eq!(whole.pids, holds(Resource::Pids).then_some(2));
    // v1 need not count every device, see `parse::io_v1`.
    let v2_counts_io = scene.leaf.places().v2().is_some_and(|v2| v2.has(Controller::Io));
    assert!(whole.io_read_bytes.is_some() || !v2_counts_io, "{whole:?}");
    assert_eq!(whole.io_written_bytes.is_some(), whole.io_read_bytes.is_some());
    assert_eq!(scene.leaf.oom_kills().is_some(), holds(Resource::Memory));
    assert!(cheap.cpu_user_us.is_some() || scene.leaf.places().v2().is_none(), "v2 always counts CPU time");
    let counts_waiting = fs::read("/proc/pressure/cpu").is_ok();
    assert_eq!(whole.pressure.is_some(), counts_waiting && scene.leaf.places().v2().is_some());
}

#[test]
fn bytes_written_to_a_device_are_counted() {
    let Some(mut scene) = scene("writer", Limits::default()) else { return };
    if !holds(Resource::Io) {
        return skip(site().holds(Resource::Io).unwrap_err());
    }
    // Direct writes are charged at once to who makes them; not every file system takes them.
    let file = std::env::temp_dir().join(format!("zv-cgroup-{}", own_pid()));
    let script = format!(
        "dd if=/dev/zero of={0} bs=1048576 count=4 oflag=direct; code=$?; rm -f {0}; exit $code",
        file.display()
    );
    let wrote = start(&scene.leaf, &script).wait().unwrap();
    let kind = nix::sys::statfs::statfs(&std::env::temp_dir()).unwrap().filesystem_type();
    if !wrote.success() || kind == nix::sys::statfs::TMPFS_MAGIC {
        return skip("no direct writes to a device in the directory for temporary files");
    }
    let reading = scene.leaf.sample_costly().unwrap();
    if reading.io_written_bytes.is_none() && scene.leaf.places().v2().is_none_or(|v2| !v2.has(Controller::Io)) {
        return skip("v1 of this kernel counts only devices with a limit");
    }
    assert!(reading.io_written_bytes.unwrap() >= 4 << 20, "{reading:?}");
}
