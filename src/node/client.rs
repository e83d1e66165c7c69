//! A client's link: each request runs as a task of its own; their answers share the link, each stream within its own credit.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::MissedTickBehavior;
use zerovisor_core::address::{Address, Selection};
use zerovisor_core::fact::State;
use zerovisor_core::view::{Detail, FACTS_SHOWN, Nodes};
use zerovisor_core::wire::{
    self, Answer, Ask, Deed, Failure, Outcome, Request, STREAM_WINDOW_BYTES, ToNode, ToPeer, Until,
};

use super::hub::{OrderCall, Target};
use super::scribe::Which;
use super::session::{Node, SessionError, send};
use super::store::loaded_fact;
use super::{events, logs};
use crate::PROGRAM_VERSION;
use crate::net::{Frames, HEARTBEAT, Heartbeat, Link};

/// Requests under way on one link, at most.
pub(super) const REQUESTS_MAX: usize = 64;
/// Answers that wait for the link, at most; whoever makes more waits.
const ANSWERS_QUEUED: usize = 16;
/// Bytes of answers that wait for a client's socket, about; then the next answer waits.
const UNSENT_BYTES: u64 = 4 << 20;
/// How long an order may take to be obeyed when the client names no time.
const ORDER_WITHIN: Duration = Duration::from_secs(30);

/// The answer to a request cannot be given any more: its client or the node is gone.
#[derive(Debug)]
pub(super) struct Gone;

/// Where the parts of one answer go.
#[derive(Clone)]
pub(super) struct Answers {
    request: u64,
    queue: mpsc::Sender<(u64, Answer, Option<Bytes>)>,
    credit: Arc<Semaphore>,
}

impl Answers {
    /// Sends a part without counting it.
    pub(super) async fn send(&self, answer: Answer, payload: Option<Bytes>) -> Result<(), Gone> {
        self.queue.send((self.request, answer, payload)).await.map_err(|_| Gone)
    }

    /// Sends a part of a stream once the client can take it.
    pub(super) async fn stream(&self, answer: Answer, payload: Bytes) -> Result<(), Gone> {
        let cost = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        self.credit.acquire_many(cost).await.map_err(|_| Gone)?.forget();
        self.send(answer, Some(payload)).await
    }

    /// Resolves when nobody wants the answer any more.
    pub(super) async fn unwanted(&self) {
        self.queue.closed().await;
    }
}

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
        tasks: JoinSet::new(),
        heartbeat: Heartbeat::new(Instant::now()),
    };
    client.run(link, answers).await
}

struct Running {
    credit: Arc<Semaphore>,
    task: AbortHandle,
}

struct Client {
    node: Node,
    queue: mpsc::Sender<(u64, Answer, Option<Bytes>)>,
    requests: HashMap<u64, Running>,
    // Dropped with the link, it ends what still runs for it.
    tasks: JoinSet<u64>,
    heartbeat: Heartbeat,
}

impl Client {
    async fn run(
        mut self,
        mut link: Link,
        mut answers: mpsc::Receiver<(u64, Answer, Option<Bytes>)>,
    ) -> Result<(), SessionError> {
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
                Some(Ok(request)) = self.tasks.join_next() => {
                    self.requests.remove(&request);
                }
                _ = beat.tick() => if !self.heartbeat.is_alive(Instant::now()) {
                    return Err(SessionError::Silent);
                },
            }
        }
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
            ToNode::Typed { .. } | ToNode::Resized { .. } => Ok(None),
            ToNode::Record(_) | ToNode::Obeyed { .. } | ToNode::Sampled(_) | ToNode::ToViewer { .. } => {
                Err(SessionError::Violation("a watcher's message from a client".into()))
            }
        }
    }

    /// A client may grant what it has consumed, never more than the window at once.
    fn grant(&self, request: u64, bytes: u64) {
        if let Some(running) = self.requests.get(&request) {
            let most = STREAM_WINDOW_BYTES.saturating_sub(running.credit.available_permits() as u64);
            running.credit.add_permits(usize::try_from(bytes.min(most)).unwrap_or(0));
        }
    }

    fn begin(&mut self, request: Request, payload: Option<Bytes>) -> Option<ToPeer> {
        let number = request.request;
        let refuse = |failure| Some(ToPeer::Answer { request: number, answer: Answer::Failed(failure) });
        if self.requests.len() >= REQUESTS_MAX {
            return refuse(Failure::TooMany(REQUESTS_MAX));
        }
        if self.requests.contains_key(&number) {
            return refuse(Failure::Other(format!("request {number} is under way already")));
        }
        let credit = Arc::new(Semaphore::new(usize::try_from(STREAM_WINDOW_BYTES).unwrap_or(usize::MAX)));
        let answers = Answers { request: number, queue: self.queue.clone(), credit: credit.clone() };
        let node = self.node.clone();
        let task = self.tasks.spawn(async move {
            answer(&node, request, payload, &answers).await;
            number
        });
        self.requests.insert(number, Running { credit, task });
        None
    }
}

async fn answer(node: &Node, request: Request, payload: Option<Bytes>, answers: &Answers) {
    let deadline = request.deadline_ms;
    let streams = matches!(request.ask, Ask::Logs(_) | Ask::Events(_));
    let work = respond(node, request.ask, payload, answers);
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

/// Why an answer stops before its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// The client is told.
    Failed(Failure),
    /// Nobody is there to be told.
    Gone,
}

impl From<Gone> for Stop {
    fn from(_: Gone) -> Stop {
        Stop::Gone
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Failed(failure)
    }
}

async fn respond(node: &Node, ask: Ask, payload: Option<Bytes>, answers: &Answers) -> Result<(), Stop> {
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
        Ask::List { select, ended } => {
            let rows = node.hub.rows(select, ended).await.ok_or(Stop::Gone)??;
            let (pages, left_out) = wire::encode_pages(&rows);
            if left_out > 0 {
                tracing::error!(left_out, "rows too large for a page were left out of an answer");
            }
            for page in pages {
                answers.send(Answer::Rows, Some(page)).await?;
            }
            Ok(())
        }
        Ask::Inspect(address) => inspect(node, address, answers).await,
        Ask::Logs(ask) => logs::answer(node, ask, answers).await,
        Ask::Events(ask) => events::answer(node, ask, answers).await,
        Ask::Do { select, deed } => act(node, select, &deed, payload.as_ref(), answers).await,
        Ask::Wait { select, until } => wait(node, select, until, answers).await,
        Ask::Attach(_) | Ask::Screen { .. } | Ask::NodeRows => Err(Failure::Other("not served yet".into()).into()),
    }
}

/// The processes of a selection; saying nothing means nothing here, since these are acted on.
async fn chosen(node: &Node, select: Selection) -> Result<Vec<Target>, Stop> {
    if select.is_empty() {
        return Err(Failure::Other("no process was named".into()).into());
    }
    let labels: Vec<String> = select.labels.iter().map(|label| format!("{}={}", label.key, label.value)).collect();
    let targets = node.hub.targets(select).await.ok_or(Stop::Gone)??;
    if targets.is_empty() {
        return Err(Failure::Unknown(format!("-l {}", labels.join(" -l "))).into());
    }
    Ok(targets)
}

async fn inspect(node: &Node, address: Address, answers: &Answers) -> Result<(), Stop> {
    let select = Selection { addresses: vec![address], labels: Vec::new() };
    let Some(target) = chosen(node, select).await?.pop() else { return Err(Stop::Gone) };
    let known = node.hub.known(target.id).await.ok_or(Stop::Gone)?;
    let sizes = node.scribe.sizes(target.id).await;
    let facts = match node.scribe.reader(Which::Facts(target.id)).await {
        Some(Ok(mut reader)) => tokio::task::spawn_blocking(move || {
            reader.seek_first();
            let mut facts = std::collections::VecDeque::new();
            while let Ok(batch) = reader.next_batch(256 << 10)
                && !batch.is_empty()
            {
                facts.extend(batch.iter().filter_map(loaded_fact));
                while facts.len() > FACTS_SHOWN {
                    facts.pop_front();
                }
            }
            Vec::from(facts)
        })
        .await
        .unwrap_or_default(),
        Some(Err(error)) => return Err(Failure::Other(error.to_string()).into()),
        None => return Err(Stop::Gone),
    };
    let detail = Detail {
        row: known.row,
        spec: known.meta.spec,
        created_at: known.meta.created_at,
        watcher_pid: known.meta.host.pid,
        report: known.story.report,
        spawn_failure: known.story.spawn_failure,
        gaps: known.story.gaps,
        journal_first_seq: sizes.first_seq,
        journal_last_seq: sizes.last_seq,
        journal_bytes: sizes.bytes,
        facts,
        placement: known.meta.placement,
        sample: None,
    };
    let page = wire::encode_page(&detail).map_err(|error| Failure::Other(error.to_string()))?;
    Ok(answers.send(Answer::Detail, Some(page)).await?)
}

async fn act(
    node: &Node,
    select: Selection,
    deed: &Deed,
    payload: Option<&Bytes>,
    answers: &Answers,
) -> Result<(), Stop> {
    for target in chosen(node, select).await? {
        let outcome = match (deed, &target.orders) {
            (Deed::Remove { force }, _) => remove(node, &target, *force).await,
            (Deed::Start { .. } | Deed::Restart, Some(_)) if target.rival.is_some() => {
                let holder = target.rival.clone().unwrap_or_default();
                Outcome::Denied(format!("the live process {holder} has its name by now: stop that one first"))
            }
            (_, Some(_)) => order(&target, deed.clone(), payload.cloned()).await,
            (_, None) => without_watcher(&target, deed),
        };
        answers.send(Answer::Done { id: target.id, name: target.name, outcome }, None).await?;
    }
    Ok(())
}

fn without_watcher(target: &Target, deed: &Deed) -> Outcome {
    let state = *target.state.borrow();
    match (state, deed) {
        (State::Unreachable, _) => Outcome::Denied("its watcher cannot be reached".into()),
        (_, Deed::Stop { .. }) => Outcome::Already,
        (_, Deed::Start { .. } | Deed::Restart) => {
            Outcome::NotRunning(format!("it is {state} and has no watcher any more"))
        }
        (_, Deed::Signal(_) | Deed::Input { .. } | Deed::Keys { .. } | Deed::Remove { .. }) => {
            Outcome::NotRunning(format!("it is {state}"))
        }
    }
}

/// Hands a deed to the watcher and waits for the outcome.
async fn order(target: &Target, deed: Deed, payload: Option<Bytes>) -> Outcome {
    let Some(orders) = &target.orders else { return Outcome::Denied("its watcher cannot be reached".into()) };
    let (reply, outcome) = oneshot::channel();
    if orders.send(OrderCall { deed, payload, reply }).await.is_err() {
        return Outcome::Denied("its watcher has just gone".into());
    }
    match tokio::time::timeout(ORDER_WITHIN, outcome).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Outcome::Denied("its watcher went before it answered".into()),
        Err(_) => Outcome::Denied(format!("its watcher did not answer within {} s", ORDER_WITHIN.as_secs())),
    }
}

/// First the watcher, if there is one, which ends its run and leaves; then the journal.
async fn remove(node: &Node, target: &Target, force: bool) -> Outcome {
    if let Some(orders) = &target.orders {
        let outcome = order(target, Deed::Remove { force }, None).await;
        if let Outcome::Denied(_) = outcome {
            return outcome;
        }
        // The watcher ends its run, hands over the last records and says goodbye: only then is its journal nobody's.
        if tokio::time::timeout(ORDER_WITHIN, orders.closed()).await.is_err() {
            return Outcome::Denied(format!("its watcher did not leave within {} s", ORDER_WITHIN.as_secs()));
        }
    }
    node.hub.remove(target.id, force).await
}

async fn wait(node: &Node, select: Selection, until: Until, answers: &Answers) -> Result<(), Stop> {
    for mut target in chosen(node, select).await? {
        let reached = |state: &State| match until {
            Until::Running => *state == State::Running || !state.is_live(),
            Until::Ended => !state.is_live(),
        };
        let state = tokio::select! {
            state = target.state.wait_for(reached) => state.map(|state| *state),
            () = answers.unwanted() => return Err(Stop::Gone),
        };
        let known = node.hub.known(target.id).await;
        let (Ok(state), Some(known)) = (state, known) else {
            return Err(Failure::Other(format!("'{}' was removed", target.name)).into());
        };
        let reached = Answer::Reached { id: target.id, name: target.name, state, status: known.shell_status };
        answers.send(reached, None).await?;
    }
    Ok(())
}
