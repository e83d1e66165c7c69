//! Why a program could not be started: in one line for a person, as an exit status for a script.

use super::spawn::Candidates;
use std::ffi::OsStr;
use std::fmt;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The longest `#!` line the kernel looks at (`BINPRM_BUF_SIZE`).
const SHEBANG_BYTES: u64 = 256;

/// What was being done when the start failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// Checking the command line and environment, before any process was made.
    Prepare,
    /// Making the pipes.
    Pipe,
    /// Making the process.
    Clone,
    /// Giving it a session.
    Setsid,
    /// Giving it its standard input, output and error.
    Stdio,
    /// Closing every other descriptor.
    Close,
    /// Restoring the limit of open files.
    Limit,
    /// Entering the working directory.
    Chdir,
    /// Resetting the signals.
    Signals,
    /// Tying its life to the watcher's.
    DeathSignal,
    /// Becoming the program.
    Exec,
    /// Opening its terminal.
    Terminal,
    /// Making that its controlling terminal.
    Control,
    /// Entering its cgroup.
    Cgroup,
}

impl Stage {
    const ALL: [Self; 14] = [
        Self::Prepare,
        Self::Pipe,
        Self::Clone,
        Self::Setsid,
        Self::Stdio,
        Self::Close,
        Self::Limit,
        Self::Chdir,
        Self::Signals,
        Self::DeathSignal,
        Self::Exec,
        Self::Terminal,
        Self::Control,
        Self::Cgroup,
    ];

    /// The stage that a child named by its number.
    pub(super) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| *stage as u8 == number)
    }
}

/// Whose fault a failed start is, as shells and `env` tell it by exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// There is no such program: 127.
    NotFound,
    /// There is one, but it cannot be run: 126.
    NotExecutable,
    /// The start failed before it came to that: 125.
    Own,
}

impl Class {
    /// The exit status that tells it.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::NotFound => 127,
            Self::NotExecutable => 126,
            Self::Own => 125,
        }
    }
}

/// What the parent found out about a failure beyond its errno.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Nothing more.
    Errno,
    /// A string for the kernel holds a NUL byte; which one.
    Nul(&'static str),
    /// There is no command at all.
    Empty,
    /// No file of that name in the directories of this PATH.
    NotInPath(String),
    /// No file of that name.
    Missing,
    /// It is a directory.
    Directory,
    /// It has no execute permission, or a directory on the way may not be searched.
    Denied,
    /// It is neither a program of this machine nor has it a `#!` line.
    NoFormat,
    /// The interpreter its `#!` line names is missing or not executable.
    BadInterpreter(PathBuf),
    /// A program whose loader (dynamic linker) is missing.
    NoLoader,
    /// There is no cgroup for it: why.
    NoCgroup(String),
}

/// A failed start. Nothing is left of the child.
#[derive(Clone, Debug, thiserror::Error)]
pub struct SpawnError {
    /// What was being done.
    pub stage: Stage,
    /// What the kernel said.
    pub errno: i32,
    /// On what: the program, or the working directory.
    pub path: PathBuf,
    /// What was found out beyond that.
    pub cause: Cause,
}

impl SpawnError {
    /// A failure of the watcher's own, with no more to say than its errno.
    pub(super) fn own(stage: Stage, source: &std::io::Error, path: &Path) -> Self {
        let errno = source.raw_os_error().unwrap_or(libc::EIO);
        Self { stage, errno, path: path.to_owned(), cause: Cause::Errno }
    }

    /// No cgroup could be had for the program.
    pub(super) fn no_cgroup(path: &Path, why: String) -> Self {
        Self { stage: Stage::Cgroup, errno: libc::EIO, path: path.to_owned(), cause: Cause::NoCgroup(why) }
    }

    /// Whose fault it is.
    pub fn class(&self) -> Class {
        if self.stage != Stage::Exec {
            return Class::Own;
        }
        match (&self.cause, self.errno) {
            (Cause::NotInPath(_) | Cause::Missing, _) => Class::NotFound,
            // The machine's state, not the program's.
            (_, libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE | libc::EIO) => Class::Own,
            _ => Class::NotExecutable,
        }
    }

    /// A failed exec, looked into: the kernel says ENOENT alike for a missing program, interpreter and loader.
    /// `tried` is the candidate that counted, if one did.
    pub(super) fn exec(errno: i32, tried: Option<usize>, candidates: &Candidates, cwd: Option<&Path>) -> Self {
        let from_cwd = |path: &Path| cwd.map_or_else(|| path.to_owned(), |cwd| cwd.join(path));
        let present = candidates.paths().find(|path| from_cwd(path).symlink_metadata().is_ok());
        let chosen = tried.and_then(|n| candidates.paths().nth(n)).or(present);
        let missing = || match &candidates.search {
            Some(path) => Cause::NotInPath(path.to_string_lossy().into_owned()),
            None => Cause::Missing,
        };
        let cause = match chosen {
            Some(path) => examine(&from_cwd(path), errno, &from_cwd).unwrap_or_else(missing),
            None => missing(),
        };
        let path = chosen.map_or_else(|| PathBuf::from(&candidates.name), Path::to_owned);
        Self { stage: Stage::Exec, errno, path, cause }
    }
}

/// What is wrong with the file at `path`; `None`: it is not there.
fn examine(path: &Path, errno: i32, from_cwd: &dyn Fn(&Path) -> PathBuf) -> Option<Cause> {
    let about = path.metadata();
    let is_directory = about.as_ref().is_ok_and(std::fs::Metadata::is_dir);
    match errno {
        libc::EACCES | libc::EISDIR if is_directory => Some(Cause::Directory),
        libc::ENOENT | libc::ENOTDIR | libc::EACCES => {
            if matches!(errno, libc::ENOENT | libc::ENOTDIR) && about.is_err() {
                return None;
            }
            let interpreter = interpreter(path).filter(|i| !is_executable(&from_cwd(i)));
            Some(match interpreter {
                // A script that may itself not be executed fails before its interpreter matters.
                Some(interpreter) if errno != libc::EACCES || is_executable(path) => Cause::BadInterpreter(interpreter),
                _ if errno == libc::EACCES => Cause::Denied,
                _ => Cause::NoLoader,
            })
        }
        libc::ENOEXEC => Some(Cause::NoFormat),
        _ => Some(Cause::Errno),
    }
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok()
}

/// The interpreter that the first line of the file names.
fn interpreter(path: &Path) -> Option<PathBuf> {
    // Non-blocking, so that a fifo cannot hold us.
    let file = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).ok()?;
    let mut head = Vec::new();
    file.take(SHEBANG_BYTES).read_to_end(&mut head).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|b| *b == b'\n').next()?;
    let word = line.trim_ascii_start().split(|b| matches!(b, b' ' | b'\t')).next()?;
    (!word.is_empty()).then(|| PathBuf::from(OsStr::from_bytes(word)))
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Debug quotes: a name with a newline or an escape in it stays one harmless line.
        let path = &self.path;
        match (&self.cause, self.stage) {
            (Cause::Errno, stage) => self.fmt_errno(stage, f),
            (Cause::Nul(what), _) => write!(f, "cannot run {path:?}: {what} holds a NUL byte; take it out"),
            (Cause::Empty, _) => write!(f, "cannot run anything: there is no command; put one after --"),
            (Cause::NotInPath(search), _) => {
                write!(f, "cannot run {path:?}: not found in PATH ({search:?}); install it or give its path")
            }
            (Cause::Missing, _) => write!(f, "cannot run {path:?}: there is no such file; check the path"),
            (Cause::Directory, _) => write!(f, "cannot run {path:?}: it is a directory; give a program in it"),
            (Cause::Denied, _) => {
                write!(f, "cannot run {path:?}: permission denied; chmod +x it, or check its directories")
            }
            (Cause::NoFormat, _) => {
                write!(
                    f,
                    "cannot run {path:?}: no #! line and no program for this machine; begin a script with #!/bin/sh"
                )
            }
            (Cause::BadInterpreter(interpreter), _) => {
                write!(f, "cannot run {path:?}: bad interpreter: {interpreter:?}; install it or change the #! line")
            }
            (Cause::NoCgroup(why), _) => write!(f, "cannot run {path:?} in a cgroup of its own: {why}"),
            (Cause::NoLoader, _) => {
                write!(
                    f,
                    "cannot run {path:?}: its interpreter or loader is missing; install the libraries it was built for"
                )
            }
        }
    }
}

impl SpawnError {
    fn fmt_errno(&self, stage: Stage, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match stage {
            Stage::Prepare => "prepare",
            Stage::Pipe => "make pipes for",
            Stage::Clone => "make a process for",
            Stage::Setsid => "make a session for",
            Stage::Stdio => "connect the standard streams of",
            Stage::Close => "close inherited files for",
            Stage::Limit => "restore the open-files limit for",
            Stage::Chdir => "enter working directory",
            Stage::Signals => "reset the signals of",
            Stage::DeathSignal => "tie to its watcher the life of",
            Stage::Exec => "run",
            Stage::Terminal => "open a terminal for",
            Stage::Control => "give its terminal to",
            Stage::Cgroup => "put into its cgroup",
        };
        let hint = match self.errno {
            libc::EAGAIN => "raise the limit of processes (ulimit -u, pids cgroup) or end some",
            libc::ENOMEM => "free some memory",
            libc::EMFILE | libc::ENFILE => "raise the limit of open files (ulimit -n)",
            libc::E2BIG => "shorten the arguments or the environment",
            libc::ETXTBSY => "wait until it is written and closed",
            libc::ENOENT if stage == Stage::Chdir => "create it or choose another with --cwd",
            libc::EACCES | libc::EPERM => "check its permissions",
            libc::ENOSYS => "this needs Linux 5.4 or later",
            _ => "see errno(3) for the reason",
        };
        let reason = nix::errno::Errno::from_raw(self.errno).desc();
        write!(f, "cannot {what} {:?}: {reason}; {hint}", self.path)
    }
}
