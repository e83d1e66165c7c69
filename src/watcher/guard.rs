//! The family: `zvwatch` = \[front →\] guard → watcher → run.
//!
//! ```text
//! foreground            user's process = guard ──fork── watcher ──spawn── run
//! detached, on console  user's process = front ──fork── guard (own session) ──fork── watcher ──spawn── run
//! ```
//!
//! The guard is the process that must not die, so it has the least in it: one thread, no runtime, a loop on
//! sigwaitinfo. It forwards signals to the watcher as bytes on a socket pair. Who notices whose end:
//!
//! | dies | notices | does |
//! |---|---|---|
//! | watcher | guard, by SIGCHLD, and inherits the tree as its subreaper | kills cgroup and tree, exits 125 |
//! | guard | watcher, by end of file on the control socket | kills the tree, records it, ends |
//! | both | kernel, by the run's parent-death signal | kills the run's main process |
//!
//! The watcher sets no parent-death signal of its own: SIGKILL would take it before it could kill its tree and record
//! the end, which the end of file lets it do.

use super::sys::{self, Signals};
use super::tree::{Ended, Reaped, Tree};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};
use zerovisor_cgroup::{REMAINS_MAX_BYTES, Remains};

/// The exit status of a failure of our own.
pub const OWN_FAILURE: u8 = 125;

/// What the guard passes on to the watcher. The rest keep their default: STOP, TSTP stop the family as a shell's job.
const FORWARDED: [i32; 8] = [
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGWINCH,
    libc::SIGCONT,
];

/// What a shell or nohup may have us ignore; then we go on ignoring it. (Others that are ignored are left so by
/// accident, and a TERM that does nothing would be a trap.)
const IGNORABLE: [i32; 3] = [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP];

/// How long the guard goes on killing what does not die: only a process that hangs in the kernel takes longer.
const KILL_FOR: Duration = Duration::from_secs(10);

/// The longest report to the front, which one write delivers whole (`PIPE_BUF`).
const REPORT_MAX_BYTES: usize = 4096;

/// First byte of a report: the child runs.
const STARTED: u8 = b'S';

/// First byte of a report: it does not; the exit status and the message follow.
const FAILED: u8 = b'F';

/// Who this process is after [`start`].
#[derive(Debug)]
pub enum Role {
    /// The guard: call [`GuardSide::run`] and exit with what it returns.
    Guard(GuardSide),
    /// The watcher proper.
    Watcher(WatcherSide),
    /// The process the user started with `-d` or with a console: call [`FrontSide::run`], or give it the console, and exit with the status.
    Front(FrontSide),
}

/// Which processes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Guard and watcher; the user's process is the guard.
    Foreground,
    /// A front that ends once the run has begun.
    Detached,
    /// A front that stays with the user's terminal.
    Console,
}

/// Splits this process into the family. Call it before any thread or runtime exists and before any file is opened
/// (the guard closes all but its own), and let the roles return up to main: each is a process of its own from here on.
pub fn start(family: Family) -> io::Result<Role> {
    if family == Family::Foreground {
        return split(None, None);
    }
    let (read, write) = io::pipe()?;
    let (outside, inside) = match family {
        Family::Console => {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let (outside, inside) = socketpair(AddressFamily::Unix, SockType::Stream, None, flags)?;
            (Some(outside), Some(inside))
        }
        Family::Foreground | Family::Detached => (None, None),
    };
    match sys::fork()? {
        Some(guard) => Ok(Role::Front(FrontSide { report: read, guard, console: outside })),
        None => {
            drop((read, outside));
            // Cannot fail: a process just forked leads no group.
            nix::unistd::setsid()?;
            split(Some(write.into()), inside)
        }
    }
}

/// Forks the watcher.
fn split(report: Option<OwnedFd>, console: Option<OwnedFd>) -> io::Result<Role> {
    let forwarded: Vec<i32> =
        FORWARDED.into_iter().filter(|s| !(IGNORABLE.contains(s) && sys::is_ignored(*s))).collect();
    let mut heard = forwarded.clone();
    heard.push(libc::SIGCHLD);
    let heard = Signals::of(&heard);
    // Blocked before the fork, so that no signal finds either of the two unready.
    let mask = heard.block()?;
    let tree = Tree::adopt()?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let (guards, watchers) = socketpair(AddressFamily::Unix, SockType::Stream, None, flags)?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let detached = report.is_some();
    match sys::fork()? {
        Some(watcher) => {
            drop((watchers, report, console));
            guards_files(&null, detached)?;
            drop(null);
            Ok(Role::Guard(GuardSide::new(watcher, tree, heard, guards)?))
        }
        None => {
            drop(guards);
            watchers_state(&null, detached, &forwarded, mask)?;
            let report = report.map(|pipe| Report { pipe, null: null.into() });
            Ok(Role::Watcher(WatcherSide { control: watchers, report, console, tree: Tree::adopt()? }))
        }
    }
}

/// The guard keeps stderr for its last words, in the foreground. What else it held open would keep pipes of the
/// user's from ending.
fn guards_files(null: &File, detached: bool) -> io::Result<()> {
    set_name(c"zvguard");
    for place in 0..if detached { 3 } else { 2 } {
        sys::replace_stdio(null.as_fd(), place)?;
    }
    Ok(())
}

/// The watcher stays in the guard's session and process group, or it could not read the console; so a terminal's
/// Ctrl-C reaches both, and only what the guard forwards may count.
fn watchers_state(null: &File, detached: bool, forwarded: &[i32], mask: Signals) -> io::Result<()> {
    set_name(c"zvwatch");
    for &signal in forwarded {
        // SIGCONT ignored still continues.
        sys::ignore(signal)?;
    }
    if detached {
        sys::replace_stdio(null.as_fd(), 0)?;
        sys::replace_stdio(null.as_fd(), 1)?;
    }
    mask.set_mask()
}

/// For people who read `ps`; a failure changes nothing else.
fn set_name(name: &CStr) {
    let _only_cosmetic = nix::sys::prctl::set_name(name);
}

/// The guard's half.
#[derive(Debug)]
pub struct GuardSide {
    watcher: i32,
    tree: Tree,
    heard: Signals,
    control: OwnedFd,
}

impl GuardSide {
    fn new(watcher: i32, mut tree: Tree, heard: Signals, control: OwnedFd) -> io::Result<Self> {
        tree.set_main(watcher);
        // Whatever else came open with us is the user's, and would keep pipes of the user's from ending.
        sys::close_all_but(control.as_fd())?;
        Ok(Self { watcher, tree, heard, control })
    }

    /// The watcher's pid.
    pub fn watcher(&self) -> i32 {
        self.watcher
    }

    /// Guards until the watcher has died and its tree and cgroup with it. Returns the exit status for this process: the
    /// watcher's own if it exited, else 125.
    pub fn run(mut self) -> u8 {
        let ended = self.forward_until_end();
        let orphaned = !self.tree.is_empty();
        // Each kill has a time of its own: one who hangs in the cgroup must not keep the rest of the tree alive.
        let limit = || Instant::now() + KILL_FOR;
        // The cgroup first: nothing is born faster than it kills. What that misses is met by the tree's kill.
        let remains = self.remains();
        let cleared = remains.as_ref().is_none_or(|remains| remains.kill_and_remove(limit()).is_ok());
        let stubborn = self.tree.kill_until_empty(limit(), |_| {}).err();
        if let (false, Some(Err(left))) = (cleared, remains.map(|remains| remains.kill_and_remove(limit()))) {
            complain(&left.to_string());
        }
        if let Ended::Killed { signal, .. } = ended {
            let name = nix::sys::signal::Signal::try_from(signal).map_or("a signal", |s| s.as_str());
            let fate = if orphaned { "its processes were killed" } else { "nothing of it was left running" };
            complain(&format!("the watcher died (killed by {name}); {fate}"));
        }
        if let Some(stubborn) = stubborn {
            complain(&stubborn.to_string());
        }
        match ended {
            Ended::Exited(code) => code,
            Ended::Killed { .. } => OWN_FAILURE,
        }
    }

    /// The cgroup that the watcher entrusted to us, if it had one: read only now, since an idle guard reads nothing.
    fn remains(&self) -> Option<Remains> {
        let (mut text, mut chunk) = (Vec::new(), [0; REMAINS_MAX_BYTES]);
        while let Ok(count @ 1..) = recv(self.control.as_raw_fd(), &mut chunk, MsgFlags::MSG_DONTWAIT) {
            text.extend_from_slice(chunk.get(..count).unwrap_or_default());
            if text.len() > REMAINS_MAX_BYTES {
                break;
            }
        }
        Remains::parse(str::from_utf8(&text).ok()?).ok()
    }

    /// The loop: nothing here allocates, so an idle guard touches no page it does not have.
    fn forward_until_end(&mut self) -> Ended {
        loop {
            match self.heard.wait(None) {
                Ok(Some(libc::SIGCHLD)) => {}
                Ok(Some(signal)) => self.forward(signal),
                Ok(None) | Err(_) => {}
            }
            // After every signal: SIGCHLD is not queued, and reaping is cheap.
            while let Some(Reaped { who, ended, .. }) = self.tree.reap_one() {
                if who == super::tree::Who::Main {
                    return ended;
                }
            }
        }
    }

    fn forward(&self, signal: i32) {
        let byte = [u8::try_from(signal).unwrap_or(0)];
        // A full socket means a watcher that has not read hundreds of signals: one more tells it nothing new. A
        // closed one means its end, of which SIGCHLD tells.
        let _dropped = send(self.control.as_raw_fd(), &byte, MsgFlags::MSG_NOSIGNAL);
    }
}

/// One line on stderr, in a single write; with stderr gone there is nobody to tell.
fn complain(message: &str) {
    let _nobody = nix::unistd::write(io::stderr(), format!("zvwatch: {message}\n").as_bytes());
}

/// What came from the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// It received this signal.
    Signal(i32),
    /// It is dead: kill the tree, record it and end.
    GuardDead,
}

/// The watcher's half.
#[derive(Debug)]
pub struct WatcherSide {
    control: OwnedFd,
    report: Option<Report>,
    /// The way to the front that has the user's terminal.
    console: Option<OwnedFd>,
    /// The tree of the run, of which this process is the subreaper.
    pub tree: Tree,
}

#[derive(Debug)]
struct Report {
    pipe: OwnedFd,
    /// Takes stderr's place once the report is made.
    null: OwnedFd,
}

impl WatcherSide {
    /// The control socket, non-blocking: readable when [`WatcherSide::control`] has something.
    pub fn control_fd(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }

    /// What the guard has to say next; `WouldBlock` if nothing.
    pub fn control(&self) -> io::Result<Control> {
        let mut byte = [0];
        loop {
            return match recv(self.control.as_raw_fd(), &mut byte, MsgFlags::empty()) {
                Ok(0) | Err(Errno::ECONNRESET) => Ok(Control::GuardDead),
                Ok(_) => Ok(Control::Signal(i32::from(byte[0]))),
                Err(Errno::EINTR) => continue,
                Err(e) => Err(e.into()),
            };
        }
    }

    /// The way to the front that has the user's terminal, if there is one; once.
    pub fn take_console(&mut self) -> Option<OwnedFd> {
        self.console.take()
    }

    /// Tells the guard what to clean up when this process is dead: the text of a [`Remains`], once.
    pub fn entrust(&self, remains: &str) -> io::Result<()> {
        Ok(send(self.control.as_raw_fd(), remains.as_bytes(), MsgFlags::MSG_NOSIGNAL).map(drop)?)
    }

    /// Whether a front is waiting for a report.
    pub fn has_front(&self) -> bool {
        self.report.is_some()
    }

    /// Tells the front that the child runs, and lets go of the user's stderr. Without a front, or a second time,
    /// nothing.
    pub fn started(&mut self) -> io::Result<()> {
        self.report(&[STARTED])
    }

    /// Tells the front that the start failed: what to print, in one line, and the exit status.
    pub fn failed(&mut self, code: u8, message: &str) -> io::Result<()> {
        let room = message.len().min(REPORT_MAX_BYTES - 2);
        let message = message.as_bytes().get(..room).unwrap_or_default();
        self.report(&[&[FAILED, code], message].concat())
    }

    fn report(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(Report { pipe, null }) = self.report.take() else {
            return Ok(());
        };
        // Before the report: who reads the front's stderr through a pipe sees its end when the front ends.
        sys::replace_stdio(null.as_fd(), 2)?;
        match nix::unistd::write(&pipe, bytes) {
            // A front that was interrupted is no reason not to run.
            Ok(_) | Err(Errno::EPIPE) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

/// The half of the process the user started with `-d` or with a console.
#[derive(Debug)]
pub struct FrontSide {
    report: PipeReader,
    guard: i32,
    console: Option<OwnedFd>,
}

/// How a detached start came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The child runs.
    Started,
    /// It does not.
    Failed {
        /// The exit status that tells why.
        code: u8,
        /// One line.
        message: String,
    },
}

impl Outcome {
    /// Tells a failure on stderr; the exit status for this process.
    pub fn tell(self) -> u8 {
        match self {
            Outcome::Started => 0,
            Outcome::Failed { code, message } => {
                let mut stderr = io::stderr();
                let _nobody = writeln!(stderr, "zvwatch: {message}");
                code
            }
        }
    }
}

impl FrontSide {
    /// Waits for the report. Guard and watcher both gone without one is a failure too.
    pub fn wait(&mut self) -> Outcome {
        let mut bytes = [0; 2];
        let died = || Outcome::Failed {
            code: OWN_FAILURE,
            message: "the watcher died before it started anything; try it without -d to see why".to_owned(),
        };
        if self.report.read_exact(&mut bytes[..1]).is_err() {
            return died();
        }
        if bytes[0] == STARTED {
            return Outcome::Started;
        }
        let mut message = Vec::new();
        if self.report.read_exact(&mut bytes[1..]).is_err() || self.report.read_to_end(&mut message).is_err() {
            return died();
        }
        Outcome::Failed { code: bytes[1], message: String::from_utf8_lossy(&message).into_owned() }
    }

    /// The guard's pid.
    pub fn guard(&self) -> i32 {
        self.guard
    }

    /// The way to the watcher, if this front has the user's terminal; once.
    pub fn take_console(&mut self) -> Option<OwnedFd> {
        self.console.take()
    }

    /// Waits until the guard has ended; the status that tells how.
    pub fn wait_for_guard(&self) -> u8 {
        let guard = nix::unistd::Pid::from_raw(self.guard);
        loop {
            match nix::sys::wait::waitpid(guard, None) {
                Ok(nix::sys::wait::WaitStatus::Exited(_, code)) => return u8::try_from(code).unwrap_or(OWN_FAILURE),
                Err(Errno::EINTR) => {}
                Ok(_) | Err(_) => return OWN_FAILURE,
            }
        }
    }

    /// Waits, tells a failure on stderr and returns the exit status for this process.
    pub fn run(&mut self) -> u8 {
        self.wait().tell()
    }
}
