//! Records: the units of a process's stream, in the watcher's window, on the wire and in the journal.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::units::Timestamp;

/// The most output one record holds, in bytes: one read of a full pipe.
pub const OUTPUT_MAX_BYTES: usize = 256 << 10;

/// What a record holds. The numbers are those of wire and journal and never change.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum Kind {
    /// Bytes the program wrote to its standard output.
    Stdout,
    /// Bytes it wrote to its standard error.
    Stderr,
    /// Bytes it wrote to its terminal.
    Terminal,
    /// A [`crate::fact::Fact`].
    Fact,
}

impl Kind {
    /// Whether the payload is bytes of the program's own.
    pub fn is_output(self) -> bool {
        match self {
            Kind::Stdout | Kind::Stderr | Kind::Terminal => true,
            Kind::Fact => false,
        }
    }
}

impl From<Kind> for u8 {
    fn from(kind: Kind) -> u8 {
        match kind {
            Kind::Stdout => 1,
            Kind::Stderr => 2,
            Kind::Terminal => 3,
            Kind::Fact => 16,
        }
    }
}

/// A number that is no kind of record, or a text that is no stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAKind {
    /// From the wire or the journal.
    #[error("{0} is not a kind of record")]
    Number(u8),
    /// From a user.
    #[error("'{0}' is not a stream: write stdout, stderr or terminal")]
    Text(String),
}

impl TryFrom<u8> for Kind {
    type Error = NotAKind;

    fn try_from(number: u8) -> Result<Kind, NotAKind> {
        match number {
            1 => Ok(Kind::Stdout),
            2 => Ok(Kind::Stderr),
            3 => Ok(Kind::Terminal),
            16 => Ok(Kind::Fact),
            _ => Err(NotAKind::Number(number)),
        }
    }
}

impl FromStr for Kind {
    type Err = NotAKind;

    fn from_str(text: &str) -> Result<Kind, NotAKind> {
        match text {
            "stdout" | "out" | "1" => Ok(Kind::Stdout),
            "stderr" | "err" | "2" => Ok(Kind::Stderr),
            "terminal" | "pty" => Ok(Kind::Terminal),
            _ => Err(NotAKind::Text(text.chars().take(40).collect())),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Stdout => "stdout",
            Kind::Stderr => "stderr",
            Kind::Terminal => "terminal",
            Kind::Fact => "fact",
        })
    }
}

/// Everything of a record but its payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Head {
    /// Place in the one sequence of its watcher's life, from 1, without holes.
    pub seq: u64,
    /// When the watcher had it.
    pub at: Timestamp,
    /// The run it belongs to; 0 before the first.
    pub run: u32,
    /// What the payload is.
    pub kind: Kind,
    /// For output: how many bytes of this kind the run wrote before it. A check, and an address that never restarts within a run.
    pub offset: u64,
}

/// A record as it travels and rests: for output the bytes themselves, for a fact its encoding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Place, time, run, kind.
    pub head: Head,
    /// At most [`OUTPUT_MAX_BYTES`].
    pub payload: Bytes,
}
