//! What the stories need between clone and exec.
#![allow(unsafe_code, reason = "clone3, fork and what a child does before exec have no safe wrapper; see each SAFETY")]

use std::ffi::{c_long, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;

use crate::Entrance;

/// `CLONE_ARGS_SIZE_VER2`, which ends with the cgroup.
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    unused: [u64; 3],
    exit_signal: u64,
    stack_and_more: [u64; 5],
    cgroup: u64,
}

/// `CLONE_INTO_CGROUP` of linux/sched.h.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// How the child was made.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Birth {
    Inside,
    Joined,
}

/// Makes a child as a watcher does: born in the v2 cgroup where that can be, joining the rest itself. It then touches so many bytes
/// of memory of its own, says so with a byte on `ready`, and waits for its end.
pub(super) fn start_holding(entrance: &Entrance, bytes: usize, ready: BorrowedFd<'_>) -> io::Result<(i32, Birth)> {
    let joins: Vec<RawFd> = entrance.joins().iter().map(AsRawFd::as_raw_fd).collect();
    let into = entrance.clone_into().map(|dir| clone_into(dir)).filter(Result::is_ok);
    let (pid, birth) = match into {
        Some(pid) => (pid?, Birth::Inside),
        // SAFETY: the child keeps to raw system calls, see `hold`.
        None => (check(c_long::from(unsafe { libc::fork() }))?, Birth::Joined),
    };
    if pid == 0 {
        let fallback = entrance.fallback().filter(|_| birth == Birth::Joined).map(|fd| fd.as_raw_fd());
        hold(fallback.as_slice(), &joins, bytes, ready.as_raw_fd());
    }
    Ok((i32::try_from(pid).map_err(io::Error::other)?, birth))
}

fn clone_into(dir: BorrowedFd<'_>) -> io::Result<c_long> {
    let args = CloneArgs {
        flags: CLONE_INTO_CGROUP,
        exit_signal: libc::SIGCHLD.unsigned_abs().into(),
        cgroup: dir.as_raw_fd().unsigned_abs().into(),
        ..CloneArgs::default()
    };
    // SAFETY: `args` is a whole clone_args of the size given. Without CLONE_VM and with no stack given the child goes on with a copy
    // of this stack, as after fork, and keeps to raw system calls, see `hold`.
    check(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) })
}

/// The child's whole life: allocates and locks nothing, never returns.
fn hold(fallback: &[RawFd], joins: &[RawFd], bytes: usize, ready: RawFd) -> ! {
    for fd in fallback.iter().chain(joins) {
        // SAFETY: a write of one byte of static memory.
        if unsafe { libc::write(*fd, c"0".as_ptr().cast(), 1) } != 1 {
            // SAFETY: ends the process.
            unsafe { libc::_exit(125) };
        }
    }
    let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: new memory, away from everything else.
    let memory = unsafe { libc::mmap(ptr::null_mut::<c_void>(), bytes.max(1), prot, flags, -1, 0) };
    if memory == libc::MAP_FAILED {
        // SAFETY: ends the process.
        unsafe { libc::_exit(124) };
    }
    for offset in (0..bytes).step_by(4096) {
        // SAFETY: inside the mapping just made.
        unsafe { memory.cast::<u8>().add(offset).write_volatile(1) };
    }
    // SAFETY: a write of one byte of static memory; pause takes no arguments.
    unsafe { libc::write(ready, c"!".as_ptr().cast(), 1) };
    loop {
        // SAFETY: no arguments.
        unsafe { libc::pause() };
    }
}

/// Lets the command enter before it is executed: as the child of [`start_holding`], but for v2 always by the fallback.
pub(super) fn enter_before_exec(command: &mut Command, entrance: Entrance) {
    let enter = move || {
        let all = entrance.fallback().map(|fd| fd.as_raw_fd()).into_iter();
        for fd in all.chain(entrance.joins().iter().map(AsRawFd::as_raw_fd)) {
            // SAFETY: a write of one byte of static memory.
            if unsafe { libc::write(fd, c"0".as_ptr().cast(), 1) } != 1 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec only write(2) is called, on descriptors opened before; nothing is allocated or locked.
    unsafe { command.pre_exec(enter) };
}

/// Lets the command enter the cgroup of this `cgroup.procs` or `tasks`.
pub(super) fn enter_through(command: &mut Command, procs: OwnedFd) {
    let enter = move || {
        // SAFETY: a write of one byte of static memory.
        if unsafe { libc::write(procs.as_raw_fd(), c"0".as_ptr().cast(), 1) } == 1 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    };
    // SAFETY: as above.
    unsafe { command.pre_exec(enter) };
}

fn check(result: c_long) -> io::Result<c_long> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
