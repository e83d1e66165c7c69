//! Opening logs for links and readers, and letting go of them.

use std::collections::hash_map::Entry;

use tokio::sync::oneshot;
use zerovisor_core::id::Id;
use zerovisor_core::view::Happening;

use super::process::Process;
use super::thread::{PARKED_MAX, Thread};
use super::{Opened, Opening, Sizes, Which, Written};
use crate::journal::{LogReader, SegmentLog};
use crate::node::store::{ProcessLogs, StoreError};
use crate::node::syncer::{SyncMode, ToSync};

type OpenReply = oneshot::Sender<Result<Opened, StoreError>>;

impl Thread {
    /// Opens a process for a link. With `--sync always` the answer, which lets the watcher forget what the journal has, waits until all of
    /// that is on the disk.
    pub(super) fn open(&mut self, opening: Opening, reply: OpenReply) {
        let id = opening.id;
        if let Err(error) = self.let_in(id) {
            if self.declarations.drop_unwritten(id) {
                self.tools.hub.undeclared(id);
            }
            // A link that is gone before its answer needs none.
            let _ = reply.send(Err(error));
            return;
        }
        if let Err(error) = self.write_declaration(id) {
            let _ = reply.send(Err(error));
            return;
        }
        let opened = self.open_logs(opening);
        match &opened {
            // No fault of the disk.
            Ok(_) | Err(StoreError::Removed(_)) => {}
            Err(error) => self.on_disk_error(id, error),
        }
        // A link that is gone before its answer needs none.
        match (opened, self.open.get_mut(&id)) {
            (Ok(opened), Some(process)) if self.tools.sync == SyncMode::Always => {
                let answer = move |synced: Result<(), String>| {
                    let _ = reply.send(synced.map(|()| opened).map_err(StoreError::Unsynced));
                };
                let declarations = self.declarations.dirty(&self.tools.store, id).into_iter().collect();
                self.syncer.when_synced(ToSync { logs: process.dirty(), declarations }, Box::new(answer));
            }
            (opened, _) => {
                if self.tools.sync == SyncMode::Interval {
                    // Directories may be new, too.
                    self.unsynced.insert(id);
                }
                let _ = reply.send(opened);
            }
        }
    }

    /// While the disk fails nobody is let in; while writing a process fails, only if the disk takes a window again: a watcher that is let
    /// in comes back at once when it is sent away, one that is refused takes its time.
    fn let_in(&mut self, id: Id) -> Result<(), StoreError> {
        self.look_at_directory();
        match (self.trouble.disk(), self.trouble.of(id)) {
            (Some(why), _) => Err(StoreError::Unsynced(why.to_owned())),
            (None, Some(_)) => self.tools.store.try_to_write(),
            (None, None) => Ok(()),
        }
    }

    /// Nobody is welcomed whose name is not in the directory.
    fn write_declaration(&mut self, id: Id) -> Result<(), StoreError> {
        match self.declarations.write(&self.tools.store, id) {
            Ok(Some((at, name))) => self.events.tell(at, Some((id, name)), Happening::Declared),
            Ok(None) => {}
            // Its watcher comes again, and is told or declares it anew.
            Err(error @ StoreError::Removed(_)) => return Err(error),
            Err(error) => {
                tracing::error!(%error, "a process cannot be taken in");
                self.tools.hub.undeclared(id);
                return Err(error);
            }
        }
        Ok(())
    }

    fn open_logs(&mut self, opening: Opening) -> Result<Opened, StoreError> {
        let Opening { id, name, receipts, written } = opening;
        self.tools.store.unmark_lost(id);
        self.sweep.reopened(id);
        match self.open.entry(id) {
            Entry::Occupied(mut process) => process.get_mut().relink(name, receipts),
            Entry::Vacant(place) => {
                let logs = match self.parked.remove(&id) {
                    Some(logs) => logs,
                    None => self.tools.store.open_known(id)?,
                };
                self.tools.text.opened(id, name.clone(), logs.log.reader());
                place.insert(Process::new(logs, name, receipts, written));
            }
        }
        let Some(process) = self.open.get(&id) else { return Ok(Opened { journal_end: 0 }) };
        process.written.send_replace(Written { seq: process.end(), bytes: process.logs.log.bytes() });
        // From this thread, so that it comes before every fact that is written from now on.
        self.tools.hub.opened(id, process.logs.story()?);
        Ok(Opened { journal_end: process.end() })
    }

    /// Lets go of a process that nothing is expected of; its readers keep what they share.
    pub(super) fn close(&mut self, id: Id) {
        self.trouble.forget(id);
        self.sweep.ended(id);
        if let Some(mut process) = self.open.remove(&id) {
            self.syncer.note(process.dirty().into());
            self.tools.text.closed(id);
            self.park(id, process.logs);
            self.sweep.closed(&self.tools.store, id);
        }
    }

    /// Removes all there is of a process.
    pub(super) fn remove(&mut self, id: Id) -> Result<(), StoreError> {
        self.declarations.forget(id);
        self.open.remove(&id);
        self.parked.remove(&id);
        self.unaligned.remove(&id);
        self.trouble.forget(id);
        self.sweep.reopened(id);
        self.damaged.remove(&id);
        self.tools.text.removed(id);
        self.tools.store.remove(id)
    }

    /// Removes a process that never wrote. Whatever the hub knows, the disk has the last word: what it holds is served again from the next
    /// start on.
    pub(super) fn remove_empty(&mut self, id: Id) {
        let removed = match self.tools.store.holds_nothing(id) {
            Ok(true) => self.remove(id),
            Ok(false) => {
                tracing::warn!(%id, "a process that was thought to hold nothing is kept on disk");
                self.close(id);
                Ok(())
            }
            Err(error) => Err(error),
        };
        if let Err(error) = removed {
            tracing::warn!(%id, %error, "an empty process cannot be removed: the next start finds it");
        }
    }

    /// A reader shares what its log's writer publishes, so the logs it came from are kept until a link opens them or nobody reads.
    pub(super) fn reader(&mut self, which: Which) -> Result<LogReader, StoreError> {
        let (id, pick): (Id, fn(&ProcessLogs) -> LogReader) = match which {
            Which::Events => return Ok(self.events.reader()),
            Which::Log(id) => (id, |logs| logs.log.reader()),
            Which::Facts(id) => (id, |logs| logs.facts.reader()),
        };
        if let Some(process) = self.open.get(&id) {
            return Ok(pick(&process.logs));
        }
        if let Some(logs) = self.parked.get(&id) {
            return Ok(pick(logs));
        }
        let logs = self.tools.store.open_known(id)?;
        let reader = pick(&logs);
        self.park(id, logs);
        Ok(reader)
    }

    /// Keeps logs without a link for as long as they are needed.
    fn park(&mut self, id: Id, logs: ProcessLogs) {
        if self.parked.len() >= PARKED_MAX {
            self.let_go_of_idle();
        }
        if is_needed(&logs) {
            self.parked.insert(id, logs);
        }
    }

    /// Closes the parked logs that are not needed any more.
    pub(super) fn let_go_of_idle(&mut self) {
        let unaligned = &self.unaligned;
        for (id, _) in self.parked.extract_if(|id, logs| !is_needed(logs) && !unaligned.contains(id)) {
            self.sweep.closed(&self.tools.store, id);
        }
    }

    pub(super) fn sizes(&self, id: Id) -> Sizes {
        let of = |log: &SegmentLog| (log.first_seq().unwrap_or(0), log.last().map_or(0, |(seq, _)| seq), log.bytes());
        let known = self.trouble.of(id).or_else(|| self.damaged.get(&id).map(String::as_str)).map(str::to_owned);
        let (first_seq, last_seq, bytes) = match (self.open.get(&id), self.parked.get(&id)) {
            (Some(process), _) => of(&process.logs.log),
            (None, Some(logs)) => of(&logs.log),
            (None, None) => match self.tools.store.open_known(id) {
                Ok(logs) => of(&logs.log),
                // What is wrong with the whole disk says more.
                Err(error) => return Sizes { trouble: known.or(Some(error.to_string())), ..Sizes::default() },
            },
        };
        Sizes { first_seq, last_seq, bytes, trouble: known }
    }
}

/// Whether somebody reads these logs, or the syncer is still at them, or what it could not sync has to be written again. In this order: once
/// the syncer has let go of a log, whether that is in doubt is settled.
fn is_needed(logs: &ProcessLogs) -> bool {
    [&logs.log, &logs.facts].into_iter().any(|log| log.is_read() || log.is_in_doubt())
}
