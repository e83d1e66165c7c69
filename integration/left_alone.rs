//! What watchers left and is not taken in: not yet, not by this one, or never.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::geteuid;
use zerovisor_core::fact::State;

use crate::harness::{Farm, Kept, Program, SOON, Watcher, alive, started_and_taken, until, until_taken, watcher_hello};

#[test]
fn a_spool_with_another_secret_is_left_alone_and_told_of_once() {
    let farm = Farm::new();
    let mut kept = Kept::new(1, "mine");
    let mut watcher = Watcher::saying(&farm, watcher_hello(kept.id(), 9, "mine"));
    watcher.writes(b"mine\n");
    farm.wrote("mine", "mine");
    watcher.peer.hangs_up();
    farm.reaches("mine", "UNREACHABLE");
    kept.begins();
    kept.counts(10);
    kept.ends(0);
    let spool = kept.left(&farm, State::Exited);
    let told = || farm.jsonl(&["events"]).into_iter().filter(|event| event["event"] == "spool_left").count();
    until("it is told", SOON, || (told() == 1).then_some(()));
    // Others are taken in meanwhile, so it was looked at again.
    for name in ["other", "another"] {
        let mut other = Kept::new(u8::try_from(name.len()).unwrap(), name);
        other.begins();
        until_taken(&other.left(&farm, State::Running));
    }
    assert_eq!((told(), spool.exists()), (1, true));
    assert!(farm.raw(&["mine"]) == b"mine\n");
    farm.file_says("zerovisor.log", "belongs to another watcher");
}

#[test]
fn what_a_removed_process_left_is_removed_too() {
    let farm = Farm::new();
    let mut kept = Kept::new(1, "unwanted");
    let watcher = Watcher::saying(&farm, watcher_hello(kept.id(), 1, "unwanted"));
    watcher.peer.hangs_up();
    farm.reaches("unwanted", "UNREACHABLE");
    farm.ctl(&["rm", "-f", "unwanted"]).ok();
    kept.begins();
    kept.counts(10);
    until_taken(&kept.left(&farm, State::Running));
    assert!(farm.rows("unwanted").is_empty(), "it did not come back");
    farm.kill_node();
    started_and_taken(&farm, &kept.left(&farm, State::Running));
    assert!(farm.rows("unwanted").is_empty(), "nor with the next zerovisor");
}

#[test]
fn a_spool_that_cannot_be_read_is_told_of_and_does_not_stop_the_others() {
    let farm = Farm::empty();
    let (mut bad, mut good) = (Kept::new(1, "bad"), Kept::new(2, "good"));
    bad.begins();
    good.begins();
    let (spool, other) = (bad.left(&farm, State::Running), good.left(&farm, State::Running));
    fs::write(spool.join("meta"), "no meta").unwrap();
    started_and_taken(&farm, &other);
    let told = farm.jsonl(&["events"]).into_iter().find(|event| event["event"] == "spool_left").unwrap();
    assert!(told["why"].as_str().unwrap().contains(spool.to_str().unwrap()), "{told}");
    assert!(spool.exists());
}

/// As an ordinary user, where another user has put a spool into our place.
#[test]
fn a_spool_of_another_user_is_not_taken_in() {
    if !geteuid().is_root() || Command::new("setpriv").arg("--version").stdout(Stdio::null()).status().is_err() {
        skip!("needs root and setpriv to be two users");
    }
    let (ours, theirs) = (1000, 1001);
    let farm = Farm::empty();
    let (mut own, mut foreign) = (Kept::new(1, "own"), Kept::new(2, "foreign"));
    own.begins();
    foreign.begins();
    let (own, foreign) = (own.left(&farm, State::Running), foreign.left(&farm, State::Running));
    give(farm.dir(), ours);
    give(&foreign, theirs);
    // It could be read.
    open_up(&foreign);
    let said = farm.path("zerovisor.err");
    let mut command = Program::command("setpriv", farm.dir());
    command.args(["--reuid=1000", "--regid=1000", "--clear-groups", env!("CARGO_BIN_EXE_zerovisor")]);
    let node = Program::start_as_is(command.stdout(Stdio::null()).stderr(fs::File::create(&said).unwrap()));
    until("it serves, or cannot as that user", SOON, || {
        (farm.text("zerovisor.err").contains("serving") || !alive(node.pid)).then_some(())
    });
    if !alive(node.pid) {
        skip!("zerovisor does not start as another user here: {}", farm.text("zerovisor.err").trim());
    }
    until_taken(&own);
    farm.file_says("zerovisor.err", "belongs to another user");
    assert!(foreign.exists());
    let journals = fs::read_dir(farm.path("zerovisor.data/processes")).unwrap().count();
    assert_eq!(journals, 1, "only our own");
    node.signal(nix::sys::signal::Signal::SIGTERM);
    node.end(SOON).ok();
}

fn below(dir: &Path) -> Vec<PathBuf> {
    let mut all = vec![dir.to_path_buf()];
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() { all.extend(below(&entry)) } else { all.push(entry) }
    }
    all
}

fn give(dir: &Path, user: u32) {
    below(dir).iter().for_each(|path| chown(path, Some(user), Some(user)).unwrap());
}

fn open_up(dir: &Path) {
    for path in below(dir) {
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// A file system of its own, of so many MiB; unmounted when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path, options: &str) -> bool {
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn what_a_full_disk_does_not_take_is_taken_in_once_there_is_room() {
    let farm = Farm::empty();
    let data = farm.path("zerovisor.data");
    fs::create_dir(&data).unwrap();
    if !Disk::mount(&data, "size=3m") {
        skip!("cannot mount a small disk");
    }
    let disk = Disk(data);
    let mut kept = Kept::new(1, "big");
    kept.begins();
    let output = kept.counts(1_000_000);
    kept.ends(0);
    let spool = kept.left(&farm, State::Exited);
    farm.start_node(&["--log", "none", "--retain-total", "1G"]);
    until("it says that the disk is full", SOON, || farm.node_said().contains("not taken in yet").then_some(()));
    assert!(spool.exists());
    let full = &farm.ctl(&["ps"]).ok();
    assert!(full.out().is_empty() || !full.out().contains("RUNNING"), "{}", full.out());
    assert!(Disk::mount(&disk.0, "remount,size=64m"));
    until_taken(&spool);
    farm.reaches("big", "EXITED");
    assert!(farm.raw(&["big"]) == output, "each byte once");
    assert_eq!(farm.told("big", "ended").len(), 1);
    farm.kill_node();
}
