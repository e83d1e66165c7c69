//! A user at a terminal: a shell in a tmux of its own, keys and the screen.

use std::cell::Cell;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::farm::Farm;
use super::procs::children_of;
use super::run::Program;
use super::wait::{SOON, until};

/// The prompt of the user's shell.
const PROMPT: &str = "user$ ";

/// A terminal of 80 columns and 24 rows in which a shell runs, in the directory of a farm. It is a member of the farm and ends with it.
pub(crate) struct Tmux {
    dir: PathBuf,
    /// How many commands had ended when the last one was run.
    ended: Cell<usize>,
}

impl Tmux {
    /// Starts it; none where there is no tmux.
    pub(crate) fn start(farm: &Farm) -> Option<Tmux> {
        let tmux = Tmux { dir: farm.dir().to_owned(), ended: Cell::new(0) };
        if tmux.command().arg("-V").stdout(Stdio::null()).status().is_err() {
            return None;
        }
        let bin = PathBuf::from(env!("CARGO_BIN_EXE_zvwatch")).parent().unwrap().to_owned();
        let shell = format!(
            "PATH={}:$PATH PS1='{PROMPT}' PROMPT_COMMAND='echo $? >>statuses' exec bash --norc --noprofile",
            bin.display()
        );
        let new = ["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", &shell];
        assert!(tmux.command().args(new).status().unwrap().success(), "tmux starts");
        tmux.sees(PROMPT.trim_end());
        Some(tmux)
    }

    fn command(&self) -> Command {
        let mut command = Program::command("tmux", &self.dir);
        command.arg("-S").arg(self.dir.join("tmux"));
        command
    }

    fn run(&self, args: &[&str]) -> Vec<u8> {
        let output = self.command().args(args).output().unwrap();
        assert!(output.status.success(), "tmux {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Presses keys, by tmux's names of them: `C-c`, `Enter`.
    pub(crate) fn press(&self, keys: &[&str]) {
        self.run(&[&["send-keys"], keys].concat());
    }

    /// Types a line and presses Enter.
    pub(crate) fn line(&self, text: &str) {
        self.run(&["send-keys", "-l", "--", text]);
        self.press(&["Enter"]);
    }

    /// Pastes a file of the directory.
    pub(crate) fn paste(&self, file: &str) {
        self.run(&["load-buffer", file]);
        self.run(&["paste-buffer"]);
    }

    /// Presses the detach keys.
    pub(crate) fn detach(&self) {
        self.press(&["C-]", "C-]", "C-]"]);
    }

    pub(crate) fn resize(&self, cols: u16, rows: u16) {
        self.run(&["resize-window", "-x", &cols.to_string(), "-y", &rows.to_string()]);
    }

    /// The window is closed, with all that runs in it.
    pub(crate) fn closes(&self) {
        self.run(&["kill-pane"]);
    }

    /// The rows of the screen, those below the last that has something in it left out.
    pub(crate) fn screen(&self) -> String {
        String::from_utf8_lossy(&self.run(&["capture-pane", "-p"])).trim_end().to_owned()
    }

    /// Waits until the screen has this in it; returns the screen.
    pub(crate) fn sees(&self, text: &str) -> String {
        self.sees_that(&format!("{text:?} is shown"), |screen| screen.contains(text))
    }

    /// Waits until a row is exactly this, as the echo of a command that prints it is not.
    pub(crate) fn sees_row(&self, row: &str) -> String {
        self.sees_that(&format!("a row is {row:?}"), |screen| screen.lines().any(|line| line == row))
    }

    /// Waits until the screen is as it should be; returns it.
    pub(crate) fn sees_that(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let last = std::cell::RefCell::new(String::new());
        let told = Told(&last);
        let screen = until(what, SOON, || {
            let screen = self.screen();
            let so = is_so(&screen);
            last.replace(screen.clone());
            so.then_some(screen)
        });
        std::mem::forget(told);
        screen
    }

    /// Types a command of which [`Tmux::status`] is to be seen.
    pub(crate) fn runs(&self, command: &str) {
        self.ended.set(self.statuses().len());
        self.line(command);
    }

    /// Waits until the command that was run has ended with this status, and the shell has the terminal: what is typed before is thrown away
    /// with the program's raw mode.
    pub(crate) fn status(&self, expected: i32) {
        let statuses = until("the shell prompts", SOON, || {
            Some(self.statuses()).filter(|statuses| statuses.len() > self.ended.get())
        });
        assert_eq!(statuses[self.ended.get()], expected.to_string(), "the screen shows:\n{}", self.screen());
    }

    /// The status of every command so far, as the shell writes it down before each prompt.
    fn statuses(&self) -> Vec<String> {
        fs::read_to_string(self.dir.join("statuses")).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// The settings of the terminal, as the shell's commands find them.
    pub(crate) fn settings(&self, name: &str) -> String {
        self.runs(&format!("stty -a >{name}"));
        self.status(0);
        fs::read_to_string(self.dir.join(name)).unwrap()
    }

    /// The pid of the front of the zvwatch that the shell runs.
    pub(crate) fn front(&self) -> i32 {
        let shell =
            String::from_utf8_lossy(&self.run(&["display-message", "-p", "#{pane_pid}"])).trim().parse().unwrap();
        until("the shell runs zvwatch", SOON, || children_of(shell).first().copied())
    }
}

/// Shows the last screen where a wait for another fails.
struct Told<'a>(&'a std::cell::RefCell<String>);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        eprintln!("--- the screen shows:\n{}\n---", self.0.borrow());
    }
}
