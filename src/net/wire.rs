//! The connection to the remote peer as the relay sees it, and who is at its other end.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::fcntl::{SpliceFFlags, splice};
use nix::sys::socket::{Shutdown, getsockopt, setsockopt, shutdown, sockopt};
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

use super::unix;

const SPLICE_FLAGS: SpliceFFlags = SpliceFFlags::SPLICE_F_NONBLOCK.union(SpliceFFlags::SPLICE_F_MOVE);

/// A dead tcp peer is noticed by the kernel after about 15 + 3 × 5 s even if nobody sends anything.
const KEEPALIVE_IDLE_SECONDS: u32 = 15;
const KEEPALIVE_INTERVAL_SECONDS: u32 = 5;
const KEEPALIVE_PROBES: u32 = 3;

/// Asked for each unix socket; the system cuts it to its own limit (net.core.wmem_max).
const UNIX_BUFFER_BYTES: usize = 1 << 20;

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A process of this machine, as the kernel saw it when it connected (or, for a dialer, began to listen).
    Unix {
        /// Effective user.
        uid: u32,
        /// Effective group.
        gid: u32,
        /// Process; 0 when it lives in a pid namespace invisible to us.
        pid: i32,
    },
    /// A tcp address.
    Tcp {
        /// Remote address and port.
        addr: SocketAddr,
    },
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix { uid, pid, .. } => write!(f, "pid {pid} (uid {uid})"),
            Self::Tcp { addr } => write!(f, "{addr}"),
        }
    }
}

/// Whom a connection counts for in the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Origin {
    Uid(u32),
    Address(IpAddr),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid(uid) => write!(f, "uid {uid}"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl Peer {
    pub(crate) fn origin(&self) -> Origin {
        match self {
            Self::Unix { uid, .. } => Origin::Uid(*uid),
            Self::Tcp { addr } => Origin::Address(addr.ip().to_canonical()),
        }
    }
}

/// A connected stream. Reading and writing take `&self`, so that both directions of a relay can share it.
#[derive(Debug)]
pub(crate) enum Wire {
    Unix(unix::Stream),
    Tcp(TcpStream),
}

impl Wire {
    /// A unix stream with room for as much as the system allows without privilege: twice the default, so that a record of 256 KiB goes
    /// in one piece.
    ///
    /// # Errors
    /// The runtime cannot watch it.
    pub(crate) fn unix(stream: UnixStream) -> io::Result<Self> {
        // Beyond the system's limit with CAP_NET_ADMIN, up to it without; less is less quick, no more.
        if setsockopt(&stream, sockopt::SndBufForce, &UNIX_BUFFER_BYTES).is_err() {
            let _ = setsockopt(&stream, sockopt::SndBuf, &UNIX_BUFFER_BYTES);
        }
        unix::Stream::new(stream).map(Self::Unix)
    }

    /// THE PLACE FOR ENCRYPTION: a secure handshake takes the tcp stream here, on both sides, before a byte of ZMTP,
    /// and its stream becomes a third kind of `Wire`.
    pub(crate) fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        setsockopt(&stream, sockopt::KeepAlive, &true)?;
        setsockopt(&stream, sockopt::TcpKeepIdle, &KEEPALIVE_IDLE_SECONDS)?;
        setsockopt(&stream, sockopt::TcpKeepInterval, &KEEPALIVE_INTERVAL_SECONDS)?;
        setsockopt(&stream, sockopt::TcpKeepCount, &KEEPALIVE_PROBES)?;
        Ok(Self::Tcp(stream))
    }

    pub(crate) fn peer(&self) -> io::Result<Peer> {
        match self {
            Self::Unix(stream) => {
                let credentials = getsockopt(stream, sockopt::PeerCredentials)?;
                Ok(Peer::Unix { uid: credentials.uid(), gid: credentials.gid(), pid: credentials.pid() })
            }
            Self::Tcp(stream) => Ok(Peer::Tcp { addr: stream.peer_addr()? }),
        }
    }

    pub(crate) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.readable().await,
            Self::Tcp(stream) => stream.readable().await,
        }
    }

    pub(crate) async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.writable().await,
            Self::Tcp(stream) => stream.writable().await,
        }
    }

    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.try_read(buffer),
            Self::Tcp(stream) => stream.try_read(buffer),
        }
    }

    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.try_write(bytes),
            Self::Tcp(stream) => stream.try_write(bytes),
        }
    }

    /// Whether splice moves its pages: of a unix socket. What is encrypted later must be read anyway.
    pub(crate) fn can_splice(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp(_) => false,
        }
    }

    /// Moves at most `limit` bytes from the socket into an empty pipe. 0: the end.
    pub(crate) fn try_splice_into(&self, pipe: &OwnedFd, limit: usize) -> io::Result<usize> {
        let splice = |fd: BorrowedFd<'_>| Ok(splice(fd, None, pipe, None, limit, SPLICE_FLAGS)?);
        match self {
            Self::Unix(stream) => stream.try_in(splice),
            Self::Tcp(stream) => stream.try_io(Interest::READABLE, || splice(stream.as_fd())),
        }
    }

    /// Moves at most `limit` bytes from a pipe that has so many into the socket.
    pub(crate) fn try_splice_from(&self, pipe: &OwnedFd, limit: usize) -> io::Result<usize> {
        let splice = |fd: BorrowedFd<'_>| Ok(splice(pipe, None, fd, None, limit, SPLICE_FLAGS)?);
        match self {
            Self::Unix(stream) => stream.try_out(splice),
            Self::Tcp(stream) => stream.try_io(Interest::WRITABLE, || splice(stream.as_fd())),
        }
    }

    pub(crate) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.try_write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// No more will be written: the peer reads what is on its way, then the end.
    pub(crate) fn end_writing(&self) {
        let fd = match self {
            Self::Unix(stream) => stream.as_fd().as_raw_fd(),
            Self::Tcp(stream) => stream.as_raw_fd(),
        };
        // Fails only if the peer is gone already, which is all the same then.
        let _ = shutdown(fd, Shutdown::Write);
    }
}
