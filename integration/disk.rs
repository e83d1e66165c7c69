//! A disk that fails: nothing is acknowledged that it has not taken, it is said once, and it goes on by itself.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Disk, Farm, LONG, Program, SOON, assert_counted, count, enough, ticks_of, until};

/// How often the zerovisor has said this on standard error.
fn said(farm: &Farm, words: &str) -> usize {
    farm.node_said().lines().filter(|line| line.contains(words)).count()
}

const FAILING: &str = "the journal cannot be written";
const WELL: &str = "the journal is written again";

fn says(farm: &Farm, words: &str) {
    until(&format!("it says {words}"), LONG, || (said(farm, words) > 0).then_some(()));
}

fn trouble(farm: &Farm, name: &str) -> Option<String> {
    let seen: Value = farm.json(&["inspect", name]);
    seen["processes"][0]["journal"]["trouble"].as_str().map(str::to_owned)
}

/// Trouble and its end are each told once, whatever happened in between.
fn told_once(farm: &Farm) {
    assert_eq!((said(farm, FAILING), said(farm, WELL)), (1, 1), "{}", farm.node_said());
    let events = farm.jsonl(&["events"]);
    let count = |what: &str| events.iter().filter(|event| event["event"] == what).count();
    assert_eq!((count("journal_failing"), count("journal_recovered")), (1, 1));
    assert!(!farm.node_said().contains("link dropped"), "a link more or less is no news: {}", farm.node_said());
}

#[test]
fn a_full_disk_stops_acknowledging_and_goes_on_by_itself() {
    let farm = Farm::empty();
    let Some(disk) = Disk::small(&farm, "small", 3000) else { skip!("nothing can be mounted here") };
    fs::write(disk.at.join("ballast"), vec![1; 1 << 20]).unwrap();
    // All of it is kept, so that the disk is what ends it.
    farm.start_node(&["--data", "small/data", "--retain-total", "1G"]);
    let watched = count(&farm, "fast");
    says(&farm, FAILING);
    let why = until("inspect says why", SOON, || trouble(&farm, "fast"));
    assert!(why.contains("No space left"), "{why}");
    // Of what there is, all is served, and it is the beginning of what was written.
    let begun = farm.raw(&["fast"]);
    assert!(begun.starts_with(b"0\n1\n2\n"), "{} bytes", begun.len());
    enough(&farm);
    disk.remount("size=400m");
    watched.end(LONG).ok();
    farm.reaches("fast", "EXITED");
    assert_counted(&farm, "fast", &farm.raw(&["fast"]));
    assert_eq!(trouble(&farm, "fast"), None);
    told_once(&farm);
    farm.file_says("zerovisor.log", WELL);
    assert_eq!(farm.text("zerovisor.log").matches(FAILING).count(), 1);
}

#[test]
fn a_sync_that_fails_acknowledges_nothing_until_it_is_written_again() {
    for mode in ["always", "interval"] {
        let farm = Farm::empty();
        let Some(disk) = Disk::thin(&farm, "thin", 4096) else { skip!("no loop device can be mounted here") };
        farm.start_node(&[
            "--data",
            "thin/data",
            "--sync",
            mode,
            "--log",
            "none",
            "--retain-size",
            "128M",
            "--retain-total",
            "1G",
        ]);
        let watched = count(&farm, "fast");
        says(&farm, FAILING);
        enough(&farm);
        // A watcher that comes meanwhile is told to wait.
        disk.remount("size=400m");
        watched.end(LONG).ok();
        says(&farm, WELL);
        farm.reaches("fast", "EXITED");
        assert_counted(&farm, "fast", &farm.raw(&["fast"]));
        told_once(&farm);
        farm.kill_node();
        farm.start_node(&[
            "--data",
            "thin/data",
            "--sync",
            mode,
            "--log",
            "none",
            "--retain-size",
            "128M",
            "--retain-total",
            "1G",
        ]);
        assert_counted(&farm, "fast", &farm.raw(&["fast"]));
        assert_eq!(trouble(&farm, "fast"), None, "{mode}: and the journal is whole");
    }
}

/// A directory in which nothing can be made, while this lives.
struct Immutable<'a>(&'a Path);

impl<'a> Immutable<'a> {
    fn make(dir: &'a Path) -> Option<Immutable<'a>> {
        Immutable::set("+i", dir).then_some(Immutable(dir))
    }

    fn set(flag: &str, dir: &Path) -> bool {
        Command::new("chattr").arg(flag).arg(dir).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }
}

impl Drop for Immutable<'_> {
    fn drop(&mut self) {
        Immutable::set("-i", self.0);
    }
}

#[test]
fn a_directory_that_cannot_be_written_holds_up_only_who_needs_it() {
    let farm = Farm::new();
    let mut talk = farm.watch_command(&["--name", "talk", "-i", "cat"]);
    let mut talk = Program::start(talk.stdin(Stdio::piped()));
    talk.write(b"one\n");
    farm.wrote("talk", "one");
    let processes = farm.path("zerovisor.data/processes");
    let Some(unwritable) = Immutable::make(&processes) else { skip!("no directory can be made immutable here") };
    let late = farm.watch(&["--name", "late", "sh", "-c", "echo late; exit 4"]);
    says(&farm, "a process cannot be taken in");
    talk.write(b"two\n");
    farm.wrote("talk", "two");
    drop(unwritable);
    assert_eq!(late.end(SOON).code(), 4);
    farm.reaches("late", "EXITED");
    assert_eq!(farm.ctl(&["logs", "late"]).ok().out(), "late\n");
    talk.close_stdin();
    talk.end(SOON).ok();
}

#[test]
fn a_data_directory_that_cannot_be_written_is_named_at_the_start() {
    let farm = Farm::empty();
    let Some(disk) = Disk::small(&farm, "disk", 4096) else { skip!("nothing can be mounted here") };
    disk.remount("ro");
    let refused = farm.zerovisor(&["--data", "disk"]);
    refused.refused(1, &["disk/lock", "Read-only file system"]);
    disk.remount("rw");
    farm.start_node(&["--data", "disk"]);
}

#[test]
fn a_data_directory_that_is_removed_is_made_again_and_said() {
    let farm = Farm::new();
    let mut talk = farm.watch_command(&["--name", "talk", "-i", "cat"]);
    let mut talk = Program::start(talk.stdin(Stdio::piped()));
    talk.write(b"one\n");
    farm.wrote("talk", "one");
    let mut follower = farm.following(&["logs", "-f", "talk"]);
    fs::remove_dir_all(farm.path("zerovisor.data")).unwrap();
    talk.write(b"two\n");
    says(&farm, FAILING);
    assert!(farm.node_said().contains("zerovisor.data was removed or unmounted"), "{}", farm.node_said());
    says(&farm, WELL);
    // What was acknowledged went with the directory and is a gap; what was not is there.
    let now = farm.wrote("talk", "two");
    assert!(!now.contains("one"), "{now}");
    assert_eq!(farm.json(&["inspect", "talk"])["processes"][0]["gaps"], 1);
    talk.close_stdin();
    talk.end(SOON).ok();
    follower.close_stdin();
    drop(follower.end(SOON));
    assert_eq!(farm.reaches("talk", "EXITED")["exit"]["code"], 0);
    // And all of it is on the disk, declaration included.
    farm.kill_node();
    farm.start_node(&[]);
    assert_eq!(farm.row("talk")["state"], "EXITED");
    assert!(farm.ctl(&["logs", "talk"]).ok().out().contains("two"));
}

#[test]
fn a_disk_that_is_unmounted_is_waited_for() {
    let farm = Farm::empty();
    let Some(disk) = Disk::small(&farm, "disk", 64 << 10) else { skip!("nothing can be mounted here") };
    farm.start_node(&["--data", "disk"]);
    let mut talk = farm.watch_command(&["--name", "talk", "-i", "cat"]);
    let mut talk = Program::start(talk.stdin(Stdio::piped()));
    talk.write(b"one\n");
    farm.wrote("talk", "one");
    // Something is on its way to the disk when that goes.
    talk.write(b"more\n");
    disk.detach();
    says(&farm, FAILING);
    let (before, begun) = (ticks_of(farm.node_pid()), Instant::now());
    until("three seconds pass", SOON, || (begun.elapsed() > Duration::from_secs(3)).then_some(()));
    let used = ticks_of(farm.node_pid()) - before;
    assert!(used < 60, "{used} hundredths of a second of work in three seconds of waiting");
    talk.write(b"two\n");
    // An empty mount point is not taken for a place to keep a journal.
    let why = until("inspect says why", SOON, || trouble(&farm, "talk"));
    assert!(why.contains("disk was removed or unmounted"), "{why}");
    for journal in ["lock", "processes", "events"] {
        assert!(!disk.at.join(journal).exists(), "no {journal} is written beside the disk");
    }
    // Another disk in its place holds a journal of the farm's first days.
    let Some(_again) = Disk::small(&farm, "disk", 64 << 10) else { skip!("nothing can be mounted here") };
    fs::create_dir(disk.at.join("processes")).unwrap();
    says(&farm, WELL);
    farm.wrote("talk", "two");
    talk.close_stdin();
    talk.end(SOON).ok();
    farm.reaches("talk", "EXITED");
}

#[test]
fn two_zerovisors_in_one_directory_are_one_too_many() {
    let farm = Farm::new();
    farm.watched(&["--name", "kept", "echo", "kept"]).ok();
    let pid = farm.node_pid().to_string();
    let second = farm.zerovisor(&["-e", "ipc://other.sock"]);
    second.refused(1, &["zerovisor.data is in use by process", &pid, "--data"]);
    assert!(!farm.path("other.sock").exists(), "it came to no socket");
    let second = farm.zerovisor(&["--data", "other.data"]);
    second.refused(1, &["zerovisor.sock is in use by", &pid]);
    assert_eq!(farm.ctl(&["logs", "kept"]).ok().out(), "kept\n", "the first one does not notice");
}
