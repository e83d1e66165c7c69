//! Home, our own cgroup: whether it is really ours to use, and on v2 the controllers for what is below it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, statfs};
use nix::unistd::{AccessFlags, eaccess};

use crate::barrier::Barrier;
use crate::hierarchies::Seen;
use crate::parse;
use crate::place::{Controller, Place, Version};

/// The cgroup below home into which our own processes move. Those who find themselves in it take its parent for home.
const LEAF: &str = "zv-leaf";

/// That the directory is a cgroup of that version, and the one that this process is in: whatever a mount may show in its place.
pub(crate) fn check_own(own: &Path, seen: &Seen) -> Result<(), Barrier> {
    let unseen = || Barrier::Unseen(seen.mount_point.clone());
    let magic = statfs(own).map_err(|_| unseen())?.filesystem_type();
    let expected = match seen.version {
        Version::V1 => CGROUP_SUPER_MAGIC,
        Version::V2 => CGROUP2_SUPER_MAGIC,
    };
    if magic != expected {
        return Err(unseen());
    }
    let listed = fs::read(own.join("cgroup.procs")).map_err(|e| barrier(errno(&e), own))?;
    let here = std::process::id().cast_signed();
    if parse::pids(&listed).contains(&here) { Ok(()) } else { Err(unseen()) }
}

/// Home: our own cgroup, or the one above where ours is the leaf that one of us made.
pub(crate) fn above_leaf(own: PathBuf) -> PathBuf {
    match own.parent() {
        Some(above) if own.ends_with(LEAF) => above.to_path_buf(),
        Some(_) | None => own,
    }
}

/// That this user may make cgroups in it and move processes from it to them.
pub(crate) fn check_writable(home: &Path) -> Result<(), Barrier> {
    let write = AccessFlags::W_OK;
    let access = eaccess(home, write | AccessFlags::X_OK).and_then(|()| eaccess(&home.join("cgroup.procs"), write));
    access.map_err(|errno| barrier(errno, home))
}

/// The controllers of v2 that are of use and enabled for what is below home.
pub(crate) fn enabled(home: &Place) -> Vec<Controller> {
    listed(home, "cgroup.subtree_control")
}

/// Whether home was given the controller.
pub(crate) fn is_available(home: &Place, controller: Controller) -> bool {
    listed(home, "cgroup.controllers").contains(&controller)
}

fn listed(home: &Place, file: &str) -> Vec<Controller> {
    let text = home.read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut all: Vec<_> = text.split_whitespace().filter_map(|name| Controller::parse(Version::V2, name)).collect();
    all.sort_unstable();
    all
}

/// That processes can be in the cgroups below home. They cannot once a threaded controller (cpu, pids) was enabled while processes
/// were in home itself.
pub(crate) fn check_domain(home: &Path) -> Result<(), Barrier> {
    match fs::read(home.join("cgroup.type")) {
        Ok(kind) if kind.trim_ascii() != b"domain" => Err(Barrier::Threaded(home.to_path_buf())),
        Ok(_) => Ok(()),
        // The root has no type.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(barrier(errno(&e), home)),
    }
}

/// Enables what home has been given, one by one; what cannot be is returned with the reason.
pub(crate) fn enable(home: &mut Place, family: &[i32]) -> Vec<(Controller, Barrier)> {
    let present = enabled(home);
    let mut missing = listed(home, "cgroup.controllers");
    missing.retain(|controller| !present.contains(controller));
    if missing.is_empty() {
        return Vec::new();
    }
    let failed = match make_room(home, family) {
        Ok(()) => missing.into_iter().filter_map(|c| enable_one(home, c).err().map(|barrier| (c, barrier))).collect(),
        Err(barrier) => missing.into_iter().map(|controller| (controller, barrier.clone())).collect(),
    };
    home.controllers = enabled(home);
    failed
}

/// Asked for one with processes in it, the kernel would refuse memory and io with EBUSY, but take cpu and pids and make a threaded
/// domain of it, in which no process can be below: so this comes first.
fn make_room(home: &Place, family: &[i32]) -> Result<(), Barrier> {
    let is_root = !home.path("cgroup.type").exists();
    if is_root { Ok(()) } else { move_family(home, family) }
}

fn enable_one(home: &Place, controller: Controller) -> Result<(), Barrier> {
    let value = format!("+{}", controller.name(Version::V2));
    home.write("cgroup.subtree_control", &value).map_err(|e| barrier(errno(&e), &home.dir))
}

/// Moves all processes of home, if they are all ours, to the leaf.
fn move_family(home: &Place, family: &[i32]) -> Result<(), Barrier> {
    let text = home.read("cgroup.procs").map_err(|e| barrier(errno(&e), &home.dir))?;
    let (listed, pids) = (text.split(|b| *b == b'\n').filter(|line| !line.is_empty()).count(), parse::pids(&text));
    if listed == 0 {
        return Ok(());
    }
    // A process that our pid namespace does not show is listed as 0, and is not ours.
    if listed != pids.len() || !pids.iter().all(|pid| family.contains(pid)) {
        return Err(Barrier::Shared(home.dir.clone()));
    }
    let leaf = home.below(LEAF);
    leaf.make().map_err(|_| Barrier::Denied(home.dir.clone()))?;
    for pid in pids {
        match leaf.write("cgroup.procs", &pid.to_string()) {
            // Ended meanwhile.
            Err(e) if errno(&e) == Errno::ESRCH => {}
            moved => moved.map_err(|e| barrier(errno(&e), &leaf.dir))?,
        }
    }
    Ok(())
}

/// What the kernel's refusal of something in the cgroup `dir` means.
fn barrier(errno: Errno, dir: &Path) -> Barrier {
    let dir = dir.to_path_buf();
    if errno == Errno::EROFS {
        Barrier::ReadOnly(dir)
    } else if errno == Errno::EACCES || errno == Errno::EPERM {
        Barrier::Denied(dir)
    } else if errno == Errno::EBUSY {
        Barrier::Shared(dir)
    } else if errno == Errno::EOPNOTSUPP {
        Barrier::Threaded(dir)
    } else {
        Barrier::Failed { path: dir, errno }
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}
