//! One guarded connection to a peer: messages of a header frame and perhaps a payload frame, in order, both ways.
//!
//! ```text
//! LinkTx/LinkRx <-> DEALER or ROUTER of its own <-> private hop <-> relay with the guard <-> peer
//! ```

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use zeromq::{
    DealerRecvHalf, DealerSendHalf, RouterRecvHalf, RouterSendHalf, SocketRecv, SocketSend, ZmqMessage, ZmqResult,
};

use super::hop;
use super::progress::Progress;
use super::relay::{self, Held, Relay};
use super::wire::{Peer, Wire};
use super::zmtp::{Guard, HEADER_MAX_BYTES, PAYLOAD_MAX_BYTES, Refusal, SocketKind, frame_bytes};

/// How long a dropped or closed link goes on writing what was sent before it gives the rest up.
pub const LINGER: Duration = Duration::from_secs(1);
/// Bytes accepted by [`LinkTx::send`] and not yet taken by the peer's socket; past this `send` refuses. The protocol's
/// credit (4 MiB) keeps far below: reaching it means that a caller sends without credit.
pub const UNSENT_MAX_BYTES: u64 = 16 << 20;
/// Likewise in messages, so that the crate's own queue of 100,000 never fills: a full one makes `send` wait and, seen
/// from a shared runtime, everything else with it.
pub const UNSENT_MAX_MESSAGES: usize = 16_384;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frames {
    /// At most 64 KiB.
    pub header: Bytes,
    /// At most 1 MiB and 64 bytes; never copied through the serializer.
    pub payload: Option<Bytes>,
}

impl Frames {
    fn wire_bytes(&self) -> u64 {
        frame_bytes(self.header.len()) + self.payload.as_ref().map_or(0, |payload| frame_bytes(payload.len()))
    }

    fn check(&self) -> Result<(), LinkError> {
        let payload = self.payload.as_ref().map_or(0, Bytes::len);
        for (len, limit) in [(self.header.len(), HEADER_MAX_BYTES), (payload, PAYLOAD_MAX_BYTES)] {
            if len as u64 > limit {
                return Err(LinkError::TooLarge { len: len as u64, limit });
            }
        }
        Ok(())
    }
}

/// Why a link is dead, or (the last two) why one send was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LinkError {
    /// The peer closed the connection between two messages.
    #[error("the peer closed the connection")]
    PeerClosed,
    /// The peer vanished inside a message, which is lost.
    #[error("the peer closed the connection in the middle of a message")]
    PeerCutOff,
    /// The guard cut the peer off; everything before the offence has been delivered.
    #[error("the peer was cut off: {0}")]
    Refused(#[from] Refusal),
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Failed(String),
    /// Closed on this side.
    #[error("the link was closed on this side")]
    Closed,
    /// The peer did not take in time what was sent. The link is still alive if this comes from [`LinkTx::flush`].
    #[error("the peer has not taken {0} bytes of what was sent")]
    NotFlushed(u64),
    /// Too much is waiting for a peer that does not read. The message was not sent; the link is still alive.
    #[error("the peer does not read: {bytes} bytes in {messages} messages are waiting, nothing more is accepted")]
    Stalled {
        /// Bytes waiting.
        bytes: u64,
        /// Messages waiting.
        messages: usize,
    },
    /// A frame over the limit, which the peer's gate would cut us off for. The message was not sent; the link is alive.
    #[error("frame too large to send: {len} > {limit} bytes")]
    TooLarge {
        /// Length of the frame.
        len: u64,
        /// The limit for it.
        limit: u64,
    },
}

/// The peer closed, with bytes of ours unread or while we wrote.
pub(crate) fn is_hang_up(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

/// One connection. Dropping it (both halves) still writes what was sent, for at most [`LINGER`], as long as the
/// runtime runs; a process about to exit wants [`Link::close`].
#[derive(Debug)]
pub struct Link {
    /// Who is at the other end.
    pub peer: Peer,
    /// The sending half.
    pub tx: LinkTx,
    /// The receiving half.
    pub rx: LinkRx,
}

impl Link {
    /// Closes the link after everything sent has been written to the peer's socket and, on tcp, after the peer has
    /// closed its side; waits at most twice [`LINGER`]. Messages not yet received are given up.
    ///
    /// # Errors
    /// [`LinkError::NotFlushed`] if the peer did not take all of it, or why the link was dead before.
    pub async fn close(self) -> Result<(), LinkError> {
        let Self { tx, rx, .. } = self;
        tx.alive()?;
        let LinkTx { socket, queued, progress, mut fate, _alive: alive, .. } = tx;
        drop((socket, alive, rx));
        // The relay ends, and with it the sender of `fate`, once all is written or the time is up.
        while fate.changed().await.is_ok() {}
        match queued.saturating_sub(progress.count()) {
            0 => Ok(()),
            left => Err(LinkError::NotFlushed(left)),
        }
    }
}

/// What the relay found out when the connection ended.
#[derive(Clone, Debug)]
pub(crate) struct Fate {
    pub(crate) error: LinkError,
    /// Complete messages that were passed to the crate, all of which are delivered before the error.
    pub(crate) messages: u64,
}

/// Messages that came in and were not yet taken by [`LinkRx::recv`], beside what one read of up to 64 KiB brings; then the peer's next ones wait
/// in its socket. Twice what the protocol's credit lets be in flight: reaching it means a flood. The crate reads only as messages are taken, so
/// behind this the private hop would hold as much again as its socket does.
pub const UNTAKEN_MAX_MESSAGES: u64 = 512;

pub(crate) enum CrateTx {
    Dealer(DealerSendHalf),
    Router(RouterSendHalf, Bytes),
}

impl CrateTx {
    async fn send(&mut self, frames: Frames) -> ZmqResult<()> {
        let mut message = VecDeque::with_capacity(3);
        if let Self::Router(_, peer) = self {
            message.push_back(peer.clone());
        }
        message.push_back(frames.header);
        message.extend(frames.payload);
        let message =
            ZmqMessage::try_from(message).map_err(|_| zeromq::ZmqError::Other("a message has at least one frame"))?;
        match self {
            Self::Dealer(socket) => socket.send(message).await,
            Self::Router(socket, _) => socket.send(message).await,
        }
    }
}

pub(crate) enum CrateRx {
    Dealer(DealerRecvHalf),
    Router(RouterRecvHalf),
}

impl CrateRx {
    pub(crate) async fn recv(&mut self) -> ZmqResult<Frames> {
        let mut frames = match self {
            Self::Dealer(socket) => socket.recv().await?.into_vecdeque(),
            Self::Router(socket) => {
                let mut frames = socket.recv().await?.into_vecdeque();
                // The identity, which is always the same: this socket has one peer.
                frames.pop_front();
                frames
            }
        };
        let header = frames.pop_front().unwrap_or_default();
        Ok(Frames { header, payload: frames.pop_front() })
    }
}

impl std::fmt::Debug for CrateTx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CrateTx")
    }
}

impl std::fmt::Debug for CrateRx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CrateRx")
    }
}

/// The sending half.
#[derive(Debug)]
pub struct LinkTx {
    socket: CrateTx,
    /// Bytes of messages handed to the socket, as they will stand on the wire.
    queued: u64,
    /// `queued` after each message not known to be written, oldest first.
    unsent: VecDeque<u64>,
    progress: Arc<Progress>,
    fate: watch::Receiver<Option<Fate>>,
    _alive: mpsc::Sender<Infallible>,
}

impl LinkTx {
    /// Queues a message. Does not wait for the peer: the protocol's credit bounds what is under way, and past
    /// [`UNSENT_MAX_BYTES`] or [`UNSENT_MAX_MESSAGES`] the message is refused instead of queued. Never cancel it
    /// in order to send the same message again: it may be queued already.
    ///
    /// # Errors
    /// [`LinkError::Stalled`] and [`LinkError::TooLarge`] refuse this message only; every other error is the end
    /// of the link.
    pub async fn send(&mut self, frames: Frames) -> Result<(), LinkError> {
        self.alive()?;
        frames.check()?;
        let bytes = frames.wire_bytes();
        self.forget_written();
        if self.unsent.len() >= UNSENT_MAX_MESSAGES || self.unsent_bytes() + bytes > UNSENT_MAX_BYTES {
            return Err(LinkError::Stalled { bytes: self.unsent_bytes(), messages: self.unsent.len() });
        }
        self.queued += bytes;
        self.unsent.push_back(self.queued);
        if self.socket.send(frames).await.is_err() {
            return Err(self.fate().unwrap_or(LinkError::PeerClosed));
        }
        Ok(())
    }

    /// Bytes sent that the peer's socket has not taken yet: a peer that does not read shows here.
    #[must_use]
    pub fn unsent_bytes(&self) -> u64 {
        self.queued.saturating_sub(self.progress.count())
    }

    /// Bytes the peer's socket has taken since the link began.
    #[must_use]
    pub fn written_bytes(&self) -> u64 {
        self.progress.count()
    }

    /// Waits until at most `bytes` of what was sent are still to be taken by the peer's socket. Cancel-safe.
    ///
    /// # Errors
    /// Why the link died meanwhile.
    pub async fn drained_to(&mut self, bytes: u64) -> Result<(), LinkError> {
        let progress = Arc::clone(&self.progress);
        if self.unsent_bytes() <= bytes {
            return Ok(());
        }
        self.alive()?;
        tokio::select! {
            biased;
            () = progress.reaches(self.queued.saturating_sub(bytes)) => Ok(()),
            _ = self.fate.changed() => self.alive(),
        }
    }

    /// Waits until everything sent has been written to the peer's socket, at most `within`. Cancel-safe.
    ///
    /// # Errors
    /// [`LinkError::NotFlushed`] when the time is up, or why the link died.
    pub async fn flush(&mut self, within: Duration) -> Result<(), LinkError> {
        match tokio::time::timeout(within, self.drained_to(0)).await {
            Ok(flushed) => flushed,
            Err(_) => Err(LinkError::NotFlushed(self.unsent_bytes())),
        }
    }

    fn forget_written(&mut self) {
        let written = self.progress.count();
        while self.unsent.front().is_some_and(|&end| end <= written) {
            self.unsent.pop_front();
        }
        if self.unsent.is_empty() && self.unsent.capacity() > 64 {
            self.unsent = VecDeque::new();
        }
    }

    fn fate(&self) -> Option<LinkError> {
        self.fate.borrow().as_ref().map(|fate| fate.error.clone())
    }

    fn alive(&self) -> Result<(), LinkError> {
        match self.fate() {
            Some(error) => Err(error),
            None if self.fate.has_changed().is_err() => Err(LinkError::Closed),
            None => Ok(()),
        }
    }
}

/// The receiving half.
#[derive(Debug)]
pub struct LinkRx {
    socket: CrateRx,
    received: u64,
    taken: Arc<Progress>,
    fate: watch::Receiver<Option<Fate>>,
    _alive: mpsc::Sender<Infallible>,
}

impl LinkRx {
    /// The next message. Cancel-safe. Every message that arrived whole is delivered before the error.
    ///
    /// # Errors
    /// Why the link died; the same again from then on.
    pub async fn recv(&mut self) -> Result<Frames, LinkError> {
        loop {
            if let Some(error) = self.over() {
                return Err(error);
            }
            tokio::select! {
                biased;
                frames = self.socket.recv() => match frames {
                    Ok(frames) => {
                        self.received += 1;
                        self.taken.add(1);
                        return Ok(frames);
                    }
                    // The crate repeats this at full speed; so it is not asked again.
                    Err(error) => return Err(self.fate_error().unwrap_or_else(|| LinkError::Failed(error.to_string()))),
                },
                _ = self.fate.changed() => {}
            }
        }
    }

    fn over(&self) -> Option<LinkError> {
        let relay_gone = self.fate.has_changed().is_err();
        match &*self.fate.borrow() {
            // The relay goes only after the crate has read all; so nothing is lost by the second condition.
            Some(fate) if self.received >= fate.messages || relay_gone => Some(fate.error.clone()),
            None if relay_gone => Some(LinkError::Closed),
            Some(_) | None => None,
        }
    }

    fn fate_error(&self) -> Option<LinkError> {
        self.fate.borrow().as_ref().map(|fate| fate.error.clone())
    }
}

/// Why a connection did not become a link.
#[derive(Debug, Error)]
pub(crate) enum EstablishError {
    #[error("{0}")]
    Refused(Refusal),
    #[error("it closed the connection during the handshake")]
    PeerClosed,
    #[error("the connection failed: {0}")]
    Wire(io::Error),
    #[error("no private socket for it: {0}")]
    Hop(io::Error),
}

/// Does the ZMTP handshake with the remote peer, and only then brings in the crate. `seat` is kept until the last
/// descriptor of the link is closed. The caller sets the time limit.
pub(crate) async fn establish<S: Send + 'static>(
    wire: Wire,
    peer: Peer,
    ours: SocketKind,
    seat: S,
) -> Result<Link, EstablishError> {
    let mut guard = Guard::new(match ours {
        SocketKind::Dealer => SocketKind::Router,
        SocketKind::Router => SocketKind::Dealer,
    });
    let (hello, held) = shake_hands(&wire, ours, &mut guard).await?;
    let hop = hop::open(ours, &hello).await.map_err(EstablishError::Hop)?;
    let inside = Wire::unix(hop.ours).map_err(EstablishError::Hop)?;
    let (progress, taken) = (Arc::new(Progress::default()), Arc::new(Progress::default()));
    let (verdict, fate) = watch::channel(None);
    let (alive, dropped) = mpsc::channel(1);
    let (written, passed) = (Arc::clone(&progress), Arc::clone(&taken));
    let relay = Relay { wire, hop: inside, guard, held, verdict, progress: written, taken: passed, dropped };
    tokio::spawn(async move {
        relay::run(relay).await;
        drop(seat);
    });
    let rx = LinkRx { socket: hop.rx, received: 0, taken, fate: fate.clone(), _alive: alive.clone() };
    let tx = LinkTx { socket: hop.tx, queued: 0, unsent: VecDeque::new(), progress, fate, _alive: alive };
    Ok(Link { peer, tx, rx })
}

/// Says our hello and reads the peer's; returns what the crate may see of it, and the beginning of what it may not yet.
async fn shake_hands(wire: &Wire, ours: SocketKind, guard: &mut Guard) -> Result<(Vec<u8>, Held), EstablishError> {
    let from_io = |error: io::Error| {
        if is_hang_up(&error) { EstablishError::PeerClosed } else { EstablishError::Wire(error) }
    };
    wire.write_all(&ours.hello()).await.map_err(from_io)?;
    // Room for the longest hello; whatever comes behind it waits in the socket.
    let mut bytes = [0; 1024];
    let (mut admitted, mut filled) = (0, 0);
    while !guard.is_established() {
        wire.readable().await.map_err(from_io)?;
        match wire.try_read(&mut bytes[filled..]) {
            Ok(0) => return Err(EstablishError::PeerClosed),
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(from_io(error)),
        }
        admitted +=
            guard.admit(&bytes[admitted..filled]).map_err(|refused| EstablishError::Refused(refused.refusal))?;
    }
    Ok((bytes[..admitted].to_vec(), Held::new(&bytes[admitted..filled])))
}

#[cfg(test)]
mod tests;
