//! The cgroup of one supervised process, with a leaf below it for each run.

use crate::error::CgroupError;
use crate::kill;
use crate::leaf::Leaf;
use crate::limits::{self, Limits};
use crate::name::GroupName;
use crate::place::{Place, Places, Version};
use crate::remains::Remains;

/// The cgroup of one supervised process, a directory in every hierarchy in use.
///
/// Dropping it removes nothing: that is for [`Group::remove`], or for [`Remains`] in another process.
#[derive(Debug)]
pub struct Group {
    name: GroupName,
    places: Places,
    remains: Remains,
}

impl Group {
    /// Makes the directories; on an error what was made is removed again.
    pub(crate) fn make(name: GroupName, homes: &Places) -> Result<Group, CgroupError> {
        let remains = Remains::of(&name, homes)?;
        let places = homes.below(name.as_str());
        let made = places.all.iter().try_for_each(|place| place.make().and_then(|()| pass_on(place)));
        undo_unless(&places, made)?;
        Ok(Group { name, places, remains })
    }

    /// The name of its directories, `NAME-ID.PID.START`.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Makes the leaf of run `number` with its limits. On an error nothing of it remains.
    ///
    /// # Errors
    /// [`CgroupError::Refused`] for a limit that nothing here can keep, [`CgroupError::OutOfRange`] for one that no program can run with.
    pub fn run(&self, number: u32, limits: &Limits) -> Result<Leaf, CgroupError> {
        limits::check(limits, &self.places)?;
        let places = self.places_of(number);
        let made = places.all.iter().try_for_each(Place::make);
        let leaf = made.and_then(|()| limits::apply(limits, &places)).and_then(|()| Leaf::open(&self.name, &places));
        undo_unless(&places, leaf)
    }

    /// Removes what is left of the leaf of run `number`, without waiting. One that is gone already is a success.
    ///
    /// # Errors
    /// The kernel holds it still.
    pub fn remove_run(&self, number: u32) -> Result<(), CgroupError> {
        kill::remove_now(&self.places_of(number))
    }

    fn places_of(&self, run: u32) -> Places {
        self.places.below(&format!("run-{run}"))
    }

    /// What another process needs to clean up after this one.
    pub fn remains(&self) -> &Remains {
        &self.remains
    }

    /// Removes the group and its leaves, which must be empty of processes. Waits up to a quarter of a second for the kernel to let
    /// go of processes that have just ended.
    pub fn remove(self) -> Result<(), CgroupError> {
        kill::remove(&self.places)
    }
}

fn undo_unless<T>(places: &Places, made: Result<T, CgroupError>) -> Result<T, CgroupError> {
    made.inspect_err(|_| {
        // The first error is the one to tell; what could not be removed either, a sweep finds.
        let _secondary = kill::remove(places);
    })
}

/// Gives the leaves below a v2 group the controllers that home has given to it.
fn pass_on(group: &Place) -> Result<(), CgroupError> {
    match group.version {
        Version::V2 if !group.controllers.is_empty() => {
            let all: Vec<_> = group.controllers.iter().map(|c| format!("+{}", c.name(Version::V2))).collect();
            group.set("cgroup.subtree_control", &all.join(" "))
        }
        Version::V1 | Version::V2 => Ok(()),
    }
}
