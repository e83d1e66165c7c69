//! The keys that leave a terminal: found in what a user types, while everything else goes on to the program.
//!
//! A key that may be the first of the sequence is held, and so are those that follow it as long as they fit. What is held is sent on with the
//! next key that does not fit, or when its time is over: [`HOLD`] for a first key alone, [`WITHIN`] for more. A first key that has been sent
//! on still counts until [`WITHIN`] is over, so the sequence can be typed at any pace within it.
//!
//! A key is its control byte, or one of the sequences that newer programs ask of a terminal in its place: `CSI 93;5u` (kitty's keyboard
//! protocol) and `CSI 27;5;93~` (xterm's modifyOtherKeys) are Ctrl-] too. Releases of keys, which a program may ask for, do not count.
//! Between the marks of a bracketed paste (`CSI 200~`, `CSI 201~`; XTerm Control Sequences) everything is data.
//!
//! The Escape key is never held: its byte goes on at once, also as the beginning of a sequence that is still to come.

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::str::FromStr;
use std::time::{Duration, Instant};

use crate::keys::{Key, KeyError};

/// All keys are typed within this time.
pub const WITHIN: Duration = Duration::from_secs(1);
/// A first key is sent on after this time when no other follows.
pub const HOLD: Duration = Duration::from_millis(500);
/// A paste that stands still for this long has lost its end: the keys leave again.
pub const PASTE_SILENCE: Duration = Duration::from_secs(5);
/// The most keys in a sequence; a longer one is refused.
pub const KEYS_MAX: usize = 8;
/// The longest sequence that is taken for a key, in bytes; a longer one is passed on as it comes.
const SEQUENCE_MAX_BYTES: usize = 64;

const ESC: u8 = 0x1b;
const PASTE_END: &[u8] = b"\x1b[201~";

/// `--detach-keys`: keys with commas between them, such as `ctrl-p,ctrl-q`, or `none`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DetachKeys(Vec<Key>);

/// A text that names no sequence of keys to leave with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DetachKeysError {
    /// One of them is no key.
    #[error("cannot detach with these keys: {0}")]
    NotAKey(#[from] KeyError),
    /// One of them is not a single byte, or begins other keys.
    #[error(
        "cannot detach with '{0}': use characters of ASCII and control keys other than Escape, such as ctrl-p,ctrl-q"
    )]
    NotPlain(Key),
    /// Nothing where a key should be.
    #[error(
        "cannot detach with '{0}': a key is missing; write keys with commas between them, such as ctrl-p,ctrl-q, or none"
    )]
    Missing(String),
    /// More than [`KEYS_MAX`].
    #[error("cannot detach with {0} keys: use at most {KEYS_MAX}")]
    TooMany(usize),
}

impl Default for DetachKeys {
    /// Ctrl-] three times.
    fn default() -> DetachKeys {
        "ctrl-],ctrl-],ctrl-]".parse().unwrap_or(DetachKeys(Vec::new()))
    }
}

impl FromStr for DetachKeys {
    type Err = DetachKeysError;

    fn from_str(text: &str) -> Result<DetachKeys, DetachKeysError> {
        if text == "none" {
            return Ok(DetachKeys(Vec::new()));
        }
        let names: Vec<&str> = text.split(',').map(str::trim).collect();
        if names.len() > KEYS_MAX {
            return Err(DetachKeysError::TooMany(names.len()));
        }
        if names.iter().any(|name| name.is_empty()) {
            return Err(DetachKeysError::Missing(text.chars().take(40).collect()));
        }
        let plain = |name: &str| {
            let key: Key = name.parse()?;
            key.byte().filter(|byte| *byte != ESC).map(|_| key).ok_or(DetachKeysError::NotPlain(key))
        };
        names.into_iter().map(plain).collect::<Result<_, _>>().map(DetachKeys)
    }
}

impl fmt::Display for DetachKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (at, key) in self.0.iter().enumerate() {
            let name = key.to_string();
            let comma = if at == 0 { "" } else { "," };
            match name.strip_prefix("C-") {
                Some(of) => write!(f, "{comma}ctrl-{of}")?,
                None => write!(f, "{comma}{name}")?,
            }
        }
        Ok(())
    }
}

/// What was typed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stroke {
    /// A byte of its own.
    Byte(u8),
    /// A code point and modifiers, as the newer protocols say it.
    Code(u32, u8),
}

/// What an escape sequence is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sequence {
    Stroke(Stroke),
    /// A key was released, or a modifier was pressed alone.
    Silent,
    PasteBegins,
    Other,
}

/// A key that fits.
#[derive(Clone, Debug)]
struct Pressed {
    stroke: Stroke,
    at: Instant,
    /// What came for it, and for silent keys after it.
    bytes: Vec<u8>,
    /// How much of that has been sent on.
    passed: usize,
}

/// A bracketed paste: how much of its end has been seen, and when it went on last.
#[derive(Clone, Copy, Debug)]
struct Paste {
    matched: usize,
    at: Instant,
}

/// Finds the keys in one stream of input.
#[derive(Clone, Debug)]
pub struct DetachWatch {
    keys: Vec<Key>,
    /// A beginning of the keys. Those that were sent on come first.
    pressed: VecDeque<Pressed>,
    /// An escape sequence that is not complete, and how much of it has been sent on: nothing or, where no key is held, all of it.
    partial: Vec<u8>,
    partial_passed: usize,
    paste: Option<Paste>,
}

impl DetachWatch {
    /// Nothing has been typed yet.
    pub fn new(keys: DetachKeys) -> DetachWatch {
        DetachWatch { keys: keys.0, pressed: VecDeque::new(), partial: Vec::new(), partial_passed: 0, paste: None }
    }

    /// Input came, in any pieces. Appends to `out` what goes on to the program now. True: the user leaves; what was held and what
    /// follows the keys is dropped, and the next call begins anew.
    pub fn on_input(&mut self, now: Instant, input: &[u8], out: &mut Vec<u8>) -> bool {
        if self.keys.is_empty() {
            out.extend_from_slice(input);
            return false;
        }
        self.expire(now, out);
        for byte in input {
            if self.on_byte(now, *byte, out) {
                self.pressed.clear();
                return true;
            }
        }
        self.settle(out);
        false
    }

    /// When [`Self::on_timer`] is due: at most [`WITHIN`] after the key that is held. None: nothing is held.
    pub fn deadline(&self) -> Option<Instant> {
        let first = self.pressed.front().filter(|_| self.holds())?;
        Some(first.at + if self.pressed.len() == 1 { HOLD } else { WITHIN })
    }

    /// Time has passed. Appends to `out` what is held no longer.
    pub fn on_timer(&mut self, now: Instant, out: &mut Vec<u8>) {
        self.expire(now, out);
        self.settle(out);
    }

    /// The input has ended. Appends to `out` all that is held.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.release(out);
        self.pass_partial(out);
    }

    fn holds(&self) -> bool {
        self.pressed.back().is_some_and(|last| last.passed < last.bytes.len())
    }

    fn on_byte(&mut self, now: Instant, byte: u8, out: &mut Vec<u8>) -> bool {
        if let Some(paste) = &mut self.paste {
            out.push(byte);
            let fits = PASTE_END.get(paste.matched) == Some(&byte);
            *paste = Paste { matched: if fits { paste.matched + 1 } else { usize::from(byte == ESC) }, at: now };
            if paste.matched == PASTE_END.len() {
                self.paste = None;
            }
            return false;
        }
        match (self.partial.len(), byte) {
            (0, ESC) | (1, b'[') => self.partial.push(byte),
            (0, _) => return self.on_stroke(now, Stroke::Byte(byte), vec![byte], 0, out),
            (2..SEQUENCE_MAX_BYTES, 0x20..0x40) => self.partial.push(byte),
            (2..=SEQUENCE_MAX_BYTES, 0x40..0x7f) => {
                self.partial.push(byte);
                return self.on_sequence(now, out);
            }
            _ => {
                self.release(out);
                self.pass_partial(out);
                self.partial.clear();
                self.partial_passed = 0;
                return self.on_byte(now, byte, out);
            }
        }
        false
    }

    fn on_sequence(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        let (bytes, passed) = (mem::take(&mut self.partial), mem::take(&mut self.partial_passed));
        match read(&bytes) {
            Sequence::Stroke(stroke) => return self.on_stroke(now, stroke, bytes, passed, out),
            Sequence::Silent => match self.pressed.back_mut().filter(|last| last.passed < last.bytes.len()) {
                Some(held) => held.bytes.extend_from_slice(&bytes),
                None => out.extend_from_slice(&bytes[passed..]),
            },
            kind @ (Sequence::PasteBegins | Sequence::Other) => {
                self.release(out);
                out.extend_from_slice(&bytes[passed..]);
                self.paste = (kind == Sequence::PasteBegins).then_some(Paste { matched: 0, at: now });
            }
        }
        false
    }

    /// A key was typed, of which `passed` bytes have been sent on. True: it was the last one.
    fn on_stroke(&mut self, now: Instant, stroke: Stroke, bytes: Vec<u8>, passed: usize, out: &mut Vec<u8>) -> bool {
        self.pressed.push_back(Pressed { stroke, at: now, bytes, passed });
        self.shed_until_it_fits(out);
        self.pressed.len() == self.keys.len()
    }

    fn shed_until_it_fits(&mut self, out: &mut Vec<u8>) {
        while !self.pressed.iter().zip(&self.keys).all(|(pressed, key)| fits(pressed.stroke, *key)) {
            self.shed(out);
        }
    }

    /// The first key counts no longer.
    fn shed(&mut self, out: &mut Vec<u8>) {
        if let Some(first) = self.pressed.pop_front() {
            out.extend_from_slice(&first.bytes[first.passed..]);
        }
    }

    fn release(&mut self, out: &mut Vec<u8>) {
        while !self.pressed.is_empty() {
            self.shed(out);
        }
    }

    fn pass_partial(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.partial[self.partial_passed..]);
        self.partial_passed = self.partial.len();
    }

    fn expire(&mut self, now: Instant, out: &mut Vec<u8>) {
        let since = |at: Instant| now.saturating_duration_since(at);
        while self.pressed.front().is_some_and(|first| since(first.at) >= WITHIN) {
            self.shed(out);
            self.shed_until_it_fits(out);
        }
        if self.pressed.len() == 1
            && let Some(alone) = self.pressed.front_mut().filter(|first| since(first.at) >= HOLD)
        {
            out.extend_from_slice(&alone.bytes[alone.passed..]);
            alone.passed = alone.bytes.len();
        }
        self.paste = self.paste.filter(|paste| since(paste.at) < PASTE_SILENCE);
    }

    /// The end of a piece: ESC at its end is the Escape key, and an incomplete sequence waits only behind a key that is held.
    fn settle(&mut self, out: &mut Vec<u8>) {
        if self.partial == [ESC] {
            self.release(out);
        }
        if !self.holds() {
            self.pass_partial(out);
        }
    }
}

fn fits(stroke: Stroke, key: Key) -> bool {
    match stroke {
        Stroke::Byte(byte) => key.byte() == Some(byte),
        Stroke::Code(point, modifiers) => key.code_point() == Some((point, modifiers)),
    }
}

/// What a whole control sequence says: `CSI point:… ; modifiers:event ; text u` of kitty's protocol, `CSI 27 ; modifiers ; point ~` of
/// modifyOtherKeys. Modifiers are one more than their sum; caps lock (64) and num lock (128) do not count; event 3 is a release.
fn read(bytes: &[u8]) -> Sequence {
    let [ESC, b'[', parameters @ .., last] = bytes else { return Sequence::Other };
    let number = |field: usize, part: usize| -> Option<u32> {
        let field = parameters.split(|byte| *byte == b';').nth(field)?;
        std::str::from_utf8(field.split(|byte| *byte == b':').nth(part)?).ok()?.parse().ok()
    };
    if number(1, 1) == Some(3) {
        return Sequence::Silent;
    }
    let (point, modifiers) = match (last, number(0, 0)) {
        (b'u', Some(57_358 | 57_360 | 57_441..=57_454)) => return Sequence::Silent,
        (b'~', Some(200)) => return Sequence::PasteBegins,
        (b'u', Some(point)) => (point, number(1, 0).unwrap_or(1)),
        (b'~', Some(27)) => match (number(2, 0), number(1, 0)) {
            (Some(point), Some(modifiers)) => (point, modifiers),
            (_, _) => return Sequence::Other,
        },
        (_, _) => return Sequence::Other,
    };
    match u8::try_from(modifiers.saturating_sub(1) & !(64 | 128)) {
        Ok(modifiers) => Sequence::Stroke(Stroke::Code(point, modifiers)),
        Err(_) => Sequence::Other,
    }
}

#[cfg(test)]
mod tests;
