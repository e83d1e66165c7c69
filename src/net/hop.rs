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
use zeromq::{DealerSocket, RouterSocket, Socket, SocketEvent, SocketOptions};

use super::link::{CrateRx, CrateTx};
use super::zmtp::{Guard, SocketKind};

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
            // Both or neither: left alone, the crate would try for ever to connect to a listener that is gone.
            let ((), ours) = tokio::try_join!(connect(&mut socket, &name), feed)?;
            let (tx, rx) = socket.split();
            Ok(Hop { tx: CrateTx::Dealer(tx), rx: CrateRx::Dealer(rx), ours })
        }
        SocketKind::Router => {
            let mut socket = RouterSocket::with_options(options());
            let mut monitor = socket.monitor();
            let ((), ours) = tokio::try_join!(connect(&mut socket, &name), feed)?;
            let Ok(SocketEvent::Connected(_, peer)) = monitor.try_recv() else {
                return Err(io::Error::other("the ROUTER did not name its peer"));
            };
            let (tx, rx) = socket.split();
            Ok(Hop { tx: CrateTx::Router(tx, Bytes::from(peer)), rx: CrateRx::Router(rx), ours })
        }
    }
}

fn options() -> SocketOptions {
    let mut options = SocketOptions::default();
    // The caller has a time limit of its own.
    options.no_connect_timeout();
    options
}

async fn connect(socket: &mut impl Socket, name: &str) -> io::Result<()> {
    socket.connect(name).await.map_err(io::Error::other)
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
