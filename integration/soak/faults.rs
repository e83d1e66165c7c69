//! What befalls a farm: kills, hangs, restarts and full disks.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::model::SMALL;
use super::plan::{Going, Victim};
use super::stage::Soak;

/// Arguments of the zerovisor. The file system it stands on is small, of which it would keep a tenth.
pub(super) const NODE: &[&str] = &["--retain-total", "1G", "--log-size", "4M", "--log-keep", "2", "--spool", SMALL];

impl Soak {
    pub(super) fn kills(&mut self, index: usize, victim: Victim) {
        self.judged.faults += 1;
        self.with(index, |actor, farm| {
            let killed = |pid: i32| {
                // Whoever has just ended by itself is as dead.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            };
            if let Victim::Child = victim {
                if let Some((_, pid)) = actor.present(farm) {
                    actor.fate.child_killed = true;
                    killed(pid);
                }
                return;
            }
            let Some(family) = actor.family() else { return };
            if let (Victim::Front, Some(front)) = (victim, family.front) {
                (actor.fate.front_killed, actor.fate.told_to_end) = (true, true);
                killed(front);
            }
            if let Victim::Guard | Victim::WatcherAndGuard = victim {
                actor.fate.guard_killed = true;
                killed(family.guard);
            }
            if let Victim::Watcher | Victim::WatcherAndGuard = victim {
                actor.fate.watcher_killed = true;
                killed(family.watcher);
            }
        });
    }

    pub(super) fn node_goes(&mut self, how: Going) {
        self.judged.faults += 1;
        match how {
            Going::Killed => self.farm.kill_node(),
            Going::Asked => {
                let ended = self.farm.end_node(Signal::SIGTERM);
                assert_eq!(ended.status.code(), Some(0), "the zerovisor ends when it is asked to");
            }
        }
    }

    pub(super) fn node_returns(&mut self, synced: bool) {
        let sync = if synced { "always" } else { "interval" };
        self.farm.start_node(&[NODE, &["--sync", sync]].concat());
        self.lives_since = Instant::now();
    }

    /// What happens meanwhile is up to the watchers.
    pub(super) fn lingers(&self, ms: u64) {
        std::thread::sleep(Duration::from_millis(ms));
    }

    pub(super) fn node_hangs(&mut self, ms: u64) {
        self.judged.faults += 1;
        let node = Pid::from_raw(self.farm.node_pid());
        kill(node, Signal::SIGSTOP).unwrap();
        std::thread::sleep(Duration::from_millis(ms));
        kill(node, Signal::SIGCONT).unwrap();
    }

    /// The disk of the journal is full, or has room.
    pub(super) fn disk_fills(&mut self, full: bool) {
        self.judged.faults += usize::from(full);
        if let Some(disk) = &self.disk {
            disk.fill(full);
            self.is_full = full;
        }
    }

    /// Likewise that of some spools.
    pub(super) fn spools_fill(&mut self, full: bool) {
        self.judged.faults += usize::from(full);
        if let Some(disk) = &self.small {
            disk.fill(full);
        }
    }
}
