//! Retention with children writing: what is kept stays within its limits, and nobody who follows is stopped, or left in the dark.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Farm, LONG, SOON, count, enough, until};

/// Bytes of all segments below a directory.
fn kept(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => kept(&entry.path()),
        Ok(meta) if entry.path().extension().is_some_and(|ending| ending == "seg") => meta.len(),
        Ok(_) | Err(_) => 0,
    };
    entries.map(size).sum()
}

/// Segments are a sixteenth of what is kept of one process, 64 KiB at least.
const SEGMENT: u64 = 64 << 10;
/// One record may go beyond the end of a segment, and the others in its batch are written before anybody looks.
const BATCH: u64 = 4 << 20;

fn follower(command: &mut Command) -> (Child, BufReader<ChildStdout>) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::with_capacity(4096, child.stdout.take().unwrap());
    (child, lines)
}

#[test]
fn followers_at_the_tip_and_far_behind_go_on_and_are_told_what_expired() {
    let farm = Farm::empty();
    farm.start_node(&["--log", "none", "--retain-size", "1M"]);
    let watched = count(&farm, "fast");
    farm.reaches("fast", "RUNNING");
    let at_tip = farm.following(&["logs", "-f", "-n", "1", "fast"]);
    let (mut slow, mut lines) = follower(&mut farm.ctl_command(&["logs", "-f", "--raw", "fast"]));
    let mut first = String::new();
    lines.read_line(&mut first).unwrap();
    // It reads no more while fifty times as much is written as is kept.
    until("much is written", LONG, || (farm.row("fast")["journal_bytes"].as_u64()? > 500_000).then_some(()));
    let end = |farm: &Farm| farm.json(&["inspect", "fast"])["processes"][0]["journal"]["last_seq"].as_u64().unwrap();
    until("far more than is kept is written", LONG, || (end(&farm) > 1500).then_some(()));
    enough(&farm);
    watched.end(LONG).ok();
    let count: u64 = farm.text("fast.count").trim().parse().unwrap();
    let last = format!("{}", count - 1);
    let tip = at_tip.end(LONG).ok();
    assert_eq!(tip.out().lines().last(), Some(last.as_str()), "whoever kept up saw the end: {}", tip.err());
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    let mut said = String::new();
    slow.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(slow.wait().unwrap().success(), "{said}");
    assert_eq!(rest.lines().last(), Some(last.as_str()), "so did the one far behind");
    assert!(rest.len() > 900_000, "{} bytes", rest.len());
    assert!(said.contains("expired") || said.contains("removed by retention"), "and was told what it missed: {said}");
    // What it was sent is whole between one gap and the next: numbers count up by one, but where it was told.
    let numbers: Vec<u64> = rest.lines().filter_map(|line| line.parse().ok()).collect();
    let breaks = numbers.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
    let told = said.lines().filter(|line| line.contains("expired") || line.contains("removed by retention")).count();
    // A gap may cut a number at each end.
    assert!(breaks <= 2 * told, "{breaks} breaks, {told} told: {said}");
    let back = numbers.windows(2).filter(|pair| pair[1] <= pair[0]).count();
    assert!(back <= told, "and nothing twice: {back} steps back, {told} told");
}

#[test]
fn one_process_at_full_speed_stays_within_its_size() {
    let farm = Farm::empty();
    farm.start_node(&["--log", "none", "--retain-size", "1M"]);
    let watched = count(&farm, "fast");
    farm.reaches("fast", "RUNNING");
    let log = farm.path("zerovisor.data/processes");
    let (mut most, mut looks) = (0, 0);
    until("much is written", LONG, || {
        most = most.max(kept(&log));
        looks += 1;
        let seen = farm.json(&["inspect", "fast"]);
        (seen["processes"][0]["journal"]["first_seq"].as_u64()? > 300).then_some(())
    });
    enough(&farm);
    watched.end(LONG).ok();
    assert!(most > 800 << 10 && most < (1 << 20) + SEGMENT + BATCH, "{most} bytes in {looks} looks");
    let left = kept(&log);
    assert!(left < (1 << 20) + 2 * SEGMENT, "once it is quiet: {left}");
}

#[test]
fn the_total_holds_over_many_and_the_oldest_goes_first() {
    let farm = Farm::empty();
    let limits = ["--log", "none", "--retain-size", "1M", "--retain-total", "2M"];
    farm.start_node(&limits);
    for n in 1..=6 {
        farm.watched(&["--name", &format!("old{n}"), "sh", "-c", "seq 1 60000; exit 0"]).ok();
    }
    let watched = count(&farm, "fast");
    let (data, mut most) = (farm.path("zerovisor.data/processes"), 0);
    until("the first of the ended is forgotten", LONG, || {
        most = most.max(kept(&data));
        farm.rows("old1").is_empty().then_some(())
    });
    // The live one fills its own megabyte, and the oldest of the rest give way for it, one after the other.
    until("so is the second", LONG, || farm.rows("old2").is_empty().then_some(()));
    assert_eq!(farm.rows("old6").len(), 1, "the latest of the ended is there");
    enough(&farm);
    watched.end(LONG).ok();
    assert!(most < (2 << 20) + SEGMENT + BATCH, "{most}");
    until("all together are within the total", SOON, || (kept(&data) <= (2 << 20) + SEGMENT).then_some(()));
    let told = farm.jsonl(&["events"]);
    assert!(told.iter().any(|event| event["event"] == "removed" && event["name"] == "old1"), "it is told");
    // A start holds to it as well.
    farm.end_node(Signal::SIGTERM);
    farm.start_node(&limits);
    assert!(farm.rows("old1").is_empty());
    assert_eq!(farm.row("fast")["state"], "EXITED");
}

/// Of all that is journaled: it was written an hour ago.
fn an_hour_passes(farm: &Farm) {
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    for process in fs::read_dir(farm.path("zerovisor.data/processes")).unwrap() {
        for file in fs::read_dir(process.unwrap().path().join("log")).unwrap() {
            fs::File::options().write(true).open(file.unwrap().path()).unwrap().set_modified(hour_ago).unwrap();
        }
    }
}

/// What nobody removed is not refused when its watcher returns, however old it is; and of what is back in time nothing expires.
#[test]
fn a_stopped_process_whose_watcher_lives_outlives_its_journal() {
    let farm = Farm::new();
    let names = ["here", "away"];
    for name in names {
        farm.watched(&["--name", name, "-d", "sh", "-c", "echo began; exec sleep 1d"]).ok();
        farm.ctl(&["stop", name]).ok();
        farm.reaches(name, "STOPPED");
    }
    let away = farm.json(&["inspect", "away"])["processes"][0]["watcher_pid"].as_i64().unwrap();
    let away = Pid::from_raw(i32::try_from(away).unwrap());
    farm.end_node(Signal::SIGTERM);
    kill(away, Signal::SIGSTOP).unwrap();
    an_hour_passes(&farm);
    farm.start_node(&["--retain-age", "30m"]);
    until("the one whose watcher is away is forgotten", LONG, || farm.rows("away").is_empty().then_some(()));
    kill(away, Signal::SIGCONT).unwrap();
    until("its watcher has brought it back", LONG, || (!farm.rows("away").is_empty()).then_some(()));
    assert_eq!(farm.row("here")["state"], "STOPPED");
    for name in names {
        farm.ctl(&["start", name]).ok();
        farm.reaches(name, "RUNNING");
        farm.ctl(&["stop", name]).ok();
    }
    let told = farm.jsonl(&["events"]);
    let removed: Vec<_> = told.iter().filter(|event| event["event"] == "removed").map(|event| &event["name"]).collect();
    assert_eq!(removed, ["away"], "only that one, and it is told");
}

#[test]
fn what_is_too_old_is_forgotten_with_its_process() {
    let farm = Farm::new();
    farm.watched(&["--name", "old", "echo", "old"]).ok();
    farm.watched(&["--name", "live", "-d", "sh", "-c", "echo live; exec sleep 1d"]).ok();
    farm.wrote("live", "live");
    farm.end_node(Signal::SIGTERM);
    an_hour_passes(&farm);
    farm.start_node(&["--retain-age", "30m"]);
    until("the old one is forgotten", LONG, || farm.rows("old").is_empty().then_some(()));
    assert_eq!(farm.ctl(&["logs", "live"]).ok().out(), "live\n", "of a live one the newest segment stays");
    // Its watcher may still be on its way back.
    farm.reaches("live", "RUNNING");
    farm.ctl(&["stop", "live"]).ok();
}

#[test]
fn runs_times_and_tails_are_exact_across_segments() {
    let farm = Farm::empty();
    farm.start_node(&["--log", "none", "--retain-size", "2M"]);
    // Three runs of some 190 KiB each, segments of 128 KiB: every run begins and ends in the middle of one.
    let script = "n=$(cat n 2>/dev/null || echo 0); n=$((n + 1)); echo $n > n; seq $((n * 100000)) $((n * 100000 + 27999)); [ $n = 3 ]";
    let restart = ["--name", "runs", "--restart", "on-failure:5", "--backoff", "1ms..2ms", "--start-secs", "1ms"];
    farm.watch(&[&restart[..], &["sh", "-c", script]].concat()).end(LONG).ok();
    let numbers = |run: u32| (run * 100_000..run * 100_000 + 28_000).map(|n| format!("{n}\n")).collect::<String>();
    let same = |args: &[&str], expected: &str| {
        let got = farm.raw(&[&["runs"], args].concat());
        let got = String::from_utf8(got).unwrap();
        assert!(got == expected, "{args:?}: {} bytes of {}", got.len(), expected.len());
    };
    same(&["--run", "1"], &numbers(1));
    same(&["--run", "2"], &numbers(2));
    same(&["--previous"], &numbers(2));
    same(&[], &(1..=3).map(numbers).collect::<String>());
    let all = (1..=3).map(numbers).collect::<String>();
    let lines: Vec<&str> = all.split_inclusive('\n').collect();
    for tail in [0, 1, 999, 28_000, 28_001, 60_000, 84_000, 90_000] {
        same(&["-n", &tail.to_string()], &lines[lines.len().saturating_sub(tail)..].concat());
    }
    // By time: each record's time divides the stream exactly, also where a segment begins.
    let records = farm.jsonl(&["logs", "runs"]);
    let at = |line: usize| records[line]["time"].as_str().or(records[line]["at"].as_str()).unwrap().to_owned();
    for line in [0, 1, 20_000, 28_000, 41_234, 56_000, 83_999] {
        let split = at(line);
        let before = farm.raw(&["runs", "--until", &split]);
        let after = farm.raw(&["runs", "--since", &split]);
        assert_eq!([before.as_slice(), after.as_slice()].concat().len(), all.len(), "at line {line}, {split}");
        assert!(all.as_bytes().starts_with(&before) && all.as_bytes().ends_with(&after));
        let first = records.iter().position(|record| record["time"].as_str().or(record["at"].as_str()) == Some(&split));
        // A record may begin within a line, whose time is that of its end or beginning.
        let exact = lines[..first.unwrap()].concat().len();
        assert!(before.len().abs_diff(exact) < 8, "what is of that time is since, not until: {} {exact}", before.len());
    }
}

#[test]
fn the_readable_log_keeps_its_size_while_it_is_written_and_read() {
    let farm = Farm::empty();
    farm.start_node(&["--log-size", "256K", "--log-keep", "3"]);
    let watched = count(&farm, "fast");
    let logs = || -> Vec<u64> {
        let files = fs::read_dir(farm.dir()).unwrap().flatten();
        let ours = files.filter(|file| file.file_name().to_string_lossy().starts_with("zerovisor.log"));
        ours.filter_map(|file| file.metadata().ok()).map(|meta| meta.len()).collect()
    };
    until("all that is kept is there", LONG, || (logs().len() == 4).then_some(()));
    for _ in 0..50 {
        let now = logs();
        assert!(now.len() <= 5 && now.iter().all(|bytes| *bytes <= 2 * (256 << 10)), "{now:?}");
    }
    enough(&farm);
    watched.end(LONG).ok();
}
