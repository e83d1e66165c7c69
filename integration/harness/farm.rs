//! A farm: a directory with a zerovisor, watchers and clients, of which nothing is left at its end.

use std::cell::{Cell, RefCell};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::node::Node;
use super::procs::{kill_members, members};
use super::run::{Ended, Program};
use super::wait::{SOON, until};

/// Where each zvwatch gets a cgroup apart, as `systemd-run --scope -p Delegate=yes` gives it; none: it shares that of the tests.
const SCOPES: &str = "ZV_TEST_SCOPES";
/// Becomes the command behind the first argument, in a new cgroup below that.
const IN_A_SCOPE: &str = r#"mkdir "$1/scope-$$" && echo 0 > "$1/scope-$$/cgroup.procs" && shift && exec "$@""#;

/// Becomes the command behind the first argument, in that cgroup.
const IN_A_CGROUP: &str = r#"echo 0 > "$1/cgroup.procs" && shift && exec "$@""#;

/// A directory of its own, and what runs in it.
pub(crate) struct Farm {
    dir: TempDir,
    node: RefCell<Option<Node>>,
    kept_on_failure: Cell<bool>,
}

impl Farm {
    /// One whose zerovisor serves at the default endpoint.
    pub(crate) fn new() -> Farm {
        let farm = Farm::empty();
        farm.start_node(&[]);
        farm
    }

    /// One without a zerovisor.
    pub(crate) fn empty() -> Farm {
        let dir = tempfile::Builder::new().prefix("zv").tempdir().unwrap();
        Farm { dir, node: RefCell::new(None), kept_on_failure: Cell::new(false) }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// Its directory stays when the story fails.
    pub(crate) fn kept_on_failure(&self) {
        self.kept_on_failure.set(true);
    }

    /// What a file holds; nothing while there is none.
    pub(crate) fn text(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(name)).unwrap_or_default()).into_owned()
    }

    /// Writes a shell script for children to run, so that no word of it stands in any watcher's arguments.
    pub(crate) fn script(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    // --- the zerovisor

    pub(crate) fn start_node(&self, args: &[&str]) {
        let node = Node::start(self.dir(), args);
        *self.node.borrow_mut() = Some(node);
    }

    /// Starts a zerovisor and does not wait until it serves.
    pub(crate) fn launch_node(&self, args: &[&str]) {
        *self.node.borrow_mut() = Some(Node::launch(self.dir(), args));
    }

    /// kill -9, and nothing else.
    pub(crate) fn kill_node(&self) {
        self.node.take().expect("a zerovisor").kill();
    }

    pub(crate) fn end_node(&self, signal: Signal) -> Ended {
        self.node.take().expect("a zerovisor").end_by(signal)
    }

    pub(crate) fn has_node(&self) -> bool {
        self.node.borrow().is_some()
    }

    pub(crate) fn node_pid(&self) -> i32 {
        self.node.borrow().as_ref().expect("a zerovisor").pid()
    }

    pub(crate) fn node_said(&self) -> String {
        self.node.borrow().as_ref().expect("a zerovisor").said()
    }

    /// Runs a zerovisor that is expected not to start.
    pub(crate) fn zerovisor(&self, args: &[&str]) -> Ended {
        let mut command = Program::command(env!("CARGO_BIN_EXE_zerovisor"), self.dir());
        Program::start(command.args(args)).end(SOON)
    }

    // --- watchers

    pub(crate) fn watch_command(&self, args: &[&str]) -> Command {
        let zvwatch = env!("CARGO_BIN_EXE_zvwatch");
        let mut command = match std::env::var_os(SCOPES) {
            Some(scopes) => {
                let mut command = Program::command("sh", self.dir());
                command.args(["-c", IN_A_SCOPE, "sh"]).arg(scopes).arg(zvwatch);
                command
            }
            None => Program::command(zvwatch, self.dir()),
        };
        command.args(args);
        command
    }

    /// Starts zvwatch and returns at once.
    pub(crate) fn watch(&self, args: &[&str]) -> Program {
        Program::start(&mut self.watch_command(args))
    }

    /// Runs zvwatch to its end; with `-d` that is the start of its child.
    pub(crate) fn watched(&self, args: &[&str]) -> Ended {
        if args.contains(&"-d") {
            return self.put_to_the_background(self.watch_command(args));
        }
        self.watch(args).end(SOON)
    }

    /// Runs a detached zvwatch in the home of another, whose `/proc/PID/cgroup` this was.
    pub(crate) fn watched_beside(&self, cgroup: &str, args: &[&str]) -> Ended {
        let path = cgroup.lines().find_map(|line| line.strip_prefix("0::"));
        let (Some(_), Some(path)) = (std::env::var_os(SCOPES), path) else { return self.watched(args) };
        let mut command = Program::command("sh", self.dir());
        let dir = Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/'));
        command.args(["-c", IN_A_CGROUP, "sh"]).arg(dir).arg(env!("CARGO_BIN_EXE_zvwatch")).args(args);
        self.put_to_the_background(command)
    }

    /// What goes to the background must not hold our pipes open.
    fn put_to_the_background(&self, mut command: Command) -> Ended {
        let errors = self.path(&format!("zvwatch.err.{}", fs::read_dir(self.dir()).unwrap().count()));
        let stderr = fs::File::create(&errors).unwrap();
        let mut ended = Program::start_as_is(command.stdout(Stdio::null()).stderr(stderr)).end(SOON);
        ended.stderr = fs::read(&errors).unwrap();
        ended
    }

    // --- clients

    pub(crate) fn ctl_command(&self, args: &[&str]) -> Command {
        let mut command = Program::command(env!("CARGO_BIN_EXE_zvctl"), self.dir());
        command.args(args);
        command
    }

    /// Starts zvctl and returns at once, for verbs that follow.
    pub(crate) fn following(&self, args: &[&str]) -> Program {
        Program::start(&mut self.ctl_command(args))
    }

    /// Runs zvctl to its end.
    pub(crate) fn ctl(&self, args: &[&str]) -> Ended {
        self.ctl_within(args, SOON)
    }

    pub(crate) fn ctl_within(&self, args: &[&str], within: Duration) -> Ended {
        self.following(args).end(within)
    }

    /// What a verb answers with `-o json`.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let ended = self.ctl(&[args, &["-o", "json"]].concat()).ok();
        serde_json::from_slice(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.out()))
    }

    /// What a verb answers with `-o jsonl`, a row a line.
    pub(crate) fn jsonl(&self, args: &[&str]) -> Vec<Value> {
        let ended = self.ctl(&[args, &["-o", "jsonl"]].concat()).ok();
        ended.out().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Every row of `ps -a` with this name.
    pub(crate) fn rows(&self, name: &str) -> Vec<Value> {
        let all = self.json(&["ps", "-a"]);
        all["processes"].as_array().unwrap().iter().filter(|row| row["name"] == name).cloned().collect()
    }

    /// The one row with this name.
    pub(crate) fn row(&self, name: &str) -> Value {
        let rows = self.rows(name);
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows[0].clone()
    }

    /// Waits until the one process of this name is in a state; returns its row.
    pub(crate) fn reaches(&self, name: &str, state: &str) -> Value {
        let mut last = Value::Null;
        let deadline = std::time::Instant::now() + SOON;
        loop {
            if let Some(row) = self.rows(name).into_iter().next() {
                if row["state"] == state {
                    return row;
                }
                last = row;
            }
            assert!(std::time::Instant::now() < deadline, "{name} never {state}: {last}");
        }
    }

    /// What a process wrote, byte for byte.
    pub(crate) fn raw(&self, args: &[&str]) -> Vec<u8> {
        self.ctl_within(&[&["logs", "--raw"], args].concat(), super::wait::LONG).ok().stdout
    }

    /// What a process wrote so far, as text, once it has this in it.
    pub(crate) fn wrote(&self, name: &str, text: &str) -> String {
        until(&format!("{name} wrote {text:?}"), SOON, || {
            let ended = self.ctl(&["logs", name]);
            ended.out().contains(text).then(|| ended.out())
        })
    }

    /// The names of the events of a process, in order.
    pub(crate) fn events(&self, name: &str) -> Vec<String> {
        let told = self.jsonl(&["events", name]);
        told.iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect()
    }

    /// The events of a process with this name.
    pub(crate) fn told(&self, process: &str, event: &str) -> Vec<Value> {
        self.jsonl(&["events", process]).into_iter().filter(|told| told["event"] == event).collect()
    }

    /// Waits until a file of the farm holds this; returns all of it.
    pub(crate) fn file_says(&self, name: &str, text: &str) -> String {
        until(&format!("{name} says {text:?}: {}", self.text(name)), SOON, || {
            let whole = self.text(name);
            whole.contains(text).then_some(whole)
        })
    }

    /// Everything of this farm that lives.
    pub(crate) fn members(&self) -> Vec<i32> {
        members(self.dir())
    }
}

impl Drop for Farm {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(node) = self.node.borrow().as_ref()
        {
            eprintln!("--- the zerovisor said:\n{}", node.said());
        }
        kill_members(self.dir());
        if std::thread::panicking() && self.kept_on_failure.get() {
            eprintln!("--- what it left is in {}", self.dir().display());
            self.dir.disable_cleanup(true);
        }
    }
}
