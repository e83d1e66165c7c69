//! Ending all that lives in a cgroup, and removing it.
//!
//! v2 has one file for it, `cgroup.kill`, which nothing can outrun. Elsewhere (v1, and v2 before Linux 5.14): freeze, so that
//! nothing is born, signal all, thaw, and look again.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::CgroupError;
use crate::name::GroupName;
use crate::place::{Controller, Place, Places, Version};
use crate::{parse, sys};

/// The longest wait for news before looking again. A process that is not ours to see the end of, or one that moved itself from
/// one hierarchy's cgroup, gives no news.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The wait when all that was found had ended before it could be signalled, and is about to be gone from the lists.
const NOTHING_TO_WAIT_FOR: Duration = Duration::from_millis(1);

/// Waits between attempts to remove a cgroup that the kernel says is busy: 1, 2, 4 ... ms, a quarter of a second in all.
const REMOVE_ATTEMPTS: u32 = 9;

/// The most pids named in an error.
const PIDS_SHOWN: usize = 8;

/// What a round of signals reached.
#[derive(Debug, Default)]
pub(crate) struct Reached {
    pub(crate) count: usize,
    /// One of them: its end is worth a new look.
    last: Option<OwnedFd>,
}

/// Signals every member of every hierarchy once.
pub(crate) fn signal_all(places: &Places, name: &GroupName, signal: i32) -> Reached {
    let mut reached = Reached::default();
    for pid in members(places) {
        // Gone, or a setuid program's: either is met again by whoever looks whether all have ended.
        if let Ok(Some(pidfd)) = signal_member(pid, name, signal) {
            reached = Reached { count: reached.count + 1, last: Some(pidfd) };
        }
    }
    reached
}

fn members(places: &Places) -> BTreeSet<i32> {
    places.all.iter().flat_map(Place::members).collect()
}

/// Signals `pid` if it is a member. The descriptor is opened first and membership asked after: from then on the number cannot
/// come to mean another process.
fn signal_member(pid: i32, name: &GroupName, signal: i32) -> io::Result<Option<OwnedFd>> {
    let pidfd = sys::pidfd_open(pid)?;
    if !parse::is_within(&fs::read(format!("/proc/{pid}/cgroup"))?, name.as_str()) {
        return Ok(None);
    }
    sys::pidfd_signal(pidfd.as_fd(), signal)?;
    Ok(Some(pidfd))
}

/// Kills every member that this round can find.
pub(crate) fn round(places: &Places, name: &GroupName) -> Reached {
    if places.v2().is_none_or(|v2| v2.write("cgroup.kill", "1").is_err()) {
        return by_signals(places, name);
    }
    if places.all.len() == 1 {
        return Reached::default();
    }
    // One who moved itself out of the v2 cgroup is still found in those of v1.
    signal_all(places, name, libc::SIGKILL)
}

/// As [`round`], without `cgroup.kill`.
pub(crate) fn by_signals(places: &Places, name: &GroupName) -> Reached {
    set_frozen(places, true);
    let reached = signal_all(places, name, libc::SIGKILL);
    set_frozen(places, false);
    reached
}

/// Freezes the whole, or thaws every part of it: what the run froze itself could not die on v1. A file that is missing, or a cgroup
/// that is gone meanwhile, needs neither.
fn set_frozen(places: &Places, frozen: bool) {
    let Some(place) = places.v2().or_else(|| places.with(Controller::Freezer)) else { return };
    let (file, value) = match (place.version, frozen) {
        (Version::V2, true) => ("cgroup.freeze", "1"),
        (Version::V2, false) => ("cgroup.freeze", "0"),
        (Version::V1, true) => ("freezer.state", "FROZEN"),
        (Version::V1, false) => ("freezer.state", "THAWED"),
    };
    let dirs = if frozen { vec![place.dir.clone()] } else { place.subtree() };
    for dir in dirs {
        let _best_effort = crate::place::write(&dir.join(file), value);
    }
}

/// Kills until no hierarchy's cgroup has a member. Looks first: an empty cgroup, as most are by then, stays empty.
pub(crate) fn until_empty(places: &Places, name: &GroupName, deadline: Instant) -> Result<(), CgroupError> {
    let events = places.v2().and_then(|v2| File::open(v2.path("cgroup.events")).ok());
    let mut tried = false;
    loop {
        let populated = events.as_ref().is_some_and(|events| events_say_populated(events).unwrap_or(false));
        if !populated && v1_is_empty(places) {
            return Ok(());
        }
        let time_left = deadline.saturating_duration_since(Instant::now());
        if tried && time_left.is_zero() {
            return Err(stubborn(places));
        }
        let reached = round(places, name);
        tried = true;
        wait(events.as_ref().filter(|_| populated), reached.last.as_ref(), time_left);
    }
}

fn v1_is_empty(places: &Places) -> bool {
    places.all.iter().filter(|place| place.version == Version::V1).all(|place| place.members().is_empty())
}

/// Waits for an event of the v2 cgroup or the end of a process, but never for long.
fn wait(events: Option<&File>, process: Option<&OwnedFd>, time_left: Duration) {
    let event = events.map(|file| PollFd::new(file.as_fd(), PollFlags::POLLPRI));
    let end = process.map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN));
    let mut fds: Vec<_> = event.or(end).into_iter().collect();
    let longest = if fds.is_empty() { NOTHING_TO_WAIT_FOR } else { LOOK_AGAIN };
    // An error would only make the next look come sooner.
    let _woken = poll(&mut fds, PollTimeout::try_from(longest.min(time_left)).unwrap_or(PollTimeout::ZERO));
}

/// Whether `cgroup.events` says that a process lives in the cgroup or below it.
pub(crate) fn events_say_populated(events: &File) -> io::Result<bool> {
    let mut text = [0; 256];
    let count = events.read_at(&mut text, 0)?;
    let [populated] = parse::keyed(text.get(..count).unwrap_or_default(), ["populated"]);
    Ok(populated != Some(0))
}

fn stubborn(places: &Places) -> CgroupError {
    let left = members(places);
    let mut pids: Vec<_> = left.iter().take(PIDS_SHOWN).map(i32::to_string).collect();
    if left.len() > pids.len() {
        pids.push("...".to_owned());
    }
    let dir = places.all.first().map(|place| place.dir.clone()).unwrap_or_default();
    CgroupError::Stubborn { count: left.len(), pids: pids.join(" "), dir }
}

/// Removes the cgroup in every hierarchy with all below it, and waits for what is busy. Goes on to the next hierarchy after an error,
/// and tells the first.
pub(crate) fn remove(places: &Places) -> Result<(), CgroupError> {
    remove_within(places, REMOVE_ATTEMPTS)
}

/// As [`remove`], without waiting.
pub(crate) fn remove_now(places: &Places) -> Result<(), CgroupError> {
    remove_within(places, 1)
}

fn remove_within(places: &Places, attempts: u32) -> Result<(), CgroupError> {
    places.all.iter().map(|place| remove_place(place, attempts)).fold(Ok(()), Result::and)
}

fn remove_place(place: &Place, attempts: u32) -> Result<(), CgroupError> {
    // Nested ones are listed after those they are in.
    place.subtree().iter().rev().try_for_each(|dir| remove_dir(dir, attempts))
}

fn remove_dir(dir: &Path, attempts: u32) -> Result<(), CgroupError> {
    let mut attempt = 1;
    loop {
        match fs::remove_dir(dir) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::ResourceBusy && attempt < attempts => {
                // The kernel has no event for it: a process may be counted a little longer than it is listed.
                thread::sleep(Duration::from_millis(1 << (attempt - 1)));
                attempt += 1;
            }
            Err(e) => return Err(CgroupError::io("remove cgroup", dir, e)),
        }
    }
}
