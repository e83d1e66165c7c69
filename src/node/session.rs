//! A link from its first message on: the hello, the role, and the loop of a watcher's link.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, timeout};
use zerovisor_core::credit::{Credit, Pool};
use zerovisor_core::fact::State;
use zerovisor_core::id::Id;
use zerovisor_core::name::NodeName;
use zerovisor_core::record::{Head, OUTPUT_MAX_BYTES, Record};
use zerovisor_core::spec::COMMAND_SHOWN_BYTES;
use zerovisor_core::stats::Sample;
use zerovisor_core::wire::{
    self, FACT_MAX_BYTES, Hello, Outcome, Refusal, Refused, Role, ToNode, ToPeer, VERSIONS, WatcherHello,
    WatcherWelcome, Welcome,
};

use super::calls::{CALLS_MAX, Call, OrderCall};
use super::client;
use super::hub::{Declared, Hub};
use super::in_flight::{Acknowledged, Unjournaled};
use super::lobby::Announced;
use super::machine::Machine;
use super::samples::{self, SAMPLES_APART};
use super::scribe::{Break, Opening, Receipt, Scribe};
use super::viewers::{Numbers, Relay};
use crate::PROGRAM_VERSION;
use crate::net::{Frames, HEARTBEAT, HEARTBEATS_MISSED, Heartbeat, Link, LinkError, LinkTx, Peer, Telling};

/// How long a link may take to say hello once its handshake is done.
const HELLO_WITHIN: Duration = Duration::from_secs(5);

/// Bytes on their way to a watcher's socket past which calls wait: they are thousands of small ones, so that nothing that clients do makes
/// the link refuse a message, which would end it.
const CALLS_UNSENT_BYTES: u64 = 64 << 10;

/// A command that was cut ends with a mark and perhaps a character too many.
const CUT_BYTES: usize = 16;

/// One part in so many of a window may be journaled before it is acknowledged, while more is coming.
const ACK_SHARE: u64 = 4;

/// What every link of this node needs.
#[derive(Clone)]
pub(super) struct Node {
    /// Its name.
    pub name: NodeName,
    /// Who knows the processes.
    pub hub: Hub,
    /// Who writes the journal.
    pub scribe: Scribe,
    /// What windows grow from.
    pub pool: Arc<Mutex<Pool>>,
    /// What viewers are numbered by.
    pub viewers: Numbers,
    /// How often misbehaviour is told.
    pub telling: Telling,
    /// What it runs on.
    pub machine: Arc<Machine>,
    /// When the node began, by the monotonic clock.
    pub began: Instant,
    /// When it did for people.
    pub started_at: zerovisor_core::units::Timestamp,
}

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    /// The transport.
    #[error("{0}")]
    Link(#[from] LinkError),
    /// A frame that is no message.
    #[error("{0}")]
    Wire(#[from] wire::WireError),
    /// A message that its role must not send, or not now.
    #[error("protocol violation: {0}")]
    Violation(String),
    /// No hello.
    #[error("no hello within {} s", HELLO_WITHIN.as_secs())]
    NoHello,
    /// The hello was refused.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The journal.
    #[error("{0}")]
    Journal(String),
    /// Nothing was heard for three heartbeats.
    #[error("silent for {} heartbeats", HEARTBEATS_MISSED)]
    Silent,
    /// It asks, and takes nothing of the answers.
    #[error("it has read none of its answers for {} s", client::UNREAD_MAX.as_secs())]
    Unread,
    /// The node is ending.
    #[error("the zerovisor is ending")]
    Ending,
}

impl SessionError {
    /// What of it does not depend on what the peer said.
    fn kind(&self) -> &'static str {
        match self {
            SessionError::Link(LinkError::Refused(_)) => "cut off by the gate",
            SessionError::Link(_) => "connection lost",
            SessionError::Wire(_) => "not a message",
            SessionError::Violation(_) => "protocol violation",
            SessionError::NoHello => "no hello",
            SessionError::Refused(_) => "refused",
            SessionError::Journal(_) => "journal",
            SessionError::Silent => "silent",
            SessionError::Unread => "does not read",
            SessionError::Ending => "ending",
        }
    }
}

impl Node {
    /// Serves a link to its end and says why it ended, once.
    pub(super) async fn serve(self, link: Link, announced: Announced) {
        let (peer, origin) = (link.peer.to_string(), link.peer.origin());
        match self.serve_role(link, &announced).await {
            Ok(()) => tracing::debug!(%peer, "link closed"),
            Err(SessionError::Link(error @ (LinkError::PeerClosed | LinkError::PeerCutOff))) => {
                tracing::debug!(%peer, %error, "link ended");
            }
            // Said by the scribe, once for all links.
            Err(error @ SessionError::Journal(_)) => tracing::debug!(%peer, %error, "link ended"),
            Err(error) if self.telling.tells(origin, error.kind()) => tracing::warn!(%peer, %error, "link dropped"),
            Err(error) => tracing::debug!(%peer, %error, "link dropped"),
        }
    }

    async fn serve_role(&self, mut link: Link, announced: &Announced) -> Result<(), SessionError> {
        let first = timeout(HELLO_WITHIN, link.rx.recv()).await.map_err(|_| SessionError::NoHello)??;
        let ToNode::Hello(hello) = wire::decode_header(&first.header)? else {
            return Err(SessionError::Violation("the first message is not a hello".into()));
        };
        announced.set();
        let Some(version) = VERSIONS.common(hello.versions) else {
            let reason = Refusal::Versions { ours: hello.versions, theirs: VERSIONS };
            return refuse(link, reason).await;
        };
        let Hello { role, program, .. } = hello;
        tracing::debug!(peer = %link.peer, %program, version, "hello");
        match role {
            Role::Client => {
                send(&mut link.tx, &ToPeer::Welcome(self.welcome(version, None)), None).await?;
                client::serve(self.clone(), link).await
            }
            Role::Watcher(hello) => self.serve_watcher(link, version, hello).await,
        }
    }

    fn welcome(&self, version: u16, watcher: Option<WatcherWelcome>) -> Welcome {
        Welcome { version, node: self.name.clone(), program: format!("zerovisor {PROGRAM_VERSION}"), watcher }
    }

    async fn serve_watcher(&self, link: Link, version: u16, hello: Box<WatcherHello>) -> Result<(), SessionError> {
        check(&hello)?;
        let id = hello.id;
        let (orders, calls) = mpsc::channel(CALLS_MAX);
        let local = matches!(link.peer, Peer::Unix { .. });
        let declared = match self.hub.declare(hello, local, orders).await.ok_or(SessionError::Ending)? {
            Ok(declared) => declared,
            Err(reason) => return refuse(link, reason).await,
        };
        let generation = declared.generation;
        let mut watcher = WatcherLink {
            node: self,
            id,
            generation,
            credit: Credit::default(),
            heartbeat: Heartbeat::new(Instant::now()),
            unjournaled: Unjournaled::default(),
            acknowledged: Acknowledged::default(),
            farewell: false,
            next_order: 1,
            waiting: HashMap::new(),
            relay: Relay::new(self.viewers.clone()),
            sampled: None,
            is_mute: false,
        };
        let ended = watcher.run(link, version, declared, calls).await;
        let (farewell, heard) = (watcher.farewell, watcher.heartbeat.heard_at());
        watcher.credit.release(&mut self.pool.lock().unwrap_or_else(PoisonError::into_inner));
        self.hub.link_ended(id, generation, farewell, heard);
        ended
    }
}

/// Bounds that the types of a hello do not carry.
///
/// # Errors
/// [`SessionError::Violation`].
pub(super) fn check(hello: &WatcherHello) -> Result<(), SessionError> {
    let wrong = |what: &str| Err(SessionError::Violation(format!("hello with {what}")));
    if hello.first_seq == 0 || hello.next_seq < hello.first_seq {
        return wrong("sequence numbers out of order");
    }
    // A shown command is cut by its watcher; every row carries it.
    let shown: usize = hello.spec.command.iter().map(|word| word.len() + 1).sum();
    if shown > COMMAND_SHOWN_BYTES + CUT_BYTES {
        return wrong("a command longer than is shown");
    }
    match hello.state {
        State::Lost | State::Unreachable => wrong("a state only a zerovisor can give"),
        State::Waiting
        | State::Starting
        | State::Running
        | State::Backoff
        | State::Stopping
        | State::Stopped
        | State::Exited
        | State::Fatal => Ok(()),
    }
}

async fn refuse(mut link: Link, reason: Refusal) -> Result<(), SessionError> {
    let refused = Refused { versions: VERSIONS, reason: reason.clone() };
    send(&mut link.tx, &ToPeer::Refused(refused), None).await?;
    link.close().await?;
    Err(SessionError::Refused(reason))
}

/// Sends one message.
///
/// # Errors
/// It does not encode, or the link is gone.
pub(super) async fn send(tx: &mut LinkTx, message: &ToPeer, payload: Option<bytes::Bytes>) -> Result<(), SessionError> {
    Ok(tx.send(Frames { header: wire::encode_header(message)?, payload }).await?)
}

struct WatcherLink<'a> {
    node: &'a Node,
    id: Id,
    generation: u64,
    credit: Credit,
    heartbeat: Heartbeat,
    unjournaled: Unjournaled,
    acknowledged: Acknowledged,
    farewell: bool,
    next_order: u64,
    waiting: HashMap<u64, oneshot::Sender<Outcome>>,
    relay: Relay,
    /// When the last sample was taken in.
    sampled: Option<Instant>,
    /// The peer takes nothing any more. What it said before is still read to its end.
    is_mute: bool,
}

impl WatcherLink<'_> {
    async fn run(
        &mut self,
        mut link: Link,
        version: u16,
        declared: Declared,
        mut calls: mpsc::Receiver<Call>,
    ) -> Result<(), SessionError> {
        let (receipts, mut received) = mpsc::unbounded_channel();
        let opening = Opening { id: self.id, name: declared.name.clone(), receipts, written: declared.written };
        let opened = match self.node.scribe.open(opening).await.ok_or(SessionError::Ending)? {
            Ok(opened) => opened,
            Err(error) => {
                // Journaling failed, and the watcher comes again: for everybody else it is said by the scribe.
                let why = error.to_string();
                return match refuse(link, Refusal::Busy(why.clone())).await {
                    Err(SessionError::Refused(_)) => Err(SessionError::Journal(why)),
                    ended => ended,
                };
            }
        };
        let welcome =
            WatcherWelcome { name: declared.name, journal_end: opened.journal_end, window_bytes: self.credit.window() };
        send(&mut link.tx, &ToPeer::Welcome(self.node.welcome(version, Some(welcome))), None).await?;
        let mut beat = tokio::time::interval(HEARTBEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_behind = !self.is_mute && link.tx.unsent_bytes() > CALLS_UNSENT_BYTES;
            let takes_calls = !is_behind && !self.is_mute;
            // All are cancel-safe: a message stays where it is until it is taken. Calls first: their end says that a newer link has
            // taken over, and nothing more may come from this one. They are few, as receipts are beside frames.
            tokio::select! {
                biased;
                call = calls.recv(), if takes_calls => match call {
                    Some(call) => self.on_call(call, &mut link.tx).await?,
                    // The registry forgot the process, or a newer link of the same watcher took over.
                    None => return Ok(()),
                },
                drained = link.tx.drained_to(CALLS_UNSENT_BYTES), if is_behind => self.on_sent(drained)?,
                Some(receipt) = received.recv() => self.on_receipt(receipt, &mut received, &mut link.tx).await?,
                _ = beat.tick() => self.on_beat(&mut link.tx).await?,
                frames = link.rx.recv() => {
                    // Of a watcher that does not read, calls are not looked at.
                    if !takes_calls && calls.is_closed() {
                        return Ok(());
                    }
                    self.heartbeat.on_heard(Instant::now());
                    if self.on_message(frames?, &mut link.tx).await? {
                        return Ok(link.close().await?);
                    }
                }
            }
        }
    }

    /// Sends one message, unless the peer takes nothing any more.
    async fn tell(
        &mut self,
        tx: &mut LinkTx,
        message: &ToPeer,
        payload: Option<bytes::Bytes>,
    ) -> Result<(), SessionError> {
        if self.is_mute {
            return Ok(());
        }
        let frames = Frames { header: wire::encode_header(message)?, payload };
        self.on_sent(tx.send(frames).await)
    }

    /// A watcher that is killed has said much that is still to be received when nothing can be sent to it any more: that the link is dead
    /// is told by its receiving half, behind the last of it.
    fn on_sent(&mut self, sent: Result<(), LinkError>) -> Result<(), SessionError> {
        match sent {
            Ok(()) => Ok(()),
            Err(
                LinkError::PeerClosed
                | LinkError::PeerCutOff
                | LinkError::Refused(_)
                | LinkError::Failed(_)
                | LinkError::Closed,
            ) => {
                self.is_mute = true;
                Ok(())
            }
            Err(error @ (LinkError::NotFlushed(_) | LinkError::Stalled { .. } | LinkError::TooLarge { .. })) => {
                Err(error.into())
            }
        }
    }

    /// True when nothing follows.
    async fn on_message(&mut self, frames: Frames, tx: &mut LinkTx) -> Result<bool, SessionError> {
        match wire::decode_header(&frames.header)? {
            ToNode::Record(head) => self.on_record(head, frames)?,
            ToNode::Ping { nonce } => self.tell(tx, &ToPeer::Pong { nonce }, None).await?,
            ToNode::Obeyed { order, outcome } => {
                if let Some(reply) = self.waiting.remove(&order) {
                    // Whoever asked may have gone.
                    let _ = reply.send(outcome);
                }
            }
            ToNode::Goodbye => {
                self.farewell = true;
                self.tell(tx, &ToPeer::Farewell, None).await?;
                return Ok(true);
            }
            ToNode::Hello(_) => return Err(SessionError::Violation("a second hello".into())),
            ToNode::Sampled(sample) => self.on_sample(sample)?,
            ToNode::ToViewer { viewer, news } => {
                let told = self.relay.on_news(viewer, news, frames.payload.unwrap_or_default());
                told.map_err(|wrong| SessionError::Violation(wrong.to_string()))?;
            }
            ToNode::Request(_)
            | ToNode::Grant { .. }
            | ToNode::Cancel { .. }
            | ToNode::Typed { .. }
            | ToNode::Resized { .. } => {
                return Err(SessionError::Violation("a client's message from a watcher".into()));
            }
        }
        Ok(false)
    }

    fn on_record(&mut self, head: Head, frames: Frames) -> Result<(), SessionError> {
        let payload = frames.payload.unwrap_or_default();
        let most = if head.kind.is_output() { OUTPUT_MAX_BYTES } else { FACT_MAX_BYTES };
        if payload.len() > most {
            let what = format!("a record of {} bytes, {most} at most", payload.len());
            return Err(SessionError::Violation(what));
        }
        self.unjournaled.add(payload.len()).map_err(|wrong| SessionError::Violation(wrong.to_string()))?;
        // Before the journal: whoever looks at a terminal waits for it.
        self.relay.on_record(&head, &payload);
        self.node.scribe.append(self.id, Record { head, payload });
        Ok(())
    }

    /// Acknowledges what is journaled: all receipts that wait, in one message. While more is on its way to the journal, and the watcher
    /// has most of its window left, the acknowledgement waits for the receipt of that: each costs as much as a small record.
    async fn on_receipt(
        &mut self,
        first: Receipt,
        more: &mut mpsc::UnboundedReceiver<Receipt>,
        tx: &mut LinkTx,
    ) -> Result<(), SessionError> {
        let mut next = Some(first);
        while let Some(receipt) = next {
            match receipt {
                Receipt::Journaled { seq, bytes, records } => {
                    self.acknowledged.seq = seq;
                    self.acknowledged.held_back += bytes;
                    self.unjournaled.take(bytes, records);
                }
                Receipt::Broken(Break::Violation(what)) => return Err(SessionError::Violation(what)),
                Receipt::Broken(why @ Break::Disk(_)) => return Err(SessionError::Journal(why.to_string())),
            }
            next = more.try_recv().ok();
        }
        let journaled = self.acknowledged.held_back;
        if self.unjournaled.records > 0 && journaled < self.credit.window() / ACK_SHARE {
            return Ok(());
        }
        self.acknowledged.held_back = 0;
        self.credit.on_journaled(journaled, &mut self.node.pool.lock().unwrap_or_else(PoisonError::into_inner));
        let ack = ToPeer::Ack { seq: self.acknowledged.seq, window_bytes: self.credit.window() };
        self.tell(tx, &ack, None).await
    }

    fn on_sample(&mut self, sample: Box<Sample>) -> Result<(), SessionError> {
        samples::check(&sample).map_err(|wrong| SessionError::Violation(wrong.to_string()))?;
        let now = Instant::now();
        if self.sampled.is_none_or(|last| now.saturating_duration_since(last) >= SAMPLES_APART) {
            self.sampled = Some(now);
            self.node.hub.sampled(self.id, self.generation, sample);
        }
        Ok(())
    }

    async fn on_beat(&mut self, tx: &mut LinkTx) -> Result<(), SessionError> {
        while let Some(departed) = self.relay.departed() {
            self.tell(tx, &departed, None).await?;
        }
        if self.heartbeat.is_alive(Instant::now()) { Ok(()) } else { Err(SessionError::Silent) }
    }

    async fn on_call(&mut self, call: Call, tx: &mut LinkTx) -> Result<(), SessionError> {
        let (message, payload) = match call {
            Call::Order(order) => return self.on_order(order, tx).await,
            Call::View { seat, act, number } => (self.relay.admit(seat, act, number), None),
            Call::Act { viewer, act, payload } => (self.relay.act(viewer, act), payload),
        };
        match message {
            Some(message) => self.tell(tx, &message, payload).await,
            None => Ok(()),
        }
    }

    async fn on_order(&mut self, call: OrderCall, tx: &mut LinkTx) -> Result<(), SessionError> {
        let order = self.next_order;
        self.next_order += 1;
        self.waiting.retain(|_, reply| !reply.is_closed());
        if self.waiting.len() >= CALLS_MAX {
            let _ = call.reply.send(Outcome::Denied(format!("{CALLS_MAX} orders are waiting for its watcher already")));
            return Ok(());
        }
        self.waiting.insert(order, call.reply);
        self.tell(tx, &ToPeer::Order { order, deed: call.deed }, call.payload).await
    }
}
