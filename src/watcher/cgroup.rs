//! The cgroup of one run, as the process around it uses it: beside the tree, which reaches what left the cgroup or has none.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use zerovisor_cgroup::{Entrance, Leaf};
use zerovisor_core::exit::Usage;

use super::placement::Placed;
use super::spawn::SpawnError;
use super::sys;
use super::tree::Tree;

/// The cgroup of one run, if it has one.
#[derive(Debug, Default)]
pub(super) struct RunCgroup {
    leaf: Option<Leaf>,
    /// The name of the group it is in.
    group: String,
    /// Told when the last member ends: kept while that is awaited.
    emptied: Option<AsyncFd<OwnedFd>>,
}

impl RunCgroup {
    /// Makes that of a run.
    ///
    /// # Errors
    /// The run may not begin.
    pub(super) fn make(placed: &mut Placed, run: u32, program: &Path) -> Result<RunCgroup, SpawnError> {
        let leaf = placed.leaf(run).map_err(|error| SpawnError::no_cgroup(program, error.to_string()))?;
        let group = placed.group_name().unwrap_or_default().to_owned();
        Ok(RunCgroup { leaf, group, emptied: None })
    }

    /// How the child enters.
    ///
    /// # Errors
    /// No descriptors, most likely.
    pub(super) fn entrance(&self, program: &Path) -> Result<Option<Entrance>, SpawnError> {
        let entrance = self.leaf.as_ref().map(Leaf::entrance).transpose();
        entrance.map_err(|error| SpawnError::no_cgroup(program, error.to_string()))
    }

    /// How many of its processes the kernel has killed for want of memory; none where nobody counts it.
    pub(super) fn oom_kills(&mut self) -> Option<u64> {
        self.leaf.as_mut().and_then(Leaf::oom_kills)
    }

    /// What measures it.
    pub(super) fn leaf(&mut self) -> Option<&mut Leaf> {
        self.leaf.as_mut()
    }

    /// Whether nobody is in it. One that was taken away has nobody to wait for.
    pub(super) fn is_empty(&self) -> bool {
        self.leaf.as_ref().is_none_or(|leaf| !leaf.is_populated().unwrap_or(false))
    }

    /// Sends a signal once to every process of the run: those in the cgroup, and those of the tree that are not.
    pub(super) fn signal(&self, tree: &Tree, signal: i32) {
        match &self.leaf {
            Some(leaf) => {
                leaf.signal_all(signal);
                tree.signal_those(signal, |pid| !self.holds(pid));
            }
            None => {
                tree.signal(signal);
            }
        }
    }

    fn holds(&self, pid: i32) -> bool {
        // A process that is gone needs no signal either.
        fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|all| all.contains(&self.group))
    }

    /// Kills every process of the run once.
    pub(super) fn kill(&self, tree: &Tree) {
        if let Some(leaf) = &self.leaf {
            leaf.kill();
        }
        tree.kill();
    }

    /// From now on [`RunCgroup::changed`] tells when the last member ends. False where no event does: then it has to be looked at.
    pub(super) fn watch(&mut self) -> bool {
        if self.emptied.is_none() {
            let events = self.leaf.as_ref().and_then(Leaf::events_fd).and_then(|fd| fd.try_clone_to_owned().ok());
            self.emptied = events.and_then(|fd| sys::watch_priority(fd).ok());
        }
        self.emptied.is_some()
    }

    /// Waits for news of its members; for ever while nobody [watches](RunCgroup::watch). Cancel-safe: who asks next is told again.
    pub(super) async fn changed(&self) {
        match &self.emptied {
            Some(emptied) => {
                if let Ok(mut guard) = emptied.ready(Interest::PRIORITY).await {
                    guard.clear_ready();
                }
            }
            None => std::future::pending().await,
        }
    }

    /// The run is over: what the kernel counted goes into its report, and the cgroup goes. False if the kernel holds it still.
    pub(super) fn finish(mut self, usage: &mut Usage) -> bool {
        // The descriptor is let go before the directory.
        self.emptied = None;
        let Some(mut leaf) = self.leaf else { return true };
        if let Ok(reading) = leaf.sample_costly() {
            let (user, system) = (reading.cpu_user_us.unwrap_or(0), reading.cpu_system_us.unwrap_or(0));
            // Whichever knows more: the cgroup has those whose parent never waited, the tree those who left the cgroup.
            if user.saturating_add(system) > usage.cpu_user_us.saturating_add(usage.cpu_system_us) {
                (usage.cpu_user_us, usage.cpu_system_us) = (user, system);
            }
            usage.memory_peak_bytes = reading.memory_peak_bytes.or(usage.memory_peak_bytes);
            usage.read_bytes = reading.io_read_bytes;
            usage.written_bytes = reading.io_written_bytes;
            usage.oom_kills = reading.oom_kills;
        }
        leaf.remove_now().is_ok()
    }
}
