//! The system calls that have no safe wrapper elsewhere. Only here and in [`child`], for the time between clone and exec, has the
//! watcher unsafe code: every block says why it is sound, and everything else calls these functions.
//!
//! Owned descriptors come out, borrowed ones go in.
#![allow(unsafe_code, reason = "clone3, raw signal state, wait4 and exec have no safe wrapper; see each SAFETY")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "the kernel gives pids, descriptors and signals, C ints, as longs, and takes requests of ioctl as longs"
)]

pub(super) mod child;

use bytes::BytesMut;
use std::ffi::{CString, c_char, c_int, c_long};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdRegisterError};

/// The kernel's signal set: 64 signals on every Linux we run on.
const SIGSET_BYTES: usize = 8;

/// `linux/sched.h`; libc's constant overflows its own type on some targets.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// `CLONE_ARGS_SIZE_VER2`, which ends with the cgroup. Older kernels accept the size while what they do not
/// know is zero.
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    /// With `CLONE_INTO_CGROUP` in `flags`: the directory of the cgroup to be born in.
    cgroup: u64,
}

/// A process just made, not yet reaped.
#[derive(Debug)]
pub(super) struct Cloned {
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
}

/// Aborts when dropped: a child that unwound would run the parent's code a second time.
struct NeverUnwind;

impl Drop for NeverUnwind {
    fn drop(&mut self) {
        std::process::abort();
    }
}

/// Makes a process that runs `child` on a copy of this one's memory, with every signal blocked, so that no
/// handler of the parent can run in it. The parent's mask is restored before this returns; the child ends when
/// `child` returns. With `into`, the directory of a v2 cgroup, it is born there; `child` is told whether that was done: a kernel or
/// a filter may know no such birth, and then the child has to enter by itself.
///
/// `child` must keep to the functions of [`child`]: another thread may have held the allocator's lock. Memory is
/// copied, not shared as by posix_spawn (`CLONE_VM`), which would need a stack of its own and leave errno and every
/// slip of the child's in the parent. Start to exit of /bin/true, of fork+exec+wait in the same process: 1.05 to
/// 1.11, posix_spawn 0.9; with 8 MiB of dirty memory 1.05 and 0.6. `CLONE_VFORK` alone gains nothing.
pub(super) fn clone_process(into: Option<BorrowedFd<'_>>, child: impl FnOnce(bool)) -> io::Result<Cloned> {
    let mask = raw_mask(u64::MAX)?;
    let (cloned, inside) = match into.map(|cgroup| clone3(Some(cgroup))) {
        Some(Ok(cloned)) => (Ok(cloned), true),
        Some(Err(e)) if !knows_no_cgroup(&e) => (Err(e), true),
        Some(Err(_)) | None => (clone_anyhow(), false),
    };
    if matches!(cloned, Ok((0, _))) {
        let _bomb = NeverUnwind;
        child(inside);
        exit_now(125);
    }
    raw_mask(mask)?;
    let (pid, pidfd) = cloned?;
    // SAFETY: the kernel put a new descriptor, which nobody else knows, into `pidfd` when it made the process.
    Ok(Cloned { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })
}

/// Whether clone3 failed because kernel or filter know no `CLONE_INTO_CGROUP`, which came with Linux 5.7.
fn knows_no_cgroup(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::E2BIG | libc::ENOSYS | libc::EINVAL | libc::EPERM))
}

/// By clone3, or where a kernel or a container's filter does not know it, by the older call.
fn clone_anyhow() -> io::Result<(i32, RawFd)> {
    match clone3(None) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => clone(),
        other => other,
    }
}

/// Returns the pid and pidfd in the parent, (0, -1) in the child.
fn clone3(into: Option<BorrowedFd<'_>>) -> io::Result<(i32, RawFd)> {
    let mut pidfd: RawFd = -1;
    let args = CloneArgs {
        flags: libc::CLONE_PIDFD as u64 | into.map_or(0, |_| CLONE_INTO_CGROUP),
        pidfd: ptr::from_mut(&mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        cgroup: into.map_or(0, |cgroup| u64::from(cgroup.as_raw_fd().unsigned_abs())),
        ..CloneArgs::default()
    };
    // SAFETY: `args` is a whole clone_args of the size given and `pidfd` outlives the call. Without CLONE_VM and
    // with no stack given the child goes on with a copy of this stack, as after fork.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    Ok((check(pid)? as i32, pidfd))
}

/// As [`clone3`], by the older call.
fn clone() -> io::Result<(i32, RawFd)> {
    let mut pidfd: RawFd = -1;
    let flags = c_long::from(libc::CLONE_PIDFD | libc::SIGCHLD);
    // SAFETY: no CLONE_VM and no stack: as fork. With CLONE_PIDFD the third argument (the parent's tid pointer, in
    // that place on x86 and arm alike) is where the descriptor goes, and it outlives the call.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0 as c_long, &raw mut pidfd, 0 as c_long, 0 as c_long) };
    Ok((check(pid)? as i32, pidfd))
}

/// fork(2) through libc, whose state stays good in the child. `None` in the child.
pub(super) fn fork() -> io::Result<Option<i32>> {
    // SAFETY: the callers fork before any thread or runtime exists; where one does exist (the test harness), libc
    // makes its own locks good in the child and the child keeps away from others'.
    match check(c_long::from(unsafe { libc::fork() }))? {
        0 => Ok(None),
        pid => Ok(Some(pid as i32)),
    }
}

/// Ends this process at once: no exit handlers, no flushing.
pub(super) fn exit_now(code: u8) -> ! {
    // SAFETY: _exit takes no pointers and does not return.
    unsafe { libc::_exit(c_int::from(code)) }
}

/// Replaces the calling thread's mask, all 64 signals of it, and returns the one before.
fn raw_mask(mask: u64) -> io::Result<u64> {
    let mut before = 0_u64;
    // SAFETY: both sets are 8 bytes, as said in the last argument, and outlive the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            c_long::from(libc::SIG_SETMASK),
            &raw const mask,
            &raw mut before,
            SIGSET_BYTES,
        )
    };
    check(done).map(|_| before)
}

fn check(result: c_long) -> io::Result<c_long> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A list of C strings as execve wants it: built before the clone, only read after it.
pub(super) struct CStrings {
    /// Owns what `pointers` point to; a `CString`'s bytes do not move with it.
    _strings: Vec<CString>,
    pointers: Vec<*const c_char>,
}

// SAFETY: the pointers lead into strings owned by the same value, which nothing changes after `new`.
unsafe impl Send for CStrings {}
// SAFETY: as above: shared access only reads.
unsafe impl Sync for CStrings {}

impl CStrings {
    pub(super) fn new(strings: Vec<CString>) -> Self {
        let pointers = strings.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect();
        Self { _strings: strings, pointers }
    }
}

/// The resource usage of a process that was reaped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time in user mode, with that of the descendants it waited for.
    pub user: Duration,
    /// CPU time in the kernel, likewise.
    pub system: Duration,
    /// The largest resident set of it or of one descendant it waited for.
    pub max_rss_bytes: u64,
}

/// wait4 on any child without blocking: pid, raw status, usage. `None`: none has ended; `ECHILD`: there is none.
pub(super) fn wait_any() -> io::Result<Option<(i32, i32, Usage)>> {
    let mut status: c_int = 0;
    // SAFETY: rusage is plain numbers, for which all zeroes is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both places outlive the call.
    let pid = unsafe { libc::wait4(-1, &raw mut status, libc::WNOHANG, &raw mut usage) };
    match check(c_long::from(pid))? {
        0 => Ok(None),
        pid => Ok(Some((pid as i32, status, Usage::from(usage)))),
    }
}

impl From<libc::rusage> for Usage {
    fn from(usage: libc::rusage) -> Self {
        let time = |t: libc::timeval| {
            Duration::new(t.tv_sec.max(0).cast_unsigned(), t.tv_usec.clamp(0, 999_999).cast_unsigned() as u32 * 1000)
        };
        Self {
            user: time(usage.ru_utime),
            system: time(usage.ru_stime),
            max_rss_bytes: usage.ru_maxrss.max(0).cast_unsigned().saturating_mul(1024),
        }
    }
}

/// A descriptor for process `pid`. It may be another's by now unless the caller knows better.
pub(super) fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, c_long::from(pid), 0 as c_long) })?;
    // SAFETY: a new descriptor that nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Signals exactly the process behind `pidfd`, never a later one of its number.
pub(super) fn pidfd_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let info = ptr::null::<libc::siginfo_t>();
    let (fd, signal) = (c_long::from(pidfd.as_raw_fd()), c_long::from(signal));
    // SAFETY: a null siginfo asks for the default one; the descriptor is open while borrowed.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, info, 0 as c_long) }).map(|_| ())
}

/// A set of signals.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signals(libc::sigset_t);

impl Signals {
    pub(super) fn of(signals: &[i32]) -> Self {
        // SAFETY: sigset_t is plain bits; sigemptyset then makes it a set.
        let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: `set` is a live sigset_t.
        unsafe { libc::sigemptyset(&raw mut set) };
        for &signal in signals {
            // SAFETY: as above; a number that is no signal is refused and changes nothing.
            unsafe { libc::sigaddset(&raw mut set, signal) };
        }
        Self(set)
    }

    /// Blocks these too, and returns the mask before.
    pub(super) fn block(&self) -> io::Result<Self> {
        self.mask(libc::SIG_BLOCK)
    }

    /// Makes this the mask.
    pub(super) fn set_mask(&self) -> io::Result<()> {
        self.mask(libc::SIG_SETMASK).map(|_| ())
    }

    fn mask(&self, how: c_int) -> io::Result<Self> {
        let mut before = Self::of(&[]);
        // SAFETY: both are live sets.
        match unsafe { libc::pthread_sigmask(how, &raw const self.0, &raw mut before.0) } {
            0 => Ok(before),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    /// Waits for one of these, which must be blocked. `None` when `timeout` passed first or another signal's
    /// handler ran; without a timeout only the latter.
    pub(super) fn wait(&self, timeout: Option<Duration>) -> io::Result<Option<i32>> {
        let limit = timeout.map(|t| libc::timespec {
            tv_sec: libc::time_t::try_from(t.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: c_long::from(t.subsec_nanos()),
        });
        let limit = limit.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: the set and the time outlive the call; no siginfo is asked for.
        match check(c_long::from(unsafe { libc::sigtimedwait(&raw const self.0, ptr::null_mut(), limit) })) {
            Ok(signal) => Ok(Some(signal as i32)),
            Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// Ignores `signal` from now on.
pub(super) fn ignore(signal: i32) -> io::Result<()> {
    // SAFETY: SIG_IGN installs no code of ours.
    if unsafe { libc::signal(signal, libc::SIG_IGN) } == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Whether `signal` is ignored, as `nohup` or a shell's `&` leaves it.
pub(super) fn is_ignored(signal: i32) -> bool {
    // SAFETY: sigaction is plain data, for which all zeroes is a value.
    let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: a null new action only asks.
    let asked = unsafe { libc::sigaction(signal, ptr::null(), &raw mut now) };
    asked == 0 && now.sa_sigaction == libc::SIG_IGN
}

/// Closes every descriptor but 0, 1, 2 and `kept`. The caller must own no other by value.
pub(super) fn close_all_but(kept: BorrowedFd<'_>) -> io::Result<()> {
    let (kept, limit) = (kept.as_raw_fd(), nofile_soft());
    child::close_range(3, kept.unsigned_abs() - 1, limit)
        .and_then(|()| child::close_range(kept + 1, u32::MAX, limit))
        .map_err(io::Error::from_raw_os_error)
}

/// The soft limit of open descriptors.
pub(super) fn nofile_soft() -> u64 {
    nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft)
}

/// Puts /dev/null or another open file in the place of descriptor `place` (0, 1 or 2).
pub(super) fn replace_stdio(file: BorrowedFd<'_>, place: RawFd) -> io::Result<()> {
    child::dup_to(file, place).map_err(io::Error::from_raw_os_error)
}

/// Reads once, at most `most` bytes, behind what `buffer` holds; it must have room for them.
pub(super) fn read_into(fd: BorrowedFd<'_>, buffer: &mut BytesMut, most: usize) -> io::Result<usize> {
    let spare = buffer.spare_capacity_mut();
    let most = spare.len().min(most);
    // SAFETY: the kernel writes at most `most` bytes into spare capacity of at least that size.
    let read = unsafe { libc::read(fd.as_raw_fd(), spare.as_mut_ptr().cast(), most) };
    let read = check(read as c_long)?.unsigned_abs() as usize;
    let filled = buffer.len() + read;
    // SAFETY: the kernel has just initialised `read` bytes behind the present end.
    unsafe { buffer.set_len(filled) };
    Ok(read)
}

/// Lets the runtime tell when there is something to read; if it cannot, the descriptor comes back.
pub(super) fn watch_readable(fd: OwnedFd) -> Result<AsyncFd<OwnedFd>, (OwnedFd, io::Error)> {
    // SAFETY: an `OwnedFd` names the same open descriptor for its whole life, and the `AsyncFd` takes it off the runtime's
    // list before it closes it.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.map_err(AsyncFdRegisterError::into_parts)
}

/// Lets the runtime tell of news of a kernel file that has them, such as `cgroup.events`.
pub(super) fn watch_priority(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: as in `watch_readable`.
    unsafe { AsyncFd::register_with_interest(fd, Interest::PRIORITY) }.map_err(|error| error.into_parts().1)
}

/// How many bytes can be read from a pipe right now.
pub(super) fn unread_bytes(fd: BorrowedFd<'_>) -> io::Result<usize> {
    let mut bytes: c_int = 0;
    // SAFETY: FIONREAD writes one int, which outlives the call.
    check(c_long::from(unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONREAD, &raw mut bytes) }))?;
    Ok(bytes.max(0).cast_unsigned() as usize)
}

/// Lets every thread allocate from one heap: a second one costs an idle watcher more than a lock costs a busy one.
pub(super) fn one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: a setting of the allocator's own, in numbers.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// So much below this frame stays, for the calls that are being made, in bytes.
const STACK_KEPT_BYTES: usize = 16 << 10;
/// So far below this frame is looked, in bytes: deeper than anything here goes, and less than the gap that the kernel keeps free below the
/// main thread's stack (`stack_guard_gap`, 1 MiB).
const STACK_LOOKED_BYTES: usize = 512 << 10;

/// Gives back the pages of the main thread's stack that deeper calls have touched and left. Parsing a command line touches some 50 KiB of
/// it, which two processes would carry for life.
#[inline(never)]
pub(super) fn trim_stack() {
    if nix::unistd::gettid() != nix::unistd::getpid() {
        // Another thread's stack may have a neighbour that near.
        return;
    }
    let here = 0_u8;
    let page = 4096;
    let end = ((&raw const here).expose_provenance() - STACK_KEPT_BYTES) & !(page - 1);
    let start = end - STACK_LOOKED_BYTES;
    // SAFETY: what lies that far below a live frame of the main thread belongs to calls that have returned: nothing reads it before writing
    // it, and a page that is gone reads as zeroes. Below the mapped stack nothing is mapped in this range, which madvise passes over (ENOMEM).
    unsafe { libc::madvise(ptr::with_exposed_provenance_mut(start), end - start, libc::MADV_DONTNEED) };
}

/// Gives the heap's free pages back to the kernel.
pub(super) fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it touches only memory that is free, under the allocator's own lock.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Makes the kernel refuse these system calls with ENOSYS from now on, in this process and its children, as a
/// container's filter does.
#[cfg(test)]
pub(super) fn refuse(calls: &[c_long]) {
    use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter};
    let step = |code: u32, jt, jf, k| sock_filter { code: code as u16, jt, jf, k };
    let mut steps = vec![step(BPF_LD | BPF_W | BPF_ABS, 0, 0, 0)];
    for &call in calls {
        steps.push(step(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, call.cast_unsigned() as u32));
        steps.push(step(BPF_RET | BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32));
    }
    steps.push(step(BPF_RET | BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // SAFETY: numbers only.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: the program and its steps outlive the call.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(set, 0, "{}", io::Error::last_os_error());
}
