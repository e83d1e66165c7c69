//! The node's own events, numbered and written by the scribe.

use std::collections::VecDeque;

use tokio::sync::watch;
use zerovisor_core::id::Id;
use zerovisor_core::name::{NodeName, ProcessName};
use zerovisor_core::units::Timestamp;
use zerovisor_core::view::{Event, Happening};

use crate::journal::{LogReader, Recovery, SegmentLog, SyncWork};
use crate::node::store::{Store, StoreError, stored_event};
use crate::node::textlog::TextLog;

/// Events that wait for a disk that does not take them, at most; then the oldest is dropped and that is said.
const WAITING_MAX: usize = 10_000;

struct Waiting {
    at: Timestamp,
    about: Option<(Id, ProcessName)>,
    what: Happening,
}

/// The log of events.
pub(super) struct EventLog {
    pub(super) log: SegmentLog,
    node: NodeName,
    text: TextLog,
    pub(super) next: u64,
    written: watch::Sender<u64>,
    waiting: VecDeque<Waiting>,
    failing: bool,
    unsynced: bool,
}

impl EventLog {
    /// Opens it; the receiver changes whenever an event was written. With what was found.
    pub(super) fn open(
        store: &Store,
        node: NodeName,
        text: TextLog,
    ) -> Result<(EventLog, watch::Receiver<u64>, Recovery), StoreError> {
        let (log, found) = store.open_events()?;
        let next = log.last().map_or(1, |(seq, _)| seq.saturating_add(1));
        let (written, seen) = watch::channel(next - 1);
        let waiting = VecDeque::new();
        Ok((EventLog { log, node, text, next, written, waiting, failing: false, unsynced: false }, seen, found))
    }

    /// Writes an event, behind those that could not be written before.
    pub(super) fn tell(&mut self, at: Timestamp, about: Option<(Id, ProcessName)>, what: Happening) {
        self.waiting.push_back(Waiting { at, about, what });
        if self.waiting.len() > WAITING_MAX {
            self.waiting.pop_front();
            tracing::error!(limit = WAITING_MAX, "an event is lost: too many wait for the disk");
        }
        while let Some(first) = self.waiting.front() {
            let (id, name) = first.about.clone().unzip();
            let (node, what) = (self.node.clone(), first.what.clone());
            let event = Event { seq: self.next, at: first.at, node, id, name, what };
            match self.append(&event) {
                Ok(()) => {
                    self.waiting.pop_front();
                    self.failing = false;
                    self.text.event(event);
                }
                Err(error) => {
                    if !self.failing {
                        tracing::error!(%error, "events cannot be written: they wait");
                    }
                    self.failing = true;
                    return;
                }
            }
        }
    }

    fn append(&mut self, event: &Event) -> Result<(), StoreError> {
        self.log.append(&[stored_event(event)?])?;
        self.next += 1;
        self.unsynced = true;
        self.written.send_replace(event.seq);
        Ok(())
    }

    pub(super) fn reader(&self) -> LogReader {
        self.log.reader()
    }

    pub(super) fn is_unsynced(&self) -> bool {
        self.unsynced
    }

    /// What is not yet on the disk.
    pub(super) fn dirty(&mut self) -> Option<SyncWork> {
        self.unsynced = false;
        self.log.dirty()
    }
}
