//! `zvwatch --pty -it`: the user's terminal is the program's, until it ends or the user leaves.

use nix::sys::signal::Signal;

use crate::harness::{Farm, SOON, Terminal, Tmux, alive, live_with_argument, parent_of, until};

/// A terminal, or the end of the story where there is no tmux to be one.
macro_rules! terminal {
    ($farm:expr) => {
        match Tmux::start(&$farm) {
            Some(tmux) => tmux,
            None => skip!("tmux is not installed, which stands for the user's terminal here"),
        }
    };
}

fn signal(pid: i32, signal: Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
}

fn gone(what: &str, pid: i32) {
    until(&format!("{what} is gone"), SOON, || (!alive(pid)).then_some(()));
}

#[test]
fn keys_signals_jobs_and_sizes_are_the_programs() {
    let farm = Farm::new();
    let user = terminal!(farm);
    user.runs("PROMPT_COMMAND= PS1='in> ' zvwatch --pty -it --name sh bash --norc --noprofile");
    user.sees_row("in>");
    user.line("echo $((6*7))");
    user.sees_row("42");
    user.line("sleep 1000.31");
    until("it sleeps", SOON, || live_with_argument("1000.31").first().copied());
    user.press(&["C-z"]);
    user.sees("Stopped");
    user.line("jobs; fg");
    user.sees_that("the job is listed twice", |screen| screen.matches("Stopped").count() == 2);
    user.press(&["C-c"]);
    until("Ctrl-C ended it", SOON, || live_with_argument("1000.31").is_empty().then_some(()));
    user.line("clear; stty size");
    user.sees_row("24 80");
    user.resize(100, 30);
    until("the size is the program's", SOON, || {
        user.line("clear; stty size");
        user.screen().lines().any(|row| row == "30 100").then_some(())
    });
    user.line("exit 7");
    user.status(7);
    assert_eq!(farm.row("sh")["exit"]["code"], 7);
    let resized = farm.jsonl(&["events", "sh"]);
    assert!(resized.iter().any(|event| event["event"] == "resized"), "{resized:?}");
}

#[test]
fn the_status_is_the_programs() {
    let farm = Farm::new();
    let user = terminal!(farm);
    for (command, status) in [("sh -c 'exit 7'", 7), ("sh -c 'kill -KILL $$'", 137), ("no-such-program", 127)] {
        user.runs(&format!("clear; zvwatch --pty -it {command}"));
        user.status(status);
    }
}

#[test]
fn what_stood_on_the_screen_stays_and_output_begins_below() {
    let farm = Farm::new();
    let user = terminal!(farm);
    user.runs("echo above");
    user.status(0);
    user.runs("zvwatch --pty -it echo below");
    user.sees_row("below");
    user.status(0);
    let screen = user.sees_that("the shell prompts again", |screen| screen.ends_with("below\nuser$"));
    let rows: Vec<&str> = screen.lines().collect();
    let expected = ["user$ echo above", "above", "user$ zvwatch --pty -it echo below", "below", "user$"];
    assert_eq!(rows[..5], expected, "{screen}");
}

#[test]
fn the_detach_keys_return_to_the_shell_and_the_process_lives() {
    let farm = Farm::new();
    let user = terminal!(farm);
    let before = user.settings("before");
    user.runs("zvwatch --pty -it --name stays sh -c 'echo up; exec sleep 1000.32'");
    user.sees_row("up");
    user.detach();
    user.sees("[stays goes on; zvctl attach stays returns to it]");
    user.status(0);
    assert_eq!(user.settings("after"), before);
    assert_eq!(farm.reaches("stays", "RUNNING")["exit"], serde_json::Value::Null);
    farm.ctl(&["stop", "stays"]).ok();
    assert!(live_with_argument("1000.32").is_empty());
}

#[test]
fn one_can_leave_without_a_zerovisor_and_one_that_comes_later_knows_the_process() {
    let farm = Farm::empty();
    let user = terminal!(farm);
    user.runs("zvwatch --pty -it --name stays sh -c 'echo up; exec sleep 1000.33'");
    user.sees_row("up");
    user.detach();
    user.sees("stays goes on");
    user.status(0);
    farm.start_node(&[]);
    farm.reaches("stays", "RUNNING");
    farm.ctl(&["rm", "-f", "stays"]).ok();
    until("nothing is left", SOON, || live_with_argument("1000.33").is_empty().then_some(()));
}

#[test]
fn leaving_an_alternate_screen_shows_the_shells_again() {
    let farm = Farm::new();
    let user = terminal!(farm);
    std::fs::write(farm.path("text"), "the text\n".repeat(100)).unwrap();
    for (name, program) in [("v", "vim -u NONE -N text"), ("l", "less text")] {
        if !std::path::Path::new("/usr/bin").join(program.split(' ').next().unwrap()).exists() {
            skip!("{program} is not installed");
        }
        user.runs(&format!("clear; echo shell; zvwatch --pty -it --name {name} {program}"));
        user.sees_that("the text fills the screen", |screen| screen.matches("the text").count() > 20);
        user.detach();
        let screen = user.sees("goes on");
        let rows: Vec<&str> = screen.lines().collect();
        assert_eq!(rows[0], "shell", "{screen}");
        assert!(!screen.contains("the text"), "{screen}");
        user.status(0);
        farm.ctl(&["rm", "-f", name]).ok();
    }
}

#[test]
fn whatever_ends_the_front_ends_the_process_and_gives_the_terminal_back() {
    let farm = Farm::new();
    let user = terminal!(farm);
    let before = user.settings("before");
    for (number, told) in [(1, Signal::SIGTERM), (2, Signal::SIGHUP), (3, Signal::SIGINT)] {
        let mark = format!("1000.34{number}");
        user.runs(&format!("clear; zvwatch --pty -it sh -c 'stty raw -echo; echo up{number}; exec sleep {mark}'"));
        user.sees_row(&format!("up{number}"));
        signal(user.front(), told);
        user.status(143);
        assert!(live_with_argument(&mark).is_empty());
        assert_eq!(user.settings(&format!("after{number}")), before);
    }
}

#[test]
fn closing_the_window_is_one_interrupt_and_the_end_is_recorded() {
    let farm = Farm::new();
    let user = terminal!(farm);
    // It needs a while to end in order, in which a second interrupt would kill it.
    let program = "trap 'touch told; sleep 0.5; exit 9' HUP TERM; echo up; while :; do sleep 0.05; done";
    user.runs(&format!("zvwatch --pty -it --name closed sh -c \"{program}\""));
    user.sees_row("up");
    let front = user.front();
    user.closes();
    until("the program was told", SOON, || farm.path("told").exists().then_some(()));
    // As a shell does to its jobs, soon after the terminal has gone or late.
    signal(front, Signal::SIGHUP);
    let exit = &farm.reaches("closed", "STOPPED")["exit"];
    assert_eq!(exit["code"], 9, "{exit}");
}

#[test]
fn kill_9_of_the_front_stops_the_process_and_nothing_stays() {
    let farm = Farm::new();
    let user = terminal!(farm);
    user.runs("zvwatch --pty -it --name shot sh -c 'echo up; exec sleep 1000.35'");
    user.sees_row("up");
    let front = user.front();
    let watcher = parent_of(live_with_argument("1000.35")[0]).unwrap();
    signal(front, Signal::SIGKILL);
    gone("the watcher", watcher);
    assert!(live_with_argument("1000.35").is_empty());
    assert_eq!(farm.reaches("shot", "STOPPED")["exit"]["signal"], 15);
}

#[test]
fn kill_9_of_the_front_is_noticed_while_the_program_reads_nothing() {
    let farm = Farm::new();
    let user = terminal!(farm);
    user.runs("zvwatch --pty -it --name deaf sh -c 'stty raw -echo; echo up; exec sleep 1000.36'");
    user.sees_row("up");
    std::fs::write(farm.path("paste"), "x".repeat(300_000)).unwrap();
    user.paste("paste");
    let front = user.front();
    signal(front, Signal::SIGKILL);
    until("it was stopped", SOON, || live_with_argument("1000.36").is_empty().then_some(()));
    farm.reaches("deaf", "STOPPED");
}

#[test]
fn the_watchers_death_gives_the_terminal_back() {
    let farm = Farm::new();
    let user = terminal!(farm);
    let before = user.settings("before");
    user.runs("zvwatch --pty -it sh -c 'stty raw -echo; echo up; exec sleep 1000.37'");
    user.sees_row("up");
    signal(parent_of(live_with_argument("1000.37")[0]).unwrap(), Signal::SIGKILL);
    user.sees("the watcher died");
    user.status(125);
    assert!(live_with_argument("1000.37").is_empty());
    assert_eq!(user.settings("after"), before);
}

#[test]
fn the_last_of_much_output_is_shown_however_slow_the_terminal() {
    let farm = Farm::new();
    let user = terminal!(farm);
    user.runs("clear; zvwatch --pty -it --name much sh -c 'seq 1 2000000; echo the end'");
    let screen = user.sees_row("the end");
    assert!(screen.lines().any(|row| row == "2000000"), "{screen}");
    user.status(0);
    assert!(farm.raw(&["much", "-n", "1"]).ends_with(b"the end\r\n"));
}

/// As behind Ctrl-S, or in a window that is stopped.
#[test]
fn a_terminal_that_takes_nothing_holds_nobody_when_the_program_has_ended() {
    let farm = Farm::new();
    let terminal = Terminal::new(80, 24);
    let script = "seq 1 200000; exit 3";
    let watched = terminal.run(&farm.watch_command(&["--pty", "-it", "--name", "unseen", "sh", "-c", script]));
    assert_eq!(watched.end(SOON * 2).code(), 3);
    assert!(terminal.is_itself());
    assert!(farm.raw(&["unseen", "-n", "1"]).ends_with(b"200000\r\n"));
}

#[test]
fn runs_follow_each_other_on_the_same_terminal() {
    let farm = Farm::new();
    let user = terminal!(farm);
    // Each run leaves the alternate screen shown, and the next one begins on the main one.
    let run = "printf \"run $ZV_RUN\\n\\033[?1049h\"; exit 9";
    user.runs(&format!("clear; zvwatch --pty -it --restart on-failure:2 --backoff 0..0 sh -c '{run}'"));
    user.status(9);
    let screen = user.screen();
    let runs: Vec<&str> = screen.lines().filter(|row| row.starts_with("run ")).collect();
    assert_eq!(runs, ["run 1", "run 2", "run 3"], "{screen}");
}

#[test]
fn an_operator_ends_it_and_the_terminal_is_given_back() {
    let farm = Farm::new();
    let user = terminal!(farm);
    let before = user.settings("before");
    for (number, verb, status) in [(1, &["stop"][..], 143), (2, &["rm", "-f"], 137)] {
        let name = format!("op{number}");
        user.runs(&format!(
            "clear; zvwatch --pty -it --name {name} sh -c 'stty raw -echo; echo up{number}; exec sleep 1d'"
        ));
        user.sees_row(&format!("up{number}"));
        farm.ctl(&[verb, &[&name]].concat()).ok();
        user.status(status);
        assert_eq!(user.settings(&format!("after{number}")), before);
    }
}

#[test]
fn a_console_without_a_command_shows_the_one_that_is_given_later() {
    let farm = Farm::new();
    let user = terminal!(farm);
    user.runs("clear; zvwatch --pty -it --name later");
    farm.reaches("later", "WAITING");
    farm.ctl(&["start", "later", "--", "sh", "-c", "tty; read line; echo got $line"]).ok();
    user.sees("/dev/pts/");
    user.line("typed");
    user.sees_row("got typed");
    user.status(0);
}

#[test]
fn a_console_works_without_a_screen() {
    let farm = Farm::new();
    let user = terminal!(farm);
    user.runs("clear; zvwatch --pty -it --screen off --name blind sh -c 'read line; echo got $line; read line'");
    user.line("typed");
    user.sees_row("got typed");
    user.resize(90, 20);
    user.press(&["Enter"]);
    user.status(0);
}

#[test]
fn an_interrupt_before_the_start_is_the_end_and_nothing_is_started() {
    let farm = Farm::empty();
    let user = terminal!(farm);
    // Something that listens and never answers: the start waits for it.
    let silent = std::os::unix::net::UnixListener::bind(farm.path("zerovisor.sock")).unwrap();
    user.runs("zvwatch --pty -it touch started");
    let front = user.front();
    let guard = until("the family is there", SOON, || crate::harness::children_of(front).first().copied());
    user.press(&["C-c"]);
    user.status(130);
    gone("the guard", guard);
    assert!(!farm.path("started").exists());
    drop(silent);
}
