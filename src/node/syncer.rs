//! The syncer: the thread that waits for the disk, so that the scribe does not.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::store::{DeclarationSync, StoreError, sync_declarations};
use crate::journal::SyncWork;

/// How much a power cut may take under `--sync interval`.
pub(super) const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// Jobs whose receipts wait for one another, at most, so that a flood of writers cannot starve the first of them.
const GROUP_MAX: usize = 512;

/// `--sync none|interval|always`: when records count as safe.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SyncMode {
    /// When the kernel has them; it writes them to the disk when it likes.
    None,
    /// When the kernel has them; they are on the disk [`SYNC_INTERVAL`] later.
    #[default]
    Interval,
    /// When they are on the disk.
    Always,
}

/// A text that is no sync mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a way to sync: write none, interval or always")]
pub struct NotASyncMode(String);

impl FromStr for SyncMode {
    type Err = NotASyncMode;

    fn from_str(text: &str) -> Result<SyncMode, NotASyncMode> {
        match text {
            "none" => Ok(SyncMode::None),
            "interval" => Ok(SyncMode::Interval),
            "always" => Ok(SyncMode::Always),
            _ => Err(NotASyncMode(text.chars().take(40).collect())),
        }
    }
}

impl fmt::Display for SyncMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SyncMode::None => "none",
            SyncMode::Interval => "interval",
            SyncMode::Always => "always",
        })
    }
}

/// What follows once work is on the disk, or why it may not be.
pub(crate) type Then = Box<dyn FnOnce(Result<(), String>) + Send>;

/// Told of every sync that fails, before those who wait for it: what is in doubt has to be written again.
pub(crate) type OnFailure = Box<dyn Fn(String) + Send>;

/// What is to be brought to the disk.
#[derive(Debug, Default)]
pub(crate) struct ToSync {
    /// Logs.
    pub(crate) logs: Vec<SyncWork>,
    /// What was declared of processes.
    pub(crate) declarations: Vec<DeclarationSync>,
}

impl From<Vec<SyncWork>> for ToSync {
    fn from(logs: Vec<SyncWork>) -> ToSync {
        ToSync { logs, declarations: Vec::new() }
    }
}

impl ToSync {
    /// Takes on more; of a log that it has already the newer work, so that one wait serves both.
    fn add(&mut self, more: ToSync) {
        self.declarations.extend(more.declarations);
        for work in more.logs {
            match self.logs.iter_mut().find(|known| known.is_same_log(&work)) {
                Some(known) => known.absorb(work),
                None => self.logs.push(work),
            }
        }
    }

    /// Waits for the disk; what the first failure was. Declarations first: records are worth little without a name.
    fn sync(self) -> Result<(), String> {
        let mut done = sync_declarations(&self.declarations).map_err(|error| error.to_string());
        for work in self.logs {
            let synced = work.sync().map_err(|error| error.to_string());
            done = done.and(synced);
        }
        done
    }
}

struct Job {
    work: ToSync,
    then: Option<Then>,
}

/// The handle of the syncer.
pub(crate) struct Syncer {
    jobs: Option<Sender<Job>>,
    under_way: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    /// Starts the thread, if the mode needs one.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn start(mode: SyncMode, on_failure: OnFailure) -> Result<Syncer, StoreError> {
        let under_way = Arc::new(AtomicUsize::new(0));
        if mode == SyncMode::None {
            return Ok(Syncer { jobs: None, under_way, thread: None });
        }
        let (jobs, queue) = channel();
        let done = Arc::clone(&under_way);
        let thread = std::thread::Builder::new().name("zv-sync".into()).spawn(move || run(&queue, &done, &on_failure));
        let thread =
            thread.map_err(|source| StoreError::Io { doing: "start a thread for", path: "syncing".into(), source })?;
        Ok(Syncer { jobs: Some(jobs), under_way, thread: Some(thread) })
    }

    /// Calls `then` once the work, and all that was handed in before, is on the disk; at once where nothing is synced.
    pub(crate) fn when_synced(&self, work: ToSync, then: Then) {
        self.send(Job { work, then: Some(then) });
    }

    /// Something was written that nobody waits for.
    pub(crate) fn note(&self, work: ToSync) {
        if !(work.logs.is_empty() && work.declarations.is_empty()) {
            self.send(Job { work, then: None });
        }
    }

    /// Whether the disk is still busy with what was handed in before.
    pub(crate) fn is_busy(&self) -> bool {
        self.under_way.load(Ordering::Acquire) > 0
    }

    /// Brings everything to the disk and ends the thread.
    pub(crate) fn stop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // It ends when its queue does; a panic in it was reported already.
            let _ = thread.join();
        }
    }

    fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            self.under_way.fetch_add(1, Ordering::AcqRel);
            // The thread lives as long as this handle.
            let _ = jobs.send(job);
        } else if let Some(then) = job.then {
            // Nothing is waited for in this mode.
            then(Ok(()));
        }
    }
}

/// Takes all the jobs that wait, syncs each log once, and then does what follows: the group commit. A log of which a sync has failed
/// fails every later one until it has been mended, so nobody takes a lucky second try for safety (fsync(2)).
fn run(queue: &Receiver<Job>, under_way: &AtomicUsize, on_failure: &OnFailure) {
    while let Ok(first) = queue.recv() {
        let (mut pending, mut waiting, mut jobs): (ToSync, Vec<Then>, usize) = (ToSync::default(), Vec::new(), 0);
        for Job { work, then } in std::iter::once(first).chain(queue.try_iter().take(GROUP_MAX)) {
            pending.add(work);
            waiting.extend(then);
            jobs += 1;
        }
        let synced = pending.sync();
        if let Err(why) = &synced {
            on_failure(why.clone());
        }
        for then in waiting {
            then(synced.clone());
        }
        under_way.fetch_sub(jobs, Ordering::AcqRel);
    }
}
