//! Where this process may make cgroups: the rung it stands on, by name and with the reason.

use std::fs;

use crate::barrier::{Barrier, Refusal, Surroundings};
use crate::enable;
use crate::error::CgroupError;
use crate::group::Group;
use crate::hierarchies::{self, Seen};
use crate::name::{GroupName, ProcessCgroup};
use crate::place::{Controller, Place, Places, Version};
use crate::remains::Remains;
use crate::resource::Resource;

/// What a process can stand on, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// Version 2 alone, with those controllers that were delegated.
    V2,
    /// Version 2 to keep, count and kill; controllers of version 1 to limit and measure.
    Hybrid,
    /// Version 1 alone.
    V1,
    /// No cgroup of one's own: what is left is a subreaper and a walk of /proc.
    None,
}

/// Where this process may make cgroups. Nothing outside is ever touched.
#[derive(Debug)]
pub struct Site {
    /// Our own cgroup in each hierarchy in use; empty on the lowest rung.
    homes: Places,
    /// What stands before the other hierarchies, each with the controllers of v1 behind it.
    barriers: Vec<(Vec<Controller>, Barrier)>,
    surroundings: Surroundings,
}

impl Site {
    /// Finds it from `/proc/self/mountinfo` and `/proc/self/cgroup`. Looks only, and never fails: where nothing can be had the rung
    /// is [`Rung::None`].
    pub fn find() -> Site {
        let text = |path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let seen = hierarchies::seen(&text("/proc/self/mountinfo"), &text("/proc/self/cgroup"));
        Site::choose(seen, probe, Surroundings::here())
    }

    /// The first usable mount of v2; then for each controller that v2 lacks the first usable mount of v1 that has it.
    fn choose(seen: Vec<Seen>, probe: impl Fn(&Seen) -> Result<Place, Barrier>, surroundings: Surroundings) -> Site {
        let (v2, v1): (Vec<_>, Vec<_>) = seen.into_iter().partition(|seen| seen.version == Version::V2);
        let mut choice = Choice { homes: Vec::new(), barriers: Vec::new(), probe };
        choice.take(&v2, |_| true);
        // What v2 counts, freezes and has controllers for, enabled or not, v1 cannot have.
        let v2_found = !choice.homes.is_empty();
        for controller in [Controller::Memory, Controller::Cpu, Controller::Pids, Controller::Io] {
            choice.take(&v1, |seen| seen.controllers.contains(&controller));
        }
        if !v2_found {
            choice.take(&v1, |seen| seen.controllers.contains(&Controller::Cpuacct));
            choice.take(&v1, |seen| seen.controllers.contains(&Controller::Freezer));
        }
        let homes = Places { all: choice.homes, refused: [].into() };
        let mut site = Site { homes, barriers: choice.barriers, surroundings };
        site.refuse(&[]);
        site
    }

    /// Notes for each resource that is nowhere to be had why that is so; `failed` tells what could not be enabled on v2.
    fn refuse(&mut self, failed: &[(Controller, Barrier)]) {
        let missing = Resource::ALL.into_iter().filter(|resource| self.homes.with(resource.controller()).is_none());
        let refusals = missing.map(|resource| {
            let barrier = self.barrier(resource.controller(), failed);
            Refusal { resource, advice: self.surroundings.advice(&barrier), barrier }
        });
        self.homes.refused = refusals.collect();
    }

    fn barrier(&self, controller: Controller, failed: &[(Controller, Barrier)]) -> Barrier {
        let Some(v2) = self.homes.v2() else { return self.before(controller) };
        if let Some((_, barrier)) = failed.iter().find(|(failed, _)| *failed == controller) {
            return barrier.clone();
        }
        if enable::is_available(v2, controller) {
            return Barrier::NotEnabled(v2.dir.clone());
        }
        let on_v1 = self.before(controller);
        if on_v1 == Barrier::NotMounted { Barrier::NotDelegated(v2.dir.clone()) } else { on_v1 }
    }

    /// What stands before a hierarchy of v1 with that controller.
    fn before(&self, controller: Controller) -> Barrier {
        let of_it = self.barriers.iter().filter(|(controllers, _)| controllers.contains(&controller));
        nearest(of_it)
    }

    /// What stands before all of them: the reason for the lowest rung.
    fn blocked(&self) -> Barrier {
        nearest(self.barriers.iter())
    }

    /// Gives the cgroups below home those controllers of v2 that it has been given itself. `family` are the pids that may be moved
    /// into a cgroup of their own below home, `zv-leaf`, where the rule of no internal processes asks for it: this process and its
    /// guard, nothing that is not ours. When others share home it is left as it is, and [`Site::holds`] tells so.
    ///
    /// Moving costs some 6 ms a process, and only the first one of a home pays it.
    pub fn enable(&mut self, family: &[i32]) {
        let Some(v2) = self.homes.all.iter_mut().find(|home| home.version == Version::V2) else { return };
        let failed = enable::enable(v2, family);
        self.refuse(&failed);
    }

    /// The rung.
    pub fn rung(&self) -> Rung {
        let is_there = |version| self.homes.all.iter().any(|home| home.version == version);
        match (is_there(Version::V2), is_there(Version::V1)) {
            (true, false) => Rung::V2,
            (true, true) => Rung::Hybrid,
            (false, true) => Rung::V1,
            (false, false) => Rung::None,
        }
    }

    /// The rung with its place and what it has, or why there is none, in one line.
    pub fn why(&self) -> String {
        let Some(home) = self.homes.v2().or_else(|| self.homes.with(Controller::Memory)).or(self.homes.all.first())
        else {
            return format!("no writable cgroup: {}", self.blocked());
        };
        let of = |version| self.controllers(version);
        let dir = home.dir.display();
        match self.rung() {
            Rung::V2 => format!("cgroup v2 at {dir}: {}", of(Version::V2).unwrap_or("no controllers".to_owned())),
            Rung::Hybrid => {
                let v2 = of(Version::V2).map(|names| format!(" ({names})")).unwrap_or_default();
                format!("cgroup v2 at {dir}{v2}, with v1: {}", of(Version::V1).unwrap_or_default())
            }
            Rung::V1 | Rung::None => format!("cgroup v1 at {dir}: {}", of(Version::V1).unwrap_or_default()),
        }
    }

    fn controllers(&self, version: Version) -> Option<String> {
        let homes = self.homes.all.iter().filter(|home| home.version == version);
        let names: Vec<_> = homes.flat_map(|home| home.controllers.iter().map(|c| c.name(version))).collect();
        (!names.is_empty()).then(|| names.join(" "))
    }

    /// What would give a better rung, as a command or an option, where that is known.
    pub fn advice(&self) -> Option<String> {
        match self.rung() {
            Rung::None => self.surroundings.advice(&self.blocked()),
            Rung::V2 | Rung::Hybrid | Rung::V1 => {
                // Io is measured only, and user managers do not delegate it.
                let limits = self.homes.refused.iter().filter(|refusal| refusal.resource != Resource::Io);
                limits.filter_map(|refusal| refusal.advice.clone()).next()
            }
        }
    }

    /// Whether a resource can be limited and measured (see [`Resource`]) here, and why not.
    pub fn holds(&self, resource: Resource) -> Result<(), Refusal> {
        self.homes.holder(resource).map(|_| ())
    }

    /// What another process needs to clean up after the cgroup of one process. It can be told before that is made, so that there is no
    /// instant at which nobody else knows of it.
    ///
    /// # Errors
    /// [`CgroupError::PathTooLong`].
    pub fn remains(&self, process: &ProcessCgroup<'_>) -> Result<Remains, CgroupError> {
        Remains::of(&GroupName::new(process), &self.homes)
    }

    /// Makes the cgroup of one process below home.
    ///
    /// # Errors
    /// [`CgroupError::Unavailable`] on [`Rung::None`]; otherwise what the kernel said.
    pub fn create(&self, process: &ProcessCgroup<'_>) -> Result<Group, CgroupError> {
        if self.homes.all.is_empty() {
            return Err(CgroupError::Unavailable { barrier: self.blocked(), advice: self.advice() });
        }
        Group::make(GroupName::new(process), &self.homes)
    }

    pub(crate) fn homes(&self) -> &Places {
        &self.homes
    }
}

/// The choice while it is made.
struct Choice<P> {
    homes: Vec<Place>,
    barriers: Vec<(Vec<Controller>, Barrier)>,
    probe: P,
}

impl<P: Fn(&Seen) -> Result<Place, Barrier>> Choice<P> {
    /// Takes the first usable one of those wanted, unless one is in use already.
    fn take(&mut self, seen: &[Seen], wanted: impl Fn(&Seen) -> bool) {
        for seen in seen.iter().filter(|seen| wanted(seen)) {
            match (self.probe)(seen) {
                Ok(place) if self.homes.contains(&place) => return,
                Ok(place) => return self.homes.push(place),
                Err(barrier) => self.barriers.push((seen.controllers.clone(), barrier)),
            }
        }
    }
}

/// The barrier that is easiest to take away.
fn nearest<'a>(barriers: impl Iterator<Item = &'a (Vec<Controller>, Barrier)>) -> Barrier {
    let nearness = |barrier: &Barrier| match barrier {
        Barrier::ReadOnly(_) | Barrier::Denied(_) => 0,
        Barrier::Failed { .. } | Barrier::Threaded(_) => 1,
        Barrier::NotDelegated(_) | Barrier::NotEnabled(_) | Barrier::Shared(_) | Barrier::Cpuset(_) => 2,
        Barrier::Unseen(_) | Barrier::OnlyV2(_) | Barrier::NotMounted => 3,
    };
    barriers.map(|(_, barrier)| barrier).min_by_key(|barrier| nearness(barrier)).cloned().unwrap_or(Barrier::NotMounted)
}

/// Whether cgroups can be made in what was seen; changes nothing.
fn probe(seen: &Seen) -> Result<Place, Barrier> {
    let own = seen.own.clone()?;
    enable::check_own(&own, seen)?;
    let home = enable::above_leaf(own);
    enable::check_writable(&home)?;
    let mut place = Place { version: seen.version, controllers: seen.controllers.clone(), dir: home };
    if seen.version == Version::V2 {
        enable::check_domain(&place.dir)?;
        place.controllers = enable::enabled(&place);
    }
    Ok(place)
}

#[cfg(test)]
mod tests;
