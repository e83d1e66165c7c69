//! The process bones, told with real processes.
//!
//! Reaping, subreaping and signal masks are a process's, not a test's, and the harness runs tests side by side in one:
//! so what touches them runs in [`isolated`]. Ends are waited for by end of file or by pidfd, never by time.

mod guard;
mod sampled;
mod spawn;
mod story;
mod terminal;
mod tree;
mod zerovisor;

use super::pipes::{self, Ends, Stdin};
use super::spawn::{Child, Program, SpawnError, Stdio, Surroundings, prepare, spawn as start};
use super::sys;
use super::tree::{Ended, Tree};
use crate::alone::alone;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::Once;
use std::time::{Duration, Instant};

/// A test that waits longer than this for a fact has failed.
const PATIENCE_MS: u16 = 30_000;

/// Runs `story` in a forked process of its own, single-threaded and with 0, 1, 2 as its only descriptors, and fails
/// if it fails. Whatever the story leaves behind is ended with it.
///
/// It is forked by a harness that runs nothing else: what other tests leave in a process, such as the pipe by which
/// the runtime is told of signals, would be missing its descriptors in the fork.
fn isolated(story: impl FnOnce()) {
    alone(|| forked(story));
}

fn forked(story: impl FnOnce()) {
    let pid = fork(|| {
        sys::close_all_but(io::stderr().as_fd()).unwrap();
        let mut tree = Tree::adopt().unwrap();
        let told = catch_unwind(AssertUnwindSafe(story));
        tree.kill_until_empty(Instant::now() + Duration::from_secs(10), |_| {}).unwrap();
        if told.is_ok() { 0 } else { 101 }
    });
    let ended = outlast(pid);
    assert_eq!(ended, WaitStatus::Exited(Pid::from_raw(pid), 0), "the isolated story failed, see above");
}

/// Forks; the child runs `story` and exits with what it returns, 101 on a panic.
fn fork(story: impl FnOnce() -> u8) -> i32 {
    print_panics_of_forked_processes();
    match sys::fork().unwrap() {
        Some(pid) => pid,
        None => sys::exit_now(catch_unwind(AssertUnwindSafe(story)).unwrap_or(101)),
    }
}

/// The harness captures per thread and would print nothing of a forked process. Set before any fork: after one,
/// another thread's panic may have left the hook locked for ever.
fn print_panics_of_forked_processes() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let (harness, default) = (Pid::this(), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |panic| {
            if Pid::this() == harness {
                return default(panic);
            }
            let _ = nix::unistd::write(io::stderr(), format!("{panic}\n").as_bytes());
        }));
    });
}

/// Waits for the end of a child of this process.
fn outlast(pid: i32) -> WaitStatus {
    let pidfd = sys::pidfd_open(pid).unwrap();
    if !readable(pidfd.as_fd()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        panic!("process {pid} did not end");
    }
    waitpid(Pid::from_raw(pid), None).unwrap()
}

fn readable(fd: BorrowedFd<'_>) -> bool {
    poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], PATIENCE_MS).unwrap() > 0
}

/// Reads to the end of file, blocking or not.
fn read_all(fd: impl Into<OwnedFd>) -> String {
    let mut file = File::from(fd.into());
    let mut text = Vec::new();
    loop {
        assert!(readable(file.as_fd()), "no end of file; so far: {}", String::from_utf8_lossy(&text));
        let mut chunk = [0; 4096];
        match file.read(&mut chunk).unwrap() {
            0 => return String::from_utf8(text).unwrap(),
            n => text.extend_from_slice(&chunk[..n]),
        }
    }
}

/// Reads one line, leaving what follows.
fn read_line(pipe: &mut PipeReader) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\n") {
        assert!(readable(pipe.as_fd()), "no line");
        pipe.read_exact(&mut byte).unwrap();
        line.extend(byte);
    }
    String::from_utf8(line).unwrap()
}

fn program(argv: &[&str]) -> Program {
    Program {
        argv: argv.iter().map(OsString::from).collect(),
        env: vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())],
        cwd: None,
    }
}

fn sh(script: &str) -> Program {
    program(&["sh", "-c", script])
}

fn launch(program: &Program) -> Result<(Child, Ends), SpawnError> {
    let (stdio, ends) = pipes::stdio(Stdin::Null).unwrap();
    Ok((start(&prepare(program)?, stdio, &Surroundings::default())?, ends))
}

/// Starts with the given stdout, stderr to /dev/null.
fn launch_onto(program: &Program, stdout: PipeWriter) -> Child {
    let null = || File::options().read(true).write(true).open("/dev/null").unwrap().into();
    let stdio = Stdio { stdin: null(), stdout: stdout.into(), stderr: null() };
    start(&prepare(program).unwrap(), stdio, &Surroundings::default()).unwrap()
}

/// What the program wrote, and how it ended.
fn output(program: &Program) -> (String, Ended) {
    let (child, ends) = launch(program).unwrap();
    let text = read_all(ends.stdout);
    (text, ended(child.pid))
}

fn ended(pid: i32) -> Ended {
    let status = outlast(pid);
    match status {
        WaitStatus::Exited(_, code) => Ended::Exited(u8::try_from(code).unwrap()),
        WaitStatus::Signaled(_, signal, core) => Ended::Killed { signal: signal as i32, core },
        WaitStatus::Stopped(..)
        | WaitStatus::PtraceEvent(..)
        | WaitStatus::PtraceSyscall(_)
        | WaitStatus::Continued(_)
        | WaitStatus::StillAlive => panic!("not an end: {status:?}"),
    }
}

/// Whether any process has `marker` on its command line.
fn lives(marker: &str) -> bool {
    procfs::process::all_processes()
        .unwrap()
        .flatten()
        .any(|p| p.cmdline().is_ok_and(|words| words.iter().any(|word| word.contains(marker))))
}

/// What of the mapping that holds this address is in memory, in KiB.
fn resident_kib(address: usize) -> u64 {
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut holds = false;
    for line in smaps.lines() {
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        if let Some((from, to)) = range
            .and_then(|(from, to)| Some((usize::from_str_radix(from, 16).ok()?, usize::from_str_radix(to, 16).ok()?)))
        {
            holds = (from..to).contains(&address);
        } else if let (true, Some(kib)) = (holds, line.strip_prefix("Rss:")) {
            return kib.trim().trim_end_matches(" kB").parse().unwrap();
        }
    }
    panic!("no mapping holds {address:#x}");
}

#[inline(never)]
fn deep(calls: usize) -> u8 {
    let mut frame = [0_u8; 4096];
    frame[calls % 4096] = 1;
    std::hint::black_box(&mut frame);
    if calls == 0 { frame[1] } else { deep(calls - 1).wrapping_add(std::hint::black_box(&frame)[0]) }
}

#[test]
fn what_deep_calls_touched_of_the_stack_is_given_back() {
    isolated(|| {
        let here = 7_u64;
        let address = (&raw const here).addr();
        std::hint::black_box(deep(60));
        let before = resident_kib(address);
        sys::trim_stack();
        let after = resident_kib(address);
        assert!(before >= after + 150, "{before} KiB before, {after} after");
        assert_eq!(std::hint::black_box(here), 7);
    });
}
