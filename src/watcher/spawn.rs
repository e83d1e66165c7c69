//! The one way a program is started.
//!
//! [`prepare`] does all that allocates or asks the environment. [`spawn`] makes the process, which from then to
//! exec does nothing but system calls, in this order:
//!
//! ```text
//! clone3 (pidfd, into the v2 cgroup) → v1 cgroups entered → setsid → stdio to 0, 1, 2 → controlling terminal → every other descriptor
//!   closed → limits → chdir
//!   → signals to default, none blocked → parent-death signal, parent still there? → exec of each candidate
//! ```
//!
//! A failure comes back as (stage, errno, candidate) through a close-on-exec pipe, so that it can never be mistaken
//! for an exit status of the program; end of file on that pipe means that exec happened.

pub use super::spawn_error::{Cause, Class, SpawnError, Stage};
use super::sys::{self, CStrings, child};
use std::ffi::{CStr, CString, OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use zerovisor_cgroup::Entrance;

/// Where programs are looked for when the child's environment has no PATH, as execvp does.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// A failure report: stage, three unused bytes, errno, candidate. Less than `PIPE_BUF`, so never torn.
const REPORT_BYTES: usize = 12;

/// In a report: no candidate stands out.
const NO_CANDIDATE: u32 = u32::MAX;

/// What to run.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// The command and its arguments; the command is looked up as execvp does, in the PATH of `env`.
    pub argv: Vec<OsString>,
    /// The complete environment.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory; the watcher's own if `None`.
    pub cwd: Option<PathBuf>,
}

/// The child's ends of its standard streams.
#[derive(Debug)]
pub struct Stdio {
    /// Descriptor 0 of the child.
    pub stdin: OwnedFd,
    /// Descriptor 1.
    pub stdout: OwnedFd,
    /// Descriptor 2.
    pub stderr: OwnedFd,
}

/// The soft and hard limit of open files that a child gets: those the watcher had before it raised its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFiles {
    /// The soft limit.
    pub soft: u64,
    /// The hard limit.
    pub hard: u64,
}

impl OpenFiles {
    /// Raises this process's soft limit to the hard one and returns what it was, for its children.
    pub fn raise() -> io::Result<Self> {
        use nix::sys::resource::{Resource, getrlimit, setrlimit};
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        Ok(Self { soft, hard })
    }
}

/// What a child gets from its watcher beyond the program.
#[derive(Clone, Copy, Debug, Default)]
pub struct Surroundings<'a> {
    /// The limit to restore; inherited if `None`.
    pub open_files: Option<OpenFiles>,
    /// Whether its standard streams are a terminal, which becomes its controlling one.
    pub terminal: bool,
    /// The cgroup it is born in; the watcher's own if `None`.
    pub cgroup: Option<&'a Entrance>,
}

/// A program ready to be started, any number of times.
pub struct Prepared {
    argv: CStrings,
    env: CStrings,
    cwd: Option<CString>,
    candidates: Candidates,
}

/// Where the command may be, in the order to try.
pub(super) struct Candidates {
    pub(super) name: OsString,
    /// The PATH that was searched; `None`: the name holds a slash and is taken as it is.
    pub(super) search: Option<OsString>,
    files: Vec<CString>,
}

impl Candidates {
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| Path::new(OsStr::from_bytes(file.to_bytes())))
    }
}

/// A program that was started: exec has succeeded. Not yet reaped.
#[derive(Debug)]
pub struct Child {
    /// Its pid, which is also its session and process group.
    pub pid: i32,
    /// Readable when it has ended; signals through it never reach another process.
    pub pidfd: OwnedFd,
}

/// Does all of a start that allocates. Refuses an empty command and strings that hold NUL.
pub fn prepare(program: &Program) -> Result<Prepared, SpawnError> {
    let Some(name) = program.argv.first() else {
        return Err(refused(OsStr::new(""), Cause::Empty));
    };
    let c_string = |bytes: Vec<u8>, what| CString::new(bytes).map_err(|_| refused(name, Cause::Nul(what)));
    let candidates = candidates(name, &program.env)?;
    let mut argv = Vec::with_capacity(program.argv.len());
    for word in &program.argv {
        argv.push(c_string(word.as_bytes().to_vec(), "an argument")?);
    }
    let mut env = Vec::with_capacity(program.env.len());
    for (key, value) in &program.env {
        let pair = [key.as_bytes(), b"=", value.as_bytes()].concat();
        env.push(c_string(pair, "the environment")?);
    }
    let cwd = program.cwd.clone().map(|cwd| c_string(cwd.into_os_string().into_vec(), "the working directory"));
    Ok(Prepared { argv: CStrings::new(argv), env: CStrings::new(env), cwd: cwd.transpose()?, candidates })
}

fn refused(name: &OsStr, cause: Cause) -> SpawnError {
    SpawnError { stage: Stage::Prepare, errno: libc::EINVAL, path: PathBuf::from(name), cause }
}

/// As execvp: a name with a slash as it is, else each element of PATH, an empty one being the working directory.
fn candidates(name: &OsStr, env: &[(OsString, OsString)]) -> Result<Candidates, SpawnError> {
    let nul = |_| refused(name, Cause::Nul("the command"));
    let whole = CString::new(name.as_bytes()).map_err(nul)?;
    if name.as_bytes().contains(&b'/') {
        return Ok(Candidates { name: name.to_owned(), search: None, files: vec![whole] });
    }
    let path = env.iter().find(|(key, _)| key == "PATH").map_or(OsStr::new(DEFAULT_PATH), |(_, value)| value);
    let mut files = Vec::new();
    if !name.is_empty() {
        for directory in path.as_bytes().split(|b| *b == b':') {
            let directory = if directory.is_empty() { b"." } else { directory };
            files.push(CString::new([directory, b"/", name.as_bytes()].concat()).map_err(nul)?);
        }
    }
    Ok(Candidates { name: name.to_owned(), search: Some(path.to_owned()), files })
}

/// Starts the program and returns when it runs, that is after exec; a program that could not be started has been
/// reaped. Blocks for as long as chdir and exec take. Call it from a thread that lives as long as the child may,
/// the main one: the parent-death signal follows the thread.
pub fn spawn(prepared: &Prepared, stdio: Stdio, surroundings: &Surroundings<'_>) -> Result<Child, SpawnError> {
    let own = |stage, e: io::Error| SpawnError::own(stage, &e, Path::new(&prepared.candidates.name));
    let (report, report_write) = io::pipe().map_err(|e| own(Stage::Pipe, e))?;
    let above = |fd| above_stdio(fd).map_err(|e| own(Stage::Pipe, e));
    let plan = Plan {
        prepared,
        surroundings,
        stdio: [above(stdio.stdin)?, above(stdio.stdout)?, above(stdio.stderr)?],
        report: above(report_write.into())?,
        parent: nix::unistd::getpid().as_raw(),
        open_files_max: sys::nofile_soft(),
    };
    let into = surroundings.cgroup.and_then(Entrance::clone_into);
    let cloned = sys::clone_process(into, |inside| become_program(&plan, inside)).map_err(|e| own(stage_of(&e), e))?;
    drop(plan);
    match read_report(report) {
        None => Ok(Child { pid: cloned.pid, pidfd: cloned.pidfd }),
        Some(failure) => {
            reap(cloned.pid);
            Err(failure.explain(prepared))
        }
    }
}

/// What a clone into a cgroup failed at: these the kernel says of the cgroup alone (`cgroup_css_set_fork`).
fn stage_of(error: &io::Error) -> Stage {
    match error.raw_os_error() {
        Some(libc::EACCES | libc::EBADF | libc::EBUSY | libc::ENODEV | libc::ENOENT | libc::EOPNOTSUPP) => {
            Stage::Cgroup
        }
        Some(_) | None => Stage::Clone,
    }
}

/// A descriptor that is not 0, 1 or 2, which the child's streams will overwrite.
fn above_stdio(fd: OwnedFd) -> io::Result<OwnedFd> {
    // try_clone gives the lowest free number from 3 on, close-on-exec.
    if fd.as_raw_fd() > 2 { Ok(fd) } else { fd.try_clone() }
}

/// All that the child reads between clone and exec.
struct Plan<'a> {
    prepared: &'a Prepared,
    surroundings: &'a Surroundings<'a>,
    stdio: [OwnedFd; 3],
    report: OwnedFd,
    parent: i32,
    open_files_max: u64,
}

/// Why the child could not become the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Failure {
    stage: Stage,
    errno: i32,
    candidate: u32,
}

/// The child's whole life before exec: system calls only, see [`sys::clone_process`].
fn become_program(plan: &Plan<'_>, inside: bool) {
    let failure = match enter_cgroups(plan, inside).and_then(|()| enter(plan)) {
        Ok(()) => exec_first(plan.prepared),
        Err(failure) => failure,
    };
    child::report(plan.report.as_fd(), &failure.to_bytes());
}

/// First of all, so that nothing the child does or has made is outside. `inside`: it was born in that of v2.
fn enter_cgroups(plan: &Plan<'_>, inside: bool) -> Result<(), Failure> {
    let Some(entrance) = plan.surroundings.cgroup else { return Ok(()) };
    if let (false, Some(v2)) = (inside, entrance.fallback()) {
        child::enter_cgroup(v2).map_err(at(Stage::Cgroup))?;
    }
    entrance.joins().iter().try_for_each(|v1| child::enter_cgroup(v1.as_fd())).map_err(at(Stage::Cgroup))
}

fn at(stage: Stage) -> impl Fn(i32) -> Failure {
    move |errno| Failure { stage, errno, candidate: NO_CANDIDATE }
}

fn enter(plan: &Plan<'_>) -> Result<(), Failure> {
    child::setsid().map_err(at(Stage::Setsid))?;
    for (place, file) in (0..).zip(&plan.stdio) {
        child::dup_to(file.as_fd(), place).map_err(at(Stage::Stdio))?;
    }
    if plan.surroundings.terminal {
        child::take_terminal().map_err(at(Stage::Control))?;
    }
    let report = plan.report.as_raw_fd();
    // The report's descriptor closes itself at exec; nothing else but 0, 1 and 2 is the child's own.
    child::close_range(3, report.unsigned_abs() - 1, plan.open_files_max).map_err(at(Stage::Close))?;
    child::close_range(report + 1, u32::MAX, plan.open_files_max).map_err(at(Stage::Close))?;
    if let Some(OpenFiles { soft, hard }) = plan.surroundings.open_files {
        child::set_nofile(soft, hard).map_err(at(Stage::Limit))?;
    }
    // What else changes the process for good (priorities, user, capabilities) belongs here, before chdir.
    if let Some(cwd) = &plan.prepared.cwd {
        child::chdir(cwd).map_err(at(Stage::Chdir))?;
    }
    child::default_signals().map_err(at(Stage::Signals))?;
    child::empty_mask().map_err(at(Stage::Signals))?;
    // Last, since what comes before may clear it. A parent that died before this line sends no signal: look.
    child::set_parent_death_signal(libc::SIGKILL).map_err(at(Stage::DeathSignal))?;
    if child::parent() != plan.parent {
        sys::exit_now(Class::Own.exit_code());
    }
    Ok(())
}

/// Tries each candidate as execvp does: one that may not be executed is remembered over those that are missing.
/// Unlike execvp it never hands a file without a `#!` line to sh: guessing an interpreter hides a broken file.
fn exec_first(prepared: &Prepared) -> Failure {
    let failed = |errno, candidate| Failure { stage: Stage::Exec, errno, candidate };
    let mut worst = failed(libc::ENOENT, NO_CANDIDATE);
    for (number, file) in (0_u32..).zip(&prepared.candidates.files) {
        match child::exec(file, &prepared.argv, &prepared.env) {
            libc::EACCES => worst = failed(libc::EACCES, number),
            libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT => {}
            errno => return failed(errno, number),
        }
    }
    worst
}

impl Failure {
    fn to_bytes(self) -> [u8; REPORT_BYTES] {
        let mut bytes = [0; REPORT_BYTES];
        bytes[0] = self.stage as u8;
        bytes[4..8].copy_from_slice(&self.errno.to_ne_bytes());
        bytes[8..].copy_from_slice(&self.candidate.to_ne_bytes());
        bytes
    }

    fn from_bytes(bytes: [u8; REPORT_BYTES]) -> Option<Self> {
        let [stage, _, _, _, e0, e1, e2, e3, candidate @ ..] = bytes;
        Some(Self {
            stage: Stage::from_number(stage)?,
            errno: i32::from_ne_bytes([e0, e1, e2, e3]),
            candidate: u32::from_ne_bytes(candidate),
        })
    }

    fn explain(self, prepared: &Prepared) -> SpawnError {
        let cwd = prepared.cwd.as_deref().map(CStr::to_bytes).map(|cwd| Path::new(OsStr::from_bytes(cwd)));
        let source = io::Error::from_raw_os_error(self.errno);
        match self.stage {
            Stage::Exec => {
                let tried = (self.candidate != NO_CANDIDATE).then_some(self.candidate as usize);
                SpawnError::exec(self.errno, tried, &prepared.candidates, cwd)
            }
            Stage::Chdir => SpawnError::own(self.stage, &source, cwd.unwrap_or(Path::new("."))),
            Stage::Prepare
            | Stage::Pipe
            | Stage::Clone
            | Stage::Setsid
            | Stage::Stdio
            | Stage::Close
            | Stage::Limit
            | Stage::Signals
            | Stage::DeathSignal
            | Stage::Terminal
            | Stage::Control
            | Stage::Cgroup => SpawnError::own(self.stage, &source, Path::new(&prepared.candidates.name)),
        }
    }
}

/// Waits for exec (`None`) or for the reason why not.
fn read_report(mut report: io::PipeReader) -> Option<Failure> {
    let mut bytes = [0; REPORT_BYTES];
    // read_exact takes interruptions up again; an end of file is the close-on-exec, or a kill that wait will show.
    report.read_exact(&mut bytes).ok().and_then(|()| Failure::from_bytes(bytes))
}

fn reap(pid: i32) {
    let pid = nix::unistd::Pid::from_raw(pid);
    while nix::sys::wait::waitpid(pid, None) == Err(nix::errno::Errno::EINTR) {}
}
