//! The first messages of a link: who speaks, which versions, where a watcher stands. Stable for all versions.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::fact::State;
use crate::id::Id;
use crate::name::{NodeName, ProcessName};
use crate::spec::Spec;
use crate::stats::Placement;
use crate::units::Timestamp;

/// The versions of the protocol that are spoken here.
pub const VERSIONS: Versions = Versions { oldest: 1, newest: 1 };

/// A range of protocol versions, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Versions {
    /// The oldest that is still spoken.
    pub oldest: u16,
    /// The newest.
    pub newest: u16,
}

impl Versions {
    /// The newest version both speak.
    pub fn common(self, other: Versions) -> Option<u16> {
        let newest = self.newest.min(other.newest);
        (newest >= self.oldest.max(other.oldest)).then_some(newest)
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.oldest == self.newest {
            write!(f, "{}", self.oldest)
        } else {
            write!(f, "{}-{}", self.oldest, self.newest)
        }
    }
}

/// The first message of whoever dialled.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// Spoken versions.
    pub versions: Versions,
    /// Program and version for people, such as `zvwatch 0.1.0`.
    pub program: String,
    /// In which role.
    pub role: Role,
}

/// What the dialling side is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Role {
    /// The watcher of one process.
    Watcher(Box<WatcherHello>),
    /// Somebody who asks.
    Client,
}

/// Proves or disproves on the same host that a watcher lives, without asking it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct HostProof {
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// Inode of `/proc/self/ns/pid`.
    pub pid_namespace: u64,
    /// The watcher's pid in that namespace.
    pub pid: i32,
    /// Its start time in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub start_ticks: u64,
}

/// Where a watcher stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WatcherHello {
    /// Its process.
    pub id: Id,
    /// Binds the id: whoever comes later with the id must have this too.
    pub secret: [u8; 32],
    /// Whether any zerovisor has ever welcomed it; before that a clash of a given name is an error.
    pub welcomed_before: bool,
    /// What its process is.
    pub spec: Spec,
    /// When the watcher began.
    pub created_at: Timestamp,
    /// Its host and pid.
    pub host: HostProof,
    /// The oldest record it still has, or the next one it will make.
    pub first_seq: u64,
    /// The next record it will make.
    pub next_seq: u64,
    /// The present state, ahead of the records that will tell it.
    pub state: State,
    /// On which rung of the cgroup ladder its runs stand.
    pub placement: Placement,
}

/// The answer to a [`Hello`] that is accepted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Welcome {
    /// The version that will be spoken.
    pub version: u16,
    /// The node's name.
    pub node: NodeName,
    /// Program and version for people.
    pub program: String,
    /// For a watcher: how it goes on.
    pub watcher: Option<WatcherWelcome>,
}

/// How a watcher goes on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WatcherWelcome {
    /// The name its process is known by here.
    pub name: ProcessName,
    /// The last record of it in the journal; 0: none. It sends from the next one on.
    pub journal_end: u64,
    /// Bytes it may have in flight.
    pub window_bytes: u64,
}

/// The answer to a [`Hello`] that is not accepted; the link ends with it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refused {
    /// The versions spoken here.
    pub versions: Versions,
    /// Why.
    pub reason: Refusal,
}

/// Why a [`Hello`] is not accepted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// No common version.
    #[error("it speaks protocol {theirs}, this side {ours}: upgrade the older of the two")]
    Versions {
        /// The refused side's.
        ours: Versions,
        /// The refusing side's.
        theirs: Versions,
    },
    /// A live process holds the name.
    #[error("the name '{name}' is held by the live process {holder}: choose another --name or stop that one")]
    NameTaken {
        /// The name.
        name: ProcessName,
        /// The short id of who has it.
        holder: String,
    },
    /// The id is bound to another watcher's secret.
    #[error("the id {0} belongs to another watcher")]
    NotYours(Id),
    /// The node cannot take it now.
    #[error("{0}")]
    Busy(String),
    /// The process was removed while its watcher was away: it is to end.
    #[error("the process was removed")]
    Removed,
}
