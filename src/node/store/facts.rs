//! Keeping the facts of a process those of its output.
//!
//! They are replaced as a whole, so that a crash or a full disk at any point leaves the old ones or the new ones:
//!
//! ```text
//! facts  ──the new ones are written and synced──> facts, facts.new   what is in facts.new does not count
//!        ──facts is renamed──> facts.old, facts.new                  facts.new is whole
//!        ──facts.new is renamed──> facts, facts.old ──> facts
//! ```

use std::fs;
use std::io;
use std::path::Path;

use zerovisor_core::id::Id;
use zerovisor_core::record::Record;

use super::{ProcessLogs, Store, StoreError, io_error, is_fact, read_all, read_on, remove_tree};
use crate::journal::{SegmentLog, stored};

/// Written, and not yet in their place.
const NEW: &str = "facts.new";
/// Replaced, and not yet removed.
const OLD: &str = "facts.old";

impl Store {
    /// Makes the facts those of the log: a crash between the two writes leaves too many, and somebody may have removed all of them.
    ///
    /// # Errors
    /// A log cannot be read, or the facts not be written: then they are as they were.
    pub(super) fn align_facts(&self, id: Id, logs: &mut ProcessLogs) -> Result<(), StoreError> {
        let end = logs.log.last().map_or(0, |(seq, _)| seq);
        let kept = match logs.facts.last() {
            Some((seq, _)) if seq > end => read_all(&mut logs.facts.reader(), |record| record.head.seq <= end)?.0,
            // Every stream begins with a fact.
            None if end > 0 => read_all(&mut logs.log.reader(), is_fact)?.0,
            Some(_) | None => return Ok(()),
        };
        self.replace_facts(id, logs, &kept)
    }

    /// The same where a mend has cut one of the two, or both: also facts that only the log still has are put back.
    ///
    /// # Errors
    /// As those of a process that is opened: it has to be tried again.
    pub(in crate::node) fn renew_facts(&self, id: Id, logs: &mut ProcessLogs) -> Result<(), StoreError> {
        if !self.dir(id).exists() {
            // Somebody has removed the process: nothing is to be made where it was.
            return Ok(());
        }
        let end = logs.log.last().map_or(0, |(seq, _)| seq);
        let mut kept = read_all(&mut logs.facts.reader(), |record| record.head.seq <= end)?.0;
        let mut log = logs.log.reader();
        log.seek_seq(kept.last().map_or(0, |fact| fact.head.seq.saturating_add(1)));
        kept.extend(read_on(&mut log, is_fact)?.0);
        self.replace_facts(id, logs, &kept)
    }

    fn replace_facts(&self, id: Id, logs: &mut ProcessLogs, kept: &[Record]) -> Result<(), StoreError> {
        self.settle_facts(id)?;
        let (dir, [new, old]) = (self.facts_dir(id), [NEW, OLD].map(|name| self.dir(id).join(name)));
        let (mut written, _) = SegmentLog::open(&new, self.facts_config())?;
        written.append(&kept.iter().map(stored).collect::<Vec<_>>())?;
        if let Some(work) = written.dirty() {
            work.sync()?;
        }
        drop(written);
        rename(&dir, &old)?;
        rename(&new, &dir)?;
        remove_tree(&old)?;
        let facts = SegmentLog::open(&dir, self.facts_config())?.0;
        // Whoever reads the old ones asks again.
        std::mem::replace(&mut logs.facts, facts).abandon();
        Ok(())
    }

    /// Finishes a replacement that a crash interrupted, or undoes it.
    ///
    /// # Errors
    /// Something cannot be renamed or removed.
    pub(super) fn settle_facts(&self, id: Id) -> Result<(), StoreError> {
        let (dir, [new, old]) = (self.facts_dir(id), [NEW, OLD].map(|name| self.dir(id).join(name)));
        if !dir.exists() && old.exists() {
            rename(&new, &dir)?;
        }
        remove_tree(&new)?;
        remove_tree(&old)
    }
}

/// Renames a directory, if it is there.
fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        renamed => renamed.map_err(io_error("rename", from)),
    }
}
