//! The wire: every message and its bytes. The only room that knows the serializer.
//!
//! A message is one or two ZeroMQ frames. The first is the header frame:
//!
//! ```text
//! byte 0      'Z' (0x5a)
//! byte 1      format of what follows: 1
//! bytes 2..   the message: bincode 2 "standard" configuration (little endian, variable-length integers) of [`ToNode`] or [`ToPeer`]
//! rest        extensions: any number of (tag: 1 byte, length: 2 bytes little endian, that many bytes); unknown tags are skipped
//! ```
//! The second, where a message has one, is the payload frame: raw output, or for answers a page of at most [`PAGE_MAX_BYTES`].
//! bincode is not self-describing: variants and fields are only ever appended, and a change of meaning is a new protocol version.

mod hello;
mod message;

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use hello::*;
pub use message::*;

use crate::fact::Fact;

/// The largest header frame, in bytes.
pub const HEADER_MAX_BYTES: usize = 64 << 10;
/// The largest payload frame, in bytes: a page of an answer.
pub const PAGE_MAX_BYTES: usize = 1 << 20;
/// The largest fact, encoded, in bytes.
pub const FACT_MAX_BYTES: usize = 32 << 10;

const MAGIC: u8 = b'Z';
const FORMAT: u8 = 1;

/// Bytes that are not the message they should be. The peer that sent them is dropped, nothing else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The frame does not begin like a header of ours.
    #[error("not a message of this protocol: it begins with {0:02x?}")]
    NotOurs(Vec<u8>),
    /// A newer framing.
    #[error("header format {0} is newer than the one known here ({FORMAT})")]
    NewerFormat(u8),
    /// The body does not decode within its limit.
    #[error("a message that does not decode: {0}")]
    Malformed(String),
    /// The extensions do not parse.
    #[error("extensions that do not parse at byte {0}")]
    BadExtensions(usize),
    /// Something to be sent is larger than its frame may be.
    #[error("a message of more than {0} bytes cannot be sent")]
    TooLarge(usize),
    /// Bytes behind the end.
    #[error("{0} bytes follow the end of a message")]
    Trailing(usize),
}

type Bounded<const MAX: usize> = Configuration<LittleEndian, Varint, Limit<MAX>>;

fn bounded<const MAX: usize>() -> Bounded<MAX> {
    bincode::config::standard().with_limit::<MAX>()
}

fn malformed(error: &bincode::error::DecodeError) -> WireError {
    WireError::Malformed(error.to_string().chars().take(120).collect())
}

/// The header frame of a message.
///
/// # Errors
/// [`WireError::TooLarge`] beyond [`HEADER_MAX_BYTES`].
pub fn encode_header(message: &impl Serialize) -> Result<Bytes, WireError> {
    let mut frame = Vec::with_capacity(64);
    frame.extend_from_slice(&[MAGIC, FORMAT]);
    bincode::serde::encode_into_std_write(message, &mut frame, bincode::config::standard())
        .map_err(|error| WireError::Malformed(error.to_string()))?;
    if frame.len() > HEADER_MAX_BYTES { Err(WireError::TooLarge(HEADER_MAX_BYTES)) } else { Ok(frame.into()) }
}

/// Reads a header frame; unknown extensions are skipped.
///
/// # Errors
/// Any [`WireError`] but `TooLarge`; nothing larger than the frame is ever allocated.
pub fn decode_header<T: DeserializeOwned>(frame: &[u8]) -> Result<T, WireError> {
    match frame {
        [MAGIC, FORMAT, body @ ..] => {
            let (message, used) = bincode::serde::decode_from_slice(body, bounded::<HEADER_MAX_BYTES>())
                .map_err(|error| malformed(&error))?;
            check_extensions(&body[used..], used + 2)?;
            Ok(message)
        }
        [MAGIC, newer, ..] if *newer > FORMAT => Err(WireError::NewerFormat(*newer)),
        other => Err(WireError::NotOurs(other.iter().take(4).copied().collect())),
    }
}

fn check_extensions(mut rest: &[u8], mut at: usize) -> Result<(), WireError> {
    while let [_tag, low, high, tail @ ..] = rest {
        let length = usize::from(u16::from_le_bytes([*low, *high]));
        rest = tail.get(length..).ok_or(WireError::BadExtensions(at))?;
        at += 3 + length;
    }
    if rest.is_empty() { Ok(()) } else { Err(WireError::BadExtensions(at)) }
}

fn encode_within<const MAX: usize>(value: &impl Serialize) -> Result<Bytes, WireError> {
    let bytes = bincode::serde::encode_to_vec(value, bincode::config::standard())
        .map_err(|error| WireError::Malformed(error.to_string()))?;
    if bytes.len() > MAX { Err(WireError::TooLarge(MAX)) } else { Ok(bytes.into()) }
}

fn decode_within<const MAX: usize, T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    let (value, used) =
        bincode::serde::decode_from_slice(bytes, bounded::<MAX>()).map_err(|error| malformed(&error))?;
    if used == bytes.len() { Ok(value) } else { Err(WireError::Trailing(bytes.len() - used)) }
}

/// A page of an answer, for a payload frame.
///
/// # Errors
/// [`WireError::TooLarge`] beyond [`PAGE_MAX_BYTES`].
pub fn encode_page(page: &impl Serialize) -> Result<Bytes, WireError> {
    encode_within::<PAGE_MAX_BYTES>(page)
}

/// Reads a page.
///
/// # Errors
/// It does not decode, or bytes follow it.
pub fn decode_page<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    decode_within::<PAGE_MAX_BYTES, T>(bytes)
}

/// Splits a list into pages that fit, in order; an item too large for a page of its own is left out and counted.
pub fn encode_pages<T: Serialize>(items: &[T]) -> (Vec<Bytes>, usize) {
    let (mut pages, mut left_out) = (Vec::new(), 0);
    let mut work = vec![items];
    while let Some(part) = work.pop() {
        match encode_page(&part) {
            Ok(page) => pages.push(page),
            Err(_) if part.len() > 1 => {
                let (front, back) = part.split_at(part.len() / 2);
                work.push(back);
                work.push(front);
            }
            Err(_) => left_out += part.len(),
        }
    }
    (pages, left_out)
}

/// A fact as the payload of its record.
///
/// # Errors
/// [`WireError::TooLarge`] beyond [`FACT_MAX_BYTES`].
pub fn encode_fact(fact: &Fact) -> Result<Bytes, WireError> {
    encode_within::<FACT_MAX_BYTES>(fact)
}

/// Reads a fact.
///
/// # Errors
/// It does not decode, or bytes follow it.
pub fn decode_fact(bytes: &[u8]) -> Result<Fact, WireError> {
    decode_within::<FACT_MAX_BYTES, Fact>(bytes)
}

#[cfg(test)]
mod tests;
