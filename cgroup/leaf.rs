//! The cgroup of one run: entering, limiting, measuring, signalling and killing.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use crate::entrance::Entrance;
use crate::error::CgroupError;
use crate::kill;
use crate::limits::{self, Limits};
use crate::meter::{Meter, Reading};
use crate::name::GroupName;
use crate::place::{Controller, Place, Places, Version};

/// The cgroup of one run in every hierarchy in use. Dropping it removes nothing: see [`Leaf::remove`].
#[derive(Debug)]
pub struct Leaf {
    name: GroupName,
    places: Places,
    /// v2 `cgroup.events`.
    events: Option<File>,
    meter: Meter,
}

impl Leaf {
    pub(crate) fn open(name: &GroupName, places: &Places) -> Result<Leaf, CgroupError> {
        let open = |place: &Place| {
            let path = place.path("cgroup.events");
            File::open(&path).map_err(|e| CgroupError::io("open", &path, e))
        };
        let events = places.v2().map(open).transpose()?;
        let meter = Meter::open(places).map_err(|e| CgroupError::io("open files of", &some_dir(places), e))?;
        Ok(Leaf { name: name.clone(), places: places.clone(), events, meter })
    }

    #[cfg(test)]
    pub(crate) fn name(&self) -> &GroupName {
        &self.name
    }

    #[cfg(test)]
    pub(crate) fn places(&self) -> &Places {
        &self.places
    }

    /// Opens the descriptors by which a child enters; drop them once it has.
    pub fn entrance(&self) -> Result<Entrance, CgroupError> {
        Entrance::open(&self.places)
    }

    /// Changes limits while the run goes on. A memory limit below what is in use makes the kernel reclaim and, on v2, kill; on v1
    /// it is refused with EBUSY when reclaiming was not enough.
    ///
    /// # Errors
    /// As [`crate::Group::run`]. Where the kernel refuses one, those before it in [`Limits`] are changed already.
    pub fn limit(&self, limits: &Limits) -> Result<(), CgroupError> {
        limits::apply(limits, &self.places)
    }

    /// What is cheap enough for every second: CPU and memory. Allocates nothing after the first time.
    pub fn sample(&mut self) -> io::Result<Reading> {
        self.meter.read()
    }

    /// Everything, for every ten seconds and for the end of a run.
    pub fn sample_costly(&mut self) -> io::Result<Reading> {
        self.meter.read_all(&self.places)
    }

    /// How many processes of the run the kernel killed for want of memory; `None` where nobody counts it. On v1 those in cgroups
    /// that the run made itself are not counted.
    pub fn oom_kills(&mut self) -> Option<u64> {
        self.meter.oom_kills()
    }

    /// v2: becomes ready for POLLPRI when [`Leaf::is_populated`] changes, and stays so until that is called. `None` on v1, which
    /// has no such event: there the end of the last process is known by reaping it.
    pub fn events_fd(&self) -> Option<BorrowedFd<'_>> {
        self.events.as_ref().map(AsFd::as_fd)
    }

    /// Whether any process lives in the leaf or in a cgroup that the run made below it. Zombies do not count.
    pub fn is_populated(&self) -> io::Result<bool> {
        match &self.events {
            Some(events) => kill::events_say_populated(events),
            None => Ok(self.places.all.iter().any(|place| !place.members().is_empty())),
        }
    }

    /// Sends `signal` to every process of the run once, also to those in cgroups that it made itself. Returns how many it reached;
    /// what is born meanwhile may be missed.
    pub fn signal_all(&self, signal: i32) -> usize {
        kill::signal_all(&self.places, &self.name, signal).count
    }

    /// Stops every process where it is, without a signal that it could see. Returns before all have stopped.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        self.set_frozen(true)
    }

    /// Lets them go on.
    pub fn thaw(&self) -> Result<(), CgroupError> {
        self.set_frozen(false)
    }

    fn set_frozen(&self, frozen: bool) -> Result<(), CgroupError> {
        let place = self.places.v2().or_else(|| self.places.with(Controller::Freezer));
        let place = place.ok_or_else(|| CgroupError::NoFreezer(some_dir(&self.places)))?;
        match place.version {
            Version::V2 => place.set("cgroup.freeze", if frozen { "1" } else { "0" }),
            Version::V1 => place.set("freezer.state", if frozen { "FROZEN" } else { "THAWED" }),
        }
    }

    /// Sends SIGKILL to every process of the run, frozen ones too, without waiting for their ends. On v2 nothing can be born
    /// meanwhile; elsewhere something may be left: call it again, or [`Leaf::kill_until_empty`].
    pub fn kill(&self) {
        kill::round(&self.places, &self.name);
    }

    /// Kills until no process is left or the time is up; blocks.
    ///
    /// # Errors
    /// [`CgroupError::Stubborn`] when the time was up.
    pub fn kill_until_empty(&self, deadline: Instant) -> Result<(), CgroupError> {
        kill::until_empty(&self.places, &self.name, deadline)
    }

    /// As [`Leaf::remove`], without waiting: what is busy stays, for [`Group::remove_run`](crate::Group::remove_run) to try again.
    pub fn remove_now(self) -> Result<(), CgroupError> {
        kill::remove_now(&self.places)
    }

    /// Removes the leaf and all cgroups that the run made below it, which must be empty of processes. Waits up to a quarter of a
    /// second for the kernel to let go of processes that have just ended.
    pub fn remove(self) -> Result<(), CgroupError> {
        kill::remove(&self.places)
    }
}

/// A directory to name in an error.
fn some_dir(places: &Places) -> std::path::PathBuf {
    places.all.first().map(|place| place.dir.clone()).unwrap_or_default()
}
