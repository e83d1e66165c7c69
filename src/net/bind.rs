//! Making the listening socket: private to its user from its first instant on, never over another's head.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, UnixAddr, bind, getsockopt, listen, setsockopt,
    socket, sockopt,
};
use nix::sys::stat::{Mode, fchmod};
use thiserror::Error;

use super::endpoint::Endpoint;

/// Connections that may wait for us to accept them: enough for a thousand watchers that reconnect at once.
const BACKLOG: i32 = 1024;
/// A stale socket may be replaced by somebody else in between; so look again, but not for ever.
const ATTEMPTS: usize = 3;

/// Why there is no listener. Each message is one line that says what to do.
#[derive(Debug, Error)]
pub enum BindError {
    /// A living process listens there.
    #[error("{endpoint} is in use by {who}; stop that one or bind another endpoint")]
    InUse {
        /// Where.
        endpoint: Endpoint,
        /// "pid N" where known.
        who: String,
    },
    /// A file that is no socket stands there; it is left alone.
    #[error("{0}: a file that is no socket is in the way; remove it or bind another endpoint")]
    NotSocket(Endpoint),
    /// The directory does not exist.
    #[error("{0}: the directory does not exist; create it or bind another endpoint")]
    NoDirectory(Endpoint),
    /// The directory is not writable, or the port is privileged.
    #[error("{0}: permission denied; bind in a directory you may write to, or a port from 1024 up")]
    Denied(Endpoint),
    /// The host name is unknown.
    #[error("{endpoint}: host not found ({source}); bind an address of this machine or *")]
    NoHost {
        /// Where.
        endpoint: Endpoint,
        /// What the resolver says.
        source: io::Error,
    },
    /// The address is another machine's.
    #[error("{0}: not an address of this machine; bind one of its own or *")]
    NotOurs(Endpoint),
    /// Anything else.
    #[error("can't bind {endpoint}: {source}")]
    Failed {
        /// Where.
        endpoint: Endpoint,
        /// What the system says.
        source: io::Error,
    },
}

/// A bound socket file, removed on drop if it is still ours.
#[derive(Debug)]
pub(crate) struct SocketFile {
    /// Absolute, since a daemon may change its directory.
    path: PathBuf,
    inode: (u64, u64),
}

/// What stands where a socket file was bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Our own.
    Ours,
    /// Nothing: somebody has removed it.
    Nothing,
    /// Something else.
    Another,
}

impl SocketFile {
    /// What stands there now. What cannot be looked at counts as ours.
    pub(crate) fn standing(&self) -> Standing {
        match fs::symlink_metadata(&self.path) {
            Ok(meta) if (meta.dev(), meta.ino()) != self.inode => Standing::Another,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Standing::Nothing,
            Ok(_) | Err(_) => Standing::Ours,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|meta| (meta.dev(), meta.ino()) == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Binds a socket file with mode 0600, or 0666 if `open_to_all` (credentials then decide).
///
/// Race-free without the umask, which belongs to the whole process: bind gives the file the mode of the socket itself,
/// and that is set before. A socket file left by a dead zerovisor is replaced.
pub(crate) fn bind_ipc(path: &Path, open_to_all: bool) -> Result<(UnixListener, SocketFile), BindError> {
    let endpoint = Endpoint::Ipc(path.to_owned());
    let failed = |source: io::Error| BindError::Failed { endpoint: endpoint.clone(), source };
    let address = UnixAddr::new(path).map_err(|errno| failed(errno.into()))?;
    for _ in 0..ATTEMPTS {
        let fd = stream_socket(AddressFamily::Unix).map_err(|errno| failed(errno.into()))?;
        fchmod(&fd, Mode::S_IRUSR | Mode::S_IWUSR).map_err(|errno| failed(errno.into()))?;
        match bind(fd.as_raw_fd(), &address) {
            Ok(()) => {}
            Err(Errno::EADDRINUSE) => {
                clear_stale(path, &endpoint)?;
                continue;
            }
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Err(BindError::NoDirectory(endpoint)),
            Err(Errno::EACCES | Errno::EPERM) => return Err(BindError::Denied(endpoint)),
            Err(errno) => return Err(failed(errno.into())),
        }
        let file = socket_file(path).map_err(failed)?;
        if open_to_all {
            fs::set_permissions(path, fs::Permissions::from_mode(0o666)).map_err(failed)?;
        }
        listen_on(&fd).map_err(failed)?;
        return Ok((UnixListener::from(fd), file));
    }
    Err(BindError::InUse { endpoint, who: "somebody who binds it again and again".to_owned() })
}

fn socket_file(path: &Path) -> io::Result<SocketFile> {
    let meta = fs::symlink_metadata(path)?;
    Ok(SocketFile { path: std::path::absolute(path)?, inode: (meta.dev(), meta.ino()) })
}

fn stream_socket(family: AddressFamily) -> nix::Result<OwnedFd> {
    socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)
}

fn listen_on(fd: &OwnedFd) -> io::Result<()> {
    Ok(listen(fd, Backlog::new(BACKLOG)?)?)
}

/// Removes the socket file of a dead process; anything else there is an error.
fn clear_stale(path: &Path, endpoint: &Endpoint) -> Result<(), BindError> {
    let failed = |source: io::Error| BindError::Failed { endpoint: endpoint.clone(), source };
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => {}
        Ok(_) => return Err(BindError::NotSocket(endpoint.clone())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    }
    let who = match UnixStream::connect(path) {
        Ok(stream) => match getsockopt(&stream, sockopt::PeerCredentials) {
            Ok(credentials) if credentials.pid() != 0 => format!("pid {}", credentials.pid()),
            Ok(_) | Err(_) => "a process of another container".to_owned(),
        },
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            return match fs::remove_file(path) {
                Ok(()) => Ok(()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    Err(BindError::Denied(endpoint.clone()))
                }
                Err(error) => Err(failed(error)),
            };
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => "another user".to_owned(),
        Err(error) => format!("a process that does not answer ({error})"),
    };
    Err(BindError::InUse { endpoint: endpoint.clone(), who })
}

/// Binds a tcp address; of a name with several addresses the first that can be bound. `*` is all addresses, IPv6 and
/// IPv4 in one socket where the machine has IPv6. Returns the endpoint with the port the system chose, if it did.
pub(crate) fn bind_tcp(host: &str, port: u16) -> Result<(TcpListener, Endpoint), BindError> {
    let endpoint = Endpoint::Tcp { host: host.to_owned(), port };
    let addresses = if host == "*" {
        vec![SocketAddr::from(([0u16; 8], port)), SocketAddr::from(([0u8; 4], port))]
    } else {
        match (host, port).to_socket_addrs() {
            Ok(addresses) => addresses.collect(),
            Err(source) => return Err(BindError::NoHost { endpoint, source }),
        }
    };
    let mut last = Errno::EADDRNOTAVAIL;
    for address in addresses {
        match bind_address(address, host == "*") {
            Ok(listener) => {
                let port = listener.local_addr().map_or(port, |address| address.port());
                return Ok((listener, Endpoint::Tcp { host: host.to_owned(), port }));
            }
            // Of several errors, "in use" is the one that says most.
            Err(errno) if last != Errno::EADDRINUSE => last = errno,
            Err(_) => {}
        }
    }
    Err(if last == Errno::EADDRINUSE {
        BindError::InUse { endpoint, who: "another process".to_owned() }
    } else if last == Errno::EADDRNOTAVAIL {
        BindError::NotOurs(endpoint)
    } else if last == Errno::EACCES {
        BindError::Denied(endpoint)
    } else {
        BindError::Failed { endpoint, source: last.into() }
    })
}

fn bind_address(address: SocketAddr, both_families: bool) -> nix::Result<TcpListener> {
    let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let fd = stream_socket(family)?;
    // A zerovisor that restarts must not wait for the old one's connections to time out.
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    if address.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &!both_families)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&fd, Backlog::new(BACKLOG)?)?;
    Ok(TcpListener::from(fd))
}

#[cfg(test)]
mod tests;
