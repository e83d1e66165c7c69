//! Whoever follows misses nothing, sees nothing twice, and is told when it is over.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Farm, LONG, Program, SOON, assert_counted, count, enough, until};

#[test]
fn following_ends_when_the_process_ends() {
    let farm = Farm::new();
    let mut command = farm.watch_command(&["--name", "talk", "-i", "cat"]);
    let mut talk = Program::start(command.stdin(Stdio::piped()));
    talk.write(b"one\n");
    farm.wrote("talk", "one");
    let follower = farm.following(&["logs", "-f", "talk"]);
    talk.write(b"two\n");
    farm.wrote("talk", "two");
    assert!(follower.ended().is_none(), "it goes on while the process lives");
    talk.close_stdin();
    talk.end(SOON).ok();
    assert_eq!(follower.end(SOON).ok().out(), "one\ntwo\n");
    assert_eq!(farm.ctl(&["logs", "-f", "talk"]).ok().out(), "one\ntwo\n", "of an ended one it ends at once");
}

#[test]
fn followers_that_join_at_any_time_see_every_byte_once() {
    let farm = Farm::empty();
    farm.start_node(&["--log", "none"]);
    let watched = count(&farm, "fast");
    let mut followers = Vec::new();
    for joined in 1..=4 {
        let size = 200_000 * joined;
        until("more of it is in the journal", LONG, || (journal_bytes(&farm, "fast") >= size).then_some(()));
        followers.push(farm.following(&["logs", "-f", "--raw", "fast"]));
    }
    enough(&farm);
    watched.end(LONG).ok();
    for follower in followers {
        assert_counted(&farm, "fast", &follower.end(LONG).ok().stdout);
    }
    assert_counted(&farm, "fast", &farm.raw(&["fast"]));
}

fn journal_bytes(farm: &Farm, name: &str) -> u64 {
    farm.rows(name).first().and_then(|row| row["journal_bytes"].as_u64()).unwrap_or(0)
}

#[test]
fn a_follower_from_the_tail_sees_what_comes_and_nothing_twice() {
    let farm = Farm::new();
    let mut command = farm.watch_command(&["--name", "talk", "-i", "cat"]);
    let mut talk = Program::start(command.stdin(Stdio::piped()));
    talk.write(b"1\n2\n3\n4\n");
    farm.wrote("talk", "4");
    let mut follower = farm.ctl_command(&["logs", "-f", "-n", "2", "talk"]);
    let mut child = follower.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut next = || {
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        line
    };
    assert_eq!([next(), next()], ["3\n", "4\n"]);
    talk.write(b"5\n");
    assert_eq!(next(), "5\n", "a line is shown when it is written, not when a buffer is full");
    talk.close_stdin();
    talk.end(SOON).ok();
    assert_eq!(next(), "");
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let farm = Farm::new();
    farm.watched(&["--name", "much", "seq", "1", "300000"]).ok();
    for (verb, first) in [(&["logs", "much"][..], "1\n"), (&["logs", "--raw", "much"], "1\n"), (&["ps", "-a"], "ID")] {
        let mut child = farm.ctl_command(verb).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert!(line.starts_with(first), "{line}");
        drop(lines);
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let status = child.wait().unwrap();
        assert!(status.success() && said.is_empty(), "{verb:?}: {status}, {said}");
    }
}

#[test]
fn a_follower_over_a_killed_zerovisor_sees_every_byte_once() {
    let farm = Farm::empty();
    farm.start_node(&["--log", "none"]);
    let watched = count(&farm, "fast");
    until("it writes", LONG, || (journal_bytes(&farm, "fast") > 500_000).then_some(()));
    let follower = farm.following(&["logs", "-f", "--raw", "fast"]);
    for _ in 0..3 {
        let before = journal_bytes(&farm, "fast");
        until("it goes on", LONG, || (journal_bytes(&farm, "fast") > before + 500_000).then_some(()));
        farm.kill_node();
        farm.start_node(&["--log", "none"]);
    }
    enough(&farm);
    watched.end(LONG).ok();
    assert_counted(&farm, "fast", &follower.end(LONG).ok().stdout);
}

#[test]
fn a_follower_that_does_not_read_slows_nobody_and_still_sees_everything_later() {
    let farm = Farm::empty();
    farm.start_node(&["--log", "none"]);
    let mut talk = farm.watch_command(&["--name", "talk", "-i", "cat"]);
    let mut talk = Program::start(talk.stdin(Stdio::piped()));
    talk.write(b"first\n");
    farm.wrote("talk", "first");
    let mut lazy = farm.ctl_command(&["logs", "-f", "--raw", "talk"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = lazy.stdout.take().unwrap();
    let mut first = [0; 6];
    stdout.read_exact(&mut first).unwrap();
    // Far more than pipe, client and link hold together.
    let much: Vec<u8> = (0..3_000_000).flat_map(|n| format!("{n}\n").into_bytes()).collect();
    talk.write(&much);
    talk.close_stdin();
    talk.end(LONG).ok();
    assert_eq!(farm.reaches("talk", "EXITED")["exit"]["code"], 0, "it ended while nobody read");
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).unwrap();
    assert!(lazy.wait().unwrap().success());
    assert!(rest == much, "{} bytes of {}", rest.len(), much.len());
}

/// A program that repeats its input, with its watcher's pid.
fn talking(farm: &Farm) -> (Program, Pid) {
    let mut command = farm.watch_command(&["--name", "talk", "-i", "cat"]);
    let mut talk = Program::start(command.stdin(Stdio::piped()));
    talk.write(b"one\n");
    farm.wrote("talk", "one");
    let watcher = farm.json(&["inspect", "talk"])["processes"][0]["watcher_pid"].as_i64().unwrap();
    (talk, Pid::from_raw(i32::try_from(watcher).unwrap()))
}

/// A follower that has read what there is, and the pipe to read on from.
fn follower_behind_one(farm: &Farm) -> (std::process::Child, BufReader<std::process::ChildStdout>) {
    let mut child = farm.ctl_command(&["logs", "-f", "talk"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert_eq!(line, "one\n");
    (child, lines)
}

/// The watcher goes on, its program writes more and ends: the follower sees it.
fn sees_the_rest(
    watcher: Pid,
    mut talk: Program,
    follower: (std::process::Child, BufReader<std::process::ChildStdout>),
) {
    kill(watcher, Signal::SIGCONT).unwrap();
    talk.write(b"two\n");
    talk.close_stdin();
    talk.end(SOON).ok();
    let (mut child, mut lines) = follower;
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "two\n");
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_follower_that_came_before_the_watcher_returned_sees_what_it_brings() {
    let farm = Farm::new();
    let (talk, watcher) = talking(&farm);
    kill(watcher, Signal::SIGSTOP).unwrap();
    farm.kill_node();
    farm.start_node(&[]);
    farm.reaches("talk", "UNREACHABLE");
    let follower = follower_behind_one(&farm);
    sees_the_rest(watcher, talk, follower);
}

#[test]
fn a_follower_goes_on_when_the_watcher_was_away_for_a_while() {
    let farm = Farm::new();
    let (talk, watcher) = talking(&farm);
    let follower = follower_behind_one(&farm);
    kill(watcher, Signal::SIGSTOP).unwrap();
    farm.reaches("talk", "UNREACHABLE");
    sees_the_rest(watcher, talk, follower);
}
