//! The front: the process of `zvwatch --pty -it` that stays with the user's terminal, so that detaching can return to the shell.
//!
//! ```text
//! user's terminal <--> outside (the process the user started) <== socket pair ==> inside (the watcher) <--> the program's terminal
//! ```
//! It is a viewer like those that come through a zerovisor, but needs none. What they say to each other:
//!
//! | byte 0 | bytes 1 to 4 | then |
//! |---|---|---|
//! | what | length of what follows, little endian | the bytes |
//!
//! Both ends are one program, forked: there are no versions.

#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
pub(super) mod inside;
pub mod outside;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use zerovisor_core::size::Size;

/// The longest that follows a head, in bytes; more is cut into several by the sender.
const BODY_MAX_BYTES: usize = 256 << 10;
const HEAD_BYTES: usize = 5;

/// From the front to the watcher.
#[derive(Debug, PartialEq, Eq)]
enum ToWatcher {
    /// Typed by the user.
    Typed(Bytes),
    /// The user's terminal has this size.
    Resized(Size),
    /// The user leaves; the program stays.
    Detach,
}

/// From the watcher to the front.
#[derive(Debug, PartialEq, Eq)]
enum ToFront {
    /// A picture begins: what is half shown never will be whole.
    Picture,
    /// To be shown.
    Output(Bytes),
    /// The process has ended for good.
    Ended {
        /// The status to end with.
        status: u8,
        /// Whether it left its alternate screen shown.
        alternate: bool,
        /// What else the user should know, in a line, or nothing.
        line: String,
    },
    /// The user may leave.
    Detached {
        /// Whether the program's alternate screen is shown.
        alternate: bool,
        /// The name to come back by.
        name: String,
    },
}

/// Bytes that are no frame of ours: the other end is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other half of zvwatch does not speak as it should")]
struct Garbled;

fn frame(what: u8, body: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEAD_BYTES + body.len());
    frame.put_u8(what);
    frame.put_u32_le(u32::try_from(body.len()).unwrap_or(u32::MAX));
    frame.extend_from_slice(body);
    frame.freeze()
}

/// Takes the next whole frame out of what has come; none if it is not all there.
fn next_frame(inbox: &mut BytesMut) -> Result<Option<(u8, Bytes)>, Garbled> {
    let [what, l0, l1, l2, l3, ..] = inbox[..] else { return Ok(None) };
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if length > BODY_MAX_BYTES {
        return Err(Garbled);
    }
    if inbox.len() < HEAD_BYTES + length {
        return Ok(None);
    }
    inbox.advance(HEAD_BYTES);
    Ok(Some((what, inbox.split_to(length).freeze())))
}

impl ToWatcher {
    fn encode(&self) -> Bytes {
        match self {
            ToWatcher::Typed(bytes) => frame(1, bytes),
            ToWatcher::Resized(size) => {
                let ([c0, c1], [r0, r1]) = (size.cols().to_le_bytes(), size.rows().to_le_bytes());
                frame(2, &[c0, c1, r0, r1])
            }
            ToWatcher::Detach => frame(3, &[]),
        }
    }

    fn decode(what: u8, body: Bytes) -> Result<ToWatcher, Garbled> {
        match (what, &body[..]) {
            (1, _) => Ok(ToWatcher::Typed(body)),
            (2, &[c0, c1, r0, r1]) => {
                let size = Size::new(u16::from_le_bytes([c0, c1]), u16::from_le_bytes([r0, r1]));
                size.map(ToWatcher::Resized).map_err(|_| Garbled)
            }
            (3, []) => Ok(ToWatcher::Detach),
            _ => Err(Garbled),
        }
    }
}

impl ToFront {
    fn encode(&self) -> Bytes {
        match self {
            ToFront::Picture => frame(1, &[]),
            ToFront::Output(bytes) => frame(2, bytes),
            ToFront::Ended { status, alternate, line } => {
                frame(3, &[&[*status, u8::from(*alternate)], line.as_bytes()].concat())
            }
            ToFront::Detached { alternate, name } => frame(4, &[&[u8::from(*alternate)], name.as_bytes()].concat()),
        }
    }

    fn decode(what: u8, body: Bytes) -> Result<ToFront, Garbled> {
        match (what, &body[..]) {
            (1, []) => Ok(ToFront::Picture),
            (2, _) => Ok(ToFront::Output(body)),
            (3, &[status, alternate, ref line @ ..]) => Ok(ToFront::Ended {
                status,
                alternate: alternate != 0,
                line: String::from_utf8_lossy(line).into_owned(),
            }),
            (4, &[alternate, ref name @ ..]) => {
                Ok(ToFront::Detached { alternate: alternate != 0, name: String::from_utf8_lossy(name).into_owned() })
            }
            _ => Err(Garbled),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_heard_in_any_pieces() {
        let said = [
            ToWatcher::Typed(Bytes::from_static(b"ls\r")),
            ToWatcher::Resized(Size::DEFAULT),
            ToWatcher::Typed(Bytes::new()),
            ToWatcher::Detach,
        ];
        let bytes: Vec<u8> = said.iter().flat_map(ToWatcher::encode).collect();
        for piece in 1..bytes.len() {
            let (mut inbox, mut heard) = (BytesMut::new(), Vec::new());
            for part in bytes.chunks(piece) {
                inbox.extend_from_slice(part);
                while let Some((what, body)) = next_frame(&mut inbox).unwrap() {
                    heard.push(ToWatcher::decode(what, body).unwrap());
                }
            }
            assert_eq!(heard, said);
        }
        let ended = ToFront::Ended { status: 7, alternate: true, line: "x".into() };
        let detached = ToFront::Detached { alternate: false, name: "sh".into() };
        for news in [ToFront::Picture, ended, detached] {
            let mut inbox = BytesMut::from(&news.encode()[..]);
            let (what, body) = next_frame(&mut inbox).unwrap().unwrap();
            assert_eq!(ToFront::decode(what, body), Ok(news));
        }
    }

    #[test]
    fn a_length_beyond_the_bound_is_not_waited_for() {
        assert_eq!(next_frame(&mut BytesMut::from(&[1, 0xff, 0xff, 0xff, 0x7f][..])), Err(Garbled));
        assert_eq!(ToWatcher::decode(2, Bytes::from_static(&[0, 0, 0, 0])), Err(Garbled));
    }
}
