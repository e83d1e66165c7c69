//! Why a cgroup or a controller cannot be had, and what would give it.

use std::path::PathBuf;

use nix::errno::Errno;

use crate::resource::Resource;

/// What stands between this process and a cgroup, or a controller, of its own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Barrier {
    /// No mount of that hierarchy is to be seen.
    #[error("no such hierarchy is mounted")]
    NotMounted,
    /// As in a container that was not given more.
    #[error("{} is mounted read-only", .0.display())]
    ReadOnly(PathBuf),
    /// It may be read, but belongs to somebody else: nothing was delegated to us.
    #[error("{} belongs to another user", .0.display())]
    Denied(PathBuf),
    /// A mount from outside of our cgroup namespace, or of another part of the tree, or hidden under another mount.
    #[error("the mount at {} does not show our own cgroup", .0.display())]
    Unseen(PathBuf),
    /// Only threads of processes that are elsewhere can be in the cgroups below it.
    #[error("{} is a threaded cgroup, which has room for no other processes", .0.display())]
    Threaded(PathBuf),
    /// A v1 hierarchy that controls cpusets too: a new cgroup of it has no CPUs and takes no process.
    #[error("{} also controls cpusets, which are empty in a new cgroup", .0.display())]
    Cpuset(PathBuf),
    /// The controller is not in `cgroup.controllers`: whoever delegated this cgroup kept it.
    #[error("{} was not given this controller", .0.display())]
    NotDelegated(PathBuf),
    /// The controller is there and was not enabled for what is below.
    #[error("the controller is not enabled in {}", .0.display())]
    NotEnabled(PathBuf),
    /// The rule of no internal processes: a cgroup with processes cannot give controllers to those below it.
    #[error("other processes share {}", .0.display())]
    Shared(PathBuf),
    /// A limit that v1, which has the controller here, does not know.
    #[error("{} is of cgroup v1, and only v2 has such a limit", .0.display())]
    OnlyV2(PathBuf),
    /// Anything else the kernel said.
    #[error("{}: {errno}", path.display())]
    Failed {
        /// What it said it of.
        path: PathBuf,
        /// What it said.
        errno: Errno,
    },
}

/// A resource that cannot be limited and measured here, why, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{resource} cannot be controlled: {barrier}{}", hint(advice.as_deref()))]
pub struct Refusal {
    /// The resource.
    pub resource: Resource,
    /// The reason.
    pub barrier: Barrier,
    /// The command or option that would give it, where one is known.
    pub advice: Option<String>,
}

/// Advice as the end of a one-line message.
pub(crate) fn hint(advice: Option<&str>) -> String {
    advice.map(|advice| format!("; try: {advice}")).unwrap_or_default()
}

/// What advice depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Surroundings {
    /// systemd manages this system, hence also its cgroups.
    pub(crate) systemd: bool,
    /// Whether this is a container, as far as its runtime says so.
    pub(crate) container: bool,
    /// Whether this process is root.
    pub(crate) root: bool,
}

impl Surroundings {
    pub(crate) fn here() -> Surroundings {
        let is_there = |path: &str| std::fs::exists(path).unwrap_or(false);
        Surroundings {
            // As sd_booted(3) finds out.
            systemd: is_there("/run/systemd/system"),
            // Left by docker, podman and systemd-nspawn in turn.
            container: ["/.dockerenv", "/run/.containerenv", "/run/systemd/container"].into_iter().any(is_there),
            root: nix::unistd::geteuid().is_root(),
        }
    }

    /// The command or option that would take the barrier away, where one is known.
    pub(crate) fn advice(self, barrier: &Barrier) -> Option<String> {
        match barrier {
            Barrier::ReadOnly(_) | Barrier::Unseen(_) | Barrier::NotMounted if self.container => {
                Some("--cgroupns=host -v /sys/fs/cgroup:/sys/fs/cgroup:rw on the container".to_owned())
            }
            Barrier::NotMounted => {
                self.root.then(|| "mount -t cgroup2 none /sys/fs/cgroup, which must be empty".to_owned())
            }
            Barrier::ReadOnly(path) => self.root.then(|| format!("mount -o remount,rw {}", path.display())),
            Barrier::Denied(_) | Barrier::NotDelegated(_) | Barrier::NotEnabled(_) | Barrier::Shared(_)
                if self.systemd =>
            {
                let user = if self.root { "" } else { "--user " };
                Some(format!("systemd-run {user}--scope -p Delegate=yes zvwatch ..."))
            }
            Barrier::Denied(_) => Some("running zvwatch as root, or in a cgroup that root has given to you".to_owned()),
            Barrier::Shared(_) if self.container => {
                Some("zvwatch as the first program of the container, or in a cgroup of its own".to_owned())
            }
            // A sibling: below a cgroup with processes there are no controllers to be had.
            Barrier::Shared(home) => home.parent().filter(|_| self.root).map(|above| {
                let own = above.join("zerovisor");
                format!("mkdir -p {0}; echo $$ > {0}/cgroup.procs; exec zvwatch ...", own.display())
            }),
            Barrier::Unseen(_)
            | Barrier::Threaded(_)
            | Barrier::Cpuset(_)
            | Barrier::OnlyV2(_)
            | Barrier::NotDelegated(_)
            | Barrier::NotEnabled(_)
            | Barrier::Failed { .. } => None,
        }
    }
}
