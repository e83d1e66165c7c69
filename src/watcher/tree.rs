//! All that a run has left alive, without the help of cgroups.
//!
//! A process that is a subreaper inherits every orphan below it, so whatever the run does (double fork, sessions of
//! their own, parents that die), all of it stays a descendant of the watcher, and of the guard when the watcher is
//! gone. The tree is found by walking down /proc from there.
//!
//! Stopping before killing is what catches a fork bomb: a stopped process makes no children while the walk goes on.

pub use super::sys::Usage as Used;
use super::sys::{self, Signals, Usage};
use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use procfs::process::Process;
use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// Passes of one [`Tree::kill`] that may still find processes not seen before. A bomb that outruns this many is at
/// the limit of processes by then, and the next call goes on.
const STOP_PASSES: usize = 32;

/// In [`Tree::kill_until_empty`]: the longest wait for a SIGCHLD before looking again. What was missed by a walk need
/// not be our child, and then its parent's end is no news to us.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A process as /proc showed it. The start time tells it from a later one of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// Its pid.
    pub pid: i32,
    /// Its start, in clock ticks since boot.
    pub start: u64,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It exited with this status.
    Exited(u8),
    /// It was killed by this signal.
    Killed {
        /// The signal's number.
        signal: i32,
        /// Whether it left a core dump.
        core: bool,
    },
}

/// Whose end it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The process that was spawned.
    Main,
    /// A descendant of it that its parent left to us.
    Orphan,
}

/// A process that has ended and is no more.
#[derive(Clone, Copy, Debug)]
pub struct Reaped {
    /// Its pid, free from now on.
    pub pid: i32,
    /// Whether the run's own.
    pub who: Who,
    /// How it ended.
    pub ended: Ended,
    /// What it used; for a main process without what its orphans used.
    pub usage: Usage,
}

/// What a round of signals reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Processes that were signalled.
    pub signalled: usize,
    /// Processes of another user (setuid programs) that may not be signalled.
    pub denied: usize,
}

/// What was left when the time for killing was up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} processes outlived SIGKILL ({}); they hang in the kernel or are another user's", left.len(), pids(left))]
pub struct Stubborn {
    /// The survivors.
    pub left: Vec<Member>,
}

fn pids(members: &[Member]) -> String {
    let mut shown: Vec<_> = members.iter().take(8).map(|member| member.pid.to_string()).collect();
    if members.len() > shown.len() {
        shown.push("...".to_owned());
    }
    shown.join(" ")
}

/// The descendants of this process.
#[derive(Debug)]
pub struct Tree {
    main: Option<i32>,
}

impl Tree {
    /// Makes this process the one that inherits every orphan below it, before it has any child.
    pub fn adopt() -> io::Result<Self> {
        nix::sys::prctl::set_child_subreaper(true)?;
        Ok(Self { main: None })
    }

    /// Names the run's main process, so that [`Tree::reap`] can tell its end from an orphan's.
    pub fn set_main(&mut self, pid: i32) {
        self.main = Some(pid);
    }

    /// The run's main process, until it was reaped.
    pub fn main(&self) -> Option<i32> {
        self.main
    }

    /// Every process below this one, zombies too.
    pub fn descendants(&self) -> Vec<Member> {
        descendants(std::process::id().cast_signed())
    }

    /// Sends `signal` to every descendant once.
    pub fn signal(&self, signal: i32) -> Reach {
        self.signal_those(signal, |_| true)
    }

    /// Sends `signal` once to every descendant whose pid is `meant`.
    pub fn signal_those(&self, signal: i32, meant: impl Fn(i32) -> bool) -> Reach {
        let mut reach = Reach::default();
        for member in self.descendants().into_iter().filter(|member| meant(member.pid)) {
            reach.count(member.signal(signal));
        }
        reach
    }

    /// Stops every descendant until a walk finds no new one, then kills all that were found. Something born
    /// meanwhile may be left: call it again when SIGCHLD says that something ended, until [`Tree::is_empty`].
    pub fn kill(&self) -> Reach {
        let mut found = HashSet::new();
        for _ in 0..STOP_PASSES {
            let before = found.len();
            for member in self.descendants() {
                if found.insert(member) {
                    // What cannot be stopped is met again by the kill below.
                    let _gone_or_denied = member.signal(libc::SIGSTOP);
                }
            }
            if found.len() == before {
                break;
            }
        }
        let mut reach = Reach::default();
        for member in found {
            reach.count(member.signal(libc::SIGKILL));
        }
        reach
    }

    /// Reaps all that has ended, without blocking.
    pub fn reap(&mut self) -> Vec<Reaped> {
        let mut reaped = Vec::new();
        while let Some(one) = self.reap_one() {
            reaped.push(one);
        }
        reaped
    }

    /// Reaps one process that has ended, if there is one, without blocking or allocating.
    pub fn reap_one(&mut self) -> Option<Reaped> {
        // The only error possible is ECHILD: nothing is left to reap.
        let (pid, status, usage) = sys::wait_any().ok().flatten()?;
        let who = if self.main == Some(pid) { Who::Main } else { Who::Orphan };
        if who == Who::Main {
            self.main = None;
        }
        Some(Reaped { pid, who, ended: Ended::from_status(status), usage })
    }

    /// Whether this process has no child at all, hence, being the one that inherits orphans, no descendant.
    pub fn is_empty(&self) -> bool {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        waitid(Id::All, flags) == Err(Errno::ECHILD)
    }

    /// Kills and reaps until nothing is left or the time is up, but kills once in any case; blocks. What `each` is told of is gone.
    pub fn kill_until_empty(&mut self, deadline: Instant, mut each: impl FnMut(Reaped)) -> Result<(), Stubborn> {
        let ended = Signals::of(&[libc::SIGCHLD]);
        // Blocked before the first look, so that no end between look and wait goes unnoticed.
        let mask = ended.block();
        let mut tried = false;
        let result = loop {
            while let Some(reaped) = self.reap_one() {
                each(reaped);
            }
            if self.is_empty() {
                break Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if tried && left.is_zero() {
                break Err(Stubborn { left: self.descendants() });
            }
            self.kill();
            tried = true;
            // An error here would only make the next look come sooner.
            let _woken = ended.wait(Some(left.min(LOOK_AGAIN)));
        };
        if let Ok(mask) = mask {
            // Restoring a mask that the kernel itself gave cannot fail.
            let _restored = mask.set_mask();
        }
        result
    }
}

impl Reach {
    fn count(&mut self, sent: io::Result<()>) {
        match sent {
            Ok(()) => self.signalled += 1,
            Err(e) if e.raw_os_error() == Some(libc::EPERM) => self.denied += 1,
            // Gone already: what was wanted.
            Err(_) => {}
        }
    }
}

impl Ended {
    /// From the raw status of wait(2) for a process that ended (not stopped).
    pub(super) fn from_status(status: i32) -> Self {
        if libc::WIFSIGNALED(status) {
            return Self::Killed { signal: libc::WTERMSIG(status), core: libc::WCOREDUMP(status) };
        }
        Self::Exited(u8::try_from(libc::WEXITSTATUS(status)).unwrap_or(u8::MAX))
    }
}

impl Member {
    fn look_up(pid: i32) -> Option<Self> {
        Process::new(pid).and_then(|process| process.stat()).ok().map(|stat| Self { pid, start: stat.starttime })
    }

    /// Signals this very process. The descriptor is opened first and the start time compared after: from then on the
    /// number cannot come to mean another.
    pub fn signal(self, signal: i32) -> io::Result<()> {
        let pidfd = sys::pidfd_open(self.pid)?;
        if Self::look_up(self.pid) != Some(self) {
            return Err(Errno::ESRCH.into());
        }
        signal_pidfd(pidfd.as_fd(), signal)
    }
}

/// Signals the process behind `pidfd`; ESRCH if it is gone.
pub fn signal_pidfd(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    sys::pidfd_signal(pidfd, signal)
}

/// Every process below `root`, nearest first.
pub(super) fn descendants(root: i32) -> Vec<Member> {
    // Asked of ourselves, since any other process may vanish under the question.
    let listed = std::fs::exists("/proc/thread-self/children").unwrap_or(false);
    if !listed {
        return descendants_by_parent(root);
    }
    let mut found: Vec<Member> = Vec::new();
    let mut pids = children(root);
    let mut next = 0;
    while let Some(pid) = pids.get(next).copied() {
        next += 1;
        if let Some(member) = Member::look_up(pid) {
            found.push(member);
            pids.extend(children(pid));
        }
    }
    found
}

/// The children of every thread of `pid`. One that is moved to a new parent during the walk may show twice or not
/// at all, which the callers' repetition makes good.
fn children(pid: i32) -> Vec<i32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    threads
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|list| list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// For kernels without `CONFIG_PROC_CHILDREN`: one look at every process, then down from `root` by parent.
fn descendants_by_parent(root: i32) -> Vec<Member> {
    let Ok(all) = procfs::process::all_processes() else {
        return Vec::new();
    };
    let all: Vec<_> = all
        .flatten()
        .filter_map(|process| process.stat().ok())
        .map(|stat| (stat.ppid, Member { pid: stat.pid, start: stat.starttime }))
        .collect();
    let mut found: Vec<Member> = Vec::new();
    let mut parent = Some(root);
    let mut next = 0;
    while let Some(pid) = parent {
        found.extend(all.iter().filter(|(ppid, _)| *ppid == pid).map(|(_, member)| *member));
        parent = found.get(next).map(|member| member.pid);
        next += 1;
    }
    found
}

#[cfg(test)]
pub(super) fn descendants_by_scan() -> Vec<Member> {
    descendants_by_parent(std::process::id().cast_signed())
}
