//! The spool in a watcher's hand: one job at a time, each on a thread that owns the spool for so long and gives it back, so that a slow
//! or hung disk never stops the watcher's one task.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{Notify, oneshot};
use zerovisor_core::record::Record;
use zerovisor_core::window::{StandIns, stand_ins};

use nix::errno::Errno;

use super::thread::{Bell, on_a_thread};
use crate::spool::{Limit, Meta, Place, Spool, SpoolError};

/// How much one job reads, in bytes.
const READ_BYTES: usize = 1 << 20;
/// The stack of the thread, in bytes: nothing here recurses but the removal of a directory, by two levels.
const STACK_BYTES: usize = 256 << 10;

/// What a watcher does without a zerovisor, as the user said.
#[derive(Clone, Debug)]
pub struct Offline {
    /// Where its output is kept.
    pub keep: Keep,
    /// How much may lie there.
    pub limit: Limit,
    /// How long the child waits once nothing more can be kept, before its oldest output is dropped.
    pub wait: Duration,
}

impl Offline {
    /// Why nothing could be kept on disk that was to be, as far as that can be told before.
    #[must_use]
    pub fn unable(&self) -> Option<String> {
        match &self.keep {
            Keep::At(place) => place.check().err().map(|error| error.to_string()),
            Keep::InMemory => None,
            Keep::Nowhere(why) => Some(why.clone()),
        }
    }
}

/// Where output is kept while no zerovisor takes it.
#[derive(Clone, Debug)]
pub enum Keep {
    /// On disk.
    At(Place),
    /// In memory only, since that is what was asked for.
    InMemory,
    /// In memory only, since there is no place: why.
    Nowhere(String),
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Job {
    /// These records are to be kept, in a spool that is made if there is none.
    Spill { records: Vec<Record>, meta: Box<Meta> },
    /// Records from this one on are wanted.
    Load { from: u64 },
    /// What would stand for the oldest segment, of which the records from `from` on count?
    Count { from: u64, sent_to: u64 },
    /// The oldest segment goes.
    Drop { front: Vec<Record> },
    /// All of it goes.
    Remove,
    /// The watcher ends: the spool is left to the next zerovisor.
    Leave { meta: Box<Meta> },
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Done {
    /// Up to this record all is on the disk; why not more of it.
    Spilled { last: u64, failed: Option<SpoolError> },
    /// As [`Job::Load`].
    Loaded { from: u64, records: Result<Vec<Record>, SpoolError> },
    /// As [`Job::Count`].
    Counted(Result<StandIns, SpoolError>),
    /// As [`Job::Drop`].
    Dropped(Result<(), SpoolError>),
    /// As [`Job::Remove`].
    Removed(Result<(), SpoolError>),
    /// As [`Job::Leave`].
    Left(Result<Left, SpoolError>),
    /// The thread has gone with the spool, which nothing explains.
    Gone,
}

/// A spool that was left.
#[derive(Debug)]
pub(super) struct Left {
    /// Where.
    pub(super) dir: PathBuf,
    /// Its records, in bytes.
    pub(super) bytes: u64,
}

#[derive(Debug)]
enum Hand {
    Empty,
    Here(Box<Spool>),
    Away { back: oneshot::Receiver<(Option<Box<Spool>>, Done)>, done: Arc<Notify> },
}

/// Where the spool is.
#[derive(Debug)]
pub(super) struct Spooler {
    place: Place,
    limit: Limit,
    hand: Hand,
}

impl Spooler {
    /// One that has no spool yet; nothing is touched.
    pub(super) fn new(place: Place, limit: Limit) -> Spooler {
        Spooler { place, limit, hand: Hand::Empty }
    }

    /// Whether a job can be started.
    pub(super) fn is_free(&self) -> bool {
        match self.hand {
            Hand::Empty | Hand::Here(_) => true,
            Hand::Away { .. } => false,
        }
    }

    /// Whether there is a spool, or may be.
    pub(super) fn holds_one(&self) -> bool {
        match self.hand {
            Hand::Empty => false,
            Hand::Here(_) | Hand::Away { .. } => true,
        }
    }

    /// Begins a job; what is acknowledged up to `acknowledged` is not wanted any more. Only while it is free.
    pub(super) fn start(&mut self, job: Job, acknowledged: u64) {
        let (give_back, back) = oneshot::channel();
        let done = Arc::new(Notify::new());
        let away = Hand::Away { back, done: Arc::clone(&done) };
        let spool = match std::mem::replace(&mut self.hand, away) {
            Hand::Here(spool) => Some(spool),
            Hand::Empty | Hand::Away { .. } => None,
        };
        let (place, limit) = (self.place.clone(), self.limit);
        let work = Work { spool, job, acknowledged, place, limit, give_back, bell: Bell(done) };
        if let Err(work) = on_a_thread("spool", STACK_BYTES, work, Work::run) {
            work.without_a_thread();
        }
    }

    /// Waits until a job is done, if one was begun; else for ever. Cancel-safe: it takes nothing, [`Spooler::take`] does.
    pub(super) async fn back(&self) {
        match &self.hand {
            Hand::Away { done, .. } => done.notified().await,
            Hand::Empty | Hand::Here(_) => std::future::pending().await,
        }
    }

    /// What came of a job, once.
    pub(super) fn take(&mut self) -> Option<Done> {
        let Hand::Away { back, .. } = &mut self.hand else { return None };
        let (spool, done) = match back.try_recv() {
            Ok(came) => came,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Closed) => (None, Done::Gone),
        };
        self.hand = spool.map_or(Hand::Empty, Hand::Here);
        Some(done)
    }
}

/// A job with all it needs.
struct Work {
    spool: Option<Box<Spool>>,
    job: Job,
    acknowledged: u64,
    place: Place,
    limit: Limit,
    give_back: oneshot::Sender<(Option<Box<Spool>>, Done)>,
    bell: Bell,
}

impl Work {
    /// Nothing that may wait for the disk is done on the watcher's one task: it fails, and is tried again as on a disk that fails. But for what
    /// comes last: behind it that task has nothing else to do.
    fn without_a_thread(self) {
        let Work { spool, job, acknowledged, place, limit, give_back, bell } = self;
        let source = Errno::EAGAIN.into();
        let failed = SpoolError::Io { op: "start a thread for", path: place.dir().to_path_buf(), source };
        let done = match job {
            Job::Spill { .. } => Done::Spilled { last: 0, failed: Some(failed) },
            Job::Load { from } => Done::Loaded { from, records: Err(failed) },
            Job::Count { .. } => Done::Counted(Err(failed)),
            Job::Drop { .. } => Done::Dropped(Err(failed)),
            Job::Remove => Done::Removed(Err(failed)),
            Job::Leave { .. } => return Work { spool, job, acknowledged, place, limit, give_back, bell }.run(),
        };
        // The session has its end of both.
        let _unwanted = give_back.send((spool, done));
        drop(bell);
    }

    fn run(self) {
        let Work { mut spool, job, acknowledged, place, limit, give_back, bell } = self;
        // The segment that is dropped is the one that was counted: it stays the oldest until then.
        let trims = !matches!(job, Job::Drop { .. });
        if let Some(spool) = spool.as_mut().filter(|_| trims) {
            // A segment that cannot be removed is tried again with the next job.
            let _ = spool.trim(acknowledged);
        }
        let came = match job {
            Job::Spill { records, meta } => spill(spool, &place, limit, &meta, &records),
            Job::Remove => (None, Done::Removed(spool.map_or(Ok(()), |spool| spool.remove()))),
            Job::Leave { meta } => (None, Done::Left(leave(spool, &place, limit, &meta))),
            Job::Load { from } => with(spool, |spool| Done::Loaded { from, records: load(spool, from) }),
            Job::Count { from, sent_to } => {
                with(spool, |spool| Done::Counted(spool.oldest().map(|records| stand_ins(from, sent_to, records))))
            }
            Job::Drop { front } => with(spool, |spool| Done::Dropped(spool.drop_oldest(&front))),
        };
        // A watcher that has ended meanwhile wants neither.
        let _unwanted = give_back.send(came);
        drop(bell);
    }
}

fn with(mut spool: Option<Box<Spool>>, act: impl FnOnce(&mut Spool) -> Done) -> (Option<Box<Spool>>, Done) {
    let done = spool.as_deref_mut().map_or(Done::Gone, act);
    (spool, done)
}

fn spill(
    spool: Option<Box<Spool>>,
    place: &Place,
    limit: Limit,
    meta: &Meta,
    records: &[Record],
) -> (Option<Box<Spool>>, Done) {
    let made = spool.map_or_else(|| Spool::create_limited(place, meta, limit).map(Box::new), Ok);
    match made {
        Ok(mut spool) => {
            let failed = spool.append(records).err();
            let last = spool.range().map_or(0, |(_, last)| last);
            (Some(spool), Done::Spilled { last, failed })
        }
        Err(error) => (None, Done::Spilled { last: 0, failed: Some(error) }),
    }
}

fn load(spool: &mut Spool, from: u64) -> Result<Vec<Record>, SpoolError> {
    let (mut records, mut bytes, mut next) = (Vec::new(), 0, from);
    while bytes < READ_BYTES {
        let batch = spool.read_from(next, READ_BYTES - bytes)?;
        let Some(last) = batch.last() else { break };
        next = last.head.seq.saturating_add(1);
        bytes += batch.iter().map(|record| record.payload.len().max(1)).sum::<usize>();
        records.extend(batch);
    }
    Ok(records)
}

fn leave(spool: Option<Box<Spool>>, place: &Place, limit: Limit, meta: &Meta) -> Result<Left, SpoolError> {
    let spool = spool.map_or_else(|| Spool::create_limited(place, meta, limit).map(Box::new), Ok)?;
    let left = Left { dir: spool.dir().to_path_buf(), bytes: spool.bytes() };
    spool.close(meta)?;
    Ok(left)
}

#[cfg(test)]
mod tests;
