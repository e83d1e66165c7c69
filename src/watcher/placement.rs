//! Where runs are put: this process's cgroup, and what dead watchers left beside it.
//!
//! It is made before the zerovisor is dialled. Making it beside the dialling was tried and gained nothing on two CPUs.
//! Finding reads the members of our own cgroup in every hierarchy, 0.8 ms on a small v1 machine; group and leaf take 0.2 ms each.

use std::os::unix::process::parent_id;
use std::thread;
use std::time::{Duration, Instant};

use zerovisor_cgroup::{self as cgroup, CgroupError, Group, Leaf, Owner, ProcessCgroup, Refusal, Resource, Site};
use zerovisor_core::id::Id;
use zerovisor_core::limits::{CgroupMode, Limits};
use zerovisor_core::stats::{Placement, Rung};
use zerovisor_core::wire::HostProof;

use super::say::say;
use crate::host;

/// How long after the start the cgroups of dead watchers are looked for: not while the child is being started.
const SWEEP_AFTER: Duration = Duration::from_millis(100);
/// How long that may take, beside everything else.
const SWEEP_WITHIN: Duration = Duration::from_secs(30);
/// How long it may take at the watcher's end, which whoever started the program waits for.
const LAST_SWEEP_WITHIN: Duration = Duration::from_millis(500);
/// How long after the end of a run its cgroup is tried to be removed again, if the kernel held it still.
const REMOVE_AGAIN: Duration = Duration::from_millis(100);
/// So many such cgroups are tried again; the oldest beyond them go with the group, at the watcher's end.
const REMOVED_LATER_MAX: usize = 16;
/// The stack of a thread that ends soon, in bytes. glibc keeps up to 40 MiB of the stacks of ended threads, so that a larger one is
/// given back; what is not touched is no memory.
const STACK_BYTES: usize = 64 << 20;

/// For which process a cgroup is wanted, and how much.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// The name of the process.
    pub(super) name: String,
    /// Its id.
    pub(super) id: Id,
    /// Its watcher.
    pub(super) owner: HostProof,
    /// Whether a run follows at once.
    pub(super) starts: bool,
    /// Whether a front waits for the start, which counts to the family.
    pub(super) has_front: bool,
    /// Whether one is wanted at all.
    pub(super) mode: CgroupMode,
    /// What each run may use.
    pub(super) limits: Limits,
}

/// Why nothing may be started.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotPlaced {
    /// There is no cgroup, and one was required.
    #[error("cannot start: {0}; or leave out --cgroup require")]
    Required(CgroupError),
    /// A limit that nothing here can hold.
    #[error("cannot start: {0}; or leave out the limit")]
    Unlimited(#[from] Refusal),
    /// There is no cgroup to hold the limits.
    #[error("cannot start within {limits}: {source}; or leave out the limits")]
    NoCgroup {
        /// The limits.
        limits: Limits,
        /// Why.
        source: CgroupError,
    },
}

/// The cgroup of this process, or why there is none.
#[derive(Debug)]
pub(super) struct Placed {
    /// As it is declared.
    pub(super) placement: Placement,
    group: Option<Group>,
    /// The leaf of the first run, made in advance.
    first: Option<Leaf>,
    limits: cgroup::Limits,
    /// Whether a run may do without.
    optional: bool,
    sweep: Option<Sweep>,
    /// Ended runs whose leaves the kernel held still.
    left: Vec<u32>,
    /// When those are tried again: once after each end of such a run, so that what stays for good costs nothing.
    remove_at: Option<Instant>,
}

/// What is left of dead watchers is looked for once.
#[derive(Debug)]
struct Sweep {
    site: Site,
    pid_namespace: u64,
    /// None until the runs begin.
    at: Option<Instant>,
}

/// Finds where runs can be put and makes the cgroup, with a leaf for a run that follows at once. Before there is anything to clean up,
/// `entrust` is told what that is, as text.
///
/// # Errors
/// Nothing may be started.
pub(super) fn place(wanted: &Wanted, entrust: impl FnOnce(&str)) -> Result<Placed, NotPlaced> {
    if wanted.mode == CgroupMode::Off {
        return Ok(Placed::nowhere("--cgroup off".to_owned(), true));
    }
    let mut site = Site::find();
    site.enable(&family(wanted.has_front));
    for resource in limited(&wanted.limits) {
        site.holds(resource)?;
    }
    let limits = limits(&wanted.limits);
    let optional = wanted.mode == CgroupMode::Auto && wanted.limits.is_empty();
    match make(&site, wanted, &limits, entrust) {
        Ok((group, first)) => {
            let placement = Placement { rung: rung(site.rung()), why: why(&site) };
            let sweep = Some(Sweep { site, pid_namespace: wanted.owner.pid_namespace, at: None });
            Ok(Placed {
                placement,
                group: Some(group),
                first,
                limits,
                optional,
                sweep,
                left: Vec::new(),
                remove_at: None,
            })
        }
        Err(error) if optional => Ok(Placed::nowhere(error.to_string(), optional)),
        Err(error) if wanted.mode == CgroupMode::Require => Err(NotPlaced::Required(error)),
        Err(source) => Err(NotPlaced::NoCgroup { limits: wanted.limits, source }),
    }
}

fn make(
    site: &Site,
    wanted: &Wanted,
    limits: &cgroup::Limits,
    entrust: impl FnOnce(&str),
) -> Result<(Group, Option<Leaf>), CgroupError> {
    let HostProof { pid, start_ticks, pid_namespace, .. } = wanted.owner;
    let owner = Owner { pid, start_ticks, pid_namespace };
    let process = ProcessCgroup { name: &wanted.name, id: *wanted.id.bytes(), owner };
    entrust(&site.remains(&process)?.to_text());
    let group = site.create(&process)?;
    match wanted.starts.then(|| group.run(1, limits)).transpose() {
        Ok(first) => Ok((group, first)),
        Err(error) => {
            // The first error is the one to tell.
            let _secondary = group.remove();
            Err(error)
        }
    }
}

/// Who may be moved out of the way of controllers: the watcher, its guard, and the front while there is one.
fn family(has_front: bool) -> Vec<i32> {
    let guard = parent_id().cast_signed();
    let front = has_front.then(|| host::parent_of(guard)).flatten();
    [Some(std::process::id().cast_signed()), Some(guard), front].into_iter().flatten().collect()
}

fn why(site: &Site) -> String {
    let advice = site.advice().map(|advice| format!("; for more, try: {advice}"));
    site.why() + &advice.unwrap_or_default()
}

fn rung(rung: cgroup::Rung) -> Rung {
    match rung {
        cgroup::Rung::V2 => Rung::V2,
        cgroup::Rung::Hybrid => Rung::Hybrid,
        cgroup::Rung::V1 => Rung::V1,
        cgroup::Rung::None => Rung::None,
    }
}

fn limits(limits: &Limits) -> cgroup::Limits {
    cgroup::Limits {
        memory_bytes: limits.memory_bytes,
        cpu_millis: limits.cpu_millis.map(u64::from),
        pids: limits.pids.map(u64::from),
        ..cgroup::Limits::default()
    }
}

fn limited(limits: &Limits) -> impl Iterator<Item = Resource> {
    let memory = limits.memory_bytes.map(|_| Resource::Memory);
    let cpu = limits.cpu_millis.map(|_| Resource::Cpu);
    let pids = limits.pids.map(|_| Resource::Pids);
    [memory, cpu, pids].into_iter().flatten()
}

impl Placed {
    /// No cgroup.
    pub(super) fn nowhere(why: String, optional: bool) -> Placed {
        let placement = Placement { rung: Rung::None, why };
        let limits = cgroup::Limits::default();
        Placed { placement, group: None, first: None, limits, optional, sweep: None, left: Vec::new(), remove_at: None }
    }

    /// The name of the group, by which its members are told.
    pub(super) fn group_name(&self) -> Option<&str> {
        self.group.as_ref().map(Group::name)
    }

    /// The leaf of the next run; none where there is no cgroup.
    ///
    /// # Errors
    /// There is no leaf any more though there was one, and the run may not do without.
    pub(super) fn leaf(&mut self, run: u32) -> Result<Option<Leaf>, CgroupError> {
        let Some(group) = &self.group else { return Ok(None) };
        match self.first.take().filter(|_| run == 1).map_or_else(|| group.run(run, &self.limits), Ok) {
            Ok(leaf) => Ok(Some(leaf)),
            Err(error) if self.optional => {
                say(format_args!("run {run} has no cgroup of its own: {error}"));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The runs begin: what dead watchers left is looked for soon.
    pub(super) fn on_begun(&mut self, now: Instant) {
        if let Some(sweep) = &mut self.sweep {
            sweep.at = Some(now + SWEEP_AFTER);
        }
    }

    /// When [`Placed::on_timer`] wants to be called.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let sweep_at = self.sweep.as_ref().and_then(|sweep| sweep.at);
        [sweep_at, self.remove_at].into_iter().flatten().min()
    }

    /// A deadline may have passed.
    pub(super) fn on_timer(&mut self, now: Instant) {
        if let Some(sweep) = self.sweep.take_if(|sweep| sweep.at.is_some_and(|at| now >= at)) {
            sweep.sweep();
        }
        if let (Some(group), Some(_)) = (&self.group, self.remove_at.take_if(|at| now >= *at)) {
            self.left.retain(|run| group.remove_run(*run).is_err());
        }
    }

    /// The leaf of an ended run is held by the kernel still.
    pub(super) fn remove_later(&mut self, run: u32, now: Instant) {
        if self.left.len() == REMOVED_LATER_MAX {
            self.left.remove(0);
        }
        self.left.push(run);
        self.remove_at = Some(now + REMOVE_AGAIN);
    }

    /// The watcher ends: so does the cgroup. One whose runs were over before it had looked for what dead watchers left looks now: where all
    /// jobs are short nobody else would.
    pub(super) fn remove(&mut self) {
        if let Some(sweep) = self.sweep.take_if(|sweep| sweep.at.is_some()) {
            sweep.look(LAST_SWEEP_WITHIN);
        }
        if let Some(group) = self.group.take() {
            // Something lives in it still: the guard kills that and tries again.
            let _left_to_the_guard = group.remove();
        }
    }
}

impl Sweep {
    /// On a thread, since it blocks, and since what it frees goes back with the thread: with 100 neighbours the look alone left 60 KiB
    /// of this one's heap in pieces.
    fn sweep(self) {
        let work = move || self.look(SWEEP_WITHIN);
        // Without threads to be had the next start sweeps.
        let _later = thread::Builder::new().name("zv-sweep".to_owned()).stack_size(STACK_BYTES).spawn(work);
    }

    /// Blocks: for some microseconds where nothing is left.
    fn look(self, within: Duration) {
        let alive = |owner: Owner| host::may_live(owner.pid, owner.start_ticks);
        // What cannot be removed, the next start tries again.
        let _swept = self.site.sweep(self.pid_namespace, alive, Instant::now() + within);
    }
}
