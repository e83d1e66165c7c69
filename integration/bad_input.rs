//! What cannot be is refused in one line that says what, why and what to do.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::{Farm, Program, SOON, until};

#[test]
fn endpoints_that_are_none_are_refused() {
    let farm = Farm::empty();
    let long = format!("ipc://{}", "x".repeat(200));
    for (endpoint, word) in [
        ("http://x", "http"),
        ("zerovisor.sock", "ipc://"),
        ("tcp://nohost", "tcp://"),
        (&long, "107"),
        ("ipc://", "path"),
    ] {
        farm.zerovisor(&["-e", endpoint]).refused(2, &[word]);
        farm.watched(&["-e", endpoint, "true"]).refused(125, &[word]);
        farm.ctl(&["-e", endpoint, "ps"]).refused(2, &[word]);
    }
}

#[test]
fn a_client_without_a_zerovisor_fails_at_once() {
    let farm = Farm::empty();
    for verb in [&["ps"][..], &["logs", "x"], &["logs", "-f", "x"], &["stop", "x"], &["wait", "x"], &["ping"]] {
        let begun = Instant::now();
        farm.ctl(verb).refused(255, &["zerovisor.sock"]);
        assert!(begun.elapsed() < Duration::from_secs(2), "{verb:?} took {:?}", begun.elapsed());
    }
}

#[test]
fn unknown_processes_are_told_apart_from_other_errors() {
    let farm = Farm::new();
    for verb in ["logs", "stop", "start", "restart", "inspect", "why", "rm", "wait"] {
        farm.ctl(&[verb, "nobody"]).refused(4, &["nobody"]);
    }
    farm.ctl(&["signal", "TERM", "nobody"]).refused(4, &["nobody"]);
    farm.ctl(&["send", "nobody", "x"]).refused(4, &["nobody"]);
    farm.ctl(&["stop", "-l", "no=body"]).refused(4, &["no=body"]);
    farm.ctl(&["ps", "nobody"]).refused(4, &["nobody"]);
}

#[test]
fn usage_errors_are_one_line_with_status_2() {
    let farm = Farm::new();
    for (args, word) in [
        (&["signal", "BOGUS", "x"][..], "BOGUS"),
        (&["signal", "99", "x"], "99"),
        (&["stop"], "NAME"),
        (&["ps", "--where", "cpu >"], "cpu"),
        (&["ps", "--sort", "bogus"], "bogus"),
        (&["logs", "x", "--since", "yesteryear"], "yesteryear"),
        (&["logs", "x", "--grep", "("], "("),
        (&["logs", "x", "-n", "-1"], "-1"),
        (&["bogus"], "bogus"),
    ] {
        farm.ctl(args).refused(2, &[word]);
    }
}

#[test]
fn names_that_cannot_be_are_refused() {
    let farm = Farm::new();
    let long = "x".repeat(300);
    for (name, word) in
        [("a/b", "slash"), ("a\nb", "line"), ("", "empty"), (long.as_str(), "300"), ("a b", "space"), ("-x", "dash")]
    {
        farm.watched(&[&format!("--name={name}"), "true"]).refused(125, &[word]);
        farm.zerovisor(&[&format!("--name={name}")]).refused(2, &[word]);
    }
    assert_eq!(farm.json(&["ps", "-a"])["processes"], serde_json::json!([]), "nothing was declared");
}

#[test]
fn options_of_a_watcher_that_cannot_be_are_refused() {
    let farm = Farm::new();
    for (args, word) in [
        (&["--restart", "sometimes"][..], "sometimes"),
        (&["--restart", "on-failure:x"], "on-failure"),
        (&["--stop-signal", "BOGUS"], "BOGUS"),
        (&["--stop-timeout", "soon"], "soon"),
        (&["--backoff", "5s..1s"], "5s"),
        (&["--exit-codes", "256"], "256"),
        (&["--env", "=x"], "="),
        (&["-l", "nokey"], "nokey"),
        (&["--bogus"], "--bogus"),
        (&["-d", "-t"], "--tee"),
    ] {
        farm.watched(&[args, &["true"]].concat()).refused(125, &[word]);
    }
}

#[test]
fn options_of_a_zerovisor_that_cannot_be_are_refused() {
    let farm = Farm::empty();
    for (args, word) in [
        (&["--sync", "often"][..], "often"),
        (&["--retain-size", "big"], "big"),
        (&["--log-size", "-1"], "-1"),
        (&["--retain-age", "old"], "old"),
        (&["extra"], "extra"),
    ] {
        farm.zerovisor(args).refused(2, &[word]);
    }
    assert!(farm.members().is_empty());
}

#[test]
fn data_and_log_that_cannot_be_written_are_named() {
    let farm = Farm::empty();
    std::fs::write(farm.path("file"), "").unwrap();
    std::fs::create_dir(farm.path("dir")).unwrap();
    farm.zerovisor(&["--data", "file"]).refused(1, &["file"]);
    farm.zerovisor(&["--data", "file/under"]).refused(1, &["file/under"]);
    farm.zerovisor(&["--data", "/proc/nowhere"]).refused(1, &["/proc/nowhere"]);
    farm.zerovisor(&["--log", "dir"]).refused(1, &["dir"]);
    farm.zerovisor(&["--log", "no/such/dir.log"]).refused(1, &["no/such/dir.log"]);
    farm.zerovisor(&["-e", "ipc://no/such/dir.sock"]).refused(1, &["no/such/dir.sock"]);
    assert!(!farm.path("zerovisor.sock").exists(), "a zerovisor that does not start leaves no socket");
    farm.start_node(&[]);
    farm.ctl(&["ping"]).ok();
}

#[test]
fn hostile_names_of_commands_reach_no_terminal() {
    let farm = Farm::new();
    let name = "evil\u{1b}]0;owned\u{7}\u{202e}";
    std::fs::write(farm.path(name), "#!/bin/sh\nexit 0\n").unwrap();
    std::os::unix::fs::symlink("/bin/true", farm.path("link\u{1b}[2J")).unwrap();
    farm.watch(&[&format!("./{}", "link\u{1b}[2J")]).end(SOON).ok();
    for verb in [&["ps", "-a"][..], &["ps", "-a", "-o", "json"], &["events"], &["events", "-o", "table"]] {
        let shown = farm.ctl(verb).ok().stdout;
        assert!(!shown.contains(&0x1b), "{verb:?}: {}", String::from_utf8_lossy(&shown));
    }
    assert!(!farm.file_says("zerovisor.log", "exit code 0").contains('\u{1b}'));
    farm.watched(&[&format!("./{name}")]).refused(126, &["evil"]);
}

#[test]
fn an_empty_endpoint_in_the_environment_is_none() {
    let farm = Farm::empty();
    let start = |mut command: std::process::Command| Program::start(command.env("ZV_ENDPOINT", ""));
    let zerovisor = start(Program::command(env!("CARGO_BIN_EXE_zerovisor"), farm.dir()));
    until("it listens at the default endpoint", SOON, || farm.path("zerovisor.sock").exists().then_some(()));
    start(farm.watch_command(&["--name", "short", "true"])).end(SOON).ok();
    let rows = start(farm.ctl_command(&["ps", "-a"])).end(SOON).ok().out();
    assert!(rows.contains("short"), "{rows}");
    zerovisor.signal(Signal::SIGTERM);
    zerovisor.end(SOON).ok();
}
