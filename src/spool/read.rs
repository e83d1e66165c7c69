//! Reading the log of a spool.

use zerovisor_core::record::Record;

use super::error::SpoolError;
use crate::journal::{JournalError, LogReader, loaded};

/// The next records of a log, at least one; none at its end. What is damaged is left out.
pub(super) fn read(log: &mut LogReader, max_bytes: usize) -> Result<Vec<Record>, SpoolError> {
    loop {
        match log.next_batch(max_bytes) {
            Ok(batch) if batch.is_empty() => return Ok(Vec::new()),
            Ok(batch) => {
                let records: Vec<Record> = batch.into_iter().filter_map(loaded).collect();
                if !records.is_empty() {
                    return Ok(records);
                }
            }
            // Each is said once, and the reader goes on behind it.
            Err(JournalError::Expired { .. } | JournalError::Damaged(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
