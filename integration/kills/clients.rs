//! A zerovisor that is killed under a client: the client goes on with the next one, or says in a line that it cannot.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Farm, SOON, Terminal, until};

/// Of the zerovisor that is killed and started again, what a client has said about it.
const TRYING: &str = "trying again until it is back\n";

/// A client that has said that it waits for the zerovisor to come back.
struct Waiting {
    child: Child,
    said: BufReader<std::process::ChildStderr>,
}

impl Waiting {
    /// Kills the zerovisor under a verb, once the verb is under way: `begun` waits for a sign of that.
    fn killed_under(farm: &Farm, verb: &[&str], begun: impl FnOnce()) -> Waiting {
        let mut command = farm.ctl_command(verb);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stderr.take().unwrap());
        begun();
        farm.kill_node();
        let mut waiting = Waiting { child, said };
        let line = waiting.line();
        assert!(line.starts_with("zvctl: the link to the zerovisor at ") && line.ends_with(TRYING), "{line}");
        waiting
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line
    }

    /// Its exit status, and what it said since.
    fn end(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        self.said.read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap().code(), said)
    }
}

/// A stop has been asked for, and has been answered: then it waits. The program was told before its watcher answered, and the answer was
/// sent before anybody could see that it is stopping.
fn asked_to_stop(farm: &Farm) {
    farm.file_says("told", "told");
    farm.reaches("work", "STOPPING");
    farm.ctl(&["ping"]).ok();
}

/// One that ends when there is a file `go`, and says when it is told to stop.
fn reluctant(farm: &Farm) {
    farm.script("reluctant", "trap 'echo told >> told' TERM\nwhile [ ! -e go ]; do sleep 0.02; done\nexit 7\n");
    farm.watched(&["--name", "work", "--stop-timeout", "60s", "-d", "sh", "reluctant"]).ok();
    farm.reaches("work", "RUNNING");
}

#[test]
fn a_wait_goes_on_with_the_next_zerovisor() {
    let farm = Farm::new();
    reluctant(&farm);
    // One whose question had not been asked yet ends with the line of any that finds no zerovisor: then another is started.
    let asked = (0..20).find_map(|_| {
        let mut wait = farm.ctl_command(&["wait", "work"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(wait.stderr.take().unwrap());
        connected(wait.id());
        farm.ctl(&["ping"]).ok();
        farm.kill_node();
        farm.start_node(&[]);
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        if line.ends_with(TRYING) {
            return Some(Waiting { child: wait, said });
        }
        assert!(wait.wait().unwrap().code() == Some(255) && line.contains("zerovisor.sock"), "{line}");
        None
    });
    farm.reaches("work", "RUNNING");
    fs::write(farm.path("go"), "").unwrap();
    assert_eq!(asked.expect("one of twenty had asked").end(), (Some(0), String::new()));
}

#[test]
fn a_stop_that_waits_goes_on_with_the_next_zerovisor() {
    let farm = Farm::new();
    reluctant(&farm);
    let stop = Waiting::killed_under(&farm, &["stop", "work"], || asked_to_stop(&farm));
    farm.start_node(&[]);
    farm.reaches("work", "STOPPING");
    fs::write(farm.path("go"), "").unwrap();
    assert_eq!(stop.end(), (Some(0), String::new()));
    assert_eq!(farm.text("told"), "told\n", "it was told once");
    assert_eq!(farm.row("work")["exit"]["code"], 7);
}

#[test]
fn a_stop_with_a_timeout_says_that_the_zerovisor_has_not_come_back() {
    let farm = Farm::new();
    reluctant(&farm);
    let stop = Waiting::killed_under(&farm, &["--timeout", "3s", "stop", "work"], || asked_to_stop(&farm));
    let (code, said) = stop.end();
    assert!(code == Some(255) && said.lines().count() == 1 && said.contains(" is lost: "), "{code:?} {said}");
}

/// Killed while it is held, with the client waiting for its first word.
#[test]
fn whatever_is_asked_of_a_zerovisor_that_dies_before_it_answers_is_255_and_a_line() {
    let farm = Farm::new();
    reluctant(&farm);
    for verb in [&["ps"][..], &["stop", "work"], &["inspect", "work"], &["signal", "USR1", "work"], &["logs", "work"]] {
        kill(Pid::from_raw(farm.node_pid()), Signal::SIGSTOP).unwrap();
        let asked = farm.following(verb);
        connected(asked.pid.unsigned_abs());
        farm.kill_node();
        asked.end(SOON).refused(255, &["zerovisor.sock"]);
        farm.start_node(&[]);
        farm.reaches("work", "RUNNING");
    }
}

/// Waits until a client has dialled: it has a socket that is connected.
fn connected(client: u32) {
    until("it has dialled", SOON, || {
        let fds = fs::read_dir(format!("/proc/{client}/fd")).ok()?;
        let is_socket = |fd: std::io::Result<fs::DirEntry>| {
            let target = fs::read_link(fd.ok()?.path()).ok()?;
            target.to_str()?.starts_with("socket:").then_some(())
        };
        fds.filter_map(is_socket).next()
    });
}

#[test]
fn an_attached_terminal_goes_on_with_the_next_zerovisor() {
    let farm = Farm::new();
    farm.watched(&["--name", "sh", "--pty", "-d", "env", "PS1=in> ", "sh"]).ok();
    farm.reaches("sh", "RUNNING");
    let mut terminal = Terminal::new(80, 24);
    let attached = terminal.run(&farm.ctl_command(&["attach", "sh"]));
    terminal.types(b"echo $((6*7))\n");
    terminal.shows(b"\n42");
    for n in 1..=3 {
        farm.kill_node();
        terminal.shows(b"trying again for 10s");
        farm.start_node(&[]);
        // What is typed while there is no link is thrown away: so until the picture is there again.
        terminal.shows(b"42");
        terminal.types(format!("echo $((1000+{n}))\n").as_bytes());
        terminal.shows(format!("\n100{n}").as_bytes());
    }
    terminal.types(b"exit 7\n");
    assert_eq!(attached.end(SOON).code(), 7);
    terminal.shows(b"sh ended");
    assert!(terminal.is_itself());
}
