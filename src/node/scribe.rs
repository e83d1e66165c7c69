//! The scribe: one thread that owns every open log and is the only one that writes the journal.
//!
//! ```text
//!  links --Append--> scribe --(whole batch: facts, then log, then events)--> write(2)
//!                      |  \--opened, journaled--> hub    (facts, for the registry; before any receipt)
//!                      |   \--wake--> text log
//!                      \--sync none|interval--> Ack to the link at once
//!                      \--sync always--> syncer thread --fdatasync--> Ack to the link
//! ```
//! While the disk keeps it waiting, records pile up in its queue; links bound them by their credit, and the next batch takes them all.

mod declaring;
mod event_log;
mod mending;
mod opening;
mod process;
#[cfg(test)]
mod tests;
mod thread;
mod trouble;

use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot, watch};
use zerovisor_core::id::Id;
use zerovisor_core::name::{NodeName, ProcessName};
use zerovisor_core::record::Record;
use zerovisor_core::units::Timestamp;
use zerovisor_core::view::Happening;

use super::catchup::Past;
use super::hub::Hub;
use super::retention::Retention;
use super::store::{Meta, Store, StoreError};
use super::syncer::SyncMode;
use super::textlog::TextLog;
use crate::journal::{DataDirLock, LogReader};
use thread::Thread;

/// What a link learns of its records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Receipt {
    /// All records up to `seq` are in the journal; `bytes` of payload in `records` since the receipt before.
    Journaled {
        /// The last of them.
        seq: u64,
        /// Payload bytes since the receipt before.
        bytes: u64,
        /// Records since then.
        records: usize,
    },
    /// They are not, and the link must end: the watcher will come again and resume.
    Broken(Break),
}

/// Why a link's records cannot be journaled.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Break {
    /// The disk.
    #[error("the journal cannot be written: {0}")]
    Disk(String),
    /// The peer broke the protocol.
    #[error("protocol violation: {0}")]
    Violation(String),
}

/// Where receipts go. Unbounded: there is at most one for each record the credit lets through.
pub(super) type Receipts = mpsc::UnboundedSender<Receipt>;

/// How far a process's log is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Written {
    /// Its last record.
    pub seq: u64,
    /// Its size on disk in bytes.
    pub bytes: u64,
}

/// What the scribe needs to open the logs of a process for a link.
#[derive(Debug)]
pub(super) struct Opening {
    /// The process.
    pub id: Id,
    /// The name it goes by.
    pub name: ProcessName,
    /// Where receipts go.
    pub receipts: Receipts,
    /// Told how far its log is written.
    pub written: watch::Sender<Written>,
}

/// A process whose logs are open.
#[derive(Debug)]
pub(super) struct Opened {
    /// Its last record; 0: none.
    pub journal_end: u64,
}

enum Work {
    Declare {
        meta: Box<Meta>,
        news: Option<Timestamp>,
    },
    Open {
        opening: Opening,
        reply: oneshot::Sender<Result<Opened, StoreError>>,
    },
    Append {
        id: Id,
        record: Record,
    },
    Close {
        id: Id,
    },
    Remove {
        id: Id,
        reply: oneshot::Sender<Result<(), StoreError>>,
    },
    KeepLive {
        id: Id,
    },
    RemoveEmpty {
        id: Id,
    },
    Note {
        at: Timestamp,
        about: Option<(Id, ProcessName)>,
        what: Happening,
    },
    Mourn {
        id: Id,
    },
    MarkLost {
        id: Id,
    },
    Reader {
        which: Which,
        reply: oneshot::Sender<Result<LogReader, StoreError>>,
    },
    Sizes {
        id: Id,
        reply: oneshot::Sender<Sizes>,
    },
    /// From the syncer: a sync has failed.
    Unsynced(String),
    /// From the syncer: what came of writing again what was in doubt.
    Mended(Result<(), String>),
    Stop,
}

/// Which log is to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Which {
    /// The stream of a process.
    Log(Id),
    /// The facts of a process.
    Facts(Id),
    /// The events of the node.
    Events,
}

/// How much of a process is in its log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Sizes {
    /// First record that is kept; 0: none.
    pub first_seq: u64,
    /// Last record; 0: none.
    pub last_seq: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Why nothing of it is acknowledged now, or what of it could not be read at the start, or cannot be opened: then nothing else is known.
    pub trouble: Option<String>,
}

/// The handle of the scribe.
#[derive(Clone)]
pub(super) struct Scribe {
    work: Sender<Work>,
    events: watch::Receiver<u64>,
}

impl Scribe {
    /// What a watcher has declared: written when a link or a spool opens its logs, which is refused if this was not told, or a removal since.
    /// `news`: when a process came that was not known, which is then told as an event.
    pub(super) fn declare(&self, meta: Meta, news: Option<Timestamp>) {
        self.tell(Work::Declare { meta: Box::new(meta), news });
    }

    /// Opens the logs of a process, or takes over those that are open, for a new link.
    ///
    /// # Errors
    /// They cannot be opened; or the scribe is gone, which reads as none.
    pub(super) async fn open(&self, opening: Opening) -> Option<Result<Opened, StoreError>> {
        let (reply, answer) = oneshot::channel();
        self.tell(Work::Open { opening, reply });
        answer.await.ok()
    }

    /// Hands a record over; the receipt comes later.
    pub(super) fn append(&self, id: Id, record: Record) {
        self.tell(Work::Append { id, record });
    }

    /// Lets go of the logs of a process that has ended for good.
    pub(super) fn close(&self, id: Id) {
        self.tell(Work::Close { id });
    }

    /// Removes all there is of a process: asked for before this returns, so that whatever is asked later comes after it.
    pub(super) fn remove(&self, id: Id) -> oneshot::Receiver<Result<(), StoreError>> {
        let (reply, answer) = oneshot::channel();
        self.tell(Work::Remove { id, reply });
        answer
    }

    /// Retention has come to the last of a process that is live: it stays.
    pub(super) fn keep_live(&self, id: Id) {
        self.tell(Work::KeepLive { id });
    }

    /// Removes what there is of a process that never told or wrote anything. One whose logs hold anything stays as it is.
    pub(super) fn remove_empty(&self, id: Id) {
        self.tell(Work::RemoveEmpty { id });
    }

    /// Notes an observation of the node's own as an event.
    pub(super) fn note(&self, at: Timestamp, about: Option<(Id, ProcessName)>, what: Happening) {
        self.tell(Work::Note { at, about, what });
    }

    /// Tells the hub the last record of a process whose watcher is dead, behind all that is written before.
    pub(super) fn mourn(&self, id: Id) {
        self.tell(Work::Mourn { id });
    }

    /// A process is LOST, until its watcher, or what that left, comes.
    pub(super) fn mark_lost(&self, id: Id) {
        self.tell(Work::MarkLost { id });
    }

    /// A reader of a log, at its first record.
    pub(super) async fn reader(&self, which: Which) -> Option<Result<LogReader, StoreError>> {
        let (reply, answer) = oneshot::channel();
        self.tell(Work::Reader { which, reply });
        answer.await.ok()
    }

    /// How much of a process is in its log.
    pub(super) async fn sizes(&self, id: Id) -> Sizes {
        let (reply, answer) = oneshot::channel();
        self.tell(Work::Sizes { id, reply });
        answer.await.unwrap_or_default()
    }

    /// Changes whenever an event was written; its number.
    pub(super) fn events(&self) -> watch::Receiver<u64> {
        self.events.clone()
    }

    /// Writes what is queued and ends the thread.
    pub(super) fn stop(&self) {
        self.tell(Work::Stop);
    }

    fn tell(&self, work: Work) {
        // The thread ends only when told to, at the very end: whoever asks later gets no answer and says so.
        let _ = self.work.send(work);
    }
}

/// What the scribe needs of the rest.
pub(super) struct Tools {
    /// Where the logs are.
    pub store: Store,
    /// This node.
    pub node: NodeName,
    /// Told of facts once they are written.
    pub hub: Hub,
    /// Woken when there is something to render.
    pub text: TextLog,
    /// When records count as safe.
    pub sync: SyncMode,
    /// How much is kept.
    pub retention: Retention,
}

/// Starts the thread. With what is known of every process.
///
/// # Errors
/// The events log cannot be opened, or the thread not be started.
pub(super) fn start(tools: Tools, lock: DataDirLock) -> Result<(Scribe, JoinHandle<()>, Vec<Past>), StoreError> {
    let (work, queue) = channel();
    let (thread, events, known) = Thread::new(tools, lock, work.clone())?;
    let thread = std::thread::Builder::new().name("zv-scribe".into()).spawn(move || thread.run(&queue));
    let thread =
        thread.map_err(|source| StoreError::Io { doing: "start a thread for", path: "the journal".into(), source })?;
    Ok((Scribe { work, events }, thread, known))
}

/// The wall clock in microseconds since 1970.
pub(super) fn now_us() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
