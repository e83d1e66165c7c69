//! What a spool says of its process.
//!
//! | bytes | |
//! |---|---|
//! | 0..8 | `ZVSPOOL` and the version as a digit: `1` |
//! | 8..12 | crc32c of the rest, little endian |
//! | 12.. | [`Meta`], as a page of the wire is encoded |

use std::path::Path;

use serde::{Deserialize, Serialize};
use zerovisor_core::wire::{self, PAGE_MAX_BYTES, WatcherHello};

use super::error::SpoolError;
use super::{META, private};

const MAGIC: &[u8; 7] = b"ZVSPOOL";
const VERSION: u8 = b'1';
const HEADER_BYTES: usize = 12;

/// What the next zerovisor needs to know of a process in order to take in its records.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Meta {
    /// The endpoint the watcher was given, as it was written.
    pub endpoint: String,
    /// What it would say to a zerovisor. State and next record are those of the moment the spool was made, or left.
    pub hello: WatcherHello,
}

impl Meta {
    /// Writes it, whole or not at all.
    pub(super) fn write(&self, dir: &Path) -> Result<(), SpoolError> {
        let body = wire::encode_page(self)?;
        let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
        bytes.extend_from_slice(MAGIC);
        bytes.push(VERSION);
        bytes.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
        bytes.extend_from_slice(&body);
        private::replace(&dir.join(META), &bytes)
    }

    /// Reads it; none if there is none.
    pub(super) fn read(dir: &Path) -> Result<Option<Meta>, SpoolError> {
        let path = dir.join(META);
        let Some(bytes) = private::read(&path, (HEADER_BYTES + PAGE_MAX_BYTES) as u64)? else { return Ok(None) };
        decode(&bytes).map(Some).map_err(|why| SpoolError::bad(&path, why))
    }
}

fn decode(bytes: &[u8]) -> Result<Meta, String> {
    let rest = bytes.strip_prefix(MAGIC).ok_or("it does not begin with ZVSPOOL")?;
    let (version, rest) = rest.split_first().ok_or("it is cut off")?;
    if *version != VERSION {
        return Err(format!("it is of version {}: use the program that wrote it", version.escape_ascii()));
    }
    let (crc, body) = rest.split_first_chunk::<4>().ok_or("it is cut off")?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
        return Err("it fails its checksum".into());
    }
    wire::decode_page(body).map_err(|error| error.to_string())
}
