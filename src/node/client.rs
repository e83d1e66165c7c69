//! A client's link: each request runs as a task of its own; their answers share the link, each stream within its own credit.

mod answers;
mod chosen;
mod deeds;
mod looks;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::MissedTickBehavior;
use zerovisor_core::address::Selection;
use zerovisor_core::view::Nodes;
use zerovisor_core::wire::{self, Answer, Ask, Failure, Request, ToNode, ToPeer};

use answers::Queued;
pub(super) use answers::{Answers, Place, Stop};
pub(super) use chosen::one;

use super::session::{Node, SessionError, send};
use super::viewers::{self, TypingViolation, Viewer};
use super::{events, logs};
use crate::PROGRAM_VERSION;
use crate::net::{Frames, HEARTBEAT, Heartbeat, Link, LinkTx};

/// Requests under way on one link, at most.
pub(super) const REQUESTS_MAX: usize = 64;
/// Answers that wait for the link, at most; whoever makes more waits.
const ANSWERS_QUEUED: usize = 16;
/// Bytes of answers that wait for a client's socket, about; then the next answer waits.
const UNSENT_BYTES: u64 = 4 << 20;
/// Names and labels in one request, at most: each is looked up among all processes.
const SELECTED_MAX: usize = 256;
/// Answers of one link that are made as a whole (rows, details, last events) at once; the next one is made when one of them has gone to the
/// queue. So a client that asks for much and reads little costs little.
const WHOLE_AT_ONCE: usize = 2;
/// A client that pings, and takes nothing of so many bytes for so long, is dropped.
pub(super) const UNREAD_MAX: Duration = Duration::from_secs(10);

/// Serves a client's link to its end.
///
/// # Errors
/// Why it ended, unless by a goodbye.
pub(super) async fn serve(node: Node, link: Link) -> Result<(), SessionError> {
    let (queue, answers) = mpsc::channel(ANSWERS_QUEUED);
    let client = Client {
        node,
        queue,
        requests: HashMap::new(),
        last_serial: 0,
        tasks: JoinSet::new(),
        heartbeat: Heartbeat::new(Instant::now()),
        whole: Arc::new(Semaphore::new(WHOLE_AT_ONCE)),
        unread: None,
    };
    client.run(link, answers).await
}

struct Running {
    /// Tells it from earlier requests of the same number: the client chooses those, and may choose one again.
    serial: u64,
    answers: Answers,
    task: AbortHandle,
    viewer: Option<Arc<Viewer>>,
}

struct Client {
    node: Node,
    queue: mpsc::Sender<Queued>,
    requests: HashMap<u64, Running>,
    last_serial: u64,
    // Dropped with the link, it ends what still runs for it. Each says its number and serial.
    tasks: JoinSet<(u64, u64)>,
    heartbeat: Heartbeat,
    whole: Arc<Semaphore>,
    /// Since when its socket has taken no more than so many bytes while others wait; none: few wait.
    unread: Option<(Instant, u64)>,
}

impl Client {
    async fn run(mut self, mut link: Link, mut answers: mpsc::Receiver<Queued>) -> Result<(), SessionError> {
        let mut beat = tokio::time::interval(HEARTBEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // All are cancel-safe: a message stays where it is until it is taken, a finished task until it is joined.
            tokio::select! {
                frames = link.rx.recv() => {
                    self.heartbeat.on_heard(Instant::now());
                    if let Some(reply) = self.on_message(frames?)? {
                        let last = reply == ToPeer::Farewell;
                        send(&mut link.tx, &reply, None).await?;
                        if last {
                            return Ok(link.close().await?);
                        }
                    }
                }
                // A client that reads slowly makes its answers wait here, never pile up in the transport.
                drained = link.tx.drained_to(UNSENT_BYTES), if link.tx.unsent_bytes() > UNSENT_BYTES => drained?,
                Some((request, answer, payload)) = answers.recv(), if link.tx.unsent_bytes() <= UNSENT_BYTES => {
                    send(&mut link.tx, &ToPeer::Answer { request, answer }, payload).await?;
                }
                Some(Ok((request, serial))) = self.tasks.join_next() => self.ended(request, serial),
                _ = beat.tick() => self.on_beat(&link.tx, Instant::now())?,
            }
        }
    }

    fn on_beat(&mut self, tx: &LinkTx, now: Instant) -> Result<(), SessionError> {
        if !self.heartbeat.is_alive(now) {
            return Err(SessionError::Silent);
        }
        let written = tx.written_bytes();
        self.unread = match self.unread {
            _ if tx.unsent_bytes() <= UNSENT_BYTES => None,
            Some((since, before)) if written == before => Some((since, before)),
            Some(_) | None => Some((now, written)),
        };
        let is_over = self.unread.is_some_and(|(since, _)| now.saturating_duration_since(since) > UNREAD_MAX);
        if is_over { Err(SessionError::Unread) } else { Ok(()) }
    }

    /// What is answered at once.
    fn on_message(&mut self, frames: Frames) -> Result<Option<ToPeer>, SessionError> {
        match wire::decode_header(&frames.header)? {
            ToNode::Request(request) => Ok(self.begin(request, frames.payload)),
            ToNode::Grant { request, bytes } => {
                self.grant(request, bytes);
                Ok(None)
            }
            ToNode::Cancel { request } => {
                if let Some(running) = self.requests.remove(&request) {
                    running.task.abort();
                }
                Ok(None)
            }
            ToNode::Ping { nonce } => Ok(Some(ToPeer::Pong { nonce })),
            ToNode::Goodbye => Ok(Some(ToPeer::Farewell)),
            ToNode::Hello(_) => Err(SessionError::Violation("a second hello".into())),
            ToNode::Typed { request } => {
                let typed = self
                    .viewer(request)
                    .map_or(Ok(()), |viewer| viewer.typed(frames.payload.as_deref().unwrap_or_default()));
                typed.map_err(|wrong: TypingViolation| SessionError::Violation(wrong.to_string()))?;
                Ok(None)
            }
            ToNode::Resized { request, size } => {
                if let Some(viewer) = self.viewer(request) {
                    viewer.resized(size);
                }
                Ok(None)
            }
            ToNode::Record(_) | ToNode::Obeyed { .. } | ToNode::Sampled(_) | ToNode::ToViewer { .. } => {
                Err(SessionError::Violation("a watcher's message from a client".into()))
            }
        }
    }

    /// A request has ended; one that was cancelled meanwhile leaves a later one of its number alone.
    fn ended(&mut self, request: u64, serial: u64) {
        if self.requests.get(&request).is_some_and(|running| running.serial == serial) {
            self.requests.remove(&request);
        }
    }

    fn grant(&self, request: u64, bytes: u64) {
        if let Some(running) = self.requests.get(&request) {
            running.answers.grant(bytes);
            if let Some(viewer) = &running.viewer {
                viewer.granted();
            }
        }
    }

    /// The viewer of a request; none if that has ended or is of another kind: what was meant for it came too late.
    fn viewer(&self, request: u64) -> Option<&Viewer> {
        self.requests.get(&request)?.viewer.as_deref()
    }

    fn begin(&mut self, request: Request, payload: Option<Bytes>) -> Option<ToPeer> {
        let number = request.request;
        let refuse = |failure| Some(ToPeer::Answer { request: number, answer: Answer::Failed(failure) });
        // Cancelled ones count until they are gone.
        if self.tasks.len() >= REQUESTS_MAX {
            return refuse(Failure::TooMany(REQUESTS_MAX));
        }
        if self.requests.contains_key(&number) {
            return refuse(Failure::Other(format!("request {number} is under way already")));
        }
        let selected = selection(&request.ask).map_or(0, |select| select.addresses.len() + select.labels.len());
        if selected > SELECTED_MAX {
            let why = format!("{selected} names and labels in one request: at most {SELECTED_MAX}");
            return refuse(Failure::Other(why));
        }
        let answers = Answers::new(number, self.queue.clone(), Arc::clone(&self.whole));
        // Here and not in its task: what the client types next may be the next message.
        let viewer = match &request.ask {
            Ask::Attach(ask) => Some(Viewer::new(ask, answers.clone())),
            Ask::Ping
            | Ask::List { .. }
            | Ask::Inspect(_)
            | Ask::Logs(_)
            | Ask::Events(_)
            | Ask::Do { .. }
            | Ask::Wait { .. }
            | Ask::Screen { .. }
            | Ask::NodeRows => None,
        };
        self.last_serial += 1;
        let serial = self.last_serial;
        let (node, of_task, viewed) = (self.node.clone(), answers.clone(), viewer.clone());
        let task = self.tasks.spawn(async move {
            let with = With { payload, viewer: viewed };
            answer(&node, request, with, &of_task).await;
            (number, serial)
        });
        self.requests.insert(number, Running { serial, answers, task, viewer });
        None
    }
}

/// The processes a request is about, where it can be about several.
fn selection(ask: &Ask) -> Option<&Selection> {
    match ask {
        Ask::List { select, .. } | Ask::Do { select, .. } | Ask::Wait { select, .. } => Some(select),
        Ask::Logs(ask) => Some(&ask.select),
        Ask::Events(ask) => Some(&ask.select),
        Ask::Ping | Ask::Inspect(_) | Ask::Attach(_) | Ask::Screen { .. } | Ask::NodeRows => None,
    }
}

/// What a request comes with.
struct With {
    payload: Option<Bytes>,
    viewer: Option<Arc<Viewer>>,
}

async fn answer(node: &Node, request: Request, with: With, answers: &Answers) {
    let deadline = request.deadline_ms;
    let streams = matches!(request.ask, Ask::Logs(_) | Ask::Events(_) | Ask::Attach(_));
    let work = respond(node, request.ask, with, answers);
    let ended = if deadline == 0 || streams {
        work.await
    } else {
        let late = Err(Stop::Failed(Failure::TimedOut(deadline)));
        tokio::time::timeout(Duration::from_millis(deadline), work).await.unwrap_or(late)
    };
    let last = match ended {
        Ok(()) => Answer::End(Nodes::only(node.name.clone())),
        Err(Stop::Failed(failure)) => Answer::Failed(failure),
        Err(Stop::Gone) => return,
    };
    // A client that left needs no end.
    let _ = answers.send(last, None).await;
}

async fn respond(node: &Node, ask: Ask, with: With, answers: &Answers) -> Result<(), Stop> {
    match ask {
        Ask::Ping => {
            let here = Answer::Here {
                node: node.name.clone(),
                program: format!("zerovisor {PROGRAM_VERSION}"),
                pid: i32::try_from(std::process::id()).unwrap_or(0),
                started_at: node.started_at,
            };
            Ok(answers.send(here, None).await?)
        }
        Ask::List { select, ended } => looks::list(node, select, ended, answers).await,
        Ask::Inspect(address) => looks::inspect(node, address, answers).await,
        Ask::Logs(ask) => logs::answer(node, ask, answers).await,
        Ask::Events(ask) => events::answer(node, ask, answers).await,
        Ask::Do { select, deed } => deeds::act(node, select, &deed, with.payload.as_ref(), answers).await,
        Ask::Wait { select, until } => deeds::wait(node, select, until, answers).await,
        Ask::Attach(ask) => match &with.viewer {
            Some(viewer) => viewers::attach(node, ask, viewer).await,
            None => Err(Stop::Gone),
        },
        Ask::Screen { address, ansi } => viewers::screen(node, address, ansi, answers).await,
        Ask::NodeRows => looks::nodes(node, answers).await,
    }
}
