//! What those hold who live throughout: descriptors, threads and memory, compared from round to round.

use std::fmt;
use std::fs;
use std::time::Instant;

use crate::harness::until;

use super::SOON;
use super::stage::{RESIDENTS, Soak};

/// What a process of ours holds.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Holding {
    descriptors: usize,
    threads: usize,
    /// Memory of no file (`Pss_Anon`): pages of the program count for less the more others run it.
    own_kib: usize,
}

/// What it may hold more than before, though it serves the same two processes again: descriptors than at the start, threads and memory than
/// behind the first, calm round.
#[derive(Clone, Copy)]
struct Margin {
    /// What one client's link takes: it may be on its way out when we count.
    descriptors: usize,
    threads: usize,
    own_kib: usize,
}

/// Of a zerovisor: a client's last link; and what the allocator keeps, the index of the events and the tombstones of what was removed.
const OF_NODE: Margin = Margin { descriptors: 8, threads: 2, own_kib: 16 << 10 };
/// Of a watcher: what its window and screen took at their most.
const OF_WATCHER: Margin = Margin { descriptors: 2, threads: 1, own_kib: 2 << 10 };
/// Of a client that follows: its link, which it may have begun to make only just before, and what it had in its hands at the most.
const OF_FOLLOWER: Margin = Margin { descriptors: 12, threads: 1, own_kib: 8 << 10 };

impl Holding {
    fn of(pid: i32) -> Holding {
        let count = |what: &str| fs::read_dir(format!("/proc/{pid}/{what}")).map_or(0, Iterator::count);
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let own =
            rollup.lines().find_map(|line| line.strip_prefix("Pss_Anon:")?.split_whitespace().next()?.parse().ok());
        Holding { descriptors: count("fd"), threads: count("task"), own_kib: own.unwrap_or(0) }
    }

    fn with_descriptors_of(self, other: &Holding) -> Holding {
        Holding { descriptors: other.descriptors, ..self }
    }

    /// Whether it is no more than another, within a margin.
    fn is_within(&self, before: &Holding, margin: Margin) -> bool {
        self.descriptors <= before.descriptors + margin.descriptors
            && self.threads <= before.threads + margin.threads
            && self.own_kib <= before.own_kib + margin.own_kib
    }
}

impl fmt::Display for Holding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Holding { descriptors, threads, own_kib } = self;
        write!(f, "{own_kib:6} KiB of its own {descriptors:3} fds {threads:2} threads")
    }
}

/// Somebody who lives throughout, or is there again.
struct Holder {
    name: &'static str,
    pid: i32,
    margin: Margin,
}

impl Soak {
    fn holders(&self) -> Vec<Holder> {
        let watchers =
            RESIDENTS.map(|index| until("a resident is watched", SOON, || self.actors[&index].family()).watcher);
        let follower = self.actors[&RESIDENTS[1]].followers[0].program.pid;
        [
            ("zerovisor", self.farm.node_pid(), OF_NODE),
            ("watcher of a terminal", watchers[0], OF_WATCHER),
            ("watcher of pipes", watchers[1], OF_WATCHER),
            ("events -f", self.events.pid, OF_FOLLOWER),
            ("logs -f", follower, OF_FOLLOWER),
        ]
        .map(|(name, pid, margin)| Holder { name, pid, margin })
        .into()
    }

    /// What each holds.
    pub(super) fn holdings(&self) -> Vec<(&'static str, Holding)> {
        self.holders().into_iter().map(|holder| (holder.name, Holding::of(holder.pid))).collect()
    }

    /// Asserts that nobody holds more than behind the first round.
    pub(super) fn judges_holdings(&mut self) {
        if self.judged.rounds == 0 {
            // Who has served a round has its threads and its memory; descriptors it needs no more than at the start.
            let began = std::mem::take(&mut self.base);
            let now = self.holdings().into_iter().zip(&began);
            self.base = now.map(|((name, now), (_, began))| (name, now.with_descriptors_of(began))).collect();
        }
        let holders = self.holders();
        let deadline = Instant::now() + SOON;
        for (holder, (_, base)) in holders.iter().zip(&self.base) {
            loop {
                let now = Holding::of(holder.pid);
                if now.is_within(base, holder.margin) {
                    break;
                }
                assert!(Instant::now() < deadline, "{} holds {now}, before {base}", holder.name);
            }
        }
    }
}
