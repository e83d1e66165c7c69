//! What can go wrong with a spool, each as one line that names operation, object and source.

use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use zerovisor_core::units::Bytes;
use zerovisor_core::wire::WireError;

use crate::journal::JournalError;

/// Why a spool refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The file system failed; the call may be tried again.
    #[error("cannot {op} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        op: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The log in it.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// It holds as much as it may.
    #[error("the spool {} is full: {why} of {limit} is reached", dir.display())]
    Full {
        /// The directory that counts.
        dir: PathBuf,
        /// Which limit.
        why: &'static str,
        /// In bytes.
        limit: Bytes,
    },
    /// Somebody else may have made or may change it: neither read nor written.
    #[error("{} is not safe to use: {why}; remove it, or choose another directory with --spool", path.display())]
    NotOurs {
        /// What.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A tcp endpoint has its place in the user's home, and there is none.
    #[error(
        "no place for the spool of {0}: neither XDG_STATE_HOME nor HOME is an absolute path; name one with --spool"
    )]
    NoHome(String),
    /// A file of it that is of another version or damaged.
    #[error("{} cannot be used: {why}", path.display())]
    Bad {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Something too large to be kept.
    #[error("cannot keep it in a spool: {0}")]
    Wire(#[from] WireError),
}

impl SpoolError {
    /// Whether it failed for want of space: it heals by itself once something is dropped or taken.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            SpoolError::Full { .. } => true,
            SpoolError::Journal(error) => error.is_full(),
            SpoolError::Io { source, .. } => is_full(source),
            SpoolError::NotOurs { .. } | SpoolError::NoHome(_) | SpoolError::Bad { .. } | SpoolError::Wire(_) => false,
        }
    }

    /// Whether the machine only lacked the means just now: memory, descriptors, threads.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            SpoolError::Journal(JournalError::Io { source, .. }) | SpoolError::Io { source, .. } => is_passing(source),
            SpoolError::Journal(_)
            | SpoolError::Full { .. }
            | SpoolError::NotOurs { .. }
            | SpoolError::NoHome(_)
            | SpoolError::Bad { .. }
            | SpoolError::Wire(_) => false,
        }
    }

    pub(super) fn io(op: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SpoolError + use<> {
        let path = path.to_path_buf();
        move |source| SpoolError::Io { op, path, source }
    }

    pub(super) fn bad(path: &Path, why: impl Into<String>) -> SpoolError {
        SpoolError::Bad { path: path.to_path_buf(), why: why.into() }
    }
}

fn is_passing(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE | Errno::EAGAIN | Errno::EINTR))
}

/// Whether the kernel has no room.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
