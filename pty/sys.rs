//! The system calls that have no safe wrapper elsewhere. This is the only file of the crate with unsafe code: every block says why it is
//! sound, and everything else calls these functions. Owned descriptors come out, borrowed ones go in.
#![allow(unsafe_code, reason = "no safe wrapper does these without a detour; see each SAFETY")]

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use bytes::BytesMut;
use nix::sys::epoll::EpollFlags;
use portable_pty::MasterPty;
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdRegisterError};

/// A descriptor of our own, close-on-exec, for the open file behind `master`, which keeps its own and does not give it away.
pub(crate) fn duplicate(master: &(dyn MasterPty + Send)) -> io::Result<OwnedFd> {
    let fd = master.as_raw_fd().ok_or(io::ErrorKind::Unsupported)?;
    // SAFETY: `master` owns the descriptor and is borrowed, so it stays open until the copy is made.
    unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()
}

/// Opens the other end of `master` by ioctl_tty(2) TIOCGPTPEER: without a path, so that it is the right one whatever is mounted where;
/// close-on-exec, and not our controlling terminal.
pub(crate) fn open_peer(master: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes its flags by value; no pointers.
    let fd = check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) })?;
    // SAFETY: a new descriptor that nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// How many bytes can be read at once, by FIONREAD: what the line discipline holds, not what still is on its way to it.
pub(crate) fn unread_bytes(fd: BorrowedFd<'_>) -> io::Result<usize> {
    let mut bytes: c_int = 0;
    // SAFETY: FIONREAD writes one int, which outlives the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONREAD, &raw mut bytes) })?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

/// Reads once, at most `most` bytes, behind what `buffer` holds; it must have room for them.
pub(crate) fn read_into(fd: BorrowedFd<'_>, buffer: &mut BytesMut, most: usize) -> io::Result<usize> {
    let spare = buffer.spare_capacity_mut();
    let most = spare.len().min(most);
    // SAFETY: the kernel writes at most `most` bytes into spare capacity of at least that size.
    let read = unsafe { libc::read(fd.as_raw_fd(), spare.as_mut_ptr().cast(), most) };
    let Ok(read) = usize::try_from(read) else { return Err(io::Error::last_os_error()) };
    let filled = buffer.len() + read;
    // SAFETY: the kernel has just initialised `read` bytes behind the present end.
    unsafe { buffer.set_len(filled) };
    Ok(read)
}

/// Lets the runtime tell when there is something to read. Panics outside a runtime with I/O.
pub(crate) fn watch_readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` names the same open descriptor for its whole life, and the `AsyncFd` takes it off the runtime's list before it
    // closes it.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }
        .map_err(AsyncFdRegisterError::into_parts)
        .map_err(|(_, error)| error)
}

/// Takes one event from the epoll instance `epoll`, without waiting, and says what is so now; nothing if there is none.
pub(crate) fn take_event(epoll: BorrowedFd<'_>) -> io::Result<EpollFlags> {
    let mut event = libc::epoll_event { events: 0, u64: 0 };
    // SAFETY: the kernel writes at most one event into the place for one, which outlives the call.
    check(unsafe { libc::epoll_wait(epoll.as_raw_fd(), &raw mut event, 1, 0) })?;
    Ok(EpollFlags::from_bits_retain(event.events.cast_signed()))
}

fn check(result: c_int) -> io::Result<c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::OPENING;
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    use portable_pty::{NativePtySystem, PtySize, PtySystem};
    use std::os::fd::AsFd;

    fn pair() -> (OwnedFd, OwnedFd) {
        let _alone = OPENING.lock();
        let pair = NativePtySystem::default().openpty(PtySize::default()).unwrap();
        let master = duplicate(pair.master.as_ref()).unwrap();
        let slave = open_peer(master.as_fd()).unwrap();
        (master, slave)
    }

    fn closes_on_exec(fd: &OwnedFd) -> bool {
        FdFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFD).unwrap()).contains(FdFlag::FD_CLOEXEC)
    }

    #[test]
    fn both_ends_close_on_exec_and_belong_together() {
        let (master, slave) = pair();
        assert!(closes_on_exec(&master) && closes_on_exec(&slave));
        nix::unistd::write(&slave, b"hello").unwrap();
        let mut buffer = BytesMut::with_capacity(16);
        assert_eq!(read_into(master.as_fd(), &mut buffer, 16).unwrap(), 5);
        assert_eq!(&buffer[..], b"hello");
    }

    #[test]
    fn a_read_stays_within_its_limit_and_within_the_room() {
        let (master, slave) = pair();
        nix::unistd::write(&slave, b"0123456789").unwrap();
        let mut buffer = BytesMut::with_capacity(8);
        buffer.extend_from_slice(b"ab");
        assert_eq!(read_into(master.as_fd(), &mut buffer, 3).unwrap(), 3);
        assert_eq!(unread_bytes(master.as_fd()).unwrap(), 7);
        let room = buffer.capacity() - buffer.len();
        assert_eq!(read_into(master.as_fd(), &mut buffer, usize::MAX).unwrap(), room.min(7));
        assert!(buffer.starts_with(b"ab01234"));
    }

    #[tokio::test]
    async fn an_edge_wakes_the_runtime_and_is_taken_once() {
        use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent};
        let (master, slave) = pair();
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        epoll.add(&master, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0)).unwrap();
        assert_eq!(take_event(epoll.0.as_fd()).unwrap(), EpollFlags::empty());
        let watched = watch_readable(epoll.0).unwrap();
        nix::unistd::write(&slave, b"x").unwrap();
        let _guard = watched.readable().await.unwrap();
        assert_eq!(take_event(watched.get_ref().as_fd()).unwrap(), EpollFlags::EPOLLIN);
        assert_eq!(take_event(watched.get_ref().as_fd()).unwrap(), EpollFlags::empty());
    }

    #[test]
    fn what_is_no_terminal_is_refused() {
        let null = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        assert_eq!(open_peer(null.as_fd()).unwrap_err().raw_os_error(), Some(libc::ENOTTY));
        assert_eq!(take_event(null.as_fd()).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        assert_eq!(unread_bytes(null.as_fd()).unwrap_err().raw_os_error(), Some(libc::ENOTTY));
    }
}
