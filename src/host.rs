//! This host, and proof that a process of it is dead without asking it: the boot, the pid namespace, the pid and its start time.

use std::fs;
use std::os::linux::fs::MetadataExt;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::{Pid, gethostname};
use zerovisor_core::wire::HostProof;

/// This host, as far as proof needs it.
#[derive(Clone, Debug, Default)]
pub struct Host {
    boot_id: String,
    pid_namespace: u64,
}

impl Host {
    /// The host this program runs on.
    pub fn here() -> Host {
        let boot_id = boot_id();
        let pid_namespace = fs::metadata("/proc/self/ns/pid").map_or(0, |meta| meta.st_ino());
        Host { boot_id, pid_namespace }
    }

    /// What a process of this host declares, so that it can be told to be dead later.
    pub fn proof_of(&self, pid: i32) -> HostProof {
        let start_ticks = start_ticks(pid).ok().flatten().unwrap_or(0);
        HostProof { boot_id: self.boot_id.clone(), pid_namespace: self.pid_namespace, pid, start_ticks }
    }

    /// Whether the process lives; none where this host cannot know: on another host, or in another pid namespace. `local`: it is
    /// known to be of this host, as by a unix socket, so that another boot proves it dead.
    pub fn is_alive(&self, proof: &HostProof, local: bool) -> Option<bool> {
        if self.boot_id.is_empty() || proof.boot_id.is_empty() {
            return None;
        }
        if proof.boot_id != self.boot_id {
            return local.then_some(false);
        }
        if proof.pid_namespace != self.pid_namespace {
            return None;
        }
        match start_ticks(proof.pid) {
            _ if proof.start_ticks == 0 => None,
            Ok(ticks) => Some(ticks == Some(proof.start_ticks)),
            // /proc may be hidden, or descriptors short: then the kernel is asked whether there is such a process at all.
            Err(Unknown) => (kill(Pid::from_raw(proof.pid), None) == Err(Errno::ESRCH)).then_some(false),
        }
    }
}

/// The kernel's name for this boot of the machine; empty where /proc does not tell.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// Whether a process of this pid namespace may still live: that of this number which began then. Yes where /proc does not tell.
pub fn may_live(pid: i32, began_ticks: u64) -> bool {
    match start_ticks(pid) {
        Ok(ticks) => ticks == Some(began_ticks),
        Err(Unknown) => kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH),
    }
}

/// What tells this machine from others that share directories with it: its machine-id(5), else its host name.
pub fn machine() -> String {
    let id = fs::read_to_string("/etc/machine-id").map(|id| id.trim().to_owned()).ok().filter(|id| !id.is_empty());
    // What a system says of itself in its first boot only is no id.
    let id = id.filter(|id| id != "uninitialized");
    id.or_else(|| gethostname().ok()?.into_string().ok()).unwrap_or_default()
}

/// The parent of a process.
pub fn parent_of(pid: i32) -> Option<i32> {
    procfs::process::Process::new(pid).and_then(|process| process.stat()).ok().map(|stat| stat.ppid)
}

/// /proc does not tell.
struct Unknown;

/// When a process began, in clock ticks since boot; none if it is a zombie.
fn start_ticks(pid: i32) -> Result<Option<u64>, Unknown> {
    let stat = procfs::process::Process::new(pid).and_then(|process| process.stat()).map_err(|_| Unknown)?;
    Ok((stat.state != 'Z' && stat.state != 'X').then_some(stat.starttime))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_another_start_of_its_pid_does_not() {
        let host = Host::here();
        let own = host.proof_of(i32::try_from(std::process::id()).unwrap());
        assert_eq!(host.is_alive(&own, true), Some(true));
        assert_eq!(host.is_alive(&HostProof { start_ticks: own.start_ticks + 1, ..own.clone() }, true), Some(false));
        let other_boot = HostProof { boot_id: "other".into(), ..own };
        assert_eq!(host.is_alive(&other_boot, false), None);
        assert_eq!(host.is_alive(&other_boot, true), Some(false));
    }
}
