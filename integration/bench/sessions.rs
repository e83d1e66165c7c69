//! One program in a terminal of each kind, ready to be attached to: ours and the peers'.

use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::rig::{Rig, ZVCTL, ZVWATCH, wait_until};

/// Who holds the terminal of the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Nobody: the program stands in the user's terminal itself.
    Bare,
    Dtach,
    Tmux,
    /// `zvctl attach` through a zerovisor.
    Attach,
    /// `zvwatch --pty -it`.
    Front,
}

/// A program with a terminal, and the client that shows it.
pub(crate) struct Session {
    kind: Kind,
    dir: TempDir,
    rig: Option<Rig>,
    program: [String; 3],
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Bare => "bare pty",
            Kind::Dtach => "dtach -a",
            Kind::Tmux => "tmux attach",
            Kind::Attach => "zvctl attach",
            Kind::Front => "zvwatch --pty -it",
        }
    }

    /// What has to be installed for it.
    pub(crate) fn needs(self) -> Option<&'static str> {
        match self {
            Kind::Dtach => Some("dtach"),
            Kind::Tmux => Some("tmux"),
            Kind::Bare | Kind::Attach | Kind::Front => None,
        }
    }
}

impl Session {
    /// Starts a shell script that writes its pid to the file `pid` of its directory once it is ready. Where the client starts the program,
    /// that is still to come.
    pub(crate) fn start(kind: Kind, script: &str) -> Session {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let script = format!("cd {} && {script}", dir.path().display());
        let program = ["sh".to_owned(), "-c".to_owned(), script];
        let rig = matches!(kind, Kind::Attach | Kind::Front).then(|| Rig::start(&["--log", "none"]));
        let session = Session { kind, dir, rig, program };
        match kind {
            Kind::Bare | Kind::Front => {}
            Kind::Dtach => run(session.command("dtach", &["-n", "socket", "-r", "none"]).args(&session.program)),
            Kind::Tmux => {
                let size = ["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", "-s", "bench"];
                run(session.tmux(&size).args(&session.program));
                run(session.tmux(&["set", "-g", "status", "off"]).stdout(Stdio::null()));
            }
            Kind::Attach => run(session.rig().watch(&["--pty", "--name", "bench", "-d"]).args(&session.program)),
        }
        if !matches!(kind, Kind::Bare | Kind::Front) {
            session.wait_ready();
        }
        session
    }

    /// The client to put into a user's terminal.
    pub(crate) fn client(&self) -> Command {
        let mut command = match self.kind {
            Kind::Bare => self.command(&self.program[0], &[]),
            Kind::Dtach => self.command("dtach", &["-a", "socket", "-E", "-r", "none"]),
            Kind::Tmux => self.tmux(&["attach"]),
            Kind::Attach => self.rig().command(ZVCTL, &["attach", "bench"]),
            Kind::Front => self.rig().command(ZVWATCH, &["--pty", "-it", "--name", "bench"]),
        };
        match self.kind {
            Kind::Bare => command.args(&self.program[1..]),
            Kind::Front => command.args(&self.program),
            Kind::Dtach | Kind::Tmux | Kind::Attach => &mut command,
        };
        command
    }

    /// Waits until the program is ready.
    pub(crate) fn wait_ready(&self) {
        wait_until("the program is ready", || self.pid().is_some());
    }

    /// What the holder of the terminal believes it to show.
    pub(crate) fn screen(&self) -> String {
        let mut command = match self.kind {
            Kind::Tmux => self.tmux(&["capture-pane", "-p", "-t", "bench"]),
            Kind::Attach => self.rig().command(ZVCTL, &["screen", "bench"]),
            Kind::Bare | Kind::Dtach | Kind::Front => panic!("{} keeps no screen that it shows", self.kind.name()),
        };
        let output = command.stdout(Stdio::piped()).output().expect("the screen is told");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The pid of the program, once it is ready.
    pub(crate) fn pid(&self) -> Option<i32> {
        std::fs::read_to_string(self.dir.path().join("pid")).ok()?.trim().parse().ok()
    }

    fn rig(&self) -> &Rig {
        self.rig.as_ref().expect("our sessions have a zerovisor")
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        command_in(self.dir.path(), program, arguments)
    }

    fn tmux(&self, arguments: &[&str]) -> Command {
        let mut command = self.command("tmux", &["-S", "socket"]);
        command.args(arguments);
        command
    }
}

fn command_in(dir: &Path, program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(dir).env_remove("TMUX").env("TERM", "xterm-256color");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn run(command: &mut Command) {
    let status = command.status().expect("the program of the session starts");
    assert!(status.success(), "{command:?}: {status}");
}

/// Ends the program; who held its terminal ends with it.
impl Drop for Session {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            let pid = Pid::from_raw(pid);
            let _ = kill(pid, Signal::SIGKILL);
            wait_until("the program has ended", || kill(pid, None).is_err());
        }
        if self.kind == Kind::Tmux {
            let _ = self.tmux(&["kill-server"]).status();
        }
        if let Some(rig) = &self.rig {
            let _ = rig.ctl(&["rm", "-f", "bench"]).status();
        }
    }
}
