//! Connecting to a zerovisor.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use thiserror::Error;
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::{Instant, sleep, timeout_at};

use super::endpoint::Endpoint;
use super::link::{EstablishError, Link, establish};
use super::wire::Wire;
use super::zmtp::{Refusal, SocketKind};

/// A unix listener whose queue is full refuses with EAGAIN instead of letting us wait; so we ask again this soon.
const FULL_QUEUE_WAIT: Duration = Duration::from_millis(10);

/// Why there is no link. Each message is one line that says what to do.
#[derive(Debug, Error)]
pub enum DialError {
    /// No socket file, nobody listening, or no such host.
    #[error("no zerovisor at {endpoint}: {why}; start one there or name another with -e")]
    NothingThere {
        /// Where.
        endpoint: Endpoint,
        /// What the system says.
        why: String,
    },
    /// The socket file may not be used by this user.
    #[error("no permission for {0}: it belongs to another user; run as that user or have it allow yours")]
    Denied(Endpoint),
    /// Nothing definite within the deadline.
    #[error("{endpoint} did not answer within {} s; is it overloaded, or a firewall in between?", within.as_secs_f64())]
    TimedOut {
        /// Where.
        endpoint: Endpoint,
        /// The deadline.
        within: Duration,
    },
    /// The other side hung up during the handshake, as a zerovisor does that is full or does not know this user.
    #[error("{0} closed the connection at once: it is full or does not let this user in; see its log")]
    TurnedAway(Endpoint),
    /// Something else than a zerovisor listens there.
    #[error("no zerovisor at {endpoint}: something else listens there ({refusal}); check the address")]
    NotZerovisor {
        /// Where.
        endpoint: Endpoint,
        /// What gave it away.
        refusal: Refusal,
    },
    /// The network or this machine failed.
    #[error("can't connect to {endpoint}: {source}")]
    Failed {
        /// Where.
        endpoint: Endpoint,
        /// What the system says.
        source: io::Error,
    },
}

/// Connects and does the handshake, all within `deadline`. What comes from the other side passes the same gate as on a
/// listener: a hostile server can't harm a client.
///
/// # Errors
/// See [`DialError`].
pub async fn dial(endpoint: &Endpoint, deadline: Duration) -> Result<Link, DialError> {
    let at = Instant::now() + deadline;
    let timed_out = |_| DialError::TimedOut { endpoint: endpoint.clone(), within: deadline };
    let wire = timeout_at(at, connect(endpoint)).await.map_err(timed_out)?;
    let wire = wire.map_err(|error| connect_error(endpoint, error))?;
    let peer = wire.peer().map_err(|source| DialError::Failed { endpoint: endpoint.clone(), source })?;
    let link = timeout_at(at, establish(wire, peer, SocketKind::Dealer, ())).await.map_err(timed_out)?;
    link.map_err(|error| establish_error(endpoint, error))
}

async fn connect(endpoint: &Endpoint) -> io::Result<Wire> {
    match endpoint {
        Endpoint::Ipc(path) => connect_unix(path).await.and_then(Wire::unix),
        Endpoint::Tcp { host, port } => Wire::tcp(connect_tcp(host, *port).await?),
    }
}

async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(FULL_QUEUE_WAIT).await,
            connected => return connected,
        }
    }
}

/// Tries each address of the host in turn; the last one's error counts.
async fn connect_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    // `*` is where a zerovisor listens on all addresses; from this machine that is the loopback.
    let host = if host == "*" { "localhost" } else { host };
    let addresses: Vec<SocketAddr> = lookup_host((host, port))
        .await
        .map_err(|error| io::Error::new(io::ErrorKind::NotFound, format!("host {host:?} not found ({error})")))?
        .collect();
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("host {host:?} has no address"));
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn connect_error(endpoint: &Endpoint, error: io::Error) -> DialError {
    let endpoint = endpoint.clone();
    let kind = error.kind();
    if kind == io::ErrorKind::NotFound && error.raw_os_error().is_some() {
        DialError::NothingThere { endpoint, why: "no such socket file".to_owned() }
    } else if kind == io::ErrorKind::NotFound {
        DialError::NothingThere { endpoint, why: error.to_string() }
    } else if kind == io::ErrorKind::ConnectionRefused {
        DialError::NothingThere { endpoint, why: "nobody listens there".to_owned() }
    } else if kind == io::ErrorKind::PermissionDenied {
        DialError::Denied(endpoint)
    } else {
        DialError::Failed { endpoint, source: error }
    }
}

fn establish_error(endpoint: &Endpoint, error: EstablishError) -> DialError {
    let endpoint = endpoint.clone();
    match error {
        EstablishError::Refused(refusal) => DialError::NotZerovisor { endpoint, refusal },
        EstablishError::PeerClosed => DialError::TurnedAway(endpoint),
        EstablishError::Wire(source) | EstablishError::Hop(source) => DialError::Failed { endpoint, source },
    }
}
