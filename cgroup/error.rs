//! What can go wrong with a cgroup, each as one line that names operation, object and reason.

use std::io;
use std::path::{Path, PathBuf};

use crate::barrier::{Barrier, Refusal, hint};

/// Why a cgroup could not be made, limited, killed or removed.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// This process may make no cgroup at all. Nothing was changed.
    #[error("no writable cgroup: {barrier}{}", hint(advice.as_deref()))]
    Unavailable {
        /// The reason.
        barrier: Barrier,
        /// What would help, where that is known.
        advice: Option<String>,
    },
    /// A limit that cannot be kept here. The leaf was not made, or keeps the limits it had.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The kernel refused an operation on a file or directory of the cgroup.
    #[error("cannot {op} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        op: &'static str,
        /// The file or directory it was tried on.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A limit under which no program can run, or that the kernel does not take. Nothing was changed.
    #[error("cannot limit {limit} to {given}: give {range}")]
    OutOfRange {
        /// What was to be limited.
        limit: &'static str,
        /// The value given.
        given: u64,
        /// What can be given.
        range: &'static str,
    },
    /// The time for killing was up.
    #[error("{count} processes outlived SIGKILL in {} ({pids}); they hang in the kernel or are another user's", dir.display())]
    Stubborn {
        /// How many are left.
        count: usize,
        /// The first of their pids.
        pids: String,
        /// The cgroup they are in.
        dir: PathBuf,
    },
    /// Paths too long to be passed on to the process that cleans up after us.
    #[error("cannot use the cgroups at {}: their paths need {bytes} bytes, at most {max} can be passed on", home.display())]
    PathTooLong {
        /// One of our cgroups.
        home: PathBuf,
        /// What they need.
        bytes: usize,
        /// What may be needed.
        max: usize,
    },
    /// A text that does not tell the remains of a cgroup of ours. Nothing was touched.
    #[error("cannot clean up: not the remains of a cgroup of ours: {0:?}")]
    NotRemains(String),
    /// Neither v2 nor the freezer of v1 is at hand.
    #[error("cannot freeze {}: that needs cgroup v2 or the freezer of v1, and neither is writable here", .0.display())]
    NoFreezer(PathBuf),
}

impl CgroupError {
    pub(crate) fn io(op: &'static str, path: &Path, source: io::Error) -> CgroupError {
        CgroupError::Io { op, path: path.to_path_buf(), source }
    }
}
