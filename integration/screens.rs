//! Terminals without one of one's own: `zvctl screen`, `send` with keys, `wait --text`; and `top` on a real terminal.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use zerovisor_core::id::Id;
use zerovisor_core::size::Size;
use zerovisor_core::wire::{Answer, Ask, Deed, Outcome, ScreenShown};

use crate::harness::{Farm, Program, SOON, Stage, Terminal, children_of};

fn screen(title: Option<&str>) -> Answer {
    let shown =
        ScreenShown { size: Size::DEFAULT, cursor: Some((2, 1)), title: title.map(str::to_owned), alternate: false };
    Answer::Screen { shown, last: true }
}

#[test]
fn a_screen_is_printed_so_that_it_commands_nothing() {
    let farm = Farm::empty();
    let stage = Stage::at(farm.dir());
    for (args, printed) in [
        (&["screen", "sh"][..], "\\x1b[1mbold\n\n$ \\x1b]0;t\\x07\n"),
        (&["screen", "sh", "--ansi"], "\x1b[1mbold\x1b[0m\n\n$ \\x1b]0;t\\x07\n"),
    ] {
        let zvctl = farm.following(args);
        let (request, ask, _) = stage.asked();
        assert_eq!(ask, Ask::Screen { address: "sh".parse().unwrap(), ansi: args.len() > 2 });
        stage.answers_all(request, screen(None), b"\x1b[1mbold\n\n$ \x1b]0;t\x07\n");
        assert_eq!(zvctl.end(SOON).ok().out(), printed);
    }
    let zvctl = farm.following(&["screen", "sh", "-o", "json"]);
    let (request, ..) = stage.asked();
    stage.answers_all(request, screen(Some("vi")), b"one\n\n");
    let told: serde_json::Value = serde_json::from_slice(&zvctl.end(SOON).ok().stdout).unwrap();
    let shown = &told["screen"];
    assert_eq!((&shown["size"]["cols"], &shown["cursor"]["row"]), (&80.into(), &1.into()));
    assert_eq!((&shown["rows"], &shown["title"]), (&serde_json::json!(["one", ""]), &"vi".into()));
    assert_eq!(told["nodes"]["answered"], serde_json::json!(["n1"]));
}

#[test]
fn words_and_keys_are_typed_in_their_order() {
    let farm = Farm::empty();
    let stage = Stage::at(farm.dir());
    for (args, text, keys) in [
        (&["a", "b"][..], "a b", &["Enter"][..]),
        (&["ls", "--key", "Tab", "-k", "C-c"], "ls", &["Tab", "C-c"]),
        (&["-k", "F5"], "", &["F5"]),
    ] {
        let zvctl = farm.following(&[&["send", "sh"], args].concat());
        let (request, ask, payload) = stage.asked();
        let Ask::Do { deed, .. } = ask else { panic!("{ask:?}") };
        let keys = keys.iter().map(|key| key.parse().unwrap()).collect();
        assert_eq!((deed, &payload[..]), (Deed::Keys { keys }, text.as_bytes()));
        let done = Answer::Done { id: Id::from_random([1; 16]), name: "sh".parse().unwrap(), outcome: Outcome::Done };
        stage.answers_all(request, done, b"");
        zvctl.end(SOON).ok();
    }
    farm.ctl(&["send", "sh", "-k", "Entr"]).refused(2, &["'Entr' is not a key", "Enter"]);
}

#[test]
fn a_stream_goes_to_the_process_that_took_its_beginning() {
    let farm = Farm::empty();
    let stage = Stage::at(farm.dir());
    std::fs::write(farm.path("bytes"), vec![b'x'; 600_000]).unwrap();
    let mut command = farm.ctl_command(&["send", "sh", "-"]);
    let zvctl = Program::start(command.stdin(std::fs::File::open(farm.path("bytes")).unwrap()));
    let (id, mut sent) = (Id::from_random([1; 16]), 0);
    for to in std::iter::once("sh".to_owned()).chain(std::iter::repeat(id.to_string())) {
        let (request, ask, payload) = stage.asked();
        let Ask::Do { select, .. } = ask else { panic!("{ask:?}") };
        assert_eq!(select.addresses, [to.parse().unwrap()]);
        let done = Answer::Done { id, name: "sh".parse().unwrap(), outcome: Outcome::Done };
        stage.answers_all(request, done, b"");
        sent += payload.len();
        if sent == 600_000 {
            break;
        }
    }
    zvctl.end(SOON).ok();
}

#[test]
fn text_on_pipes_is_waited_for_from_the_beginning_of_the_run() {
    let farm = Farm::new();
    farm.script("talk", "echo early; echo begun > begun; while [ ! -e go ]; do sleep 0.02; done; printf 'late and no end'; exec sleep 60");
    let watched = farm.watch(&["--name", "talk", "sh", "talk"]);
    farm.file_says("begun", "begun");
    farm.ctl(&["wait", "talk", "--text", "^early$"]).ok();
    farm.ctl(&["wait", "talk", "--text", "late", "--timeout", "200ms"]).refused(1, &["talk", "'late'", "200ms"]);
    let waiting = farm.following(&["wait", "talk", "--text", "late and"]);
    farm.script("go", "");
    waiting.end(SOON).ok();
    let never = farm.following(&["wait", "talk", "--text", "never"]);
    farm.ctl(&["stop", "talk"]).ok();
    never.end(SOON).refused(3, &["talk ended and nothing matched 'never'"]);
    watched.end(SOON);
}

#[test]
fn text_is_waited_for_in_the_next_run_where_none_lives() {
    let farm = Farm::new();
    for (name, more, text) in [("pipes", &[][..], "^begun$"), ("terminal", &["--pty"], "(?m)^begun$")] {
        farm.script("later", "echo begun; exec sleep 60");
        let watched = farm.watch(&[&["--name", name][..], more].concat());
        farm.reaches(name, "WAITING");
        let waiting = farm.following(&["wait", name, "--text", text]);
        let none = farm.following(&["wait", name, "--text", "never"]);
        farm.ctl(&["wait", name, "--text", text, "--timeout", "300ms"]).refused(1, &["300ms"]);
        farm.ctl(&["start", name, "--", "sh", "later"]).ok();
        waiting.end(SOON).ok();
        farm.ctl(&["stop", name]).ok();
        none.end(SOON).refused(3, &[&format!("{name} ended and nothing matched 'never'")]);
        watched.end(SOON);
    }
    // Between two runs, of which only the second writes it.
    farm.script("twice", "if [ -e again ]; then echo second; exec sleep 60; fi; echo > again; exit 1");
    let restarted = ["--name", "twice", "--restart", "always", "--backoff", "1s..1s", "sh", "twice"];
    let watched = farm.watch(&restarted);
    farm.reaches("twice", "BACKOFF");
    farm.ctl(&["wait", "twice", "--text", "^second$"]).ok();
    farm.ctl(&["stop", "twice"]).ok();
    watched.end(SOON);
}

#[test]
fn text_of_a_terminal_is_waited_for_over_a_restart_of_the_zerovisor() {
    let farm = Farm::new();
    farm.script("talk", "echo early; while [ ! -e go ]; do sleep 0.02; done; echo late; exec sleep 60");
    let watched = farm.watch(&["--pty", "--name", "talk", "sh", "talk"]);
    farm.reaches("talk", "RUNNING");
    let waiting = farm.following(&["wait", "talk", "--text", "late"]);
    farm.ctl(&["wait", "talk", "--text", "early"]).ok();
    let watcher = Pid::from_raw(children_of(watched.pid)[0]);
    kill(watcher, Signal::SIGSTOP).unwrap();
    farm.kill_node();
    farm.start_node(&[]);
    farm.reaches("talk", "UNREACHABLE");
    farm.ctl(&["wait", "talk", "--text", "late", "--timeout", "500ms"]).refused(1, &["after 500ms"]);
    kill(watcher, Signal::SIGCONT).unwrap();
    farm.script("go", "");
    waiting.end(SOON).ok();
    farm.ctl(&["stop", "talk"]).ok();
    watched.end(SOON);
}

#[test]
fn top_draws_in_place_and_gives_the_terminal_back() {
    let farm = Farm::new();
    let watched = farm.watch(&["--name", "web", "sleep", "60"]);
    farm.reaches("web", "RUNNING");
    let mut terminal = Terminal::new(100, 10);
    let top = terminal.run(&farm.ctl_command(&["top", "-d", "0.1"]));
    for _ in 0..3 {
        let frame = terminal.shows(b"web");
        assert!(!frame.contains("\x1b[2J"), "nothing is cleared before it is drawn over: {frame:?}");
    }
    assert!(!terminal.is_itself());
    // A zerovisor that is away is no table of the present; one that is back makes the next.
    farm.kill_node();
    terminal.shows(b"link lost, trying again");
    farm.start_node(&[]);
    terminal.shows(b"\x1b[?2026l");
    while terminal.shows(b"\x1b[?2026l").contains("link lost") {}
    // More keys that mean nothing than a terminal holds at once, and the one that does.
    for _ in 0..10 {
        terminal.types(&[b'x'; 500]);
    }
    terminal.types(b"q");
    assert_eq!(top.end(SOON).code(), 0);
    terminal.shows(b"\x1b[?25h\x1b[?1049l");
    assert!(terminal.is_itself());
    let batch = farm.ctl(&["top", "-b", "-n", "2", "-d", "0.1"]).ok();
    assert_eq!(batch.out().matches("COMMAND").count(), 2, "{}", batch.out());
    let lines = farm.jsonl(&["top", "-n", "1"]);
    assert_eq!(lines[0]["processes"][0]["name"], "web");
    farm.ctl(&["stop", "web"]).ok();
    watched.end(SOON);
}
