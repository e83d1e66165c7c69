//! What is said in place of a welcome by things that are no zerovisor.

use zerovisor_core::name::ProcessName;
use zerovisor_core::wire::{Refusal, Refused, ToPeer, VERSIONS};

use crate::harness::{Peer, frame, watcher_welcome};

/// What would clear a screen, set a title, ask a terminal to answer, and turn the text around.
pub(super) const ESCAPES: &str = "\x1b[2J\x1b]0;mine\x07\x1b[6n\u{9b}31m\u{202e}\nzvctl: all is well";

/// What is done to whoever connects.
pub(super) type Trick = Box<dyn Fn(Peer) + Send + Sync>;

/// What a client or a watcher hears in place of a welcome, by name.
pub(super) fn before_the_welcome() -> Vec<(&'static str, Trick)> {
    let wait = |mut peer: Peer| peer.is_left();
    let greeted = |bytes: Vec<u8>| {
        move |mut peer: Peer| {
            if peer.greets_back().is_ok() {
                peer.bytes(&bytes);
                peer.is_left();
            }
        }
    };
    let answered = |answer: ToPeer| {
        move |mut peer: Peer| {
            if peer.hello().is_some() {
                peer.say(&answer, None);
                peer.is_left();
            }
        }
    };
    let long = |flags: u8, length: u64| [&[flags][..], &length.to_be_bytes()].concat();
    let escapes = Refusal::Busy(ESCAPES.into());
    let name: ProcessName = "x".parse().unwrap();
    vec![
        ("silence", Box::new(wait)),
        ("a hang-up", Box::new(drop)),
        ("noise", Box::new(|mut peer: Peer| peer.bytes(&[0xa7; 4096]))),
        ("http", Box::new(|mut peer: Peer| peer.bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n"))),
        ("silence behind the handshake", Box::new(greeted(Vec::new()))),
        ("a frame of 2^47 bytes", Box::new(greeted(long(2, 1 << 47)))),
        ("a frame of 2^62 bytes", Box::new(greeted(long(2, 1 << 62)))),
        ("a second frame of 2^62 bytes", Box::new(greeted([b"\x01\x02Z\x01".to_vec(), long(2, 1 << 62)].concat()))),
        ("frames without end", Box::new(greeted(b"\x01\x01a".repeat(100_000)))),
        ("a ZMTP PING", Box::new(greeted(b"\x04\x07\x04PING\x00\x00".to_vec()))),
        ("no message of ours", Box::new(greeted(frame(0, b"hello")))),
        ("a message that does not decode", Box::new(greeted(frame(0, b"Z\x01\xff\xff\xff")))),
        ("escapes", Box::new(answered(ToPeer::Refused(Refused { versions: VERSIONS, reason: escapes })))),
        ("a pong", Box::new(answered(ToPeer::Pong { nonce: 1 }))),
        ("the welcome of a watcher, twice", {
            let welcome = watcher_welcome(&name, u64::MAX, u64::MAX);
            Box::new(move |mut peer: Peer| {
                if peer.hello().is_some() {
                    peer.say(&welcome, None);
                    peer.say(&welcome, None);
                    peer.is_left();
                }
            })
        }),
    ]
}
