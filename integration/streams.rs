//! What a program wrote is what is shown: apart, whole, byte for byte, and as much of it as was asked for.

use std::time::Duration;

use crate::harness::{Farm, LONG, SOON};

const BOTH: &str = "echo out-1; echo err-1 >&2; echo out-2; echo err-2 >&2";

#[test]
fn stdout_and_stderr_are_kept_apart() {
    let farm = Farm::new();
    farm.watched(&["--name", "both", "sh", "-c", BOTH]).ok();
    assert_eq!(farm.ctl(&["logs", "both", "--stream", "stdout"]).ok().out(), "out-1\nout-2\n");
    assert_eq!(farm.ctl(&["logs", "both", "--stream", "stderr"]).ok().out(), "err-1\nerr-2\n");
    let mut all: Vec<String> = farm.ctl(&["logs", "both"]).ok().out().lines().map(str::to_owned).collect();
    all.sort();
    assert_eq!(all, ["err-1", "err-2", "out-1", "out-2"]);
    assert_eq!(farm.raw(&["both", "--stream", "stderr"]), b"err-1\nerr-2\n");
}

#[test]
fn raw_output_is_byte_for_byte() {
    let farm = Farm::new();
    let bytes: Vec<u8> = (0..=255).chain(*b"\x1b[31mred\x1b[0m\x1b]0;title\x07\xff\xfe\xc3").collect();
    std::fs::write(farm.path("bytes"), &bytes).unwrap();
    farm.watched(&["--name", "bytes", "cat", "bytes"]).ok();
    assert_eq!(farm.raw(&["bytes"]), bytes);
    let shown = farm.ctl(&["logs", "bytes"]).ok().stdout;
    let dangerous = |byte: &u8| *byte < 0x20 && *byte != b'\n' && *byte != b'\t' || *byte == 0x7f;
    assert_eq!(shown.iter().find(|byte| dangerous(byte)), None, "{}", String::from_utf8_lossy(&shown));
    let log = farm.file_says("zerovisor.log", "exit code 0");
    assert_eq!(log.bytes().find(|byte| dangerous(byte)), None, "tail of zerovisor.log is always safe");
}

#[test]
fn a_line_of_100_mib_is_kept_whole() {
    let farm = Farm::empty();
    farm.start_node(&["--log", "none"]);
    let watched = farm.watch(&["--name", "long", "sh", "-c", "head -c 104857600 /dev/zero | tr '\\0' x"]);
    watched.end(LONG).ok();
    let raw = farm.raw(&["long"]);
    assert_eq!(raw.len(), 100 << 20);
    assert!(raw.iter().all(|byte| *byte == b'x'));
}

#[test]
fn output_without_a_line_end_is_not_held_back() {
    let farm = Farm::new();
    farm.watched(&["--name", "ask", "-d", "sh", "-c", "printf 'name? '; sleep 1d"]).ok();
    farm.wrote("ask", "name? ");
    assert_eq!(farm.raw(&["ask"]), b"name? ");
    farm.file_says("zerovisor.log", "name? ");
}

#[test]
fn the_last_lines_are_the_last_lines() {
    let farm = Farm::new();
    farm.watched(&["--name", "count", "seq", "1", "100000"]).ok();
    assert_eq!(farm.ctl(&["logs", "count", "-n", "3"]).ok().out(), "99998\n99999\n100000\n");
    assert_eq!(farm.ctl(&["logs", "count", "-n", "0"]).ok().out(), "");
    assert_eq!(farm.ctl(&["logs", "count", "--grep", "^7777.$", "-n", "2"]).ok().out(), "77778\n77779\n");
    let all: String = (1..=100_000).map(|n| format!("{n}\n")).collect();
    assert_eq!(farm.ctl(&["logs", "count", "-n", "100000"]).ok().out(), all);
    assert_eq!(farm.ctl(&["logs", "count"]).ok().out(), all);
}

#[test]
fn since_and_until_cut_by_time() {
    let farm = Farm::new();
    let mut talk = watched_cat(&farm, "talk");
    let mut said_at = |line: &str| {
        talk.write(format!("{line}\n").as_bytes());
        farm.wrote("talk", line);
        let rows = farm.jsonl(&["logs", "talk"]);
        let row = rows.iter().find(|row| row["text"] == line || row["line"] == line).cloned();
        let row = row.unwrap_or_else(|| panic!("{rows:?}"));
        row["at"].as_str().or(row["time"].as_str()).unwrap_or_else(|| panic!("{row}")).to_owned()
    };
    let _one = said_at("one");
    let two = said_at("two");
    let three = said_at("three");
    assert_eq!(farm.ctl(&["logs", "talk", "--since", &two]).ok().out(), "two\nthree\n");
    assert_eq!(farm.ctl(&["logs", "talk", "--until", &two]).ok().out(), "one\n");
    assert_eq!(farm.ctl(&["logs", "talk", "--since", &two, "--until", &three]).ok().out(), "two\n");
    assert_eq!(farm.ctl(&["logs", "talk", "--since", "1h"]).ok().out(), "one\ntwo\nthree\n");
    talk.close_stdin();
    talk.end(SOON).ok();
}

fn watched_cat(farm: &Farm, name: &str) -> crate::harness::Program {
    let mut command = farm.watch_command(&["--name", name, "-i", "cat"]);
    crate::harness::Program::start(command.stdin(std::process::Stdio::piped()))
}

#[test]
fn timestamps_and_prefixes_are_put_before_lines() {
    let farm = Farm::new();
    farm.watched(&["--name", "a", "echo", "from-a"]).ok();
    farm.watched(&["--name", "b", "echo", "from-b"]).ok();
    let stamped = farm.ctl(&["logs", "-t", "a"]).ok().out();
    let (time, line) = stamped.trim_end().split_once(' ').unwrap();
    assert!(time.len() >= 20 && time.contains('T') && line.trim_start().ends_with("from-a"), "{stamped}");
    let both = farm.ctl(&["logs", "--prefix", "a", "b"]).ok().out();
    let lines: Vec<&str> = both.lines().collect();
    assert_eq!(lines.len(), 2, "{both}");
    assert!(lines[0].starts_with('a') && lines[0].ends_with("from-a"), "merged by time: {both}");
    assert!(lines[1].starts_with('b') && lines[1].ends_with("from-b"), "{both}");
}

#[test]
fn labels_select_whose_output_is_shown() {
    let farm = Farm::new();
    farm.watched(&["--name", "a", "-l", "app=web", "-l", "tier=1", "echo", "from-a"]).ok();
    farm.watched(&["--name", "b", "-l", "app=web", "echo", "from-b"]).ok();
    farm.watched(&["--name", "c", "echo", "from-c"]).ok();
    let of = |labels: &[&str]| {
        let shown = farm.ctl(&[&["logs"], labels].concat()).ok().out();
        ["from-a", "from-b", "from-c"].map(|text| shown.contains(text))
    };
    assert_eq!(of(&["-l", "app=web"]), [true, true, false]);
    assert_eq!(of(&["-l", "app=web", "-l", "tier=1"]), [true, false, false]);
    let rows = farm.json(&["ps", "-a", "-l", "tier=1"]);
    assert_eq!(rows["processes"][0]["labels"], serde_json::json!({"app": "web", "tier": "1"}));
}

#[test]
fn previous_shows_the_run_before_the_last() {
    let farm = Farm::new();
    let script = "echo run $ZV_RUN; [ $ZV_RUN = 3 ]";
    let args = ["--name", "thrice", "--restart", "on-failure", "--backoff", "1ms..2ms", "sh", "-c", script];
    farm.watched(&args).ok();
    assert_eq!(farm.ctl(&["logs", "thrice"]).ok().out(), "run 1\nrun 2\nrun 3\n");
    assert_eq!(farm.ctl(&["logs", "thrice", "--previous"]).ok().out(), "run 2\n");
    assert_eq!(farm.ctl(&["logs", "thrice", "--run", "1"]).ok().out(), "run 1\n");
}

#[test]
fn tee_shows_the_output_on_the_console_too() {
    let farm = Farm::new();
    let watched = farm.watched(&["-t", "--name", "both", "sh", "-c", BOTH]).ok();
    assert_eq!((watched.out().as_str(), watched.err().as_str()), ("out-1\nout-2\n", "err-1\nerr-2\n"));
    assert_eq!(farm.ctl(&["logs", "both", "--stream", "stdout"]).ok().out(), "out-1\nout-2\n");
}

#[test]
fn output_written_just_before_exit_is_never_cut_off() {
    let farm = Farm::new();
    let watched = farm.watch(&["--name", "tail", "sh", "-c", "seq 1 200000; exec echo last"]);
    watched.end(Duration::from_secs(20)).ok();
    let raw = farm.raw(&["tail"]);
    assert!(raw.ends_with(b"200000\nlast\n"), "{}", String::from_utf8_lossy(&raw[raw.len().saturating_sub(40)..]));
    assert_eq!(raw.iter().filter(|byte| **byte == b'\n').count(), 200_001);
}
