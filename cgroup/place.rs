//! One cgroup in one hierarchy, and the files in it.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::barrier::{Barrier, Refusal};
use crate::error::CgroupError;
use crate::resource::Resource;

/// The two generations of the kernel's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
}

/// What a hierarchy can do for us, by the kernel's names of v2 and, after them, what only v1 has. Memory comes first: once it is
/// enabled no process can come between, and the threaded ones (cpu, pids) would not see to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Controller {
    Memory,
    Cpu,
    Pids,
    Io,
    Cpuacct,
    Freezer,
}

impl Controller {
    pub(crate) fn parse(version: Version, name: &str) -> Option<Controller> {
        match (version, name) {
            (_, "cpu") => Some(Controller::Cpu),
            (_, "memory") => Some(Controller::Memory),
            (_, "pids") => Some(Controller::Pids),
            (Version::V2, "io") | (Version::V1, "blkio") => Some(Controller::Io),
            (Version::V1, "cpuacct") => Some(Controller::Cpuacct),
            (Version::V1, "freezer") => Some(Controller::Freezer),
            (Version::V1 | Version::V2, _) => None,
        }
    }

    pub(crate) fn name(self, version: Version) -> &'static str {
        match (self, version) {
            (Controller::Cpu, _) => "cpu",
            (Controller::Memory, _) => "memory",
            (Controller::Pids, _) => "pids",
            (Controller::Io, Version::V2) => "io",
            (Controller::Io, Version::V1) => "blkio",
            (Controller::Cpuacct, _) => "cpuacct",
            (Controller::Freezer, _) => "freezer",
        }
    }
}

/// A cgroup's directory in one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) version: Version,
    /// What is used of this hierarchy, sorted; on v2 what is enabled for the cgroups below home.
    pub(crate) controllers: Vec<Controller>,
    pub(crate) dir: PathBuf,
}

impl Place {
    pub(crate) fn has(&self, controller: Controller) -> bool {
        self.controllers.contains(&controller)
    }

    /// The cgroup of that name below this one, which need not exist.
    pub(crate) fn below(&self, name: &str) -> Place {
        Place { version: self.version, controllers: self.controllers.clone(), dir: self.dir.join(name) }
    }

    /// Makes it; one that is there already is taken as it is.
    pub(crate) fn make(&self) -> Result<(), CgroupError> {
        match fs::create_dir(&self.dir) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(CgroupError::io("make cgroup", &self.dir, e)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    pub(crate) fn read(&self, file: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path(file))
    }

    /// Writes a setting in the one write(2) that the kernel wants.
    pub(crate) fn write(&self, file: &str, value: &str) -> io::Result<()> {
        write(&self.path(file), value)
    }

    pub(crate) fn set(&self, file: &str, value: &str) -> Result<(), CgroupError> {
        self.write(file, value).map_err(|e| CgroupError::io("write to", &self.path(file), e))
    }

    /// The directories of this cgroup and of all below it, nearest first. What vanishes meanwhile is left out.
    pub(crate) fn subtree(&self) -> Vec<PathBuf> {
        let mut dirs = vec![self.dir.clone()];
        let mut next = 0;
        while let Some(dir) = dirs.get(next).cloned() {
            next += 1;
            dirs.extend(subdirectories(&dir));
        }
        dirs
    }

    /// The pids in this cgroup and in all below it, in no order.
    pub(crate) fn members(&self) -> Vec<i32> {
        let listed = self.subtree().into_iter().filter_map(|dir| fs::read(dir.join("cgroup.procs")).ok());
        listed.flat_map(|list| crate::parse::pids(&list)).collect()
    }
}

/// The directories of one cgroup, home, group or leaf, in every hierarchy in use.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// v2 first, if in use.
    pub(crate) all: Vec<Place>,
    /// Why a resource is in none of them.
    pub(crate) refused: Arc<[Refusal]>,
}

impl Places {
    /// The cgroup of that name below this one, in every hierarchy.
    pub(crate) fn below(&self, name: &str) -> Places {
        Places { all: self.all.iter().map(|place| place.below(name)).collect(), refused: Arc::clone(&self.refused) }
    }

    pub(crate) fn v2(&self) -> Option<&Place> {
        self.all.iter().find(|place| place.version == Version::V2)
    }

    /// Where that controller is.
    pub(crate) fn with(&self, controller: Controller) -> Option<&Place> {
        self.all.iter().find(|place| place.has(controller))
    }

    /// Where that resource is limited and measured, or why nowhere.
    pub(crate) fn holder(&self, resource: Resource) -> Result<&Place, Refusal> {
        self.with(resource.controller()).ok_or_else(|| {
            let known = self.refused.iter().find(|refusal| refusal.resource == resource).cloned();
            known.unwrap_or(Refusal { resource, barrier: Barrier::NotMounted, advice: None })
        })
    }
}

pub(crate) fn write(path: &Path, value: &str) -> io::Result<()> {
    fs::OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes())
}

/// Links are not followed; cgroup file systems have none.
pub(crate) fn subdirectories(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let is_dir = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    entries.flatten().filter(is_dir).map(|entry| entry.path()).collect()
}
