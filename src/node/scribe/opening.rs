//! Opening logs for links and readers, and letting go of them.

use std::collections::hash_map::Entry;

use tokio::sync::oneshot;
use zerovisor_core::id::Id;

use super::process::Process;
use super::thread::Thread;
use super::{Opened, Opening, Sizes, Which, Written};
use crate::journal::{LogReader, SegmentLog};
use crate::node::store::{ProcessLogs, StoreError};
use crate::node::syncer::SyncMode;

type OpenReply = oneshot::Sender<Result<Opened, StoreError>>;

impl Thread {
    /// Opens a process for a link. With `--sync always` the answer, which lets the watcher forget what the journal has, waits until all of
    /// that is on the disk.
    pub(super) fn open(&mut self, opening: Opening, reply: OpenReply) {
        let id = opening.id;
        if let Err(error) = self.let_in(id) {
            // A link that is gone before its answer needs none.
            let _ = reply.send(Err(error));
            return;
        }
        let opened = self.open_logs(opening);
        if let Err(error) = &opened {
            self.on_disk_error(id, error);
        }
        // A link that is gone before its answer needs none.
        match (opened, self.open.get_mut(&id)) {
            (Ok(opened), Some(process)) if self.tools.sync == SyncMode::Always => {
                let answer = move |synced: Result<(), String>| {
                    let _ = reply.send(synced.map(|()| opened).map_err(StoreError::Unsynced));
                };
                self.syncer.when_synced(process.dirty(), Box::new(answer));
            }
            (opened, _) => {
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

    fn open_logs(&mut self, opening: Opening) -> Result<Opened, StoreError> {
        let Opening { id, name, receipts, written } = opening;
        self.sweep.reopened(id);
        match self.open.entry(id) {
            Entry::Occupied(mut process) => process.get_mut().relink(name, receipts),
            Entry::Vacant(place) => {
                let logs = match self.parked.remove(&id) {
                    Some(logs) => logs,
                    None => self.tools.store.open_process(id)?,
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
            self.syncer.note(process.dirty());
            self.tools.text.closed(id);
            if process.logs.log.is_read() || process.logs.facts.is_read() {
                self.parked.insert(id, process.logs);
            }
            self.sweep.closed(&self.tools.store, id);
        }
    }

    /// Removes all there is of a process.
    pub(super) fn remove(&mut self, id: Id) -> Result<(), StoreError> {
        self.open.remove(&id);
        self.parked.remove(&id);
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
        match self.parked.entry(id) {
            Entry::Occupied(logs) => Ok(pick(logs.get())),
            Entry::Vacant(place) => Ok(pick(place.insert(self.tools.store.open_known(id)?))),
        }
    }

    pub(super) fn sizes(&self, id: Id) -> Sizes {
        let of = |log: &SegmentLog| (log.first_seq().unwrap_or(0), log.last().map_or(0, |(seq, _)| seq), log.bytes());
        let (first_seq, last_seq, bytes) = match (self.open.get(&id), self.parked.get(&id)) {
            (Some(process), _) => of(&process.logs.log),
            (None, Some(logs)) => of(&logs.log),
            (None, None) => match self.tools.store.open_known(id) {
                Ok(logs) => of(&logs.log),
                Err(error) => return Sizes { trouble: Some(error.to_string()), ..Sizes::default() },
            },
        };
        let trouble = self.trouble.of(id).or_else(|| self.damaged.get(&id).map(String::as_str));
        Sizes { first_seq, last_seq, bytes, trouble: trouble.map(str::to_owned) }
    }
}
