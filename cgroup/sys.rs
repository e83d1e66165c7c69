//! The system calls that have no safe wrapper elsewhere: signals that reach exactly the process that was meant.
#![allow(unsafe_code, reason = "pidfd_open and pidfd_send_signal have no safe wrapper; see each SAFETY")]

use std::ffi::{c_int, c_long};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

/// A descriptor for process `pid`, readable once it has ended. The pid may be another's by now unless the caller knows better.
pub(crate) fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, c_long::from(pid), 0 as c_long) })?;
    let fd = RawFd::try_from(fd).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    // SAFETY: a new descriptor that nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Signals exactly the process behind `pidfd`, never a later one of its number.
pub(crate) fn pidfd_signal(pidfd: BorrowedFd<'_>, signal: c_int) -> io::Result<()> {
    let info = ptr::null::<libc::siginfo_t>();
    let (fd, signal) = (c_long::from(pidfd.as_raw_fd()), c_long::from(signal));
    // SAFETY: a null siginfo asks for the default one; the descriptor is open while borrowed.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, info, 0 as c_long) }).map(|_| ())
}

fn check(result: c_long) -> io::Result<c_long> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    #[test]
    fn a_signal_reaches_the_process_and_not_its_successor() {
        // Settled before a child of ours stands there too: a cgroup that is shared cannot be divided.
        let _settled = crate::tests::site();
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let pidfd = pidfd_open(pid).unwrap();
        pidfd_signal(pidfd.as_fd(), libc::SIGTERM).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
        let gone = pidfd_signal(pidfd.as_fd(), libc::SIGTERM).unwrap_err();
        assert_eq!(gone.raw_os_error(), Some(libc::ESRCH));
        assert_eq!(pidfd_open(-1).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }
}
