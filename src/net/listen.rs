//! The door: accepts connections, turns away whom it must, and hands out the rest as links.
//!
//! In this order: limits, credentials (unix), [encryption (tcp), see `Wire::tcp`], the ZMTP handshake under the
//! guard with a time limit, the private hop. A stranger costs a seat and a task until it has done its handshake, no
//! more.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::time::Duration;

use nix::unistd::geteuid;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

pub use super::bind::BindError;
use super::bind::{SocketFile, Standing, bind_ipc, bind_tcp};
use super::endpoint::Endpoint;
use super::link::{EstablishError, Link, establish};
pub use super::seats::{CONNECTIONS_MAX, HANDSHAKE_DEADLINE, HANDSHAKES_MAX, Limits, PER_ADDRESS_MAX, PER_UID_MAX};
use super::seats::{Seat, Seats};
use super::telling::Telling;
use super::wire::{Peer, Wire};
use super::zmtp::SocketKind;

/// Pause after accept failed: mostly for want of descriptors, which only time brings back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often it is looked whether somebody has removed the socket file.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Who may come in, and how many.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    /// The limits.
    pub limits: Limits,
    /// Unix users let in besides our own and root. With any, the socket file has mode 0666 and credentials decide.
    pub allow_uids: Vec<u32>,
}

/// Connections that did not become links, by reason, since the bind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnedAway {
    /// Over a limit of [`Limits`].
    pub over_limit: u64,
    /// Of a unix user who may not come in.
    pub not_allowed: u64,
    /// No handshake within [`Limits::handshake`].
    pub too_slow: u64,
    /// Unfinished when too many newer ones came.
    pub displaced: u64,
    /// Not ZMTP, or not of our kind.
    pub refused: u64,
    /// Closed by the peer, or failed, before the handshake was done.
    pub broken: u64,
    /// Times accept itself failed (each followed by a pause).
    pub accept_errors: u64,
}

#[derive(Debug)]
enum Listener {
    Ipc(UnixListener),
    Tcp(TcpListener),
}

#[derive(Debug)]
enum Bound {
    Ipc(std::os::unix::net::UnixListener),
    Tcp(std::net::TcpListener),
}

/// A bound endpoint. Dropping it stops accepting and removes the socket file; links already handed out live on.
#[derive(Debug)]
pub struct Acceptor {
    endpoint: Endpoint,
    bound: Option<Bound>,
    listener: Option<Listener>,
    seats: Seats,
    admission: Admission,
    handshakes: JoinSet<Result<Link, Failure>>,
    oldest_first: VecDeque<AbortHandle>,
    turned_away: TurnedAway,
    file: Option<SocketFile>,
    /// When it is looked next whether the socket file is still there.
    look_at: Option<Instant>,
    /// The last look found what people have been told of.
    told: bool,
    telling: Telling,
}

#[derive(Debug)]
enum Failure {
    TooSlow(Peer),
    Establish(Peer, EstablishError),
}

impl Acceptor {
    /// Binds `endpoint`. Needs no runtime yet. A socket file gets mode 0600 race-free (without touching the umask), a
    /// dead zerovisor's is replaced, a living one's is refused with its pid. Whether tcp is allowed without
    /// encryption is for the caller to decide.
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn bind(endpoint: &Endpoint, admission: Admission) -> Result<Self, BindError> {
        let (bound, endpoint, file) = match endpoint {
            Endpoint::Ipc(path) => {
                let (listener, file) = bind_ipc(Path::new(path), !admission.allow_uids.is_empty())?;
                (Bound::Ipc(listener), endpoint.clone(), Some(file))
            }
            Endpoint::Tcp { host, port } => {
                let (listener, endpoint) = bind_tcp(host, *port)?;
                (Bound::Tcp(listener), endpoint, None)
            }
        };
        Ok(Self {
            endpoint,
            bound: Some(bound),
            listener: None,
            seats: Seats::new(admission.limits),
            admission,
            handshakes: JoinSet::new(),
            oldest_first: VecDeque::new(),
            turned_away: TurnedAway::default(),
            file,
            look_at: None,
            told: false,
            telling: Telling::default(),
        })
    }

    /// Where it listens; port 0 has become the real one.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Connections now open, links and unfinished handshakes.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.seats.taken()
    }

    /// How many did not get in.
    #[must_use]
    pub fn turned_away(&self) -> TurnedAway {
        self.turned_away
    }

    /// The next link. Everything that goes wrong with a connection is counted, logged and otherwise passed over.
    /// Cancel-safe. Handshakes make progress on their own, but new connections are accepted only while this is
    /// being awaited.
    ///
    /// # Errors
    /// Only if the listener can't be used with this runtime at all.
    pub async fn accept(&mut self) -> io::Result<Link> {
        self.attach()?;
        loop {
            let look_at = *self.look_at.get_or_insert_with(|| Instant::now() + LOOK_EVERY);
            let event = tokio::select! {
                () = sleep_until(look_at), if self.file.is_some() => Event::Look,
                Some(done) = self.handshakes.join_next() => Event::Done(done.ok()),
                accepted = accept_one(self.listener.as_ref()) => Event::Accepted(accepted),
            };
            match event {
                Event::Look => self.look(),
                Event::Done(Some(Ok(link))) => return Ok(link),
                Event::Done(Some(Err(failure))) => self.count(&failure),
                // Aborted to make room, counted then.
                Event::Done(None) => {}
                Event::Accepted(Ok(wire)) => self.admit(wire),
                Event::Accepted(Err(error)) => {
                    self.turned_away.accept_errors += 1;
                    tracing::warn!(endpoint = %self.endpoint, %error, "accept failed");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Binds a socket file that somebody has removed again: whoever holds the data directory may. One that somebody has put in its place is
    /// theirs.
    fn look(&mut self) {
        self.look_at = None;
        let Some(file) = &self.file else { return };
        let endpoint = &self.endpoint;
        match file.standing() {
            Standing::Ours => self.told = false,
            Standing::Nothing => match self.bind_again() {
                Ok(()) => tracing::warn!(endpoint = %self.endpoint, "its socket file was removed: it is bound again"),
                Err(error) if !self.told => {
                    self.told = true;
                    tracing::error!(%error, "its socket file was removed, and it cannot be bound again yet");
                }
                Err(_) => {}
            },
            Standing::Another if !self.told => {
                self.told = true;
                tracing::error!(%endpoint, "something else stands where its socket file was: nobody new can reach it there");
            }
            Standing::Another => {}
        }
    }

    fn bind_again(&mut self) -> Result<(), BindError> {
        let Some(path) = self.file.as_ref().map(|file| file.path().to_path_buf()) else { return Ok(()) };
        let (listener, file) = bind_ipc(&path, !self.admission.allow_uids.is_empty())?;
        let failed = |source| BindError::Failed { endpoint: self.endpoint.clone(), source };
        self.listener = Some(Listener::Ipc(UnixListener::from_std(listener).map_err(failed)?));
        // The old one goes after the new one is there, so that their inodes differ.
        self.file = Some(file);
        Ok(())
    }

    /// Hands the listener to the runtime, once.
    fn attach(&mut self) -> io::Result<()> {
        if let Some(bound) = self.bound.take() {
            self.listener = Some(match bound {
                Bound::Ipc(listener) => Listener::Ipc(UnixListener::from_std(listener)?),
                Bound::Tcp(listener) => Listener::Tcp(TcpListener::from_std(listener)?),
            });
        }
        Ok(())
    }

    fn admit(&mut self, wire: Wire) {
        let Ok(peer) = wire.peer() else {
            self.turned_away.broken += 1;
            return;
        };
        let Some(seat) = self.seats.take(peer.origin()) else {
            self.turned_away.over_limit += 1;
            if self.telling.tells(peer.origin(), "over the limit of connections") {
                tracing::warn!(%peer, "connection over the limit dropped");
            }
            return;
        };
        if !self.may_enter(&peer) {
            self.turned_away.not_allowed += 1;
            if self.telling.tells(peer.origin(), "not allowed") {
                tracing::warn!(%peer, "connection of a user who is not allowed dropped");
            }
            return;
        }
        self.make_room(&peer);
        self.oldest_first.push_back(self.handshakes.spawn(shake_hands(
            wire,
            peer,
            seat,
            self.admission.limits.handshake,
        )));
    }

    fn may_enter(&self, peer: &Peer) -> bool {
        match peer {
            Peer::Unix { uid, .. } => {
                *uid == 0 || *uid == geteuid().as_raw() || self.admission.allow_uids.contains(uid)
            }
            Peer::Tcp { .. } => true,
        }
    }

    /// Ends the oldest unfinished handshakes beyond the limit less one.
    fn make_room(&mut self, newest: &Peer) {
        while self.oldest_first.front().is_some_and(AbortHandle::is_finished) {
            self.oldest_first.pop_front();
        }
        if self.oldest_first.len() < self.admission.limits.handshakes {
            return;
        }
        self.oldest_first.retain(|handshake| !handshake.is_finished());
        while self.oldest_first.len() >= self.admission.limits.handshakes {
            let Some(oldest) = self.oldest_first.pop_front() else { return };
            oldest.abort();
            self.turned_away.displaced += 1;
            if self.telling.tells(newest.origin(), "no handshake before too many others came") {
                tracing::warn!(%newest, "oldest connection without a handshake dropped");
            }
        }
    }

    fn count(&mut self, failure: &Failure) {
        match failure {
            Failure::TooSlow(peer) => {
                self.turned_away.too_slow += 1;
                if self.telling.tells(peer.origin(), "no handshake in time") {
                    tracing::warn!(%peer, "connection without a handshake dropped");
                }
            }
            Failure::Establish(peer, EstablishError::Refused(refusal)) => {
                self.turned_away.refused += 1;
                if self.telling.tells(peer.origin(), "not our protocol") {
                    tracing::warn!(%peer, %refusal, "connection refused");
                }
            }
            Failure::Establish(peer, EstablishError::Hop(error)) => {
                self.turned_away.broken += 1;
                if self.telling.tells(peer.origin(), "no private socket") {
                    tracing::warn!(%peer, %error, "no private socket for a connection");
                }
            }
            Failure::Establish(peer, error @ (EstablishError::PeerClosed | EstablishError::Wire(_))) => {
                self.turned_away.broken += 1;
                tracing::debug!(%peer, %error, "connection lost in the handshake");
            }
        }
    }
}

enum Event {
    Look,
    Done(Option<Result<Link, Failure>>),
    Accepted(io::Result<Wire>),
}

async fn accept_one(listener: Option<&Listener>) -> io::Result<Wire> {
    match listener {
        Some(Listener::Ipc(listener)) => listener.accept().await.and_then(|(stream, _)| Wire::unix(stream)),
        Some(Listener::Tcp(listener)) => Wire::tcp(listener.accept().await?.0),
        None => std::future::pending().await,
    }
}

async fn shake_hands(wire: Wire, peer: Peer, seat: Seat, deadline: Duration) -> Result<Link, Failure> {
    match timeout(deadline, establish(wire, peer, SocketKind::Router, seat)).await {
        Ok(established) => established.map_err(|error| Failure::Establish(peer, error)),
        Err(_) => Err(Failure::TooSlow(peer)),
    }
}

#[cfg(test)]
mod tests;
