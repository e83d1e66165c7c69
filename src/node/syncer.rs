//! The syncer: the thread that waits for the disk, so that the scribe does not.

use std::fmt;
use std::str::FromStr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::journal::SyncWork;
use super::scribe::{Break, Receipt, Receipts};
use super::store::StoreError;

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

struct Job {
    work: Vec<SyncWork>,
    receipt: Option<(Receipts, Receipt)>,
}

/// The handle of the syncer.
pub(super) struct Syncer {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    /// Starts the thread, if the mode needs one.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start(mode: SyncMode) -> Result<Syncer, StoreError> {
        if mode == SyncMode::None {
            return Ok(Syncer { jobs: None, thread: None });
        }
        let (jobs, queue) = channel();
        let thread = std::thread::Builder::new().name("zv-sync".into()).spawn(move || run(&queue));
        let thread =
            thread.map_err(|source| StoreError::Io { doing: "start a thread for", path: "syncing".into(), source })?;
        Ok(Syncer { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Under [`SyncMode::Always`]: gives the receipt once the work is on the disk.
    pub(super) fn wrote(&self, work: [Option<SyncWork>; 2], receipts: Receipts, receipt: Receipt) {
        self.send(Job { work: work.into_iter().flatten().collect(), receipt: Some((receipts, receipt)) });
    }

    /// Something was written that nobody waits for.
    pub(super) fn note(&self, work: Option<SyncWork>) {
        if let Some(work) = work {
            self.send(Job { work: vec![work], receipt: None });
        }
    }

    /// Brings everything to the disk and ends the thread.
    pub(super) fn stop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // It ends when its queue does; a panic in it was reported already.
            let _ = thread.join();
        }
    }

    fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // The thread lives as long as this handle.
            let _ = jobs.send(job);
        }
    }
}

/// Takes all the jobs that wait, syncs each log once, and then gives the receipts: the group commit.
fn run(queue: &Receiver<Job>) {
    let mut pending: Vec<SyncWork> = Vec::new();
    while let Ok(first) = queue.recv() {
        let mut receipts = Vec::new();
        for Job { work, receipt } in std::iter::once(first).chain(queue.try_iter().take(GROUP_MAX)) {
            work.into_iter().for_each(|work| add(&mut pending, work));
            receipts.extend(receipt);
        }
        sync(&mut pending, receipts);
    }
}

fn add(pending: &mut Vec<SyncWork>, work: SyncWork) {
    match pending.iter_mut().find(|known| known.is_same_log(&work)) {
        Some(known) => known.absorb(work),
        None => pending.push(work),
    }
}

fn sync(pending: &mut Vec<SyncWork>, receipts: Vec<(Receipts, Receipt)>) {
    let mut failed = None;
    for work in pending.drain(..) {
        if let Err(error) = work.sync() {
            tracing::error!(%error, "the disk did not take the journal: records since the last sync are in doubt");
            failed = Some(error.to_string());
        }
    }
    for (link, receipt) in receipts {
        let receipt = failed.clone().map_or(receipt, |why| Receipt::Broken(Break::Disk(why)));
        let _ = link.send(receipt);
    }
}
