//! A zerovisor that stays away, or takes nothing: what a process writes meanwhile is kept on disk, in full as far as it may, and what is
//! not kept is accounted for to the byte and the line.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use zerovisor_core::fact::{Fact, State};

use crate::harness::{
    Ended, Farm, LONG, Missing, Program, SOON, assert_accounted, assert_counted, bytes_below, children_of, count,
    enough, facts, journaled, kept, left_in, spools, until,
};

/// Writes numbers at full speed once it may, says when it has, and stays until it is told to go.
const WRITER: &str = "trap '' USR1
while [ ! -e start ]; do sleep 0.01; done
seq 1 $1
touch written
while [ ! -e go ]; do sleep 0.01; done
";

fn numbers(last: u64) -> Vec<u8> {
    let lines: String = (1..=last).map(|n| format!("{n}\n")).collect();
    lines.into_bytes()
}

/// A farm, and in it one process that writes so many numbers.
struct Story {
    farm: Farm,
    watcher: Program,
    numbers: u64,
}

impl Story {
    /// Its process runs, and has written nothing yet.
    fn begin(farm: Farm, numbers: u64, options: &[&str]) -> Story {
        farm.script("writer", WRITER);
        let last = numbers.to_string();
        let watcher = farm.watch(&[&["--name", "writer"], options, &["sh", "writer", &last]].concat());
        Story { farm, watcher, numbers }
    }

    fn write(&self) {
        fs::write(self.farm.path("start"), "").unwrap();
    }

    /// Waits until all is written; how long that took.
    fn written(&self) -> Duration {
        let since = Instant::now();
        until("all of it is written", LONG, || self.farm.path("written").exists().then_some(()));
        since.elapsed()
    }

    fn spool(&self) -> PathBuf {
        spools(&self.farm).dir().to_path_buf()
    }

    fn nothing_stays_on_disk(&self) {
        let spool = self.spool();
        until("the spool is gone", LONG, || (!spool.exists()).then_some(()));
    }

    /// Lets the process end; the journal has what it wrote but for what is missing by its own account.
    fn end(self) -> (Ended, Missing, Farm) {
        fs::write(self.farm.path("go"), "").unwrap();
        let ended = self.watcher.end(LONG).ok();
        let missing = assert_accounted(&journaled(&self.farm, "writer"), &numbers(self.numbers));
        (ended, missing, self.farm)
    }
}

#[test]
fn an_outage_is_kept_on_disk_and_delivered_once() {
    let farm = Farm::new();
    let story = Story::begin(farm, 2_600_000, &[]);
    story.farm.reaches("writer", "RUNNING");
    story.farm.kill_node();
    story.write();
    story.written();
    assert!(bytes_below(&story.spool()) > 15 << 20, "what is not in memory is there");
    story.farm.start_node(&[]);
    story.nothing_stays_on_disk();
    let (ended, missing, farm) = story.end();
    assert_eq!(missing, Missing::default());
    let said: Vec<String> = ended.err().lines().map(str::to_owned).collect();
    assert_eq!(said.len(), 2, "an outage is told once, and its end: {said:?}");
    assert!(said[0].contains("lost the zerovisor") && said[1].contains("linked to the zerovisor"), "{said:?}");
    assert!(farm.raw(&["writer"]) == numbers(2_600_000));
}

#[test]
fn a_zerovisor_that_is_back_at_once_finds_nothing_on_disk() {
    let farm = Farm::new();
    // What wants to write there would say that it cannot.
    fs::write(farm.path("zerovisor.spool"), "in the way").unwrap();
    let watcher = count(&farm, "busy");
    let journal = farm.path("zerovisor.data");
    let grows = |by: u64| {
        let before = bytes_below(&journal);
        until("the journal grows", LONG, || (bytes_below(&journal) > before + by).then_some(()));
    };
    grows(1 << 20);
    let since = Instant::now();
    farm.kill_node();
    farm.start_node(&[]);
    grows(8 << 20);
    if since.elapsed() > Duration::from_millis(900) {
        skip!("this machine takes {:?} to start a zerovisor", since.elapsed());
    }
    enough(&farm);
    let said = watcher.end(LONG).ok().err();
    assert!(!said.contains("on disk"), "{said}");
    assert_counted(&farm, "busy", &farm.raw(&["busy"]));
}

#[test]
fn what_a_full_spool_drops_is_known_to_the_byte_and_facts_stay() {
    let farm = Farm::empty();
    let story = Story::begin(farm, 9_000_000, &["--spool-max", "16M", "--offline-wait", "1s"]);
    until("it runs", SOON, || story.spool().exists().then_some(()));
    story.write();
    let mut signals = 0;
    until("all of it is written", LONG, || {
        // A fact each time, in the middle of the output.
        story.watcher.signal(Signal::SIGUSR1);
        signals += 1;
        let size = bytes_below(&story.spool());
        assert!(size <= 17 << 20, "{size} bytes");
        story.farm.path("written").exists().then_some(())
    });
    story.farm.start_node(&[]);
    story.nothing_stays_on_disk();
    let (ended, missing, farm) = story.end();
    assert!(missing.gaps > 0 && missing.bytes > 30 << 20, "{missing:?}");
    assert!(ended.err().contains("--spool-max of 16.0 MiB is reached"), "{}", ended.err());
    let stream = journaled(&farm, "writer");
    let signalled = facts(&stream, |fact| matches!(fact, Fact::Signalled { .. }));
    assert!((2..=signals).contains(&signalled), "{signalled} of {signals}");
    assert_eq!(
        facts(&stream, |fact| matches!(fact, Fact::Started { .. } | Fact::Steady { .. } | Fact::Ended { .. })),
        3
    );
}

#[test]
fn the_program_waits_once_an_outage_and_goes_on_at_its_pace() {
    let farm = Farm::empty();
    let story = Story::begin(farm, 9_000_000, &["--spool-max", "16M", "--offline-wait", "3s"]);
    story.write();
    let took = story.written();
    assert!(took >= Duration::from_secs(3), "it waited: {took:?}");
    assert!(took < Duration::from_secs(20), "and only once: {took:?}");
    story.farm.start_node(&[]);
    story.end();
}

#[test]
fn a_zerovisor_that_hangs_makes_a_fast_program_wait_a_second_and_loses_nothing() {
    let farm = Farm::new();
    let story = Story::begin(farm, 2_600_000, &[]);
    story.farm.reaches("writer", "RUNNING");
    let node = Pid::from_raw(story.farm.node_pid());
    kill(node, Signal::SIGSTOP).unwrap();
    story.write();
    // Before the link could be known to be dead.
    let took = story.written();
    assert!(took < Duration::from_secs(6), "{took:?}");
    assert!(bytes_below(&story.spool()) > 10 << 20, "what is not in memory is there");
    kill(node, Signal::SIGCONT).unwrap();
    story.nothing_stays_on_disk();
    let (_, missing, farm) = story.end();
    assert_eq!(missing, Missing::default());
    assert!(farm.raw(&["writer"]) == numbers(2_600_000), "each byte once");
}

#[test]
fn a_zerovisor_killed_again_and_again_while_a_spool_is_drained_has_every_byte_once() {
    let farm = Farm::empty();
    let story = Story::begin(farm, 9_000_000, &[]);
    story.write();
    story.written();
    let journal = story.farm.path("zerovisor.data");
    for _ in 0..6 {
        let before = bytes_below(&journal);
        story.farm.start_node(&[]);
        until("some of it is taken", LONG, || (bytes_below(&journal) > before + (2 << 20)).then_some(()));
        story.farm.kill_node();
    }
    assert!(story.spool().exists(), "there was more");
    story.farm.start_node(&[]);
    story.nothing_stays_on_disk();
    let (_, missing, farm) = story.end();
    assert_eq!(missing, Missing::default());
    assert!(farm.raw(&["writer"]) == numbers(9_000_000));
}

#[test]
fn a_spool_that_cannot_be_made_is_told_once_and_memory_has_to_do() {
    let farm = Farm::empty();
    fs::write(farm.path("zerovisor.spool"), "in the way").unwrap();
    let story = Story::begin(farm, 2_600_000, &["--offline-wait", "1s"]);
    story.write();
    story.written();
    story.farm.start_node(&[]);
    let (ended, missing, farm) = story.end();
    assert!(missing.gaps > 0 && missing.bytes > 8 << 20, "{missing:?}");
    let warned: Vec<String> = ended.err().lines().filter(|line| line.contains("on disk")).map(str::to_owned).collect();
    assert_eq!(warned.len(), 1, "{}", ended.err());
    assert!(warned[0].contains("zerovisor.spool is not safe to use: it is no directory"), "{warned:?}");
    assert_eq!(farm.text("zerovisor.spool"), "in the way");
}

#[test]
fn whoever_starts_one_in_the_background_is_told_at_once_that_nothing_could_be_kept_on_disk() {
    let farm = Farm::new();
    let said = |options: &[&str]| farm.watched(&[options, &["-d", "sleep", "1d"]].concat()).ok().err();
    assert_eq!(said(&["--name", "beside"]), "");
    let in_the_way = farm.path("file").display().to_string();
    fs::write(&in_the_way, "").unwrap();
    let warned = said(&["--name", "nowhere", "--spool", &in_the_way]);
    assert!(
        warned.contains("kept in memory only")
            && warned.contains("cannot write in")
            && warned.contains("not a directory"),
        "{warned}"
    );
    assert_eq!(said(&["--name", "asked", "--spool", "none"]), "");
    farm.ctl(&["rm", "-f", "beside", "nowhere", "asked"]).ok();
}

#[test]
fn memory_only_is_what_none_asks_for() {
    let farm = Farm::empty();
    let story = Story::begin(farm, 2_600_000, &["--spool", "none", "--offline-wait", "500ms"]);
    story.write();
    story.written();
    assert!(!story.spool().exists());
    story.farm.start_node(&[]);
    let (ended, missing, _farm) = story.end();
    assert!(missing.gaps > 0, "{missing:?}");
    assert!(!ended.err().contains("on disk"), "{}", ended.err());
}

/// A file system of 100 MiB, gone with this.
struct Disk(PathBuf);

impl Disk {
    fn mounted(at: PathBuf) -> Option<Disk> {
        fs::create_dir(&at).unwrap();
        let options = ["-t", "tmpfs", "-o", "size=100M,mode=700", "tmpfs"];
        let mounted = Command::new("mount").args(options).arg(&at).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Disk(at))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_disk_without_room_is_told_and_what_it_does_not_take_is_accounted_for() {
    let farm = Farm::empty();
    let small = farm.path("small");
    let Some(disk) = Disk::mounted(small.clone()) else { skip!("a tmpfs cannot be mounted here") };
    fs::write(small.join("filler"), vec![0; 94 << 20]).unwrap();
    let story = Story::begin(farm, 4_000_000, &["--spool", "small", "--offline-wait", "1s"]);
    story.write();
    story.written();
    story.farm.start_node(&[]);
    until("the spool is gone", LONG, || (fs::read_dir(&small).unwrap().count() == 1).then_some(()));
    let (ended, missing, _farm) = story.end();
    drop(disk);
    assert!(missing.gaps > 0 && missing.bytes > 8 << 20, "{missing:?}");
    assert!(ended.err().contains("No space left on device"), "{}", ended.err());
}

#[test]
fn all_spools_of_a_place_take_a_tenth_of_its_file_system() {
    let farm = Farm::empty();
    let small = farm.path("small");
    let Some(disk) = Disk::mounted(small.clone()) else { skip!("a tmpfs cannot be mounted here") };
    let story = Story::begin(farm, 4_000_000, &["--spool", "small", "--offline-wait", "1s"]);
    story.write();
    story.written();
    let size = bytes_below(&small);
    assert!(size <= 10 << 20, "{size} bytes");
    story.farm.start_node(&[]);
    let (ended, missing, _farm) = story.end();
    drop(disk);
    assert!(missing.gaps > 0, "{missing:?}");
    assert!(ended.err().contains("a tenth of its file system"), "{}", ended.err());
}

#[test]
fn all_spools_of_a_user_take_a_tenth_of_a_file_system_whatever_their_endpoints() {
    let farm = Farm::empty();
    let small = farm.path("small");
    let Some(disk) = Disk::mounted(small.clone()) else { skip!("a tmpfs cannot be mounted here") };
    farm.script("writer", WRITER);
    let said = |number: usize| farm.path(&format!("{number}.err"));
    let watchers: Vec<Program> = (0..6)
        .map(|number| {
            let endpoint = format!("ipc://{number}.sock");
            let args = ["-e", &endpoint, "--spool", "small", "sh", "writer", "2000000"];
            let mut command = farm.watch_command(&args);
            Program::start_as_is(command.stdout(Stdio::null()).stderr(fs::File::create(said(number)).unwrap()))
        })
        .collect();
    until("each has a spool", SOON, || (fs::read_dir(&small).unwrap().count() == watchers.len()).then_some(()));
    fs::write(farm.path("start"), "").unwrap();
    let is_told = |number| fs::read_to_string(said(number)).unwrap().contains("a tenth of its file system, for all");
    until("each is told that there is no more room", LONG, || {
        let size = bytes_below(&small);
        assert!(size <= 10 << 20, "{size} bytes");
        (0..watchers.len()).all(is_told).then_some(())
    });
    let size = bytes_below(&small);
    assert!(size > 6 << 20, "and most of the room is used: {size} bytes");
    watchers.iter().for_each(|watcher| watcher.signal(Signal::SIGKILL));
    until("nothing of it runs", LONG, || farm.members().is_empty().then_some(()));
    drop(disk);
}

#[test]
fn a_watcher_killed_without_a_zerovisor_leaves_all_but_the_last_second() {
    let farm = Farm::empty();
    farm.script("slow", "i=0\nwhile :; do i=$((i + 1)); echo $i; echo $i > at; sleep 0.01; done\n");
    let watcher = farm.watch(&["--name", "slow", "sh", "slow"]);
    let at = || farm.text("at").trim().parse::<u64>().unwrap_or(0);
    let place = spools(&farm);
    until("it is kept on disk", SOON, || place.dir().exists().then_some(()));
    // Far enough for the disk to be written again and again.
    let earlier = until("it writes", SOON, || Some(at()).filter(|lines| *lines > 200));
    let since = Instant::now();
    // A second until it is written, and half of one for a busy machine.
    until("time passes", SOON, || (since.elapsed() > Duration::from_millis(1500)).then_some(()));
    kill(Pid::from_raw(children_of(watcher.pid)[0]), Signal::SIGKILL).unwrap();
    watcher.end(SOON);
    let mut left = left_in(&place).expect("a spool that nobody holds");
    assert_eq!(left.meta().hello.spec.name.as_str(), "slow");
    let stream = kept(&mut left);
    let output: Vec<u8> = stream
        .iter()
        .filter_map(|(_, _, told)| match told {
            crate::harness::Told::Output(_, bytes) => Some(bytes.as_slice()),
            crate::harness::Told::Fact(_) => None,
        })
        .flatten()
        .copied()
        .collect();
    let lines = output.iter().filter(|byte| **byte == b'\n').count() as u64;
    assert!(lines >= earlier, "{lines} lines of at least {earlier}");
    assert_eq!(assert_accounted(&stream, &numbers(lines)), Missing::default());
}

#[test]
fn an_end_without_a_zerovisor_is_left_on_disk_and_where_is_said() {
    let farm = Farm::empty();
    let since = Instant::now();
    let ended = farm.watch(&["--name", "last", "sh", "-c", "echo last words; exit 7"]).end(SOON);
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    assert_eq!(ended.code(), 7);
    let place = spools(&farm);
    let said = ended.err();
    let kept_line = said.lines().find(|line| line.contains("kept: ")).unwrap_or_else(|| panic!("{said}"));
    assert!(kept_line.contains(place.dir().to_str().unwrap()) && kept_line.contains("zerovisor.sock"), "{said}");
    let mut left = left_in(&place).expect("a spool that nobody holds");
    assert_eq!(left.meta().hello.state, State::Exited);
    let stream = kept(&mut left);
    assert_eq!(left.meta().hello.next_seq, stream.last().unwrap().1 + 1);
    assert_accounted(&stream, b"last words\n");
    assert_eq!(facts(&stream, |fact| matches!(fact, Fact::Ended { .. } | Fact::Exited)), 2);
}

#[test]
fn a_detached_watcher_leaves_its_end_on_disk_too() {
    let farm = Farm::empty();
    farm.watched(&["--name", "last", "-d", "sh", "-c", "echo last words; exit 7"]).ok();
    let place = spools(&farm);
    let mut left = until("it is left", SOON, || left_in(&place));
    let stream = kept(&mut left);
    assert_accounted(&stream, b"last words\n");
    assert_eq!(facts(&stream, |fact| matches!(fact, Fact::Ended { .. } | Fact::Exited)), 2);
    until("nothing of it runs", SOON, || farm.members().is_empty().then_some(()));
}

/// Longer than the watcher of a program that has ended tries to put its last records on a disk.
const TRIES: Duration = Duration::from_secs(13);

#[test]
fn the_end_of_a_detached_program_is_not_given_up_for_want_of_room() {
    let farm = Farm::empty();
    let small = farm.path("small");
    let Some(disk) = Disk::mounted(small.clone()) else { skip!("a tmpfs cannot be mounted here") };
    // Until it is full.
    let _ = fs::write(small.join("filler"), vec![0; 101 << 20]);
    let options = ["--name", "last", "--spool", "small", "-d", "sh", "-c", "echo last words; exit 7"];
    farm.watched(&options).ok();
    let since = Instant::now();
    until("it would have given up", SOON * 2, || (since.elapsed() > TRIES || farm.members().is_empty()).then_some(()));
    assert!(!farm.members().is_empty(), "its watcher ended with nobody told");
    farm.start_node(&[]);
    assert_eq!(farm.reaches("last", "EXITED")["exit"]["code"], 7);
    assert!(farm.raw(&["last"]) == b"last words\n");
    drop(disk);
}
