//! For the time between clone and exec: one system call each, errno as the error, nothing allocated, locked or unwound.

use std::ffi::{CStr, c_long};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr;

use super::{CStrings, SIGSET_BYTES};

/// Descriptors closed singly at most: 0.1 s of system calls.
const CLOSE_SINGLY_MAX: c_long = 1 << 20;

/// errno.
pub(crate) type Done = Result<(), i32>;

fn errno() -> i32 {
    // SAFETY: libc's errno of this thread is always there.
    unsafe { *libc::__errno_location() }
}

fn check(result: c_long) -> Done {
    if result == -1 { Err(errno()) } else { Ok(()) }
}

/// A session and process group of its own, without a terminal.
pub(crate) fn setsid() -> Done {
    // SAFETY: no arguments.
    check(unsafe { libc::syscall(libc::SYS_setsid) })
}

/// Descriptor 0 becomes the controlling terminal of the caller's session, which has none.
pub(crate) fn take_terminal() -> Done {
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_ioctl, 0 as c_long, libc::TIOCSCTTY as c_long, 0 as c_long) })
}

/// Enters a cgroup: `0` to its `tasks` or `cgroup.procs` means the writer.
pub(crate) fn enter_cgroup(file: BorrowedFd<'_>) -> Done {
    let (fd, zero) = (c_long::from(file.as_raw_fd()), b"0");
    // SAFETY: one byte of a constant.
    check(unsafe { libc::syscall(libc::SYS_write, fd, zero.as_ptr(), zero.len()) })
}

/// `file` as descriptor `place`, kept over exec.
pub(crate) fn dup_to(file: BorrowedFd<'_>, place: RawFd) -> Done {
    let (from, to) = (c_long::from(file.as_raw_fd()), c_long::from(place));
    // SAFETY: numbers only. What `place` was before belongs to nobody here: 0 to 2 are never owned values.
    check(unsafe { libc::syscall(libc::SYS_dup3, from, to, 0 as c_long) })
}

/// Closes descriptors `from..=to`, none where `from > to`; one by one up to `limit` where close_range is missing
/// or refused.
pub(crate) fn close_range(from: RawFd, to: u32, limit: u64) -> Done {
    let (first, last) = (c_long::from(from), c_long::from(to));
    if first > last {
        return Ok(());
    }
    // SAFETY: numbers only; the callers use nothing in that range again.
    match check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0 as c_long) }) {
        Err(libc::ENOSYS | libc::EPERM) => {
            let end = c_long::try_from(limit).unwrap_or(c_long::MAX).min(CLOSE_SINGLY_MAX).min(last + 1);
            for fd in first..end {
                // SAFETY: as above; a number that is not open is refused.
                unsafe { libc::syscall(libc::SYS_close, fd) };
            }
            Ok(())
        }
        done => done,
    }
}

/// The soft limit of open descriptors, the hard one kept.
pub(crate) fn set_nofile(soft: u64, hard: u64) -> Done {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    let old = ptr::null_mut::<libc::rlimit64>();
    let resource = libc::RLIMIT_NOFILE as c_long;
    // SAFETY: the limit outlives the call, the old one is not asked for; pid 0 is the caller.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, 0 as c_long, resource, &raw const limit, old) })
}

/// Changes the working directory.
pub(crate) fn chdir(path: &CStr) -> Done {
    // SAFETY: a C string that outlives the call.
    check(unsafe { libc::syscall(libc::SYS_chdir, path.as_ptr()) })
}

/// Every signal to its default action, those ignored by inheritance and libc's own two included. By the raw
/// call, since libc's refuses its own.
pub(crate) fn default_signals() -> Done {
    // The kernel's struct sigaction is at most 32 bytes; all zeroes is SIG_DFL, no flags, empty mask.
    let default = [0_u64; 4];
    let old = ptr::null_mut::<u64>();
    for signal in 1..=64 {
        if signal == c_long::from(libc::SIGKILL) || signal == c_long::from(libc::SIGSTOP) {
            continue;
        }
        // SAFETY: `default` is at least as large as the kernel's structure; the old action is not asked for.
        check(unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), old, SIGSET_BYTES) })?;
    }
    Ok(())
}

/// No signal blocked. What came since the clone is delivered now, by default actions.
pub(crate) fn empty_mask() -> Done {
    super::raw_mask(0).map(|_| ()).map_err(|e| e.raw_os_error().unwrap_or(libc::EINVAL))
}

/// This process gets `signal` when the thread that made it dies. Cleared by fork, by a change of user and by
/// exec of a setuid program: so it comes last.
pub(crate) fn set_parent_death_signal(signal: i32) -> Done {
    let (option, signal) = (c_long::from(libc::PR_SET_PDEATHSIG), c_long::from(signal));
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_prctl, option, signal, 0 as c_long, 0 as c_long, 0 as c_long) })
}

/// The pid of the parent as it is now.
pub(crate) fn parent() -> i32 {
    // SAFETY: no arguments; never fails.
    (unsafe { libc::syscall(libc::SYS_getppid) }) as i32
}

/// Becomes the program, or says why not.
pub(crate) fn exec(path: &CStr, argv: &CStrings, env: &CStrings) -> i32 {
    // SAFETY: the path is a C string, both arrays end with null and point to C strings that live in them.
    unsafe {
        libc::syscall(libc::SYS_execve, path.as_ptr(), argv.pointers.as_ptr(), env.pointers.as_ptr());
    }
    errno()
}

/// One write, its result of no interest any more.
pub(crate) fn report(to: BorrowedFd<'_>, bytes: &[u8]) {
    // SAFETY: the bytes outlive the call.
    unsafe { libc::syscall(libc::SYS_write, c_long::from(to.as_raw_fd()), bytes.as_ptr(), bytes.len()) };
}
