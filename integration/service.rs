//! The zerovisor as a service: it keeps its files private, ends clean, and leaves another's place alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::harness::{Farm, SOON, until};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn term_and_int_end_it_clean() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let farm = Farm::new();
        farm.watched(&["true"]).ok();
        assert_eq!(farm.end_node(signal).status.code(), Some(0), "{signal}");
        assert!(!farm.path("zerovisor.sock").exists(), "{signal}");
        assert!(farm.text("zerovisor.log").contains("exit code 0"), "what was acknowledged is in the log");
    }
}

#[test]
fn a_terminal_that_goes_away_does_not_end_it() {
    let farm = Farm::new();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(farm.node_pid()), Signal::SIGHUP).unwrap();
    farm.ctl(&["ping"]).ok();
}

#[test]
fn its_files_are_for_their_owner_only() {
    let farm = Farm::new();
    farm.watched(&["echo", "private"]).ok();
    farm.file_says("zerovisor.log", "exit code 0");
    assert_eq!(mode(&farm.path("zerovisor.sock")), 0o600);
    assert_eq!(mode(&farm.path("zerovisor.log")), 0o600);
    let mut dirs = vec![farm.path("zerovisor.data")];
    let mut files = 0;
    while let Some(dir) = dirs.pop() {
        assert_eq!(mode(&dir), 0o700, "{}", dir.display());
        for entry in fs::read_dir(&dir).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                dirs.push(entry.path());
            } else {
                files += 1;
                assert_eq!(mode(&entry.path()), 0o600, "{}", entry.path().display());
            }
        }
    }
    assert!(files > 1, "a journal was written");
}

#[test]
fn a_second_zerovisor_in_one_directory_is_refused_and_names_the_first() {
    let farm = Farm::new();
    let pid = farm.node_pid().to_string();
    farm.zerovisor(&[]).refused(1, &[&pid, "zerovisor.data"]);
    farm.zerovisor(&["-e", "ipc://other.sock"]).refused(1, &[&pid]);
    farm.ctl(&["ping"]).ok();
    farm.watched(&["true"]).ok();
}

#[test]
fn a_live_socket_is_left_alone() {
    let farm = Farm::new();
    farm.zerovisor(&["--data", "other.data", "--log", "none"])
        .refused(1, &["zerovisor.sock", &farm.node_pid().to_string()]);
    farm.ctl(&["ping"]).ok();
}

#[test]
fn a_stale_socket_is_replaced() {
    let farm = Farm::new();
    farm.kill_node();
    assert!(farm.path("zerovisor.sock").exists());
    farm.start_node(&[]);
    farm.ctl(&["ping"]).ok();
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let farm = Farm::empty();
    fs::write(farm.path("zerovisor.sock"), "precious").unwrap();
    farm.zerovisor(&[]).refused(1, &["zerovisor.sock", "no socket"]);
    assert_eq!(farm.text("zerovisor.sock"), "precious");
}

#[test]
fn tcp_is_refused_unless_insecure_is_spelled_out() {
    let farm = Farm::empty();
    let port = free_port();
    let endpoint = format!("tcp://127.0.0.1:{port}");
    farm.zerovisor(&["-e", &endpoint]).refused(1, &[&endpoint, "--insecure"]);
    assert!(!farm.path("zerovisor.data").exists(), "nothing was touched");
    farm.start_node(&["--insecure", "-e", &endpoint, "-e", "ipc://zerovisor.sock"]);
    farm.watched(&["-e", &endpoint, "true"]).refused(125, &["--insecure"]);
    farm.watched(&["--insecure", "-e", &endpoint, "--name", "far", "seq", "1", "1000"]).ok();
    let lines: String = (1..=1000).map(|n| format!("{n}\n")).collect();
    assert_eq!(farm.ctl(&["logs", "far"]).ok().out(), lines);
    assert_eq!(farm.ctl(&["-e", &endpoint, "--insecure", "logs", "far"]).ok().out(), lines);
}

#[test]
fn ipv6_is_an_address_like_others() {
    if let Err(error) = std::net::TcpListener::bind("[::1]:0") {
        skip!("there is no ::1 here: {error}");
    }
    let farm = Farm::empty();
    let endpoint = format!("tcp://[::1]:{}", free_port());
    farm.start_node(&["--insecure", "-e", &endpoint]);
    farm.watched(&["--insecure", "-e", &endpoint, "echo", "six"]).ok();
    assert_eq!(farm.ctl(&["--insecure", "-e", &endpoint, "logs", "echo"]).ok().out(), "six\n");
}

/// A port that nobody listens on just now.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn the_log_goes_where_it_was_asked_to() {
    let farm = Farm::empty();
    farm.start_node(&["--log", "none"]);
    farm.watched(&["echo", "quiet"]).ok();
    farm.end_node(Signal::SIGTERM);
    assert!(!farm.path("zerovisor.log").exists());
    farm.start_node(&["--log", "elsewhere.txt"]);
    farm.watched(&["echo", "loud"]).ok();
    farm.file_says("elsewhere.txt", "loud");
}

#[test]
fn the_log_is_rotated_and_old_ones_go() {
    let farm = Farm::empty();
    farm.start_node(&["--log-size", "64K", "--log-keep", "2"]);
    farm.watched(&["--name", "much", "seq", "1", "50000"]).ok();
    farm.file_says("zerovisor.log", "exit code 0");
    let mut logs: Vec<String> = fs::read_dir(farm.dir())
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter(|name| name.starts_with("zerovisor.log"))
        .collect();
    logs.sort();
    assert_eq!(logs, ["zerovisor.log", "zerovisor.log.1", "zerovisor.log.2"]);
    assert_eq!(farm.raw(&["much"]).iter().filter(|byte| **byte == b'\n').count(), 50_000, "the journal has all of it");
}

/// A file system of a few MiB, unmounted at the end.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<SmallDisk> {
        fs::create_dir(at).unwrap();
        let mounted = mount(&["-t", "tmpfs", "-o", "size=3m", "tmpfs"], at);
        mounted.then(|| SmallDisk(at.to_path_buf()))
    }

    fn grow(&self) {
        assert!(mount(&["-o", "remount,size=60m"], &self.0));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the zerovisor may still have files there.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn mount(options: &[&str], at: &Path) -> bool {
    Command::new("mount").args(options).arg(at).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

#[test]
fn a_full_disk_loses_nothing_is_not_told_again_and_again_and_heals_by_itself() {
    let farm = Farm::empty();
    let Some(disk) = SmallDisk::mount(&farm.path("small")) else { skip!("no tmpfs can be mounted by this user") };
    farm.start_node(&["--data", "small/data", "--log", "none", "--retain-total", "1G"]);
    let counting = farm.watch(&["--name", "much", "seq", "1", "1200000"]);
    let failing = || farm.jsonl(&["events"]).iter().filter(|e| e["event"] == "unreachable").count();
    // Several links were made and dropped: an outage that goes on, not a single failure.
    until("the disk is full", SOON, || (failing() >= 6).then_some(()));
    disk.grow();
    let ended = counting.end(SOON).ok();
    // The last few records that still fit may end one outage and begin another; after them each link fails and none is told.
    let lost = ended.err().lines().filter(|line| !line.contains("linked to the zerovisor")).count();
    assert!((1..=3).contains(&lost), "an outage is told once: {}", ended.err());
    let expected: String = (1..=1_200_000).map(|number| format!("{number}\n")).collect();
    assert!(farm.raw(&["much"]) == expected.as_bytes(), "every byte once and in order");
    let told: Vec<String> = farm.jsonl(&["events"]).iter().map(|e| e["event"].to_string()).collect();
    assert!(told.iter().any(|event| event.contains("journal_failing")), "{told:?}");
    assert!(told.iter().any(|event| event.contains("journal_recovered")), "{told:?}");
    drop(disk);
}
