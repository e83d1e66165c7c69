//! How a run ends: its main process, what else is in its tree and its cgroup, and what is read last.

use std::time::{Duration, Instant};

use zerovisor_core::exit::{Exit, Usage};
use zerovisor_core::lifecycle::MainEnded;
use zerovisor_core::signal::Signal;
use zerovisor_core::units::micros;

use super::Process;
use crate::watcher::clock;
use crate::watcher::tree::{self, Ended, Who};

/// What the kill of a tree may have missed is looked for again so soon, should no end of a child tell sooner.
const KILL_AGAIN: Duration = Duration::from_millis(50);
/// What is left in a cgroup of a tree that is gone is looked at again so soon.
const SETTLE_STEP: Duration = Duration::from_millis(1);
/// For so long it may be what was just reaped: newer kernels take a process out of its cgroup only some time after its parent was told.
const SETTLES_WITHIN: Duration = Duration::from_millis(20);

impl Process {
    /// Whether the main process has ended and nothing is left, neither below us nor in the cgroup. Whoever asks first may take the
    /// kernel's only news of it, so it is told on here, whoever asks.
    pub(super) fn is_gone(&mut self) -> bool {
        let Some(run) = self.run.as_mut().filter(|run| run.main_ended) else { return false };
        let gone = self.side.tree.is_empty() && run.cgroup.is_empty();
        if gone {
            self.kill_again_at = None;
            run.streams.on_tree_gone();
        }
        gone
    }

    /// Reaps what has ended.
    pub(in crate::watcher) fn on_children(&mut self) {
        let mut main = None;
        while let Some(reaped) = self.side.tree.reap_one() {
            if let Some(run) = &mut self.run {
                add_usage(&mut run.usage, &reaped.usage);
            }
            if reaped.who == Who::Main {
                main = Some(reaped.ended);
            }
        }
        let now = Instant::now();
        if let Some(ended) = main {
            // Asked after all were reaped: a zombie is nobody to be stopped.
            let others = !self.side.tree.is_empty();
            if let Some(run) = &mut self.run {
                let before = run.sampler.oom_kills_before();
                let oom = run.cgroup.oom_kills().map(|kills| kills > before);
                run.unsettled = Some((now, MainEnded { exit: exit_of(ended), at: clock::timestamp(), others, oom }));
            }
        }
        self.look_again(now);
    }

    /// Tells the lifecycle of the main process's end once it is known whether others are left.
    pub(super) fn settle(&mut self, now: Instant) {
        let Some(run) = &mut self.run else { return };
        let Some((since, mut ended)) = run.unsettled else { return };
        if !ended.others && !run.cgroup.is_empty() {
            if now < since + SETTLES_WITHIN {
                self.kill_again_at = Some(now + SETTLE_STEP);
                return;
            }
            ended.others = true;
        }
        (run.unsettled, run.main_ended) = (None, true);
        self.kill_again_at = self.kill_again_at.filter(|_| self.killing);
        self.life.on_main_ended(since, ended, &mut self.todo);
    }

    /// Somebody of the tree or of the cgroup has ended, or may have: goes on killing, or finds that all are gone.
    pub(in crate::watcher) fn look_again(&mut self, now: Instant) {
        if self.killing {
            self.kill_tree(now);
        }
        self.settle(now);
        if self.is_gone() {
            return;
        }
        let Some(run) = self.run.as_mut().filter(|run| run.main_ended) else { return };
        if self.side.tree.is_empty() && !run.cgroup.watch() && self.kill_again_at.is_none_or(|at| now >= at) {
            // In the cgroup, and not below us: no end of a child tells, nor does version 1.
            self.kill_again_at = Some(now + KILL_AGAIN);
        }
    }

    /// Ends a run of which nothing is left. True if it did.
    pub(super) fn clear(&mut self) -> bool {
        let cleared = self.run.as_ref().is_some_and(|run| run.streams.open_output().is_none()) && self.is_gone();
        let Some(mut run) = self.run.take_if(|_| cleared) else { return false };
        (self.kill_again_at, self.killing) = (None, false);
        run.usage.input_bytes = run.streams.input().written();
        // A peak between two samples shows in that of a single process at least.
        let sampled = run.sampler.most_memory_bytes();
        run.usage.memory_peak_bytes = sampled.map(|bytes| bytes.max(run.usage.peak_rss_bytes));
        if !run.cgroup.finish(&mut run.usage) {
            self.placed.remove_later(run.number, Instant::now());
        }
        self.last_screen = run.streams.terminal().and_then(|terminal| terminal.model.take());
        self.life.on_cleared(Instant::now(), run.usage, &mut self.todo);
        true
    }

    pub(super) fn kill_tree(&mut self, now: Instant) {
        self.killing = !self.side.tree.is_empty() || self.run.as_ref().is_some_and(|run| !run.cgroup.is_empty());
        if !self.killing {
            // This very look may have taken the news that nobody is left: what follows from it is done at once.
            let news = self.run.as_ref().is_some_and(|run| run.unsettled.is_some()) || self.is_gone();
            self.kill_again_at = news.then_some(now);
            return;
        }
        self.kill_again_at = Some(now + KILL_AGAIN);
        match &self.run {
            Some(run) => run.cgroup.kill(&self.side.tree),
            None => drop(self.side.tree.kill()),
        }
    }
}

fn exit_of(ended: Ended) -> Exit {
    match ended {
        Ended::Exited(code) => Exit::Code(code.into()),
        // The kernel knows no other numbers than those a signal can have.
        Ended::Killed { signal, core } => {
            Exit::Signal { signal: Signal::try_from(signal).unwrap_or(Signal::KILL), core }
        }
    }
}

fn add_usage(sum: &mut Usage, one: &tree::Used) {
    sum.cpu_user_us += micros(one.user);
    sum.cpu_system_us += micros(one.system);
    sum.peak_rss_bytes = sum.peak_rss_bytes.max(one.max_rss_bytes);
}
