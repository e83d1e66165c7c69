//! Where the parts of one answer go: a queue of the link, and what the client has granted.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use zerovisor_core::wire::{Answer, Failure, STREAM_WINDOW_BYTES};

/// A part of the answer to a request on its way to the link.
pub(in crate::node) type Queued = (u64, Answer, Option<Bytes>);

/// The answer to a request cannot be given any more: its client or the node is gone.
#[derive(Debug)]
pub(in crate::node) struct Gone;

/// Where the parts of one answer go.
#[derive(Clone, Debug)]
pub(in crate::node) struct Answers {
    request: u64,
    queue: mpsc::Sender<Queued>,
    credit: Arc<Semaphore>,
    whole: Arc<Semaphore>,
}

/// A place in the link's queue for one part.
#[derive(Debug)]
pub(in crate::node) struct Place<'a> {
    request: u64,
    permit: mpsc::Permit<'a, Queued>,
}

impl Place<'_> {
    /// Takes it.
    pub(in crate::node) fn send(self, answer: Answer, payload: Option<Bytes>) {
        self.permit.send((self.request, answer, payload));
    }
}

impl Answers {
    /// To a request, over a link's queue; the client can take a whole window at first. `whole`: how many are made as a whole at once.
    pub(super) fn new(request: u64, queue: mpsc::Sender<Queued>, whole: Arc<Semaphore>) -> Answers {
        let credit = Semaphore::new(usize::try_from(STREAM_WINDOW_BYTES).unwrap_or(usize::MAX));
        Answers { request, queue, credit: Arc::new(credit), whole }
    }

    /// The client can take so many bytes more: what it has consumed, never more than the window at once.
    pub(super) fn grant(&self, bytes: u64) {
        let most = STREAM_WINDOW_BYTES.saturating_sub(self.credit_bytes());
        self.credit.add_permits(usize::try_from(bytes.min(most)).unwrap_or(0));
    }

    /// What the client can take of a stream now, in bytes.
    pub(in crate::node) fn credit_bytes(&self) -> u64 {
        self.credit.available_permits() as u64
    }

    /// Takes so many bytes of the credit for a part of a stream. False: there are not so many.
    pub(in crate::node) fn try_pay(&self, bytes: usize) -> bool {
        let permits = u32::try_from(bytes).ok().and_then(|bytes| self.credit.try_acquire_many(bytes).ok());
        permits.map(SemaphorePermit::forget).is_some()
    }

    /// A place in the link's queue, if there is one now.
    pub(in crate::node) fn try_place(&self) -> Option<Place<'_>> {
        self.queue.try_reserve().ok().map(|permit| Place { request: self.request, permit })
    }

    /// A place in the link's queue, once there is one. Cancel-safe.
    pub(in crate::node) async fn place(&self) -> Result<Place<'_>, Gone> {
        self.queue.reserve().await.map(|permit| Place { request: self.request, permit }).map_err(|_| Gone)
    }

    /// The right to make an answer as a whole, once it is its turn on this link. Held for as long as parts of it wait.
    pub(in crate::node) async fn turn(&self) -> Result<SemaphorePermit<'_>, Gone> {
        self.whole.acquire().await.map_err(|_| Gone)
    }

    /// Sends a part without counting it.
    pub(in crate::node) async fn send(&self, answer: Answer, payload: Option<Bytes>) -> Result<(), Gone> {
        self.queue.send((self.request, answer, payload)).await.map_err(|_| Gone)
    }

    /// Sends a part of a stream once the client can take it.
    pub(in crate::node) async fn stream(&self, answer: Answer, payload: Bytes) -> Result<(), Gone> {
        let cost = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        self.credit.acquire_many(cost).await.map_err(|_| Gone)?.forget();
        self.send(answer, Some(payload)).await
    }

    /// Whether nobody wants the answer any more.
    pub(in crate::node) fn is_unwanted(&self) -> bool {
        self.queue.is_closed()
    }

    /// Resolves when nobody wants the answer any more.
    pub(in crate::node) async fn unwanted(&self) {
        self.queue.closed().await;
    }
}

/// Why an answer stops before its end.
#[derive(Debug)]
pub(in crate::node) enum Stop {
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
