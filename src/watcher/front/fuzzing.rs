//! What the fuzz targets of `fuzz/` reach of this room.

use bytes::{Bytes, BytesMut};

use super::{ToFront, ToWatcher, next_frame};

/// All that one end says to the other, in pieces: the frames of each message as it would be sent, and whether the rest is garbled.
fn heard<'a>(pieces: impl Iterator<Item = &'a [u8]>, again: impl Fn(u8, Bytes) -> Option<Bytes>) -> (Vec<Bytes>, bool) {
    let (mut inbox, mut heard) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        inbox.extend_from_slice(piece);
        loop {
            match next_frame(&mut inbox) {
                Ok(None) => break,
                Ok(Some((what, body))) => match again(what, body) {
                    Some(frame) => heard.push(frame),
                    None => return (heard, true),
                },
                Err(_) => return (heard, true),
            }
        }
    }
    (heard, false)
}

/// What the front says.
pub fn to_watcher<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Bytes>, bool) {
    heard(pieces, |what, body| ToWatcher::decode(what, body).ok().map(|said| said.encode()))
}

/// What the watcher says.
pub fn to_front<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Bytes>, bool) {
    heard(pieces, |what, body| ToFront::decode(what, body).ok().map(|said| said.encode()))
}
