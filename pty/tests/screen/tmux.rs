//! A private tmux server as a real terminal of 80 by 24.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a fact may take to come true on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at it.
const PAUSE: Duration = Duration::from_millis(30);

/// What every pane of the server begins with: no status line, which would take a row, and nothing renamed.
const CONFIG: &str = "set -g status off\nset -g default-terminal xterm-256color\nset -g remain-on-exit on\nset -g allow-rename off\n\
    set -s escape-time 0\nset -g focus-events on\nset -s extended-keys on\nset -g automatic-rename off\n";

/// One server with a directory of its own; both end with it.
pub(crate) struct Tmux {
    dir: TempDir,
}

/// What tmux knows of a pane.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    /// The rows with their attributes, as tmux writes them: what follows the text differs with how it was erased.
    pub(crate) rows: String,
    /// Cursor and modes, named.
    pub(crate) modes: String,
}

/// Says that a story needs a program that is not there, in a line of its own that the harness does not capture.
pub(crate) fn skip(what: &str, program: &str) {
    writeln!(std::io::stderr(), "\nSKIPPED {what}: {program} is not installed").unwrap();
}

impl Tmux {
    /// A server, or none and a line that says so where tmux is not installed.
    pub(crate) fn start(what: &str) -> Option<Tmux> {
        if !is_installed("tmux") {
            skip(what, "tmux");
            return None;
        }
        let tmux = Tmux { dir: TempDir::new().unwrap() };
        fs::write(tmux.path("config"), CONFIG).unwrap();
        tmux.run(["new-session", "-d", "-s", "keep", "-x", "80", "-y", "24", "exec sleep 1000"]);
        Some(tmux)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.path("socket")).arg("-f").arg(self.path("config"));
        command.env_remove("TMUX").env("LC_ALL", "C.UTF-8").env("SHELL", "/bin/sh").current_dir(self.dir.path());
        command.stdin(Stdio::null());
        command
    }

    /// Runs one tmux command and returns what it prints.
    pub(crate) fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> String {
        let output = self.command().args(arguments).output().unwrap();
        assert!(output.status.success(), "tmux: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs `script` by sh in a pane, from the moment on when all it writes is kept in the file that is returned.
    pub(crate) fn record(&self, pane: &str, script: &str) -> PathBuf {
        let (go, raw) = (self.path(&format!("{pane}.go")), self.path(&format!("{pane}.raw")));
        let wait = format!("while [ ! -e {} ]; do sleep 0.02; done; {script}", go.display());
        self.open(pane, &wait);
        self.run(["pipe-pane", "-t", pane, &format!("exec cat > {}", raw.display())]);
        wait_for("the pipe of a pane", || raw.exists());
        fs::write(go, "").unwrap();
        raw
    }

    /// Shows bytes in a pane, as they are.
    pub(crate) fn show(&self, pane: &str, bytes: &[u8]) {
        let (file, done) = (self.path(&format!("{pane}.show")), self.path(&format!("{pane}.done")));
        fs::write(&file, bytes).unwrap();
        let script = format!("stty raw -echo; cat {}; : > {}; exec sleep 1000", file.display(), done.display());
        self.open(pane, &script);
        wait_for("a picture shown", || done.exists());
    }

    fn open(&self, pane: &str, script: &str) {
        self.run(["new-session", "-d", "-s", pane, "-x", "80", "-y", "24", script]);
    }

    /// Closes a pane, so that its name can be used again.
    pub(crate) fn close(&self, pane: &str) {
        self.run(["kill-session", "-t", pane]);
        for file in ["go", "raw", "show", "done"] {
            let _ = fs::remove_file(self.path(&format!("{pane}.{file}")));
        }
    }

    /// The title of a pane.
    pub(crate) fn title(&self, pane: &str) -> String {
        self.run(["display-message", "-p", "-t", pane, "#{pane_title}"])
    }

    pub(crate) fn see(&self, pane: &str) -> Seen {
        Seen {
            rows: self.run(["capture-pane", "-p", "-e", "-N", "-t", pane]),
            modes: self.run(["display-message", "-p", "-t", pane, MODES]),
        }
    }

    /// The primary screen while the alternate one shows.
    pub(crate) fn see_below(&self, pane: &str) -> String {
        self.run(["capture-pane", "-p", "-e", "-a", "-q", "-t", pane])
    }
}

/// Everything tmux tells of a pane's state that a picture is to restore.
const MODES: &str = "cursor #{cursor_x},#{cursor_y} shown #{cursor_flag} shape #{cursor_shape} alternate #{alternate_on} \
    saved #{?alternate_on,#{alternate_saved_x} #{alternate_saved_y},-} insert #{insert_flag} wrap #{wrap_flag} origin #{origin_flag} \
    region #{scroll_region_upper}-#{scroll_region_lower} tabs #{pane_tabs} keys #{keypad_cursor_flag} keypad #{keypad_flag} \
    mouse #{mouse_standard_flag}#{mouse_button_flag}#{mouse_all_flag} utf8 #{mouse_utf8_flag} sgr #{mouse_sgr_flag}";

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = self.command().arg("kill-server").stderr(Stdio::null()).status();
    }
}

/// Whether a program is on the path.
pub(crate) fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory: PathBuf| directory.join(program).is_file())
}

/// Waits until `fact` is true, for [`PATIENCE`] at most.
pub(crate) fn wait_for(what: &str, fact: impl FnMut() -> bool) {
    assert!(is_in_time(fact), "waited in vain for {what}");
}

/// Whether `fact` comes true within [`PATIENCE`].
pub(crate) fn is_in_time(mut fact: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if fact() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(PAUSE);
    }
}

/// The bytes of a file, none where it is not there yet.
pub(crate) fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_default()
}
