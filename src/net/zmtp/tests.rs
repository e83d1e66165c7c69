use super::*;
use proptest::prelude::*;

fn frame(more: bool, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![u8::from(more)];
    match u8::try_from(body.len()) {
        Ok(short) => bytes.push(short),
        Err(_) => {
            bytes[0] |= LONG;
            bytes.extend_from_slice(&(body.len() as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

fn ready_with(properties: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut body = b"\x05READY".to_vec();
    for (name, value) in properties {
        body.push(u8::try_from(name.len()).unwrap());
        body.extend_from_slice(name);
        body.extend_from_slice(&u32::try_from(value.len()).unwrap().to_be_bytes());
        body.extend_from_slice(value);
    }
    let mut bytes = frame(false, &body);
    bytes[0] |= COMMAND;
    bytes
}

fn established() -> Guard {
    let mut guard = Guard::new(SocketKind::Dealer);
    let hello = SocketKind::Dealer.hello();
    assert_eq!(guard.admit(&hello), Ok(hello.len()));
    assert!(guard.is_established());
    guard
}

/// Behind a first message.
fn known() -> Guard {
    let mut guard = established();
    guard.admit(&frame(false, b"hello")).unwrap();
    guard
}

fn refusal(bytes: &[u8]) -> Refusal {
    Guard::new(SocketKind::Dealer).admit(bytes).unwrap_err().refusal
}

/// Feeds the stream in pieces as a relay does, and returns what passed.
fn feed(guard: &mut Guard, stream: &[u8], pieces: impl IntoIterator<Item = usize>) -> Result<Vec<u8>, Refusal> {
    let (mut passed, mut held, mut at) = (Vec::new(), Vec::new(), 0);
    let mut pieces = pieces.into_iter();
    while at < stream.len() {
        let end = (at + pieces.next().unwrap_or(usize::MAX).max(1).min(stream.len())).min(stream.len());
        held.extend_from_slice(&stream[at..end]);
        at = end;
        match guard.admit(&held) {
            Ok(admitted) => {
                passed.extend(held.drain(..admitted));
                assert!(held.len() <= HELD_MAX_BYTES);
            }
            Err(refused) => return Err(refused.refusal),
        }
    }
    Ok(passed)
}

#[test]
fn the_hello_is_what_the_crate_sends() {
    for kind in [SocketKind::Dealer, SocketKind::Router] {
        assert_eq!(Guard::new(kind).admit(&kind.hello()), Ok(94));
    }
}

#[test]
fn identity_of_255_passes_and_256_does_not() {
    let hello = |len: usize| {
        let mut bytes = SocketKind::Dealer.hello()[..GREETING_BYTES].to_vec();
        bytes.extend(ready_with(&[(b"Socket-Type", b"DEALER"), (b"Identity", &vec![b'i'; len])]));
        bytes
    };
    let longest = hello(255);
    assert_eq!(Guard::new(SocketKind::Dealer).admit(&longest), Ok(longest.len()));
    assert_eq!(refusal(&hello(256)), Refusal::IdentityTooLarge(256));
}

#[test]
fn handshakes_that_are_not_ours_are_refused_as_early_as_seen() {
    assert_eq!(refusal(b"G"), Refusal::NotZmtp);
    let changed = |at: usize, byte: u8| {
        let mut hello = SocketKind::Dealer.hello();
        hello[at] = byte;
        hello
    };
    assert_eq!(refusal(&changed(9, 0)[..10]), Refusal::NotZmtp);
    assert_eq!(refusal(&changed(10, 2)[..11]), Refusal::Version(2));
    assert_eq!(refusal(&changed(12, b'C')), Refusal::Mechanism);
    assert_eq!(refusal(&changed(64, 0)), Refusal::NotReady);
    assert_eq!(refusal(&changed(64, COMMAND | MORE)), Refusal::NotReady);
    assert_eq!(refusal(&changed(67, b'X')), Refusal::NotReady);
    assert_eq!(refusal(&SocketKind::Router.hello()), Refusal::WrongSocket(SocketKind::Dealer));
    let greeting = &SocketKind::Dealer.hello()[..GREETING_BYTES];
    let with = |command: Vec<u8>| refusal(&[greeting.to_vec(), command].concat());
    assert_eq!(with(ready_with(&[])), Refusal::ReadyMalformed);
    let twice: [(&[u8], &[u8]); 2] = [(b"Socket-Type", b"DEALER"), (b"Socket-Type", b"DEALER")];
    assert_eq!(with(ready_with(&twice)), Refusal::ReadyMalformed);
    assert_eq!(with(b"\x06\0\0\x80\0\0\0\0\0".to_vec()), Refusal::ReadyTooLarge(1 << 47));
    assert_eq!(with(b"\x04\x08\x05READY\x0bS".to_vec()), Refusal::ReadyMalformed);
}

#[test]
fn limits_on_frames_hold_to_the_byte() {
    let long = |flags: u8, len: u64| [&[flags | LONG][..], &len.to_be_bytes()].concat();
    for len in [HEADER_MAX_BYTES + 1, 1 << 47, 1 << 62, 1 << 63, u64::MAX] {
        let refused = established().admit(&long(0, len)).unwrap_err();
        assert_eq!(refused, Refused { admitted: 0, refusal: Refusal::FrameTooLarge { len, limit: HEADER_MAX_BYTES } });
    }
    assert_eq!(established().admit(&long(0, HEADER_MAX_BYTES)), Ok(9));
    for (guard, most) in [(established as fn() -> Guard, HEADER_MAX_BYTES), (known, PAYLOAD_MAX_BYTES)] {
        let mut whole = guard();
        assert_eq!(whole.admit(&frame(true, b"h")), Ok(3));
        assert_eq!(whole.admit(&long(0, most)), Ok(9));
        assert_eq!(whole.body_left() as u64, most);
        let mut beyond = guard();
        beyond.admit(&frame(true, b"h")).unwrap();
        assert!(beyond.admit(&long(0, most + 1)).is_err());
    }
}

#[test]
fn what_is_no_message_of_ours_is_refused_and_what_was_before_passes() {
    let before = frame(false, b"fine");
    for (bytes, refusal) in [
        (frame(true, b"").repeat(3), Refusal::TooManyFrames),
        (b"\x04\x00".to_vec(), Refusal::Command),
        (b"\x80\x00".to_vec(), Refusal::Flags(0x80)),
        (b"\x08\x00".to_vec(), Refusal::Flags(0x08)),
    ] {
        let mut guard = established();
        let refused = guard.admit(&[before.clone(), bytes].concat()).unwrap_err();
        assert_eq!(refused.refusal, refusal);
        assert!(refused.admitted >= before.len());
        assert_eq!(guard.messages(), 1);
    }
}

#[test]
fn a_body_moved_unseen_counts_like_one_seen() {
    let mut guard = established();
    let message = frame(false, &[7; 1000]);
    assert_eq!(guard.admit(&message[..100]), Ok(100));
    assert_eq!(guard.body_left(), 909);
    assert!(!guard.at_boundary());
    guard.moved(909);
    assert!(guard.at_boundary());
    assert_eq!(guard.messages(), 1);
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    let body = || prop::collection::vec(any::<u8>(), 0..600);
    (body(), prop::option::of(body())).prop_map(|(header, payload)| match payload {
        Some(payload) => [frame(true, &header), frame(false, &payload)].concat(),
        None => frame(false, &header),
    })
}

proptest! {
    #[test]
    fn any_split_of_a_valid_stream_passes_whole(
        messages in prop::collection::vec(message(), 0..20),
        pieces in prop::collection::vec(1usize..300, 0..200),
    ) {
        let mut stream = SocketKind::Dealer.hello();
        stream.extend(messages.concat());
        let mut guard = Guard::new(SocketKind::Dealer);
        let passed = feed(&mut guard, &stream, pieces).unwrap();
        prop_assert_eq!(passed, stream);
        prop_assert_eq!(guard.messages(), messages.len() as u64);
        prop_assert!(guard.at_boundary());
    }

    #[test]
    fn random_bytes_never_panic_and_never_pass_unjudged(
        hello in any::<bool>(),
        bytes in prop::collection::vec(any::<u8>(), 0..2000),
        pieces in prop::collection::vec(1usize..100, 0..100),
    ) {
        let mut stream = if hello { SocketKind::Dealer.hello() } else { Vec::new() };
        stream.extend(bytes);
        let mut whole = Guard::new(SocketKind::Dealer);
        let mut pieced = Guard::new(SocketKind::Dealer);
        let at_once = feed(&mut whole, &stream, None);
        prop_assert_eq!(feed(&mut pieced, &stream, pieces), at_once);
        prop_assert!(whole.body_left() as u64 <= PAYLOAD_MAX_BYTES);
        prop_assert_eq!(whole.messages(), pieced.messages());
    }
}
