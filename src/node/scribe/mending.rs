//! When the whole disk fails: nothing is acknowledged, and it is tried again until it takes everything.

use std::time::Instant;

use zerovisor_core::units::Timestamp;
use zerovisor_core::view::Happening;

use super::event_log::EventLog;
use super::thread::Thread;
use super::{Break, Work, now_us};
use crate::journal::{JournalError, SegmentLog, lock_data_dir};
use crate::node::store::{ProcessLogs, Store, StoreError};
use crate::node::syncer::{SyncMode, ToSync};

impl Thread {
    /// Writes behind a failed sync may be lost already: every link ends, so that its watcher keeps what it has.
    pub(super) fn on_disk_failure(&mut self, why: &str) {
        if self.trouble.disk_failed(why.to_owned(), Instant::now()) {
            self.say_failing(why);
        }
        for process in self.open.values_mut() {
            process.break_off(Break::Disk(why.to_owned()));
        }
    }

    /// Says once that nothing is acknowledged.
    pub(super) fn say_failing(&mut self, why: &str) {
        tracing::error!(%why, "the journal cannot be written: output stays with its watchers until it can");
        self.events.tell(Timestamp(now_us()), None, Happening::JournalFailing { why: why.to_owned() });
    }

    /// Says once that it is over.
    pub(super) fn say_recovered(&mut self) {
        tracing::info!("the journal is written again");
        self.events.tell(Timestamp(now_us()), None, Happening::JournalRecovered);
    }

    /// Looks whether the data directory is where it was.
    pub(super) fn look_at_directory(&mut self) {
        if self.lock.is_in_place() || self.is_gone {
            return;
        }
        self.is_gone = true;
        let why = format!("{} was removed or unmounted", self.tools.store.root().display());
        self.on_disk_failure(&why);
        // Their files are nowhere: readers end, and whoever follows asks again.
        for (id, process) in std::mem::take(&mut self.open) {
            self.tools.text.closed(id);
            abandon(process.logs);
        }
        std::mem::take(&mut self.parked).into_values().for_each(abandon);
        self.unsynced.clear();
        self.declarations.gone();
        self.unaligned.clear();
    }

    /// Tries to make the disk take everything again.
    pub(super) fn retry_disk(&mut self) {
        self.trouble.retry_later(Instant::now());
        let mended = if self.is_gone { self.begin_again() } else { self.mend_all() };
        match mended {
            Ok(work) => {
                let tell = self.own_work.clone();
                let then = move |synced: Result<(), String>| {
                    // The thread that asked lives as long as its queue.
                    let _ = tell.send(Work::Mended(synced));
                };
                self.syncer.when_synced(work, Box::new(then));
            }
            Err(error) => tracing::debug!(%error, "the disk still fails"),
        }
    }

    /// What came of a try.
    pub(super) fn on_mended(&mut self, synced: Result<(), String>) {
        // A job of before the mend may have failed on a log behind the mend's look at it.
        let synced = synced.and_then(|()| self.doubtful().map_or(Ok(()), |why| Err(why.to_string())));
        match synced {
            Ok(()) if !self.is_gone && self.trouble.disk_mended() => self.say_recovered(),
            Ok(()) => {}
            Err(why) => self.on_disk_failure(&why),
        }
    }

    /// A log that has to be written again, as an error; none if all are well.
    fn doubtful(&self) -> Option<JournalError> {
        let processes = self.open.values().map(|process| &process.logs).chain(self.parked.values());
        processes.flat_map(|logs| [&logs.log, &logs.facts]).chain([&self.events.log]).find_map(SegmentLog::doubt)
    }

    /// A journal where the old one was, or the one that is there now.
    fn begin_again(&mut self) -> Result<ToSync, StoreError> {
        let root = self.tools.store.root().to_path_buf();
        if !self.lock.may_begin_again() {
            return Err(StoreError::Away(root));
        }
        let lock = lock_data_dir(&root)?;
        let store = Store::open(&root, self.tools.retention.log_config())?;
        if self.tools.sync != SyncMode::None {
            store.sync_roots()?;
        }
        self.events.replace(&store)?;
        self.lock = lock;
        self.is_gone = false;
        Ok(self.events.dirty().into_iter().collect::<Vec<_>>().into())
    }

    /// Writes again what is in doubt; the work of bringing that to the disk.
    fn mend_all(&mut self) -> Result<ToSync, StoreError> {
        let declarations = self.declarations.rewrite(&self.tools.store)?;
        let mut work = Vec::new();
        mend(&mut self.events.log)?;
        work.extend(self.events.dirty());
        let open = self.open.iter_mut().map(|(id, process)| (*id, &mut process.logs));
        for (id, logs) in open.chain(self.parked.iter_mut().map(|(id, logs)| (*id, logs))) {
            // Remembered until it is done: the next try finds nothing in doubt any more.
            for log in [&mut logs.log, &mut logs.facts] {
                if mend(log)? {
                    self.unaligned.insert(id);
                }
            }
            if self.unaligned.contains(&id) {
                self.tools.store.renew_facts(id, logs)?;
                self.unaligned.remove(&id);
            }
            work.extend(logs.log.dirty().into_iter().chain(logs.facts.dirty()));
        }
        self.unsynced.clear();
        Ok(ToSync { logs: work, declarations })
    }
}

/// Writes again what is in doubt of one log; whether some of it could not be read back.
fn mend(log: &mut SegmentLog) -> Result<bool, StoreError> {
    if !log.is_in_doubt() {
        return Ok(false);
    }
    let mended = log.mend()?;
    if let Some(after) = mended.lost_after {
        tracing::error!(after, "records that the disk did not take could not be read back: the log ends before them");
    }
    Ok(mended.lost_after.is_some())
}

fn abandon(logs: ProcessLogs) {
    logs.log.abandon();
    logs.facts.abandon();
}

impl EventLog {
    /// Goes on in another data directory, with numbers that do not step back.
    fn replace(&mut self, store: &Store) -> Result<(), StoreError> {
        let (log, _) = store.open_events()?;
        std::mem::replace(&mut self.log, log).abandon();
        self.next = self.next.max(self.log.last().map_or(1, |(seq, _)| seq.saturating_add(1)));
        Ok(())
    }
}
