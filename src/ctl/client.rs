//! The link to a zerovisor: hello, requests and their answers, grants, heartbeat.
//!
//! ```text
//! connect -> Hello -> Welcome | Refused
//! ask -> Request n          on(wake()) -> Part of n, Part of n, ... until End or Failed
//! grant <- what was consumed of the payloads
//! Ping each second; three without anything heard: the link is lost
//! ```
//! [`Client::wake`] only waits and may be cancelled; [`Client::on`] acts and may not.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};
use zerovisor_core::name::NodeName;
use zerovisor_core::units::{Span, micros};
use zerovisor_core::wire::{
    Answer, Ask, Hello, Request, Role, ToNode, ToPeer, VERSIONS, WireError, decode_header, encode_header,
};

pub use self::replies::{IN_FLIGHT_MAX, REPLY_MAX_BYTES, Reply, collect};
use super::error::CtlError;
use crate::net::{Endpoint, Frames, Link, LinkError, dial};

/// Between two pings.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Pings without anything heard, after which a link is lost.
const MISSES_MAX: u32 = 3;
/// What is asked without a limit may take this long; it can be added to a clock.
const NO_LIMIT: Duration = Duration::from_secs(10 * 366 * 86_400);

/// Where, and how long an answer may take.
#[derive(Clone, Debug)]
pub struct Door {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// For the link, and for each answer.
    pub timeout: Duration,
}

/// A part of an answer.
#[derive(Clone, Debug)]
pub struct Part {
    /// To which request.
    pub request: u64,
    /// The part.
    pub answer: Answer,
    /// Its payload frame.
    pub payload: Bytes,
    /// The size of both of its frames.
    pub bytes: usize,
}

/// What a client waited for.
#[derive(Debug)]
pub enum Wake {
    /// A message, or the end of the link.
    Frames(Result<Frames, LinkError>),
    /// Time for a ping.
    Beat,
}

/// A link on which questions are asked.
#[derive(Debug)]
pub struct Client {
    link: Link,
    door: Door,
    node: NodeName,
    next_request: u64,
    beat: Interval,
    misses: u32,
}

impl Client {
    /// Dials and says hello.
    ///
    /// # Errors
    /// No zerovisor, no welcome, or none in time.
    pub async fn connect(door: &Door) -> Result<Client, CtlError> {
        let begun = Instant::now();
        let mut link = dial(&door.endpoint, door.timeout).await?;
        let program = concat!("zvctl ", env!("CARGO_PKG_VERSION")).to_owned();
        let hello = ToNode::Hello(Hello { versions: VERSIONS, program, role: Role::Client });
        let lost = |error: LinkError| lost(door, &error);
        link.tx.send(frames(door, &hello, None)?).await.map_err(lost)?;
        let left = door.timeout.saturating_sub(begun.elapsed());
        let answer = timeout(left, link.rx.recv()).await.map_err(|_| no_answer(door))?.map_err(lost)?;
        let node = match read(door, &answer)? {
            ToPeer::Welcome(welcome) => welcome.node,
            ToPeer::Refused(refused) => {
                return Err(CtlError::Refused { endpoint: door.endpoint.clone(), refused: Box::new(refused) });
            }
            other @ (ToPeer::Pong { .. }
            | ToPeer::Farewell
            | ToPeer::Ack { .. }
            | ToPeer::Order { .. }
            | ToPeer::Answer { .. }
            | ToPeer::FromViewer { .. }) => {
                return Err(violation(door, format!("it answers a hello with {}", brief(&other))));
            }
        };
        let mut beat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Client { link, door: door.clone(), node, next_request: 1, beat, misses: 0 })
    }

    /// The node at the other end.
    pub fn node(&self) -> &NodeName {
        &self.node
    }

    /// How long an answer may take.
    pub fn timeout(&self) -> Duration {
        self.door.timeout
    }

    async fn send(&mut self, message: &ToNode, payload: Option<Bytes>) -> Result<(), CtlError> {
        let frames = frames(&self.door, message, payload)?;
        self.link.tx.send(frames).await.map_err(|error| lost(&self.door, &error))
    }

    /// Asks; `limit` is how long the whole answer may take, any time without. The number of the request comes back
    /// with each part.
    ///
    /// # Errors
    /// The link is lost.
    pub async fn ask(&mut self, ask: Ask, limit: Option<Duration>, payload: Option<Bytes>) -> Result<u64, CtlError> {
        let request = self.next_request;
        self.next_request += 1;
        let deadline_ms = micros(limit.unwrap_or_default()).div_ceil(1000);
        let asked = ToNode::Request(Request { request, deadline_ms, ask });
        self.send(&asked, payload).await?;
        Ok(request)
    }

    /// Lets the node send this many more bytes of an answer.
    ///
    /// # Errors
    /// The link is lost.
    pub async fn grant(&mut self, request: u64, bytes: u64) -> Result<(), CtlError> {
        self.send(&ToNode::Grant { request, bytes }, None).await
    }

    /// Waits until there is something to do. Cancel-safe.
    pub async fn wake(&mut self) -> Wake {
        tokio::select! {
            biased;
            frames = self.link.rx.recv() => Wake::Frames(frames),
            _ = self.beat.tick() => Wake::Beat,
        }
    }

    /// Does it: reads a message or sends a ping. Not to be cancelled.
    ///
    /// # Errors
    /// The link is lost, or the node broke the protocol.
    pub async fn on(&mut self, wake: Wake) -> Result<Option<Part>, CtlError> {
        let frames = match wake {
            Wake::Frames(frames) => frames.map_err(|error| lost(&self.door, &error))?,
            Wake::Beat => {
                self.beat().await?;
                return Ok(None);
            }
        };
        self.misses = 0;
        match read(&self.door, &frames)? {
            ToPeer::Answer { request, answer } => {
                let payload = frames.payload.unwrap_or_default();
                Ok(Some(Part { request, answer, bytes: frames.header.len() + payload.len(), payload }))
            }
            ToPeer::Pong { .. } | ToPeer::Farewell => Ok(None),
            other @ (ToPeer::Welcome(_)
            | ToPeer::Refused(_)
            | ToPeer::Ack { .. }
            | ToPeer::Order { .. }
            | ToPeer::FromViewer { .. }) => Err(violation(&self.door, format!("it sends a client {}", brief(&other)))),
        }
    }

    async fn beat(&mut self) -> Result<(), CtlError> {
        if self.misses == MISSES_MAX {
            let why = format!("nothing was heard for {}", Span(HEARTBEAT * MISSES_MAX));
            return Err(CtlError::LinkLost { endpoint: self.door.endpoint.clone(), why });
        }
        self.misses += 1;
        self.send(&ToNode::Ping { nonce: u64::from(self.misses) }, None).await
    }

    /// The next part of any answer.
    ///
    /// # Errors
    /// The link is lost, or nothing came in time.
    pub async fn part(&mut self, limit: Option<Duration>) -> Result<Part, CtlError> {
        self.part_by(Instant::now() + limit.unwrap_or(NO_LIMIT)).await
    }

    async fn part_by(&mut self, until: Instant) -> Result<Part, CtlError> {
        loop {
            // Looked at first: of a zerovisor that never stops talking there is always a message.
            if Instant::now() >= until {
                return Err(no_answer(&self.door));
            }
            let Ok(wake) = tokio::time::timeout_at(until, self.wake()).await else { return Err(no_answer(&self.door)) };
            if let Some(part) = self.on(wake).await? {
                return Ok(part);
            }
        }
    }

    /// An error of the peer's in a payload.
    pub fn violation(&self, error: &WireError) -> CtlError {
        violation(&self.door, error.to_string())
    }

    /// An answer of another kind than was asked for.
    pub fn unexpected(&self, answer: &Answer) -> CtlError {
        let kind = format!("{answer:?}");
        let kind = kind.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        violation(&self.door, format!("it answers with {kind}, which was not asked for"))
    }

    /// More of a stream than was granted, or more of it than can mean anything: why, in one line.
    pub fn beyond(&self, what: &str) -> CtlError {
        violation(&self.door, what.to_owned())
    }

    /// An answer whose payload is shorter than it says.
    pub fn cut_short(&self, bytes: usize) -> CtlError {
        violation(&self.door, format!("a payload of {bytes} bytes is shorter than its records"))
    }
}

fn frames(door: &Door, message: &ToNode, payload: Option<Bytes>) -> Result<Frames, CtlError> {
    let header =
        encode_header(message).map_err(|error| CtlError::Usage(format!("cannot ask {}: {error}", door.endpoint)))?;
    Ok(Frames { header, payload })
}

fn read(door: &Door, frames: &Frames) -> Result<ToPeer, CtlError> {
    decode_header(&frames.header).map_err(|error| violation(door, error.to_string()))
}

fn lost(door: &Door, error: &LinkError) -> CtlError {
    CtlError::LinkLost { endpoint: door.endpoint.clone(), why: error.to_string() }
}

fn violation(door: &Door, why: String) -> CtlError {
    CtlError::Violation { endpoint: door.endpoint.clone(), why }
}

fn no_answer(door: &Door) -> CtlError {
    CtlError::NoAnswer { endpoint: door.endpoint.clone(), within: Span(door.timeout).to_string() }
}

fn brief(message: &ToPeer) -> &'static str {
    match message {
        ToPeer::Welcome(_) => "a welcome",
        ToPeer::Refused(_) => "a refusal",
        ToPeer::Pong { .. } => "a pong",
        ToPeer::Farewell => "a farewell",
        ToPeer::Ack { .. } => "an acknowledgement",
        ToPeer::Order { .. } => "an order",
        ToPeer::Answer { .. } => "an answer",
        ToPeer::FromViewer { .. } => "an act of a viewer",
    }
}

mod attached;
mod replies;
#[cfg(test)]
mod tests;
