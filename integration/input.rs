//! Talking to a process: input, signals, waiting, and asking what became of it.

use std::process::Stdio;

use serde_json::json;

use crate::harness::{Farm, LONG, Program, SOON};

#[test]
fn text_is_sent_to_a_program_and_its_input_is_closed() {
    let farm = Farm::new();
    let watched = farm.watch(&["--name", "cat", "cat"]);
    farm.reaches("cat", "RUNNING");
    farm.ctl(&["send", "cat", "hello", "there"]).ok();
    farm.wrote("cat", "hello there\n");
    farm.ctl(&["send", "cat", "-n", "no line end"]).ok();
    farm.ctl(&["send", "cat", "--eof"]).ok();
    watched.end(SOON).ok();
    assert_eq!(farm.raw(&["cat"]), b"hello there\nno line end");
    assert!(farm.events("cat").contains(&"input_closed".into()));
    farm.ctl(&["send", "cat", "late"]).refused(3, &["cat"]);
}

#[test]
fn a_stream_is_sent_byte_for_byte() {
    let farm = Farm::new();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
    std::fs::write(farm.path("bytes"), &bytes).unwrap();
    let watched = farm.watch(&["--name", "cat", "cat"]);
    farm.reaches("cat", "RUNNING");
    let mut command = farm.ctl_command(&["send", "cat", "--eof"]);
    let input = std::fs::File::open(farm.path("bytes")).unwrap();
    Program::start(command.stdin(input)).end(SOON).ok();
    watched.end(SOON).ok();
    let raw = farm.raw(&["cat"]);
    assert!(raw == bytes, "{} bytes of {}", raw.len(), bytes.len());
}

#[test]
fn a_program_that_reads_slowly_holds_the_sender_up_as_a_pipe_would() {
    let farm = Farm::new();
    let bytes = vec![b'x'; 3 << 20];
    std::fs::write(farm.path("bytes"), &bytes).unwrap();
    let slowly = "while [ $(dd bs=64k count=1 2>/dev/null | tee -a got | wc -c) -gt 0 ]; do sleep 0.02; done";
    let watched = farm.watch(&["--name", "slow", "sh", "-c", slowly]);
    farm.reaches("slow", "RUNNING");
    let mut command = farm.ctl_command(&["send", "slow", "--eof"]);
    let input = std::fs::File::open(farm.path("bytes")).unwrap();
    Program::start(command.stdin(input)).end(LONG).ok();
    watched.end(LONG).ok();
    assert_eq!(std::fs::metadata(farm.path("got")).unwrap().len(), 3 << 20);
}

#[test]
fn the_console_is_forwarded_where_that_was_asked() {
    let farm = Farm::new();
    let mut command = farm.watch_command(&["-i", "-t", "sort"]);
    let mut sort = Program::start(command.stdin(Stdio::piped()));
    sort.write(b"b\na\n");
    sort.close_stdin();
    assert_eq!(sort.end(SOON).ok().out(), "a\nb\n");
}

#[test]
fn signals_reach_the_main_process() {
    let farm = Farm::new();
    let script = "trap 'echo usr1' USR1; trap 'exit 3' HUP; echo ready; while :; do sleep 0.01; done";
    let watched = farm.watch(&["--name", "ear", "sh", "-c", script]);
    farm.wrote("ear", "ready");
    for signal in ["USR1", "SIGUSR1", "10"] {
        farm.ctl(&["signal", signal, "ear"]).ok();
    }
    farm.wrote("ear", "usr1");
    farm.ctl(&["signal", "HUP", "ear"]).ok();
    assert_eq!(watched.end(SOON).code(), 3);
    assert_eq!(farm.events("ear").iter().filter(|event| *event == "signalled").count(), 4);
    farm.ctl(&["signal", "TERM", "ear"]).refused(3, &["ear"]);
}

#[test]
fn wait_returns_when_it_runs_and_when_it_has_ended() {
    let farm = Farm::new();
    farm.watched(&[
        "--name",
        "w",
        "--start-secs",
        "50ms",
        "-d",
        "sh",
        "-c",
        "while [ ! -e go ]; do sleep 0.05; done; exit 6",
    ])
    .ok();
    farm.ctl(&["wait", "--for", "running", "w"]).ok();
    assert_eq!(farm.row("w")["state"], "RUNNING");
    let waiting = farm.following(&["wait", "w"]);
    // The first answer has to come within that, too.
    farm.ctl(&["wait", "--timeout", "2s", "w"]).refused(1, &["w"]);
    assert!(waiting.ended().is_none());
    std::fs::write(farm.path("go"), "").unwrap();
    waiting.end(SOON).ok();
    assert_eq!(farm.row("w")["state"], "EXITED");
    farm.ctl(&["wait", "w"]).ok();
    farm.ctl(&["wait", "--for", "running", "w"]).refused(3, &["w"]);
    farm.ctl(&["wait", "nobody"]).refused(4, &["nobody"]);
}

#[test]
fn why_says_in_words_how_each_kind_of_end_came() {
    let farm = Farm::new();
    let why = |name: &str| farm.ctl(&["why", name]).ok().out();
    farm.watched(&["--name", "fine", "true"]).ok();
    farm.watched(&["--name", "failed", "sh", "-c", "exit 42"]);
    farm.watched(&["--name", "shot", "sh", "-c", "kill -KILL $$"]);
    farm.watched(&["--name", "missing", "no-such-program"]);
    farm.watched(&["--name", "stopped", "-d", "sleep", "1d"]).ok();
    farm.ctl(&["stop", "stopped"]).ok();
    farm.watched(&["--name", "alive", "-d", "sleep", "1d"]).ok();
    assert!(why("fine").contains("exit code 0"), "{}", why("fine"));
    assert!(why("failed").contains("42"), "{}", why("failed"));
    assert!(why("shot").contains("KILL"), "{}", why("shot"));
    assert!(why("missing").contains("no-such-program"), "{}", why("missing"));
    assert!(why("stopped").contains("stop"), "{}", why("stopped"));
    assert!(why("alive").to_lowercase().contains("run"), "{}", why("alive"));
    farm.ctl(&["why", "nobody"]).refused(4, &["nobody"]);
}

#[test]
fn inspect_tells_everything_and_no_values_of_variables() {
    let farm = Farm::new();
    farm.watched(&["--name", "told", "-l", "a=b", "--env", "TOKEN=secret-value", "sh", "-c", "echo 12345; exit 2"]);
    let ended = farm.ctl(&["inspect", "told", "-o", "json"]).ok().out();
    assert!(!ended.contains("secret-value") && ended.contains("TOKEN"), "{ended}");
    let inspected = farm.json(&["inspect", "told"]);
    let process = &inspected["processes"][0];
    assert_eq!(process["report"]["exit"]["code"], 2);
    assert_eq!(process["report"]["output_bytes"], 6);
    assert_eq!(process["labels"], json!({"a": "b"}));
    assert!(process["report"]["peak_rss_bytes"].as_u64().is_some_and(|bytes| bytes > 100_000), "{process}");
    let facts: Vec<&str> =
        process["facts"].as_array().unwrap().iter().filter_map(|fact| fact["event"].as_str()).collect();
    assert_eq!(facts, ["started", "ended", "exited"]);
    assert!(!farm.text("zerovisor.log").contains("secret-value") && !farm.node_said().contains("secret-value"));
}

#[test]
fn events_are_followed_and_resumed_by_their_number() {
    let farm = Farm::new();
    farm.watched(&["--name", "first", "true"]).ok();
    let told = farm.jsonl(&["events", "first"]);
    let last = told.last().unwrap()["seq"].as_u64().unwrap();
    let numbers: Vec<u64> = farm.jsonl(&["events"]).iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");

    let mut command = farm.ctl_command(&["events", "-f", "--since-seq", &last.to_string()]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    farm.watched(&["--name", "second", "sh", "-c", "exit 5"]);
    let mut seen = Vec::new();
    for line in &mut lines {
        let event: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert!(event["seq"].as_u64().unwrap() > last && event["name"] == "second", "{event}");
        seen.push(event["event"].as_str().unwrap().to_owned());
        if seen.last().unwrap() == "exited" {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(seen, ["declared", "started", "ended", "exited"]);
}
