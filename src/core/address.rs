//! Who is meant: names, id prefixes, `node/name`, and selectors by label.

use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::{Id, SHOWN_MIN, unique_prefix_len};
use crate::name::{Label, Labels, NodeName, ProcessName};
use crate::units::Timestamp;

/// Longest address, in bytes: a node's name, a slash and a process's name.
pub const ADDRESS_MAX_BYTES: usize = 257;

/// How one process is meant.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    node: Option<NodeName>,
    name: String,
}

/// A text that cannot mean a process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{}' cannot mean a process: write a name, the first 8 or more characters of an id, or node/name", .0.escape_debug())]
pub struct NotAnAddress(String);

impl FromStr for Address {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Address, NotAnAddress> {
        let wrong = || NotAnAddress(text.chars().take(60).collect());
        let (node, name) = match text.split_once('/') {
            Some((node, name)) => (Some(node.parse().map_err(|_| wrong())?), name),
            None => (None, text),
        };
        let name: ProcessName = name.parse().map_err(|_| wrong())?;
        Ok(Address { node, name: name.into() })
    }
}

impl TryFrom<String> for Address {
    type Error = NotAnAddress;

    fn try_from(text: String) -> Result<Address, NotAnAddress> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> String {
        address.to_string()
    }
}

impl From<Id> for Address {
    fn from(id: Id) -> Address {
        Address { node: None, name: id.to_string() }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            Some(node) => write!(f, "{node}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// What can be meant: one known process.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Candidate {
    /// Its id.
    pub id: Id,
    /// Its name.
    pub name: ProcessName,
    /// Where it is.
    pub node: NodeName,
    /// Whether it is live; live ones win over ended ones.
    pub live: bool,
    /// When something last happened to it; the latest of several ended ones wins.
    pub at: Timestamp,
}

/// An address that means no process, or several.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// Nothing by that name.
    #[error("no process '{0}'")]
    Unknown(Address),
    /// More than one.
    #[error("'{address}' is ambiguous: {}", list(.candidates))]
    Ambiguous {
        /// What was asked for.
        address: Address,
        /// What it could mean.
        candidates: Vec<Candidate>,
    },
}

/// The most candidates an error lists.
const LISTED_MAX: usize = 6;

fn list(candidates: &[Candidate]) -> String {
    let shown = unique_prefix_len(candidates.iter().map(|c| c.id));
    let one = |c: &Candidate| format!("{}/{} ({})", c.node, c.name, c.id.prefix(shown));
    let mut text = candidates.iter().take(LISTED_MAX).map(one).collect::<Vec<_>>().join(", ");
    if candidates.len() > LISTED_MAX {
        text += &format!(" and {} more", candidates.len() - LISTED_MAX);
    }
    text
}

impl Address {
    /// Picks the one meant: by exact name first, then by id prefix; among those, live ones before ended ones, and of several ended
    /// ones the latest.
    ///
    /// # Errors
    /// [`Unresolved`] with the candidates.
    pub fn resolve<'a>(&self, all: impl Iterator<Item = &'a Candidate>) -> Result<&'a Candidate, Unresolved> {
        let here: Vec<&Candidate> = all.filter(|c| self.node.as_ref().is_none_or(|node| *node == c.node)).collect();
        let named: Vec<_> = here.iter().copied().filter(|c| c.name.as_str() == self.name).collect();
        let found = if named.is_empty() { self.by_prefix(&here) } else { named };
        let live: Vec<_> = found.iter().copied().filter(|c| c.live).collect();
        match live.as_slice() {
            [] => found.iter().copied().max_by_key(|c| (c.at, c.id)).ok_or_else(|| Unresolved::Unknown(self.clone())),
            [one] => Ok(one),
            [..] => {
                let mut candidates: Vec<Candidate> = live.into_iter().cloned().collect();
                candidates.sort_by_key(|c| (c.node.clone(), c.name.clone(), Reverse(c.at)));
                Err(Unresolved::Ambiguous { address: self.clone(), candidates })
            }
        }
    }

    fn by_prefix<'a>(&self, here: &[&'a Candidate]) -> Vec<&'a Candidate> {
        let prefix = self.name.to_ascii_lowercase();
        if prefix.len() < SHOWN_MIN {
            return Vec::new();
        }
        here.iter().copied().filter(|c| c.id.to_string().starts_with(&prefix)).collect()
    }
}

/// Which processes a command is for: the addressed ones and all that carry every label.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Selection {
    /// Each means exactly one process.
    pub addresses: Vec<Address>,
    /// All that have every one of these; empty: none by label.
    pub labels: Vec<Label>,
}

impl Selection {
    /// Whether nothing was said, which reading commands take as everything.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.labels.is_empty()
    }

    /// Whether the labels choose a process with these.
    pub fn labels_match(&self, labels: &Labels) -> bool {
        !self.labels.is_empty() && self.labels.iter().all(|label| labels.has(label))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(id: u8, name: &str, live: bool, at: u64) -> Candidate {
        Candidate {
            id: Id::from_random([id; 16]),
            name: name.parse().unwrap(),
            node: "n1".parse().unwrap(),
            live,
            at: Timestamp(at),
        }
    }

    fn resolve(address: &str, all: &[Candidate]) -> Result<u8, String> {
        let address: Address = address.parse().unwrap();
        address.resolve(all.iter()).map(|c| c.id.bytes()[0]).map_err(|e| e.to_string())
    }

    #[test]
    fn live_wins_over_ended_and_the_latest_ended_one_wins() {
        let all = [
            candidate(1, "a", false, 9),
            candidate(2, "a", true, 1),
            candidate(3, "b", false, 1),
            candidate(4, "b", false, 2),
        ];
        assert_eq!(resolve("a", &all), Ok(2));
        assert_eq!(resolve("b", &all), Ok(4));
        assert_eq!(resolve("n1/b", &all), Ok(4));
        assert_eq!(resolve("n2/b", &all), Err("no process 'n2/b'".into()));
        assert_eq!(resolve("03030303", &all), Ok(3));
        assert_eq!(resolve("0303030", &all), Err("no process '0303030'".into()), "seven characters are no id");
    }

    #[test]
    fn an_ambiguous_address_lists_the_candidates() {
        let all = [candidate(1, "a", true, 9), candidate(2, "a", true, 1)];
        let error = resolve("a", &all).unwrap_err();
        assert!(error.contains("01010101") && error.contains("02020202"), "{error}");
    }

    #[test]
    fn an_address_is_a_name_with_at_most_one_node() {
        for bad in ["", "a/b/c", "a b", "/x", "x/", "a\n"] {
            assert!(bad.parse::<Address>().is_err(), "{bad:?}");
        }
    }
}
