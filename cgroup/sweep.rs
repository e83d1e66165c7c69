//! Cleaning up after watchers that died together with their guards.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::error::CgroupError;
use crate::name::{GroupName, Owner};
use crate::place::{Place, Places, subdirectories};
use crate::remains::Remains;
use crate::site::Site;

/// The most groups that one sweep removes; the next one goes on.
const SWEPT_MAX: usize = 64;

/// The longest one group may keep a sweep waiting.
const GROUP_PATIENCE: Duration = Duration::from_millis(500);

/// What a sweep came to.
#[derive(Debug, Default)]
pub struct Swept {
    /// The names of the groups that are gone, `NAME-ID.PID.START`.
    pub removed: Vec<String>,
    /// Those that could not be removed, and why.
    pub failed: Vec<(String, CgroupError)>,
    /// Stale groups that were left to the next sweep.
    pub postponed: usize,
}

impl Site {
    /// Finds the groups in home whose owner is dead, kills what is left in them and removes them. Only directories of exactly our
    /// form are looked at, and only those of `pid_namespace`, the inode of the caller's `/proc/self/ns/pid`: pids of another one
    /// mean nothing here. `alive` says whether an owner still runs; where it cannot know it must say yes.
    ///
    /// Blocks, for one group at most half a second, for at most 64 groups, and until `deadline` in all; what it has no time for is left
    /// to the next.
    pub fn sweep(&self, pid_namespace: u64, alive: impl Fn(Owner) -> bool, deadline: Instant) -> Swept {
        let mut swept = Swept::default();
        for (name, homes) in stale(self.homes(), pid_namespace, alive) {
            let now = Instant::now();
            if now >= deadline || swept.removed.len() + swept.failed.len() == SWEPT_MAX {
                swept.postponed += 1;
                continue;
            }
            let until = deadline.min(now + GROUP_PATIENCE);
            let removed = Remains::of(&name, &homes).and_then(|remains| remains.kill_and_remove(until));
            match removed {
                Ok(()) => swept.removed.push(name.as_str().to_owned()),
                Err(e) => swept.failed.push((name.as_str().to_owned(), e)),
            }
        }
        swept
    }
}

/// The groups of dead owners, each with the homes that have a directory of it.
fn stale(homes: &Places, pid_namespace: u64, alive: impl Fn(Owner) -> bool) -> Vec<(GroupName, Places)> {
    let mut found: BTreeMap<String, (GroupName, Vec<Place>)> = BTreeMap::new();
    for home in &homes.all {
        let names =
            subdirectories(&home.dir).into_iter().filter_map(|dir| GroupName::parse(dir.file_name()?.to_str()?));
        for name in names.filter(|name| name.owner().pid_namespace == pid_namespace) {
            found.entry(name.as_str().to_owned()).or_insert_with(|| (name, Vec::new())).1.push(home.clone());
        }
    }
    let of = |(name, all): (GroupName, Vec<Place>)| (name, Places { all, refused: homes.refused.clone() });
    found.into_values().filter(|(name, _)| !alive(name.owner())).map(of).collect()
}
