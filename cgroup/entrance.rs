//! How a child comes to be inside its cgroup before its first instruction.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::error::CgroupError;
use crate::place::{Place, Places, Version};

/// The descriptors by which a child enters a leaf, all close-on-exec. Open it before the clone and drop it after.
///
/// 1. Where there is [`Entrance::clone_into`]: clone3 with `CLONE_INTO_CGROUP` on it. Should that fail with E2BIG, ENOSYS, EINVAL
///    or EPERM, clone without, and the child writes to [`Entrance::fallback`] as it does to the joins.
/// 2. Between clone and exec, while it has one thread, the child writes `0` to each of [`Entrance::joins`].
///
/// A join is a write to the `tasks` file of v1, not to `cgroup.procs`: the kernel then moves the calling thread alone, which needs
/// no lock over all forks of the machine. On a machine left idle for 100 ms a `tasks` write took 42 µs (median; at most 0.23 ms),
/// one to `cgroup.procs` 5.8 ms (at most 21 ms); Linux 6.18, two CPUs. The fallback is such a `cgroup.procs`.
#[derive(Debug)]
pub struct Entrance {
    clone_into: Option<OwnedFd>,
    fallback: Option<OwnedFd>,
    joins: Vec<OwnedFd>,
}

impl Entrance {
    pub(crate) fn open(places: &Places) -> Result<Entrance, CgroupError> {
        let mut entrance = Entrance { clone_into: None, fallback: None, joins: Vec::new() };
        for place in &places.all {
            match place.version {
                Version::V2 => {
                    entrance.clone_into = Some(directory(place)?);
                    entrance.fallback = Some(file(place, "cgroup.procs")?);
                }
                Version::V1 => entrance.joins.push(file(place, "tasks")?),
            }
        }
        Ok(entrance)
    }

    /// The directory to clone into, where the leaf is in v2.
    pub fn clone_into(&self) -> Option<BorrowedFd<'_>> {
        self.clone_into.as_ref().map(AsFd::as_fd)
    }

    /// For kernels and filters that do not let a process be cloned into a cgroup: the child writes `0` to it. Some exactly when
    /// [`Entrance::clone_into`] is.
    pub fn fallback(&self) -> Option<BorrowedFd<'_>> {
        self.fallback.as_ref().map(AsFd::as_fd)
    }

    /// What the child writes `0` to, each once; empty where all is v2.
    pub fn joins(&self) -> &[OwnedFd] {
        &self.joins
    }
}

fn directory(place: &Place) -> Result<OwnedFd, CgroupError> {
    open(&place.dir, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|e| CgroupError::io("open", &place.dir, e.into()))
}

fn file(place: &Place, name: &str) -> Result<OwnedFd, CgroupError> {
    let path = place.path(name);
    let opened = File::options().write(true).open(&path);
    opened.map(OwnedFd::from).map_err(|e| CgroupError::io("open", &path, e))
}
