//! What real watchers leave, the next zerovisor takes in: the spool and the taking in together, as a user has them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{
    Farm, LONG, Missing, SOON, assert_accounted, children_of, journaled, kept, left_in, spools, until,
};

/// Writes numbers, one each hundredth of a second, up to the first argument (0: without end), and says in `at` how far it is.
const SLOW: &str = "i=0
while [ $i != $1 ] || [ $1 = 0 ]; do i=$((i + 1)); echo $i; echo $i > at; sleep 0.01; done
exit 7
";

fn numbers(last: u64) -> Vec<u8> {
    let lines: String = (1..=last).map(|n| format!("{n}\n")).collect();
    lines.into_bytes()
}

fn at(farm: &Farm) -> u64 {
    farm.text("at").trim().parse().unwrap_or(0)
}

/// Kills the watcher proper, as its guard has started it.
fn kill_watcher(guard: i32) {
    kill(Pid::from_raw(children_of(guard)[0]), Signal::SIGKILL).unwrap();
}

/// The names of the events of a process, from this one on.
fn events_from(farm: &Farm, name: &str, first: &str) -> Vec<String> {
    farm.events(name).into_iter().skip_while(|event| event != first).collect()
}

/// The one `lost` event says to where the journal reaches, and so does every view.
fn assert_lost_behind_the_journal(farm: &Farm, name: &str) -> u64 {
    let detail = farm.json(&["inspect", name])["processes"][0].clone();
    let last = detail["journal"]["last_seq"].as_u64().unwrap();
    let lost = farm.told(name, "lost");
    assert_eq!((lost.len(), &lost[0]["unknown_after_seq"]), (1, &last.into()), "{lost:?}");
    assert_eq!(detail["unknown_after_seq"], last, "{detail}");
    last
}

#[test]
fn an_end_while_no_zerovisor_was_there_is_told_by_the_next_as_if_it_had_been() {
    let farm = Farm::new();
    farm.script("slow", SLOW);
    let watcher = farm.watch(&["--name", "ends", "sh", "slow", "150"]);
    farm.watched(&["--name", "screen", "--pty", "-d", "sh", "-c", "while [ ! -e go ]; do sleep 0.01; done; echo bye"])
        .ok();
    farm.reaches("ends", "RUNNING");
    farm.reaches("screen", "RUNNING");
    farm.kill_node();
    fs::write(farm.path("go"), "").unwrap();
    let ended = watcher.end(LONG);
    assert_eq!(ended.code(), 7);
    assert!(ended.err().contains("kept: "), "{}", ended.err());
    until("nothing of it runs", LONG, || farm.members().is_empty().then_some(()));
    farm.start_node(&[]);
    let row = farm.reaches("ends", "EXITED");
    assert_eq!((&row["exit"]["code"], farm.reaches("screen", "EXITED")["exit"]["code"].clone()), (&7.into(), 0.into()));
    assert!(farm.raw(&["ends"]) == numbers(150), "each byte once");
    assert_eq!(farm.raw(&["screen"]), b"bye\r\n");
    until("nothing is left", SOON, || (!spools(&farm).dir().exists()).then_some(()));
    let rest = events_from(&farm, "ends", "ended");
    assert_eq!(rest, ["ended", "exited", "took_in"]);
    assert!(!farm.events("ends").contains(&"lost".into()), "it was never lost");
    let log = farm.file_says("zerovisor.log", "ended: exit code 7");
    assert!(log.contains("took in ") && !log.contains("unknown"), "{log}");
    assert!(farm.ctl(&["why", "ends"]).ok().out().contains("exit code 7"));
    assert_eq!(farm.json(&["inspect", "ends"])["processes"][0]["gaps"], 0);
}

#[test]
fn of_a_watcher_killed_while_no_zerovisor_was_there_all_it_left_is_there_and_the_unknown_begins_behind_it() {
    let farm = Farm::new();
    farm.script("slow", SLOW);
    let watcher = farm.watch(&["--name", "killed", "sh", "slow", "0"]);
    farm.reaches("killed", "RUNNING");
    farm.kill_node();
    let place = spools(&farm);
    until("it is kept on disk", SOON, || place.dir().exists().then_some(()));
    // More than is written in the second that may be missing.
    let then = at(&farm) + 50;
    until("there is more of it", LONG, || (at(&farm) > then + 150).then_some(()));
    kill_watcher(watcher.pid);
    watcher.end(SOON);
    let last = kept(&mut left_in(&place).expect("a spool that nobody holds")).last().unwrap().1;
    farm.start_node(&[]);
    farm.reaches("killed", "LOST");
    assert_eq!(assert_lost_behind_the_journal(&farm, "killed"), last, "the last it had kept");
    assert_eq!(events_from(&farm, "killed", "running"), ["running", "took_in", "lost"]);
    let read = farm.raw(&["killed"]);
    let lines = read.iter().filter(|byte| **byte == b'\n').count() as u64;
    assert!(lines > then && read == numbers(lines), "{lines} lines");
    farm.file_says("zerovisor.log", &format!("what it wrote after record {last} is unknown"));
    farm.kill_node();
    farm.start_node(&[]);
    farm.reaches("killed", "LOST");
    assert_lost_behind_the_journal(&farm, "killed");
}

/// Its link tells of its end before its spool is taken in; neither a follower nor an event may take that for all there is.
#[test]
fn a_watcher_killed_while_its_zerovisor_hangs_is_lost_behind_what_it_left() {
    let farm = Farm::new();
    farm.script(
        "fast",
        "echo begin; while [ ! -e start ]; do sleep 0.01; done; seq 1 3000000; touch written; sleep 1d",
    );
    let watcher = farm.watch(&["--name", "fast", "sh", "fast"]);
    farm.wrote("fast", "begin");
    let follower = farm.following(&["logs", "-f", "--raw", "fast"]);
    let node = Pid::from_raw(farm.node_pid());
    kill(node, Signal::SIGSTOP).unwrap();
    fs::write(farm.path("start"), "").unwrap();
    until("all of it is written", LONG, || farm.path("written").exists().then_some(()));
    kill_watcher(watcher.pid);
    watcher.end(SOON);
    kill(node, Signal::SIGCONT).unwrap();
    farm.reaches("fast", "LOST");
    assert_lost_behind_the_journal(&farm, "fast");
    let rest = events_from(&farm, "fast", "took_in");
    assert_eq!(rest, ["took_in", "lost"]);
    let followed = follower.end(LONG).ok();
    let read = farm.raw(&["fast"]);
    assert!(read.len() > 10 << 20 && [&b"begin\n"[..], &numbers(3_000_000)].concat().starts_with(&read));
    assert!(followed.stdout == read, "the follower has {} of {} bytes", followed.stdout.len(), read.len());
}

#[test]
fn what_was_for_a_port_is_found_in_the_users_state() {
    let farm = Farm::empty();
    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let endpoint = format!("tcp://localhost:{port}");
    let ended =
        farm.watch(&["-e", &endpoint, "--insecure", "--name", "far", "sh", "-c", "echo by tcp; exit 3"]).end(SOON);
    assert_eq!(ended.code(), 3);
    let place = farm.path(&format!("state/zerovisor/spool/localhost-{port}"));
    assert!(ended.err().contains("kept: ") && ended.err().contains(place.to_str().unwrap()), "{}", ended.err());
    farm.start_node(&["-e", "ipc://zerovisor.sock", "-e", &format!("tcp://127.0.0.1:{port}"), "--insecure"]);
    assert_eq!(farm.reaches("far", "EXITED")["exit"]["code"], 3);
    assert_eq!(farm.raw(&["far"]), b"by tcp\n");
    until("nothing is left", SOON, || (!place.exists()).then_some(()));
}

/// A disk that can be made to hang; it never outlives this.
struct Hanging {
    at: PathBuf,
    frozen: bool,
}

impl Hanging {
    fn mounted(farm: &Farm) -> Option<Hanging> {
        let (image, at) = (farm.path("image"), farm.path("disk"));
        fs::File::create(&image).and_then(|file| file.set_len(400 << 20)).unwrap();
        fs::create_dir(&at).unwrap();
        let does = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
        let made = does(Command::new("mkfs.ext4").arg("-q").arg(&image));
        let mounted = made && does(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&at));
        mounted.then_some(Hanging { at, frozen: false })
    }

    fn hangs(&mut self) -> bool {
        self.frozen = self.does("-f");
        self.frozen
    }

    fn goes_on(&mut self) {
        self.frozen &= !self.does("-u");
    }

    fn does(&self, what: &str) -> bool {
        Command::new("fsfreeze").arg(what).arg(&self.at).output().is_ok_and(|output| output.status.success())
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        if self.frozen {
            self.goes_on();
        }
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

#[test]
fn a_disk_that_hangs_stops_the_program_and_nothing_else() {
    let farm = Farm::empty();
    let Some(mut disk) = Hanging::mounted(&farm) else { skip!("a file system of its own cannot be mounted here") };
    farm.script("fast", "while [ ! -e start ]; do sleep 0.01; done; seq 1 3000000; touch written; sleep 1d");
    let options = ["--name", "fast", "--spool", "disk/spool", "--offline-wait", "500ms", "sh", "fast"];
    let watcher = farm.watch(&options);
    let spool = farm.path("disk/spool");
    until("it is kept on disk", SOON, || spool.exists().then_some(()));
    if !disk.hangs() {
        skip!("no file system can be frozen here");
    }
    fs::write(farm.path("start"), "").unwrap();
    // What it has written waits in memory and in its pipe; it is not dropped, though the child waits for longer than it would for a full disk.
    let blocked =
        || fs::read_to_string(format!("/proc/{}/wchan", writer(watcher.pid)?)).ok().filter(|at| at.contains("pipe"));
    until("the program waits", SOON, blocked);
    farm.start_node(&["--spool", "disk/spool"]);
    farm.reaches("fast", "RUNNING");
    farm.ctl(&["stop", "--no-wait", "fast"]).ok();
    until("it is stopped while the disk hangs", SOON, || writer(watcher.pid).is_none().then_some(()));
    disk.goes_on();
    let ended = watcher.end(LONG);
    assert!(!ended.err().contains("lost"), "{}", ended.err());
    let read = farm.raw(&["fast"]);
    assert!(read.len() > 1 << 20 && numbers(3_000_000).starts_with(&read), "{} bytes", read.len());
    assert_eq!(assert_accounted(&journaled(&farm, "fast"), &read), Missing::default());
    until("nothing is left", LONG, || (!spool.exists() || fs::read_dir(&spool).unwrap().count() == 0).then_some(()));
}

/// The pid of `seq`, somewhere below.
fn writer(pid: i32) -> Option<i32> {
    let is = |pid: i32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "seq");
    if is(pid) { Some(pid) } else { children_of(pid).into_iter().find_map(writer) }
}
