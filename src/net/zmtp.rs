//! The ZMTP guard: reads what a peer sends and lets pass only what our protocol can mean.
//!
//! ```text
//! Greeting --64 bytes--> Ready --one READY command--> Frame <--> Body
//! ```
//! Pure: bytes in, a verdict out; no sockets, no clock. It exists because the zeromq crate reserves whatever a
//! long frame header announces (one header of 2^47 aborts the process) and keeps frames with MORE set for ever.

use thiserror::Error;

/// Bytes of a ZMTP 3 greeting.
pub const GREETING_BYTES: usize = 64;
/// Longest READY command body that is read; ours is 28 bytes, with an identity of 255 it is 300.
pub const READY_MAX_BYTES: usize = 512;
/// Longest header frame (the first of a message).
pub const HEADER_MAX_BYTES: u64 = 64 << 10;
/// Longest payload frame (the second of a message): a page of 1 MiB and a little room. That of a first message is no longer than a header.
pub const PAYLOAD_MAX_BYTES: u64 = (1 << 20) + 64;
/// Longest identity ZMTP allows.
pub const IDENTITY_MAX_BYTES: usize = 255;
/// The most bytes [`Guard::admit`] may leave for later: a READY command that is one byte short.
pub const HELD_MAX_BYTES: usize = LONG_PREFIX + READY_MAX_BYTES;

const MORE: u8 = 0b001;
const LONG: u8 = 0b010;
const COMMAND: u8 = 0b100;
/// Flags and length of a short frame.
const SHORT_PREFIX: usize = 2;
/// Flags and length of a long frame.
const LONG_PREFIX: usize = 9;

/// Which ZeroMQ socket stands on one side of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketKind {
    /// Dials.
    Dealer,
    /// Accepts.
    Router,
}

impl SocketKind {
    /// The name as it stands in READY.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dealer => "DEALER",
            Self::Router => "ROUTER",
        }
    }

    /// Greeting and READY as a socket of this kind sends them, without an identity.
    #[must_use]
    pub fn hello(self) -> Vec<u8> {
        let mut hello = vec![0; GREETING_BYTES];
        hello[0] = 0xff;
        hello[9] = 0x7f;
        hello[10] = 3;
        hello[12..16].copy_from_slice(b"NULL");
        hello.extend_from_slice(&[COMMAND, 28]);
        hello.extend_from_slice(b"\x05READY\x0bSocket-Type\x00\x00\x00\x06");
        hello.extend_from_slice(self.as_str().as_bytes());
        hello
    }
}

/// Why the guard cut a peer off. The peer broke the protocol; nothing of the offending frame was passed on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The first bytes are no ZMTP greeting.
    #[error("it does not speak ZMTP")]
    NotZmtp,
    /// A greeting of ZMTP 2 or older.
    #[error("it speaks ZMTP {0}, at least 3 is needed")]
    Version(u8),
    /// PLAIN, CURVE or the like.
    #[error("it wants a ZMTP security mechanism other than NULL")]
    Mechanism,
    /// Something other than a READY command follows the greeting.
    #[error("its greeting is not followed by READY")]
    NotReady,
    /// A READY command longer than [`READY_MAX_BYTES`].
    #[error("its READY command has {0} bytes, the limit is {READY_MAX_BYTES}")]
    ReadyTooLarge(u64),
    /// A READY command whose properties can't be read.
    #[error("its READY command is malformed")]
    ReadyMalformed,
    /// READY from the wrong kind of socket.
    #[error("it is not a {} socket", .0.as_str())]
    WrongSocket(SocketKind),
    /// An identity longer than ZMTP allows.
    #[error("its identity has {0} bytes, the limit is {IDENTITY_MAX_BYTES}")]
    IdentityTooLarge(usize),
    /// A command after the handshake (PING, SUBSCRIBE, ...).
    #[error("it sent a ZMTP command after the handshake")]
    Command,
    /// A frame with reserved flag bits.
    #[error("it sent a frame with reserved flags {0:#04x}")]
    Flags(u8),
    /// A frame over its limit.
    #[error("frame too large: {len} > {limit} bytes")]
    FrameTooLarge {
        /// What the frame header announced.
        len: u64,
        /// What is allowed.
        limit: u64,
    },
    /// A third frame in one message.
    #[error("too many frames in one message, the limit is 2")]
    TooManyFrames,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Greeting,
    Ready,
    /// At the first byte of a frame header.
    Frame {
        second: bool,
    },
    /// Inside a frame body of which `left` bytes (never 0) are to come.
    Body {
        left: u64,
        more: bool,
    },
}

/// The state of one peer's stream.
#[derive(Debug)]
pub struct Guard {
    expected: SocketKind,
    state: State,
    messages: u64,
}

impl Guard {
    /// A guard before the first byte of a peer that must be an `expected` socket.
    #[must_use]
    pub const fn new(expected: SocketKind) -> Self {
        Self { expected, state: State::Greeting, messages: 0 }
    }

    /// Judges the next bytes of the stream: how many of them may be passed on. What is left over (at most
    /// [`HELD_MAX_BYTES`]) is the beginning of a header not yet complete: present it again with more behind it.
    ///
    /// # Errors
    /// A [`Refusal`] is final: pass on the bytes before the offence ([`Refused::admitted`]) and close the connection.
    pub fn admit(&mut self, bytes: &[u8]) -> Result<usize, Refused> {
        let mut admitted = 0;
        loop {
            match self.step(&bytes[admitted..]) {
                Ok(0) => return Ok(admitted),
                Ok(taken) => admitted += taken,
                Err(refusal) => return Err(Refused { admitted, refusal }),
            }
        }
    }

    /// Greeting and READY have passed.
    #[must_use]
    pub const fn is_established(&self) -> bool {
        matches!(self.state, State::Frame { .. } | State::Body { .. })
    }

    /// Bytes of the present frame's body still to come; they may be moved unseen, then told by [`Guard::moved`].
    #[must_use]
    pub fn body_left(&self) -> usize {
        match self.state {
            State::Body { left, .. } => usize::try_from(left).unwrap_or(usize::MAX),
            State::Greeting | State::Ready | State::Frame { .. } => 0,
        }
    }

    /// `bytes` of the present body (at most [`Guard::body_left`]) were passed on unseen.
    pub fn moved(&mut self, bytes: usize) {
        self.pass_body(bytes as u64);
    }

    /// Complete messages passed so far.
    #[must_use]
    pub const fn messages(&self) -> u64 {
        self.messages
    }

    /// The stream may end here without cutting a message in two.
    #[must_use]
    pub const fn at_boundary(&self) -> bool {
        matches!(self.state, State::Frame { second: false })
    }

    /// Takes one unit (greeting, command, frame header, piece of a body) off the front; 0: needs more bytes.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        match self.state {
            State::Greeting => {
                let taken = greeting(bytes)?;
                if taken > 0 {
                    self.state = State::Ready;
                }
                Ok(taken)
            }
            State::Ready => {
                let taken = ready(bytes, self.expected)?;
                if taken > 0 {
                    self.state = State::Frame { second: false };
                }
                Ok(taken)
            }
            State::Frame { second } => self.frame_header(bytes, second),
            State::Body { left, .. } => {
                let taken = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                self.pass_body(taken as u64);
                Ok(taken)
            }
        }
    }

    fn frame_header(&mut self, bytes: &[u8], second: bool) -> Result<usize, Refusal> {
        let Some(&flags) = bytes.first() else { return Ok(0) };
        if flags & !(MORE | LONG | COMMAND) != 0 {
            return Err(Refusal::Flags(flags));
        }
        if flags & COMMAND != 0 {
            return Err(Refusal::Command);
        }
        let more = flags & MORE != 0;
        if second && more {
            return Err(Refusal::TooManyFrames);
        }
        let Some((prefix, len)) = frame_length(bytes) else { return Ok(0) };
        // Of a peer that has not said a first message nobody knows who it is: not much of it is kept.
        let limit = if second && self.messages > 0 { PAYLOAD_MAX_BYTES } else { HEADER_MAX_BYTES };
        if len > limit {
            return Err(Refusal::FrameTooLarge { len, limit });
        }
        self.state = State::Body { left: len, more };
        self.pass_body(0);
        Ok(prefix)
    }

    fn pass_body(&mut self, bytes: u64) {
        let State::Body { left, more } = self.state else { return };
        let left = left.saturating_sub(bytes);
        self.state = if left > 0 {
            State::Body { left, more }
        } else {
            self.messages += u64::from(!more);
            State::Frame { second: more }
        };
    }
}

/// A [`Refusal`] and how many bytes before the offence may still be passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Leading bytes of the call that were in order.
    pub admitted: usize,
    /// What came after them.
    pub refusal: Refusal,
}

/// Prefix length and body length of the frame that begins here, once its header is complete.
fn frame_length(bytes: &[u8]) -> Option<(usize, u64)> {
    if *bytes.first()? & LONG == 0 {
        return bytes.get(1).map(|&len| (SHORT_PREFIX, u64::from(len)));
    }
    let len: [u8; 8] = bytes.get(1..LONG_PREFIX)?.try_into().ok()?;
    Some((LONG_PREFIX, u64::from_be_bytes(len)))
}

/// Judged as far as it is there, so that a stranger is refused at its first wrong byte.
fn greeting(bytes: &[u8]) -> Result<usize, Refusal> {
    const MECHANISM: &[u8; 20] = b"NULL\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    if bytes.first().is_some_and(|&first| first != 0xff) || bytes.get(9).is_some_and(|&ninth| ninth != 0x7f) {
        return Err(Refusal::NotZmtp);
    }
    if let Some(&major) = bytes.get(10)
        && major < 3
    {
        return Err(Refusal::Version(major));
    }
    if bytes.get(12..32).is_some_and(|mechanism| mechanism != MECHANISM) {
        return Err(Refusal::Mechanism);
    }
    Ok(if bytes.len() < GREETING_BYTES { 0 } else { GREETING_BYTES })
}

fn ready(bytes: &[u8], expected: SocketKind) -> Result<usize, Refusal> {
    let Some(&flags) = bytes.first() else { return Ok(0) };
    if flags & !LONG != COMMAND {
        return Err(Refusal::NotReady);
    }
    let Some((prefix, len)) = frame_length(bytes) else { return Ok(0) };
    let Some(body_bytes) = usize::try_from(len).ok().filter(|&len| len <= READY_MAX_BYTES) else {
        return Err(Refusal::ReadyTooLarge(len));
    };
    let Some(body) = bytes.get(prefix..prefix + body_bytes) else { return Ok(0) };
    let Some(properties) = body.strip_prefix(b"\x05READY") else { return Err(Refusal::NotReady) };
    check_properties(properties, expected)?;
    Ok(prefix + body_bytes)
}

/// Every property must be readable as the crate will read it, and Socket-Type must stand there exactly once: the
/// crate takes the last of several.
fn check_properties(mut rest: &[u8], expected: SocketKind) -> Result<(), Refusal> {
    let mut sockets = 0;
    while !rest.is_empty() {
        let (name, value, tail) = property(rest).ok_or(Refusal::ReadyMalformed)?;
        if !name.is_ascii() {
            return Err(Refusal::ReadyMalformed);
        }
        if name == b"Socket-Type" {
            sockets += 1;
            if value != expected.as_str().as_bytes() {
                return Err(Refusal::WrongSocket(expected));
            }
        } else if name.eq_ignore_ascii_case(b"Identity") && value.len() > IDENTITY_MAX_BYTES {
            return Err(Refusal::IdentityTooLarge(value.len()));
        }
        rest = tail;
    }
    if sockets == 1 { Ok(()) } else { Err(Refusal::ReadyMalformed) }
}

/// Name, value and what follows.
fn property(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (&name_bytes, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(name_bytes))?;
    let (value_bytes, rest) = rest.split_first_chunk::<4>()?;
    let value_bytes = usize::try_from(u32::from_be_bytes(*value_bytes)).ok()?;
    let (value, rest) = rest.split_at_checked(value_bytes)?;
    Some((name, value, rest))
}

/// Bytes a frame of this length takes on the wire, as the crate encodes it.
#[must_use]
pub const fn frame_bytes(len: usize) -> u64 {
    (len + if len > 255 { LONG_PREFIX } else { SHORT_PREFIX }) as u64
}

#[cfg(test)]
mod tests;
