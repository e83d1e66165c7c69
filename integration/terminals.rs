//! `zvwatch --pty`: what a program does with its terminal is kept, and its terminal answers it.

use std::time::Duration;

use crate::harness::{Farm, LONG, SOON, live_with_argument, until};

#[test]
fn output_written_just_before_exit_is_never_cut_off_on_a_terminal() {
    let farm = Farm::new();
    for round in 0..5 {
        let name = format!("tail{round}");
        farm.watch(&["--pty", "--name", &name, "sh", "-c", "seq 1 20000; exec echo last"]).end(LONG).ok();
        let raw = farm.raw(&[&name]);
        let wanted: String = (1..=20_000).map(|n| format!("{n}\r\n")).collect::<String>() + "last\r\n";
        assert!(raw == wanted.as_bytes(), "{}", String::from_utf8_lossy(&raw[raw.len().saturating_sub(40)..]));
    }
}

#[test]
fn a_terminal_that_is_closed_and_opened_again_goes_on() {
    let farm = Farm::new();
    farm.script("reopen", "t=$(tty); echo one; exec <&- >&- 2>&-; until [ -e go ]; do sleep 0.01; done; echo two >$t");
    let watched = farm.watch(&["--pty", "--name", "twice", "bash", "reopen"]);
    farm.wrote("twice", "one");
    std::fs::write(farm.path("go"), "").unwrap();
    watched.end(SOON).ok();
    assert_eq!(farm.raw(&["twice"]), b"one\r\ntwo\r\n");
}

#[test]
fn a_vacant_terminal_costs_nothing() {
    let farm = Farm::new();
    farm.script("leave", "echo one; exec <&- >&- 2>&-; until [ -e go ]; do sleep 0.1; done");
    let watched = farm.watch(&["--pty", "--name", "vacant", "bash", "leave"]);
    farm.wrote("vacant", "one");
    let watcher = crate::harness::parent_of(farm.row("vacant")["pid"].as_i64().unwrap().try_into().unwrap()).unwrap();
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{watcher}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let (before, begun) = (ticks(), std::time::Instant::now());
    until("two seconds pass", SOON, || (begun.elapsed() > Duration::from_secs(2)).then_some(()));
    // A loop would have used two hundred.
    assert!(ticks() - before < 20, "{} ticks of 10 ms in 2 s", ticks() - before);
    std::fs::write(farm.path("go"), "").unwrap();
    watched.end(SOON).ok();
}

#[test]
fn what_keeps_the_terminal_and_ignores_hang_ups_ends_with_the_run() {
    let farm = Farm::new();
    farm.script("deaf", "trap '' HUP TERM; sleep 1000.41 & echo up; exit 3");
    let watched = farm.watch(&["--pty", "--name", "deaf", "--stop-timeout", "200ms", "sh", "deaf"]);
    assert_eq!(watched.end(SOON).code(), 3);
    assert!(live_with_argument("1000.41").is_empty());
    farm.script("deaf", "trap '' HUP TERM; sleep 1000.42 & echo up; wait");
    let watched = farm.watch(&["--pty", "--name", "deafer", "--stop-timeout", "200ms", "sh", "deaf"]);
    farm.wrote("deafer", "up");
    farm.ctl(&["stop", "deafer"]).ok();
    assert_eq!(watched.end(SOON).code(), 137);
    assert!(live_with_argument("1000.42").is_empty());
}

#[test]
fn a_terminal_is_one_stream_and_is_shown_safely() {
    let farm = Farm::new();
    let script = "printf 'out \\033[31mred\\033[0m\\n'; printf 'err\\033]0;owned\\007\\n' >&2";
    farm.watched(&["--pty", "--name", "both", "sh", "-c", script]).ok();
    assert_eq!(farm.raw(&["both"]), b"out \x1b[31mred\x1b[0m\r\nerr\x1b]0;owned\x07\r\n");
    for row in farm.jsonl(&["logs", "both"]) {
        assert_eq!(row["stream"], "terminal", "{row}");
    }
    let dangerous = |text: &str| text.bytes().any(|byte| byte < 0x20 && !b"\n\t".contains(&byte) || byte == 0x7f);
    let shown = farm.ctl(&["logs", "both"]).ok().out();
    assert!(shown.contains("red") && !dangerous(&shown), "{shown:?}");
    let log = farm.file_says("zerovisor.log", "exit code 0");
    assert!(log.contains("red") && !dangerous(&log), "{log:?}");
}

/// Asks for the cursor and for the kind of terminal, and keeps what is answered until nothing more comes for 0.3 s.
const ASKING: &str = r#"
stty raw -echo min 0 time 3
printf '\033[6n' >/dev/tty; cat -v >cursor
printf '\033[c' >/dev/tty; cat -v >kind
"#;

#[test]
fn questions_to_the_terminal_are_answered_once_with_nobody_looking() {
    let farm = Farm::new();
    farm.script("asking", ASKING);
    farm.watched(&["--pty", "--name", "asks", "bash", "asking"]).ok();
    assert_eq!(farm.text("cursor"), "^[[1;1R");
    let kind = farm.text("kind");
    assert!(kind.starts_with("^[[?") && kind.matches("^[").count() == 1 && kind.ends_with('c'), "{kind}");
    farm.watched(&["--pty", "--screen", "off", "--name", "unanswered", "bash", "asking"]).ok();
    assert_eq!(farm.text("cursor"), "", "without a screen there is nobody to answer");
}

#[test]
fn text_and_the_end_of_input_are_typed() {
    let farm = Farm::new();
    let watched = farm.watch(&["--pty", "--name", "cat", "cat"]);
    farm.reaches("cat", "RUNNING");
    farm.ctl(&["send", "cat", "hello"]).ok();
    until("echoed and written", SOON, || (farm.raw(&["cat"]) == b"hello\r\nhello\r\n").then_some(()));
    farm.ctl(&["send", "cat", "--eof"]).ok();
    watched.end(SOON).ok();
}

#[test]
fn a_piped_console_is_typed_with_its_end() {
    let farm = Farm::new();
    let mut command = farm.watch_command(&["--pty", "-it", "--name", "sort", "sort"]);
    let mut sort = crate::harness::Program::start(command.stdin(std::process::Stdio::piped()));
    sort.write(b"b\na\n");
    sort.close_stdin();
    let shown = sort.end(SOON).ok().out();
    assert!(shown.ends_with("a\r\nb\r\n"), "{shown:?}");
}

#[test]
fn a_program_is_told_what_its_terminal_is_and_not_what_the_users_was() {
    let farm = Farm::new();
    let mut command =
        farm.watch_command(&["--pty", "--size", "100x30", "sh", "-c", "echo T=$TERM C=$COLUMNS L=$LINES; stty size"]);
    crate::harness::Program::start(command.env("COLUMNS", "33").env("LINES", "44").env("TERM", "dumb")).end(SOON).ok();
    assert_eq!(farm.raw(&["sh"]), b"T=xterm-256color C= L=\r\n30 100\r\n");
}

#[test]
fn a_watcher_that_waits_gives_its_command_a_terminal() {
    let farm = Farm::new();
    farm.watched(&["--pty", "--name", "later", "-d"]).ok();
    farm.reaches("later", "WAITING");
    farm.ctl(&["start", "later", "--", "sh", "-c", "tty; stty size"]).ok();
    let shown = farm.wrote("later", "24 80");
    assert!(shown.starts_with("/dev/pts/"), "{shown}");
}

#[test]
fn a_full_window_lets_a_terminal_wait_and_loses_nothing() {
    let farm = Farm::empty();
    let watched = farm.watch(&["--pty", "--name", "long", "seq", "1", "1000000"]);
    until("it writes", SOON, || watched.ended().is_none().then_some(()));
    farm.start_node(&["--log", "none"]);
    watched.end(LONG).ok();
    let wanted: String = (1..=1_000_000).map(|n| format!("{n}\r\n")).collect();
    assert!(farm.raw(&["long"]) == wanted.as_bytes());
}

#[test]
fn terminals_that_cannot_be_are_refused() {
    let farm = Farm::empty();
    for (args, word) in [
        (&["--pty", "--size", "0x0"][..], "0x0"),
        (&["--pty", "--size", "10000x10000"], "10000x10000"),
        (&["--size", "80x24"], "--pty"),
        (&["--pty", "--size-policy", "mine"], "mine"),
        (&["--pty", "--detach-keys", "C-\u{20ac}"], "\u{20ac}"),
        (&["--pty", "-d", "-it"], "--detach"),
        (&["--pty", "--screen", "maybe"], "maybe"),
    ] {
        farm.watched(&[args, &["true"]].concat()).refused(125, &[word]);
    }
}
