//! What can go wrong in a log, each as one line that names operation, object and source.

use std::io;
use std::path::{Path, PathBuf};

use super::segment::{FORMAT_VERSION, MAX_PAYLOAD_BYTES};

/// Why a log refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system failed; the log itself stays consistent and the call may be tried again.
    #[error("cannot {op} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        op: &'static str,
        /// The file or directory it was tried on.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The log, or the segment that is being written, was removed by somebody else. Nothing was written.
    #[error("{} has gone: somebody removed or unmounted it while it was in use", path.display())]
    Gone {
        /// Where it stood.
        path: PathBuf,
    },
    /// A sync has failed, and what was written since the last good one is not written again yet.
    #[error("what {} holds is not known to be on the disk: it has to be written again", dir.display())]
    Doubtful {
        /// The directory of the log.
        dir: PathBuf,
    },
    /// A newer program wrote this log. Nothing was touched.
    #[error(
        "{} is in journal format {found}, this program knows up to {FORMAT_VERSION}: open it with the newer program",
        path.display()
    )]
    NewerFormat {
        /// The segment that says so.
        path: PathBuf,
        /// The format it names.
        found: u16,
    },
    /// A sequence number that is not above the last one. Nothing of the batch was written.
    #[error("cannot append record {got}: the log already ends at {last}")]
    NotIncreasing {
        /// The last sequence number before it, in the log or in the batch.
        last: u64,
        /// The one that was refused.
        got: u64,
    },
    /// A payload above [`MAX_PAYLOAD_BYTES`]. Nothing of the batch was written.
    #[error("cannot append record {seq}: {bytes} bytes, at most {MAX_PAYLOAD_BYTES} are allowed")]
    TooLarge {
        /// Sequence number of the record.
        seq: u64,
        /// Length of its payload.
        bytes: usize,
    },
    /// Retention removed what the reader wanted. Said once: the next read goes on at
    /// `first_available`.
    #[error("the wanted records have expired: the first one kept is {first_available}")]
    Expired {
        /// Sequence number at which the kept records begin.
        first_available: u64,
    },
    /// Bytes that are no record any more. Said once: the next read goes on behind them.
    #[error("damaged: {0}")]
    Damaged(Damage),
}

impl JournalError {
    /// Whether it failed for want of space: it heals by itself once there is some.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }

    pub(super) fn io(op: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { op, path: path.to_path_buf(), source }
    }
}

/// A stretch of a segment in which no record passes its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("segment {segment}, bytes {start}..{end}, {}", between(*after_seq, *next_seq))]
pub struct Damage {
    /// First sequence number of the segment, which is its file name.
    pub segment: u64,
    /// Byte offset in the file at which the damage begins.
    pub start: u64,
    /// Byte offset in the file of the next good record, or the end of the file.
    pub end: u64,
    /// The last good record before it, where one is known.
    pub after_seq: Option<u64>,
    /// The first good record behind it in this segment, if any.
    pub next_seq: Option<u64>,
}

fn between(after: Option<u64>, next: Option<u64>) -> String {
    match (after, next) {
        (Some(a), Some(b)) => format!("between records {a} and {b}"),
        (Some(a), None) => format!("after record {a}"),
        (None, Some(b)) => format!("before record {b}"),
        (None, None) => "no record readable".to_owned(),
    }
}
