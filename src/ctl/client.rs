//! The link to a zerovisor: hello, requests and their answers, grants, heartbeat.
//!
//! ```text
//! connect -> Hello -> Welcome | Refused
//! ask -> Request n          on(wake()) -> Part of n, Part of n, ... until End or Failed
//! grant <- what was consumed of the payloads
//! Ping each second; three without anything heard: the link is lost
//! ```
//! [`Client::wake`] only waits and may be cancelled; [`Client::on`] acts and may not.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};
use zerovisor_core::name::NodeName;
use zerovisor_core::units::{Span, micros};
use zerovisor_core::view::Nodes;
use zerovisor_core::wire::{
    Answer, Ask, Failure, Hello, Request, Role, ToNode, ToPeer, VERSIONS, WireError, decode_header, decode_page,
    encode_header,
};

use super::error::CtlError;
use crate::net::{Endpoint, Frames, Link, LinkError, dial};

/// Between two pings.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Pings without anything heard, after which a link is lost.
const MISSES_MAX: u32 = 3;
/// Requests that wait for their answers at once; further ones wait for these. Below what a node takes of one link.
pub const IN_FLIGHT_MAX: usize = 16;
/// How much longer than the node we wait: it may know which of the others did not answer.
const PATIENCE: Duration = Duration::from_millis(500);
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
}

/// A whole answer.
#[derive(Debug, Default)]
pub struct Reply {
    /// Its parts but the last.
    pub parts: Vec<(Answer, Bytes)>,
    /// Whom it is from.
    pub nodes: Nodes,
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
                Ok(Some(Part { request, answer, payload: frames.payload.unwrap_or_default() }))
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

    /// Asks and collects the whole answer.
    ///
    /// # Errors
    /// There is no answer, or the link is lost.
    pub async fn answer(&mut self, ask: Ask) -> Result<Reply, CtlError> {
        let limit = Some(self.door.timeout);
        let replies = self.answers(vec![ask], limit).await?;
        let only = replies.into_iter().next().unwrap_or_else(|| Ok(Reply::default()));
        only.map_err(CtlError::Failed)
    }

    /// Asks several things, some at a time, and collects the answers in the order of the questions.
    ///
    /// # Errors
    /// The link is lost, or nothing was heard about any of them for the limit and a little more.
    pub async fn answers(
        &mut self,
        asks: Vec<Ask>,
        limit: Option<Duration>,
    ) -> Result<Vec<Result<Reply, Failure>>, CtlError> {
        let mut replies: Vec<Result<Reply, Failure>> = asks.iter().map(|_| Ok(Reply::default())).collect();
        let mut todo: VecDeque<(usize, Ask)> = asks.into_iter().enumerate().collect();
        let mut open: HashMap<u64, usize> = HashMap::new();
        loop {
            while open.len() < IN_FLIGHT_MAX
                && let Some((at, ask)) = todo.pop_front()
            {
                open.insert(self.ask(ask, limit, None).await?, at);
            }
            if open.is_empty() {
                return Ok(replies);
            }
            let part = self.part(limit.map(|limit| limit + PATIENCE)).await?;
            let Some(at) = open.get(&part.request).copied() else { continue };
            if !part.payload.is_empty() {
                self.grant(part.request, part.payload.len() as u64).await?;
            }
            if collect(&mut replies[at], part.answer, part.payload) {
                open.remove(&part.request);
            }
        }
    }

    /// Sends a request with a payload and waits for its answer.
    ///
    /// # Errors
    /// There is no answer, or the link is lost.
    pub async fn deliver(&mut self, ask: Ask, payload: Bytes) -> Result<Reply, CtlError> {
        let limit = self.door.timeout;
        let request = self.ask(ask, Some(limit), Some(payload)).await?;
        let mut reply = Ok(Reply::default());
        loop {
            let part = self.part(Some(limit + PATIENCE)).await?;
            if part.request == request && collect(&mut reply, part.answer, part.payload) {
                return reply.map_err(CtlError::Failed);
            }
        }
    }

    /// The next part of any answer.
    ///
    /// # Errors
    /// The link is lost, or nothing came in time.
    pub async fn part(&mut self, limit: Option<Duration>) -> Result<Part, CtlError> {
        let until = Instant::now() + limit.unwrap_or(NO_LIMIT);
        loop {
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

    /// An answer whose payload is shorter than it says.
    pub fn cut_short(&self, bytes: usize) -> CtlError {
        violation(&self.door, format!("a payload of {bytes} bytes is shorter than its records"))
    }

    /// Reads the pages of a list.
    ///
    /// # Errors
    /// One does not decode.
    pub fn pages<T: serde::de::DeserializeOwned>(&self, reply: &Reply) -> Result<Vec<T>, CtlError> {
        let mut items = Vec::new();
        for (_, payload) in reply.parts.iter().filter(|(_, payload)| !payload.is_empty()) {
            items.extend(decode_page::<Vec<T>>(payload).map_err(|error| self.violation(&error))?);
        }
        Ok(items)
    }
}

/// Adds a part to an answer; true when it was the last.
pub fn collect(reply: &mut Result<Reply, Failure>, answer: Answer, payload: Bytes) -> bool {
    match answer {
        Answer::End(nodes) => {
            if let Ok(reply) = reply {
                reply.nodes.merge(nodes);
            }
            true
        }
        Answer::Failed(failure) => {
            *reply = Err(failure);
            true
        }
        Answer::Here { .. }
        | Answer::Rows
        | Answer::Detail
        | Answer::Sources
        | Answer::Log { .. }
        | Answer::Missing { .. }
        | Answer::Gap { .. }
        | Answer::Events
        | Answer::Done { .. }
        | Answer::Reached { .. }
        | Answer::View(_)
        | Answer::Screen { .. }
        | Answer::NodeRows => {
            if let Ok(reply) = reply {
                reply.parts.push((answer, payload));
            }
            false
        }
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
#[cfg(test)]
mod tests;
