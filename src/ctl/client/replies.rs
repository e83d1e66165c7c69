//! Whole answers: how they are collected, and how long and how large they may become.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use zerovisor_core::view::Nodes;
use zerovisor_core::wire::{Answer, Ask, Failure, decode_page};

use super::{Client, NO_LIMIT, Part, violation};
use crate::ctl::error::CtlError;

/// Requests that wait for their answers at once; further ones wait for these. Below what a node takes of one link.
pub const IN_FLIGHT_MAX: usize = 16;
/// How much longer than the node we wait: it may know which of the others did not answer.
const PATIENCE: Duration = Duration::from_millis(500);
/// The most that is kept of all answers to one question, in bytes: some hundred thousand processes, or a node's whole event log. A
/// zerovisor that sends more has lost its mind, and the link.
pub const REPLY_MAX_BYTES: usize = 128 << 20;
/// A whole answer.
#[derive(Debug, Default)]
pub struct Reply {
    /// Its parts but the last.
    pub parts: Vec<(Answer, Bytes)>,
    /// Whom it is from.
    pub nodes: Nodes,
}

impl Client {
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
    /// The link is lost, an answer has not ended within the limit and a little more (one that is read as a stream may take longer, as
    /// long as it goes on), or all together take more than [`REPLY_MAX_BYTES`].
    pub async fn answers(
        &mut self,
        asks: Vec<Ask>,
        limit: Option<Duration>,
    ) -> Result<Vec<Result<Reply, Failure>>, CtlError> {
        let mut replies: Vec<Result<Reply, Failure>> = asks.iter().map(|_| Ok(Reply::default())).collect();
        let mut todo: VecDeque<(usize, Ask)> = asks.into_iter().enumerate().collect();
        let mut open: HashMap<u64, Open> = HashMap::new();
        let mut kept_bytes = 0;
        loop {
            while open.len() < IN_FLIGHT_MAX
                && let Some((at, ask)) = todo.pop_front()
            {
                let streams = is_stream(&ask);
                let by = after(limit);
                open.insert(self.ask(ask, limit, None).await?, Open { at, streams, by });
            }
            let Some(by) = open.values().map(|open| open.by).min() else { return Ok(replies) };
            let part = self.part_by(by).await?;
            let Some(of) = open.get_mut(&part.request) else { continue };
            let at = of.at;
            if of.streams {
                of.by = after(limit);
            }
            self.keep(&mut kept_bytes, &part)?;
            if !part.payload.is_empty() {
                self.grant(part.request, part.payload.len() as u64).await?;
            }
            if collect(&mut replies[at], part.answer, part.payload) {
                open.remove(&part.request);
            }
        }
    }

    /// Counts a part that is kept.
    fn keep(&self, kept_bytes: &mut usize, part: &Part) -> Result<(), CtlError> {
        *kept_bytes = kept_bytes.saturating_add(part.bytes);
        if *kept_bytes > REPLY_MAX_BYTES {
            let why = format!("its answer does not end after {} MiB", REPLY_MAX_BYTES >> 20);
            return Err(violation(&self.door, why));
        }
        Ok(())
    }

    /// Sends a request with a payload and waits for its answer.
    ///
    /// # Errors
    /// There is no answer, or the link is lost.
    pub async fn deliver(&mut self, ask: Ask, payload: Bytes) -> Result<Reply, CtlError> {
        let limit = Some(self.door.timeout);
        let by = after(limit);
        let request = self.ask(ask, limit, Some(payload)).await?;
        let (mut reply, mut kept_bytes) = (Ok(Reply::default()), 0);
        loop {
            let part = self.part_by(by).await?;
            self.keep(&mut kept_bytes, &part)?;
            if part.request == request && collect(&mut reply, part.answer, part.payload) {
                return reply.map_err(CtlError::Failed);
            }
        }
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

/// A question whose answer is not there yet.
struct Open {
    /// Which of those asked together.
    at: usize,
    /// Its answer is a stream, which the node does not time.
    streams: bool,
    /// When it is given up.
    by: Instant,
}

fn is_stream(ask: &Ask) -> bool {
    match ask {
        Ask::Logs(_) | Ask::Events(_) | Ask::Attach(_) => true,
        Ask::Ping
        | Ask::List { .. }
        | Ask::Inspect(_)
        | Ask::Do { .. }
        | Ask::Wait { .. }
        | Ask::Screen { .. }
        | Ask::NodeRows => false,
    }
}

/// When an answer is given up: a little later than by the node.
fn after(limit: Option<Duration>) -> Instant {
    Instant::now() + limit.map_or(NO_LIMIT, |limit| limit.saturating_add(PATIENCE).min(NO_LIMIT))
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
