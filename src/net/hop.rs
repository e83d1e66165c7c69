//! The private hop: how a guarded connection enters the zeromq crate.
//!
//! The crate makes its own connections, so it is let connect to us: a unix listener of ours under a random abstract
//! name, alive for some microseconds, one per link. Who connects there is checked by `SO_PEERCRED` to be this very
//! process; anybody else is dropped. The crate itself never listens, so nobody can reach it but through a guard.
//! Nothing touches the file system: a read-only container is no obstacle.
//!
//! The obvious other way, letting the crate adopt a listener that is shut down once our own connection waits on it,
//! does not work: its accept loop then spins for ever inside one poll (EAGAIN with tokio's sticky read-closed
//! readiness, seen with zeromq 0.7.0 and tokio 1.54), and without the shutdown a stranger can slip in.

use std::io;
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener as StdUnixListener};

use bytes::Bytes;
use nix::sys::socket::{getsockopt, sockopt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use zeromq::{DealerSocket, RouterSocket, Socket, SocketEvent, SocketOptions, ZmqError};

use super::link::{CrateRx, CrateTx};
use super::zmtp::{Guard, SocketKind};

/// Largest read the crate does at once; its default of 64 KiB costs a system call for every quarter of a chunk.
const CRATE_READ_MAX_BYTES: usize = 64 << 10;

/// A socket of the crate with exactly one connection, and our end of that connection.
pub(crate) struct Hop {
    pub(crate) tx: CrateTx,
    pub(crate) rx: CrateRx,
    pub(crate) ours: UnixStream,
}

/// Sets up a fresh socket of `kind` and feeds it `hello`, the guarded beginning of the remote peer's stream (greeting,
/// READY and perhaps first messages). What the socket itself says in the handshake has been read and judged when this
/// returns: the next byte from it belongs to a message.
pub(crate) async fn open(kind: SocketKind, hello: &[u8]) -> io::Result<Hop> {
    let (listener, name) = listen()?;
    let feed = feed(listener, kind, hello);
    match kind {
        SocketKind::Dealer => {
            let mut socket = DealerSocket::with_options(options());
            let (ours, connected) = tokio::join!(feed, socket.connect(&name));
            connected.map_err(crate_error)?;
            let (tx, rx) = socket.split();
            Ok(Hop { tx: CrateTx::Dealer(tx), rx: CrateRx::Dealer(rx), ours: ours? })
        }
        SocketKind::Router => {
            let mut socket = RouterSocket::with_options(options());
            let mut monitor = socket.monitor();
            let (ours, connected) = tokio::join!(feed, socket.connect(&name));
            connected.map_err(crate_error)?;
            let Ok(SocketEvent::Connected(_, peer)) = monitor.try_recv() else {
                return Err(io::Error::other("the ROUTER did not name its peer"));
            };
            let (tx, rx) = socket.split();
            Ok(Hop { tx: CrateTx::Router(tx, Bytes::from(peer)), rx: CrateRx::Router(rx), ours: ours? })
        }
    }
}

fn options() -> SocketOptions {
    let mut options = SocketOptions::default();
    options.no_connect_timeout().read_buffer(128, CRATE_READ_MAX_BYTES, 2);
    options
}

fn crate_error(error: ZmqError) -> io::Error {
    io::Error::other(error)
}

fn listen() -> io::Result<(UnixListener, String)> {
    let mut random = [0; 16];
    read_random(&mut random)?;
    let name = format!("zerovisor-hop-{:032x}", u128::from_ne_bytes(random));
    let listener = StdUnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
    listener.set_nonblocking(true)?;
    Ok((UnixListener::from_std(listener)?, format!("ipc://\0{name}")))
}

/// A name nobody can guess; that a stranger connects is no danger, but would delay the link.
fn read_random(bytes: &mut [u8]) -> io::Result<()> {
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, bytes)
}

/// Accepts the crate's connection, gives it the peer's hello and takes its own.
async fn feed(listener: UnixListener, kind: SocketKind, hello: &[u8]) -> io::Result<UnixStream> {
    let mut ours = accept_ourselves(&listener).await?;
    drop(listener);
    ours.write_all(hello).await?;
    let mut guard = Guard::new(kind);
    let mut said = vec![0; kind.hello().len()];
    ours.read_exact(&mut said).await?;
    match guard.admit(&said) {
        Ok(admitted) if admitted == said.len() && guard.is_established() => Ok(ours),
        Ok(_) | Err(_) => Err(io::Error::other("the zeromq crate greets in an unknown way")),
    }
}

async fn accept_ourselves(listener: &UnixListener) -> io::Result<UnixStream> {
    let this_process = std::process::id();
    loop {
        let (stream, _) = listener.accept().await?;
        let credentials = getsockopt(&stream.as_fd(), sockopt::PeerCredentials)?;
        if u32::try_from(credentials.pid()) == Ok(this_process) {
            return Ok(stream);
        }
        tracing::warn!(pid = credentials.pid(), uid = credentials.uid(), "stranger on a private socket dropped");
    }
}

#[cfg(test)]
mod tests;
