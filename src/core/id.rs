//! Identities: 128 random bits, shown as the shortest unique prefix of at least eight characters.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The fewest characters of an id that are shown or accepted as a prefix.
pub const SHOWN_MIN: usize = 8;

/// The identity of a process, kept across its runs and across reconnections of its watcher.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Id([u8; 16]);

impl Id {
    /// An id from 128 random bits.
    pub fn from_random(bits: [u8; 16]) -> Id {
        Id(bits)
    }

    /// The sixteen bytes, as they travel and as they were drawn.
    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The first `len` hexadecimal characters, at most 32.
    pub fn prefix(&self, len: usize) -> String {
        let mut hex = self.to_string();
        hex.truncate(len.min(32));
        hex
    }

    /// The usual short form: the first eight characters.
    pub fn short(&self) -> String {
        self.prefix(SHOWN_MIN)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({self})")
    }
}

/// A text that is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not an id: an id is 32 hexadecimal characters")]
pub struct NotAnId(String);

impl FromStr for Id {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Id, NotAnId> {
        let wrong = || NotAnId(text.chars().take(40).collect());
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut bits = [0u8; 16];
        for (at, byte) in bits.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Id(bits))
    }
}

/// How many characters tell every one of `ids` from the others; at least [`SHOWN_MIN`].
pub fn unique_prefix_len(ids: impl IntoIterator<Item = Id>) -> usize {
    let mut sorted: Vec<String> = ids.into_iter().map(|id| id.to_string()).collect();
    sorted.sort_unstable();
    sorted.dedup();
    let shared = |pair: &[String]| pair[0].bytes().zip(pair[1].bytes()).take_while(|(a, b)| a == b).count();
    sorted.windows(2).map(|pair| shared(pair) + 1).max().unwrap_or(0).max(SHOWN_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_from_its_text() {
        let id = Id::from_random(*b"0123456789abcdef");
        assert_eq!(id.to_string().parse::<Id>(), Ok(id));
        assert!("short".parse::<Id>().is_err());
        assert!("zz345678901234567890123456789012".parse::<Id>().is_err());
        assert!("é2345678901234567890123456789012".parse::<Id>().is_err());
    }

    #[test]
    fn prefixes_grow_until_they_tell_all_apart() {
        let mut near = [0u8; 16];
        near[7] = 1;
        assert_eq!(unique_prefix_len([Id([0; 16]), Id([9; 16])]), 8);
        assert_eq!(unique_prefix_len([Id([0; 16]), Id(near)]), 16);
    }
}
