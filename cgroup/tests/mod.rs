//! The promises of each rung, told with real cgroups under the real kernel.
//!
//! A story finds out where it stands and holds the site to what that rung promises; what cannot be told there is skipped by name.
//! The same stories run again in other surroundings made here (see [`stands`]), and the test binary runs alone on any other system:
//! as root or not, on v2, hybrid or v1, in a container.

mod cleanup;
mod kill;
mod limits;
mod stands;
mod sys;
mod usage;

use std::fs;
use std::io::{Read, Write, pipe};
use std::os::fd::AsFd;
use std::os::linux::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::{Group, Leaf, Limits, Owner, ProcessCgroup, Remains, Resource, Rung, Site};

/// A story that waits longer than this for a fact has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where we stand; told once. Shared, since enabling controllers may move this process.
pub(crate) fn site() -> &'static Site {
    static SITE: OnceLock<Site> = OnceLock::new();
    SITE.get_or_init(|| {
        let mut site = Site::find();
        site.enable(&[own_pid()]);
        println!("rung {:?}: {}", site.rung(), site.why());
        site
    })
}

fn own_pid() -> i32 {
    std::process::id().cast_signed()
}

fn own_pid_namespace() -> u64 {
    fs::metadata("/proc/self/ns/pid").unwrap().st_ino()
}

/// Says why a story cannot be told here, in a line of its own that the harness does not capture.
fn skip(why: impl std::fmt::Display) {
    let thread = std::thread::current();
    let line = format!("\nSKIPPED {}: {why}\n", thread.name().unwrap_or("a story"));
    // Nobody may be listening.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// A group of a story's own with the leaf of a run.
struct Scene {
    leaf: Leaf,
    group: Group,
    _broom: Broom,
}

/// Kills and removes the group at the end of the story, also when that failed.
struct Broom(Remains);

impl Drop for Broom {
    fn drop(&mut self) {
        let swept = self.0.kill_and_remove(Instant::now() + PATIENCE);
        assert!(swept.is_ok() || std::thread::panicking(), "{swept:?}");
    }
}

fn process(name: &str) -> ProcessCgroup<'_> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let id = (u128::from(std::process::id()) << 64 | u128::from(number)).to_be_bytes();
    // True to life: a watcher that runs beside these tests must take the owner for alive, and sweep nothing of theirs.
    let owner = Owner { pid: own_pid(), start_ticks: own_start_ticks(), pid_namespace: own_pid_namespace() };
    ProcessCgroup { name, id, owner }
}

/// Field 22 of `/proc/self/stat`; the second may hold spaces and parentheses.
fn own_start_ticks() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    rest.split_ascii_whitespace().nth(19).unwrap().parse().unwrap()
}

/// A leaf with these limits. `None` with the reason told where this rung cannot have it.
fn scene(name: &str, limits: Limits) -> Option<Scene> {
    if site().rung() == Rung::None {
        skip(site().why());
        return None;
    }
    for resource in limits.resources() {
        if let Err(refusal) = site().holds(resource) {
            skip(refusal);
            return None;
        }
    }
    let group = site().create(&process(name)).unwrap();
    let broom = Broom(group.remains().clone());
    let leaf = group.run(1, &limits).unwrap();
    Some(Scene { leaf, group, _broom: broom })
}

/// Starts `sh -c script` inside the leaf.
fn start(leaf: &Leaf, script: &str) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    sys::enter_before_exec(&mut command, leaf.entrance().unwrap());
    command.spawn().unwrap()
}

/// A process in the leaf that holds so many bytes; returns once it does, or has died trying.
fn hold(leaf: &Leaf, bytes: usize) -> (i32, sys::Birth) {
    let (mut ready, said) = pipe().unwrap();
    let held = sys::start_holding(&leaf.entrance().unwrap(), bytes, said.as_fd()).unwrap();
    drop(said);
    let _said_or_died = ready.read(&mut [0]).unwrap();
    held
}

/// Waits for a child's end and tells it.
fn ended(pid: i32) -> WaitStatus {
    until("the end of a child", || {
        let status = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG)).unwrap();
        (status != WaitStatus::StillAlive).then_some(status)
    })
}

/// Waits for a fact.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(fact) = look() {
            return fact;
        }
        assert!(Instant::now() < deadline, "never came: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Reads one byte, or fails: what a script says when it has come so far.
fn said(child: &mut Child) -> u8 {
    let stdout = child.stdout.as_mut().unwrap();
    let limit = u16::try_from(PATIENCE.as_millis()).unwrap();
    assert!(poll(&mut [PollFd::new(stdout.as_fd(), PollFlags::POLLIN)], limit).unwrap() > 0, "nothing was said");
    let mut byte = [0];
    stdout.read_exact(&mut byte).unwrap();
    byte[0]
}

fn holds(resource: Resource) -> bool {
    site().holds(resource).is_ok()
}
