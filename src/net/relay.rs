//! Carries a link's bytes between the remote peer and the private hop, judging those that come from the peer.
//!
//! An idle relay owns no buffer at all: both directions of all links of a thread share one scratch buffer, which is
//! filled and emptied between two waits. Only what the other side would not take at once is copied into a buffer of
//! its own, and the direction then waits until it is gone: back-pressure passes through.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::pin::pin;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::coop::consume_budget;
use tokio::time::{sleep, timeout};

use super::bulk::{self, Broken};
use super::link::{Fate, LINGER, LinkError, UNTAKEN_MAX_MESSAGES, is_hang_up};
use super::progress::Progress;
use super::wire::Wire;
use super::zmtp::{Guard, Refusal};

/// Read at most at once, at first: an idle link is one of a thousand, and bulk between unix sockets is spliced.
const SCRATCH_START_BYTES: usize = 8 << 10;
/// Likewise once a stream that cannot be spliced has filled it.
const SCRATCH_BYTES: usize = 64 << 10;
/// The longest beginning of a frame header that is not a whole one.
const HELD_BYTES: usize = 8;

thread_local! {
    /// Borrowed only between two waits, never across one. The pages of it that no read has reached cost nothing.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH_START_BYTES]);
}

/// Whether a read of so many bytes filled the scratch buffer. One that a stream can only be copied through then grows.
fn was_full(read: usize, can_splice: bool) -> bool {
    SCRATCH.with_borrow_mut(|scratch| {
        let full = read >= scratch.len();
        if full && !can_splice && scratch.len() < SCRATCH_BYTES {
            scratch.resize(SCRATCH_BYTES, 0);
        }
        full
    })
}

/// The beginning of a frame header, kept until the rest has come.
#[derive(Debug, Default)]
pub(crate) struct Held {
    bytes: [u8; HELD_BYTES],
    len: usize,
}

impl Held {
    /// At most [`HELD_BYTES`]: the guard holds back no more once the handshake is over.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let mut held = Self { bytes: [0; HELD_BYTES], len: bytes.len().min(HELD_BYTES) };
        held.bytes[..held.len].copy_from_slice(&bytes[..held.len]);
        held
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// All a link owns besides its socket.
pub(crate) struct Relay {
    pub(crate) wire: Wire,
    pub(crate) hop: Wire,
    pub(crate) guard: Guard,
    pub(crate) held: Held,
    pub(crate) verdict: watch::Sender<Option<Fate>>,
    pub(crate) progress: Arc<Progress>,
    /// Messages that the link's user has taken.
    pub(crate) taken: Arc<Progress>,
    /// Ends when both halves of the link have been dropped.
    pub(crate) dropped: mpsc::Receiver<Infallible>,
}

enum End {
    /// Nothing more comes from the peer, or nothing more may.
    Inbound(LinkError),
    /// The crate closed the hop: the link was dropped and everything sent has been written.
    Flushed,
    /// The link was dropped, and the peer did not take the rest in time.
    GivenUp,
}

/// Runs until the connection has ended and the link knows why.
pub(crate) async fn run(relay: Relay) {
    let Relay { wire, hop, mut guard, mut held, verdict, progress, taken, mut dropped } = relay;
    let inbound = inbound(&wire, &hop, &mut guard, &mut held, &taken);
    let end = carry(inbound, outbound(&wire, &hop, &progress), &mut dropped).await;
    let messages = guard.messages();
    match end {
        End::Inbound(error) => {
            verdict.send_replace(Some(Fate { error, messages }));
            drop(wire);
            // The hop stays open for reading: were it closed, the crate's next write would fail, and on that it
            // forgets the messages it has not delivered yet.
            hop.end_writing();
            tokio::select! {
                () = discard(&hop) => {}
                _ = dropped.recv() => {}
            }
        }
        End::Flushed => {
            verdict.send_replace(Some(Fate { error: LinkError::Closed, messages }));
            drop(hop);
            part(&wire).await;
        }
        End::GivenUp => {
            verdict.send_replace(Some(Fate { error: LinkError::Closed, messages }));
        }
    }
}

async fn carry(
    inbound: impl Future<Output = LinkError>,
    outbound: impl Future<Output = bool>,
    dropped: &mut mpsc::Receiver<Infallible>,
) -> End {
    let (mut inbound, mut outbound) = (pin!(inbound), pin!(outbound));
    let mut lingered = pin!(async {
        dropped.recv().await;
        sleep(LINGER).await;
    });
    let mut peer_takes = true;
    loop {
        tokio::select! {
            error = &mut inbound => return End::Inbound(error),
            flushed = &mut outbound, if peer_takes => {
                if flushed {
                    return End::Flushed;
                }
                // The peer is gone or going; what it said before is still to be read.
                peer_takes = false;
            }
            () = &mut lingered => return End::GivenUp,
        }
    }
}

/// Says goodbye: on tcp, closing a socket with unread bytes in it would make the kernel throw away, at the peer, what
/// was just written. A unix socket delivers it all the same.
async fn part(wire: &Wire) {
    wire.end_writing();
    match wire {
        Wire::Unix(_) => {}
        Wire::Tcp(_) => {
            let _ = timeout(LINGER, discard(wire)).await;
        }
    }
}

async fn discard(wire: &Wire) {
    while wire.readable().await.is_ok() {
        match SCRATCH.with_borrow_mut(|scratch| wire.try_read(scratch)) {
            Ok(0) => return,
            Ok(_) => consume_budget().await,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// What one turn of reading and writing on left to do.
enum Turn {
    /// Nothing was there to read.
    Nothing,
    /// So much was moved, and this much is still to be written.
    Moved(usize, Vec<u8>),
    /// The end of the stream.
    End,
}

/// From the peer to the crate, under the guard's eyes. Returns why it ended.
async fn inbound(wire: &Wire, hop: &Wire, guard: &mut Guard, held: &mut Held, taken: &Progress) -> LinkError {
    let can_splice = wire.can_splice() && hop.can_splice();
    loop {
        taken.reaches(guard.messages().saturating_sub(UNTAKEN_MAX_MESSAGES)).await;
        if let Err(error) = wire.readable().await {
            return LinkError::Failed(error.to_string());
        }
        // Inside a large frame nothing is left to judge.
        if held.len == 0 && guard.body_left() >= bulk::WORTH_BYTES && can_splice {
            match bulk::carry(wire, hop, guard.body_left(), |_| {}).await {
                Ok(0) => return LinkError::PeerCutOff,
                Ok(moved) => guard.moved(moved),
                Err(Broken::Source(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(Broken::Source(error)) if is_hang_up(&error) => return LinkError::PeerCutOff,
                Err(Broken::Source(error)) => return LinkError::Failed(error.to_string()),
                Err(Broken::Sink) => pending().await,
            }
            consume_budget().await;
            continue;
        }
        let (turn, refusal) = match SCRATCH.with_borrow_mut(|scratch| judge(scratch, wire, hop, guard, held)) {
            Ok(judged) => judged,
            Err(Broken::Source(error)) if is_hang_up(&error) => (Turn::End, None),
            Err(Broken::Source(error)) => return LinkError::Failed(error.to_string()),
            // The crate has closed: the link was dropped, and the other direction ends the relay once it is flushed.
            Err(Broken::Sink) => pending().await,
        };
        match turn {
            Turn::Nothing => {}
            Turn::Moved(written, rest) => {
                was_full(written + rest.len(), can_splice);
                if hop.write_all(&rest).await.is_err() {
                    pending::<()>().await;
                }
                consume_budget().await;
            }
            Turn::End if guard.at_boundary() && held.len == 0 => return LinkError::PeerClosed,
            Turn::End => return LinkError::PeerCutOff,
        }
        if let Some(refusal) = refusal {
            return LinkError::Refused(refusal);
        }
    }
}

fn judge(
    scratch: &mut [u8],
    wire: &Wire,
    hop: &Wire,
    guard: &mut Guard,
    held: &mut Held,
) -> Result<(Turn, Option<Refusal>), Broken> {
    let before = held.len;
    scratch[..before].copy_from_slice(held.as_slice());
    let read = match wire.try_read(&mut scratch[before..]) {
        Ok(0) => return Ok((Turn::End, None)),
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok((Turn::Nothing, None)),
        Err(error) => return Err(Broken::Source(error)),
    };
    let bytes = &scratch[..before + read];
    let (admitted, refusal) = match guard.admit(bytes) {
        Ok(admitted) => (admitted, None),
        Err(refused) => (refused.admitted, Some(refused.refusal)),
    };
    *held = Held::new(&bytes[admitted..]);
    let turn = pass(hop, &bytes[..admitted]).map_err(|_| Broken::Sink)?;
    Ok((turn, refusal))
}

/// Writes what goes at once and keeps the rest.
fn pass(sink: &Wire, bytes: &[u8]) -> io::Result<Turn> {
    let written = match sink.try_write(bytes) {
        Ok(written) => written,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        Err(error) => return Err(error),
    };
    Ok(Turn::Moved(written, bytes[written..].to_vec()))
}

/// From the crate to the peer; trusted. True once the crate has closed and all is written, false if the peer takes
/// no more.
async fn outbound(wire: &Wire, hop: &Wire, progress: &Progress) -> bool {
    let can_splice = wire.can_splice() && hop.can_splice();
    let mut bulk = false;
    loop {
        if hop.readable().await.is_err() {
            return true;
        }
        if bulk && can_splice {
            match bulk::carry(hop, wire, usize::MAX, |written| progress.add(written)).await {
                Ok(0) => return true,
                Ok(moved) => bulk = moved >= SCRATCH_START_BYTES,
                Err(Broken::Source(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(Broken::Source(_)) => return true,
                Err(Broken::Sink) => return false,
            }
            consume_budget().await;
            continue;
        }
        match SCRATCH.with_borrow_mut(|scratch| fetch(scratch, wire, hop)) {
            Ok(Turn::Nothing) => {}
            Ok(Turn::Moved(written, rest)) => {
                progress.add(written);
                // A scratch filled to its end: more of the same is likely behind it.
                bulk = was_full(written + rest.len(), can_splice);
                if write_counted(wire, &rest, progress).await.is_err() {
                    return false;
                }
                consume_budget().await;
            }
            Ok(Turn::End) | Err(Broken::Source(_)) => return true,
            Err(Broken::Sink) => return false,
        }
    }
}

fn fetch(scratch: &mut [u8], wire: &Wire, hop: &Wire) -> Result<Turn, Broken> {
    match hop.try_read(scratch) {
        Ok(0) => Ok(Turn::End),
        Ok(read) => pass(wire, &scratch[..read]).map_err(|_| Broken::Sink),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Turn::Nothing),
        Err(error) => Err(Broken::Source(error)),
    }
}

async fn write_counted(wire: &Wire, mut bytes: &[u8], progress: &Progress) -> io::Result<()> {
    while !bytes.is_empty() {
        match wire.try_write(bytes) {
            Ok(written) => {
                progress.add(written);
                bytes = &bytes[written..];
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wire.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
