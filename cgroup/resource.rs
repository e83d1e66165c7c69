//! What can be limited and measured.

use std::fmt;

use crate::place::Controller;

/// A resource that a cgroup may limit and measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Resource {
    /// Memory with page cache.
    Memory,
    /// CPU time. Usage is measured on every rung with a cgroup, also where it cannot be limited.
    Cpu,
    /// The number of processes and threads.
    Pids,
    /// Reading from and writing to devices; measured only.
    Io,
}

impl Resource {
    /// Every one, in the order in which they are told to people.
    pub const ALL: [Resource; 4] = [Resource::Memory, Resource::Cpu, Resource::Pids, Resource::Io];

    pub(crate) fn controller(self) -> Controller {
        match self {
            Resource::Memory => Controller::Memory,
            Resource::Cpu => Controller::Cpu,
            Resource::Pids => Controller::Pids,
            Resource::Io => Controller::Io,
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Resource::Memory => "memory",
            Resource::Cpu => "cpu",
            Resource::Pids => "pids",
            Resource::Io => "io",
        })
    }
}
