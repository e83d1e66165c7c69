//! The gaps and facts that stand for what was dropped, older than every record of the log.
//!
//! | bytes | |
//! |---|---|
//! | 0..8 | `ZVFRONT1` |
//! | then, for each record: 4 | length of the body, little endian |
//! | 4 | crc32c of the body, little endian |
//! | n | head and payload, as a page of the wire is encoded |

use std::path::Path;

use zerovisor_core::record::{Head, Record};
use zerovisor_core::wire::{self, WireError};

use super::error::SpoolError;
use super::{FRONT, private};

const MAGIC: &[u8; 8] = b"ZVFRONT1";
/// The largest front, in bytes: some hundred thousand facts, far more than a watcher holds before it stops making new ones. Beyond it
/// nothing more is dropped from the disk, and after the child's wait the oldest output in memory is, as without a disk.
const FRONT_MAX_BYTES: usize = 16 << 20;

/// The bytes of a front file.
pub(super) fn encode(records: &[Record]) -> Result<Vec<u8>, SpoolError> {
    let mut bytes = MAGIC.to_vec();
    for record in records {
        let body = wire::encode_page(&(record.head, &record.payload[..]))?;
        let length = u32::try_from(body.len()).map_err(|_| WireError::TooLarge(FRONT_MAX_BYTES))?;
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
        bytes.extend_from_slice(&body);
        if bytes.len() > FRONT_MAX_BYTES {
            return Err(WireError::TooLarge(FRONT_MAX_BYTES).into());
        }
    }
    Ok(bytes)
}

/// What a spool's front holds.
#[derive(Debug, Default)]
pub(super) struct Front {
    /// Up to the first one that is damaged, in order; nothing where there is no front.
    pub(super) records: Vec<Record>,
    /// Whether something in it is damaged.
    pub(super) is_damaged: bool,
}

/// Reads the front of a spool.
pub(super) fn read(dir: &Path) -> Result<Front, SpoolError> {
    let path = dir.join(FRONT);
    let Some(bytes) = private::read(&path, FRONT_MAX_BYTES as u64)? else { return Ok(Front::default()) };
    let Some(mut rest) = bytes.strip_prefix(MAGIC) else { return Ok(Front { records: Vec::new(), is_damaged: true }) };
    let mut records: Vec<Record> = Vec::new();
    while let Some((record, behind)) = split(rest) {
        if records.last().is_some_and(|before| before.head.seq >= record.head.seq) {
            break;
        }
        records.push(record);
        rest = behind;
    }
    Ok(Front { records, is_damaged: !rest.is_empty() })
}

fn split(bytes: &[u8]) -> Option<(Record, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let (body, behind) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (head, payload): (Head, Vec<u8>) = wire::decode_page(body).ok()?;
    Some((Record { head, payload: payload.into() }, behind))
}
