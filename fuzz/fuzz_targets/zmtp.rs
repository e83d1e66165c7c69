//! The guard before every ZeroMQ socket: what it lets pass does not depend on the pieces a stream comes in, and all of it is within
//! the bounds: read again by a reader of its own, it is one greeting, one READY, and messages of one or two frames that fit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zerovisor::net::zmtp::{
    GREETING_BYTES, Guard, HEADER_MAX_BYTES, HELD_MAX_BYTES, PAYLOAD_MAX_BYTES, READY_MAX_BYTES, Refusal, SocketKind,
};
use zerovisor_fuzz::{cuts_and_stream, pieces};

/// What passed, the verdict, and how many messages were counted.
type Fed = (Vec<u8>, Result<(), Refusal>, u64);

fn feed<'a>(expected: SocketKind, pieces: impl Iterator<Item = &'a [u8]>, unseen: bool) -> Fed {
    let (mut guard, mut passed, mut held) = (Guard::new(expected), Vec::new(), Vec::new());
    for piece in pieces {
        held.extend_from_slice(piece);
        if unseen && guard.body_left() > 0 {
            // As the relay does: the rest of a body is moved without being looked at.
            let moved = guard.body_left().min(held.len());
            passed.extend(held.drain(..moved));
            guard.moved(moved);
        }
        match guard.admit(&held) {
            Ok(admitted) => {
                passed.extend(held.drain(..admitted));
                assert!(held.len() <= HELD_MAX_BYTES, "{} bytes are held", held.len());
            }
            Err(refused) => {
                passed.extend(held.drain(..refused.admitted));
                return (passed, Err(refused.refusal), guard.messages());
            }
        }
    }
    (passed, Ok(()), guard.messages())
}

/// Messages that are complete in what passed, counted by RFC 23 alone.
fn messages(passed: &[u8]) -> u64 {
    let Some((_greeting, mut rest)) = passed.split_at_checked(GREETING_BYTES) else { return 0 };
    let (mut count, mut frames, mut ready) = (0, 0, false);
    while let [flags, length, tail @ ..] = rest {
        let (length, tail) = match (flags & 2 != 0, rest.get(1..9)) {
            (true, Some(long)) => (u64::from_be_bytes(long.try_into().expect("eight bytes")), &rest[9..]),
            (true, None) => panic!("half a frame header passed"),
            (false, _) => (u64::from(*length), tail),
        };
        let command = flags & 4 != 0;
        assert_eq!(command, !ready, "a command is the first frame and no other");
        let limit = match (command, frames) {
            (true, _) => READY_MAX_BYTES as u64,
            (false, 0) => HEADER_MAX_BYTES,
            (false, _) => PAYLOAD_MAX_BYTES,
        };
        assert!(flags & !7 == 0 && length <= limit && frames < 2, "flags {flags:#x}, {length} bytes, frame {frames}");
        let body = usize::try_from(length).expect("bounded above").min(tail.len());
        let whole = body as u64 == length;
        rest = &tail[body..];
        if command {
            ready = true;
            continue;
        }
        frames = if flags & 1 != 0 { frames + 1 } else { 0 };
        count += u64::from(whole && frames == 0);
    }
    count
}

fuzz_target!(|input: &[u8]| {
    let Some((how, input)) = input.split_first() else { return };
    let expected = if how & 1 == 0 { SocketKind::Dealer } else { SocketKind::Router };
    let (cuts, body) = cuts_and_stream(input);
    let hello = expected.hello();
    // Most streams begin well, so that the frames are reached.
    let greeted = [&hello, body].concat();
    let stream = if how & 2 == 0 { &greeted } else { body };
    let whole = feed(expected, std::iter::once(stream), false);
    assert_eq!(whole.2, messages(&whole.0));
    assert_eq!(feed(expected, pieces(cuts, stream), false), whole);
    assert_eq!(feed(expected, pieces(cuts, stream), true), whole);
    assert_eq!(feed(expected, stream.chunks(1), true), whole);
});
