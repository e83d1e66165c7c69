//! What is on its way between a watcher, the journal and the acknowledgement.

use zerovisor_core::credit::{IN_FLIGHT_MAX, WINDOW_MAX_BYTES};
use zerovisor_core::record::OUTPUT_MAX_BYTES;

/// A watcher that does not wait for its credit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes in {records} records sent without credit")]
pub(super) struct WithoutCredit {
    bytes: u64,
    records: usize,
}

/// What a watcher has sent and the scribe has not yet written: the queue between them, bounded by the watcher's credit.
#[derive(Debug, Default)]
pub(super) struct Unjournaled {
    bytes: u64,
    /// Records of them.
    pub(super) records: usize,
}

impl Unjournaled {
    /// A record of so many bytes came.
    ///
    /// # Errors
    /// There was no credit for it: a violation.
    pub(super) fn add(&mut self, bytes: usize) -> Result<(), WithoutCredit> {
        self.bytes += bytes as u64;
        self.records += 1;
        // One record more than the credit: a window always lets one go, however large.
        let most = WINDOW_MAX_BYTES + OUTPUT_MAX_BYTES as u64;
        if self.bytes > most || self.records > IN_FLIGHT_MAX {
            return Err(WithoutCredit { bytes: self.bytes, records: self.records });
        }
        Ok(())
    }

    /// So much has been written.
    pub(super) fn take(&mut self, bytes: u64, records: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.records = self.records.saturating_sub(records);
    }
}

/// What is journaled and not yet acknowledged.
#[derive(Debug, Default)]
pub(super) struct Acknowledged {
    /// The last record that is journaled.
    pub(super) seq: u64,
    /// Bytes of records whose acknowledgement waits for that of more.
    pub(super) held_back: u64,
}
