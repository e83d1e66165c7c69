//! What keeps the journal from being written, told once when it begins and once when it is over.
//!
//! ```text
//! well ──a write, a sync or the directory fails──> said ──all of it mended, and something written or synced──> well
//! ```

use std::collections::HashMap;
use std::time::{Duration, Instant};

use zerovisor_core::id::Id;

/// How long after a failure of the whole disk it is tried again.
const RETRY_EVERY: Duration = Duration::from_secs(2);

/// What concerns all logs: a failed sync, or a data directory that has gone.
#[derive(Debug)]
struct Disk {
    why: String,
    retry_at: Instant,
}

/// All that is wrong.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    /// Processes whose logs could not be written when last tried, and why.
    writes: HashMap<Id, String>,
    disk: Option<Disk>,
    said: bool,
}

impl Trouble {
    /// A process's log could not be written; true if that is to be said.
    pub(super) fn write_failed(&mut self, id: Id, why: String) -> bool {
        self.writes.insert(id, why);
        !std::mem::replace(&mut self.said, true)
    }

    /// The whole disk fails; true if that is to be said.
    pub(super) fn disk_failed(&mut self, why: String, now: Instant) -> bool {
        let again = self.disk.is_some();
        // At once the first time: what has passed already is mended before anybody notices.
        self.disk = Some(Disk { why, retry_at: if again { now + RETRY_EVERY } else { now } });
        !std::mem::replace(&mut self.said, true)
    }

    /// A process's log was written; true if everything is well again, which is to be said.
    pub(super) fn written(&mut self, id: Id) -> bool {
        self.said && {
            self.writes.remove(&id);
            self.is_over()
        }
    }

    /// The disk takes everything again; true if everything is well, which is to be said.
    pub(super) fn disk_mended(&mut self) -> bool {
        self.disk = None;
        self.said && self.is_over()
    }

    fn is_over(&mut self) -> bool {
        let over = self.writes.is_empty() && self.disk.is_none();
        self.said &= !over;
        over
    }

    /// A process is written no more: it is no sign of what the disk does.
    pub(super) fn forget(&mut self, id: Id) {
        self.writes.remove(&id);
    }

    /// The whole disk is tried again now at the earliest.
    pub(super) fn retry_later(&mut self, now: Instant) {
        if let Some(disk) = &mut self.disk {
            disk.retry_at = now + RETRY_EVERY;
        }
    }

    /// When the whole disk is to be tried again, if it fails.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.disk.as_ref().map(|disk| disk.retry_at)
    }

    /// Why the whole disk fails, if it does.
    pub(super) fn disk(&self) -> Option<&str> {
        self.disk.as_ref().map(|disk| disk.why.as_str())
    }

    /// Why nothing of this process is acknowledged, if that is so.
    pub(super) fn of(&self, id: Id) -> Option<&str> {
        self.disk().or_else(|| self.writes.get(&id).map(String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_said_once_and_its_end_once() {
        let now = Instant::now();
        let [one, two] = [1, 2].map(|n| Id::from_random([n; 16]));
        let mut trouble = Trouble::default();
        assert!(!trouble.written(one), "nothing was wrong");
        assert!(trouble.write_failed(one, "full".into()));
        assert!(!trouble.write_failed(two, "full".into()));
        assert!(!trouble.disk_failed("no sync".into(), now));
        assert_eq!((trouble.of(one), trouble.retry_at()), (Some("no sync"), Some(now)));
        assert!(!trouble.written(one));
        trouble.forget(two);
        assert!(trouble.disk_mended(), "the last of it");
        assert_eq!(trouble.of(one), None);
        assert!(trouble.write_failed(one, "full".into()), "again is new");
        trouble.forget(one);
        assert!(trouble.written(two), "known to be over only when something is written");
        assert!(!trouble.written(two));
    }

    #[test]
    fn a_disk_that_goes_on_failing_is_tried_every_few_seconds() {
        let now = Instant::now();
        let mut trouble = Trouble::default();
        trouble.disk_failed("no sync".into(), now);
        trouble.disk_failed("no sync".into(), now);
        assert_eq!(trouble.retry_at(), Some(now + RETRY_EVERY));
    }
}
