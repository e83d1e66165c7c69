//! Where one control sequence ends and the next begins.
//!
//! ```text
//!   ground --ESC--> escape --[--> csi --final--> ground
//!     |               | \--], P, X, ^, _--> a string --BEL (osc), ST, CAN, SUB--> ground
//!     |               \--any other final--> ground
//!     \--a character cut off--> utf8 --its last byte--> ground
//! ```
//! The interpreter behind it is only ever given whole sequences and whole characters; what has begun and not ended is held here. So the
//! state of the screen never depends on how the program's bytes were cut into reads, and a picture can end with the bytes held.
//! The states are those of the parser at <https://vt100.net/emu/dec_ansi_parser>, without the ones that make no difference to the end.

/// The longest sequence that is kept, in bytes: a clipboard or an image. A longer one is passed over, to its end.
pub(super) const SEQUENCE_MAX_BYTES: usize = 64 << 10;
/// The buffer is given back when a sequence has made it larger than this, in bytes.
const HELD_KEEP_BYTES: usize = 4 << 10;

const CAN: u8 = 0x18;
const SUB: u8 = 0x1a;
const ESC: u8 = 0x1b;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Ground,
    /// Inside a character of several bytes.
    Utf8,
    /// Behind ESC, also the one that begins the end of a string.
    Escape,
    EscapeIntermediate,
    Csi,
    Osc,
    Dcs,
    /// SOS, PM or APC.
    Other,
}

enum Step {
    /// The sequence goes on.
    More,
    /// This byte ended it.
    Complete,
    /// This byte, an ESC, cut it off and begins another.
    Restart,
}

/// Cuts a stream of bytes into pieces that stand by themselves.
#[derive(Debug)]
pub(super) struct Splitter {
    state: State,
    held: Vec<u8>,
    /// The sequence grew too long; the rest of it is passed over.
    passing_over: bool,
}

impl Splitter {
    pub(super) const fn new() -> Splitter {
        Splitter { state: State::Ground, held: Vec::new(), passing_over: false }
    }

    /// Gives `emit` everything that is complete, in order: runs of text and single controls without ESC, or one sequence from its ESC on.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut emit: impl FnMut(&[u8])) {
        while let Some(&byte) = bytes.first() {
            let used = match self.state {
                State::Ground => self.ground(bytes, &mut emit),
                State::Utf8 => self.utf8(byte, &mut emit),
                State::Escape | State::EscapeIntermediate | State::Csi | State::Osc | State::Dcs | State::Other => {
                    self.sequence(byte, &mut emit);
                    1
                }
            };
            bytes = &bytes[used..];
        }
    }

    /// What has begun and not ended: sent to a terminal in the ground state it waits for the same bytes as this does. Where the sequence
    /// is passed over, the beginning of one of its kind that does nothing.
    pub(super) fn pending(&self) -> &[u8] {
        match self.state {
            State::Csi if self.passing_over => b"\x1b[0<",
            State::Osc if self.passing_over => b"\x1b]9999;",
            State::Dcs if self.passing_over => b"\x1bP0z",
            State::Other if self.passing_over => b"\x1bX",
            State::EscapeIntermediate if self.passing_over => b"\x1b  ",
            State::Ground
            | State::Utf8
            | State::Escape
            | State::EscapeIntermediate
            | State::Csi
            | State::Osc
            | State::Dcs
            | State::Other => &self.held,
        }
    }

    /// Takes text up to the next ESC and that; the number of bytes used.
    fn ground(&mut self, bytes: &[u8], emit: &mut impl FnMut(&[u8])) -> usize {
        let found = memchr::memchr(ESC, bytes);
        let text = &bytes[..found.unwrap_or(bytes.len())];
        let cut = if found.is_some() { 0 } else { cut_off(text) };
        let (whole, rest) = text.split_at(text.len() - cut);
        if !whole.is_empty() {
            emit(whole);
        }
        if found.is_some() {
            self.held.push(ESC);
            self.state = State::Escape;
            return text.len() + 1;
        }
        if !rest.is_empty() {
            self.held.extend_from_slice(rest);
            self.state = State::Utf8;
        }
        text.len()
    }

    /// Takes one more byte of a character, or none where the character is broken off; the number of bytes used.
    fn utf8(&mut self, byte: u8, emit: &mut impl FnMut(&[u8])) -> usize {
        let continues = byte & 0xc0 == 0x80;
        if continues {
            self.held.push(byte);
        }
        if !continues || cut_off(&self.held) == 0 {
            self.complete(emit);
        }
        usize::from(continues)
    }

    fn sequence(&mut self, byte: u8, emit: &mut impl FnMut(&[u8])) {
        match self.step(byte) {
            Step::More => self.hold(byte),
            Step::Complete => {
                self.hold(byte);
                self.complete(emit);
            }
            Step::Restart => {
                self.complete(emit);
                self.held.push(byte);
                self.state = State::Escape;
            }
        }
    }

    fn step(&mut self, byte: u8) -> Step {
        self.state = match (self.state, byte) {
            (State::Osc | State::Dcs | State::Other, ESC) if !self.passing_over => State::Escape,
            (_, ESC) => return Step::Restart,
            (_, CAN | SUB) => return Step::Complete,
            (State::Escape, b'[') => State::Csi,
            (State::Escape, b']') => State::Osc,
            (State::Escape, b'P') => State::Dcs,
            (State::Escape, b'X' | b'^' | b'_') => State::Other,
            (State::Escape, 0x20..=0x2f) => State::EscapeIntermediate,
            (State::Escape | State::EscapeIntermediate, 0x30..=0x7e) => return Step::Complete,
            (State::Csi, 0x40..=0x7e) | (State::Osc, 0x07) | (State::Dcs, 0x9c) => return Step::Complete,
            (same, _) => same,
        };
        Step::More
    }

    fn hold(&mut self, byte: u8) {
        if self.held.len() >= SEQUENCE_MAX_BYTES {
            self.passing_over = true;
            self.held = Vec::new();
        }
        if !self.passing_over {
            self.held.push(byte);
        }
    }

    fn complete(&mut self, emit: &mut impl FnMut(&[u8])) {
        if !self.held.is_empty() {
            emit(&self.held);
        }
        if self.held.capacity() > HELD_KEEP_BYTES {
            self.held = Vec::new();
        }
        self.held.clear();
        self.passing_over = false;
        self.state = State::Ground;
    }
}

/// How many bytes at the end of `text` begin a character that they do not complete: 0 to 3.
fn cut_off(text: &[u8]) -> usize {
    let tail = text.len().saturating_sub(3);
    let Some(lead) = text[tail..].iter().rposition(|byte| byte & 0xc0 != 0x80) else { return 0 };
    let last = &text[tail + lead..];
    match std::str::from_utf8(last) {
        Err(error) if error.error_len().is_none() => last.len() - error.valid_up_to(),
        Ok(_) | Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(splitter: &mut Splitter, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        splitter.feed(bytes, |piece| out.push(piece.to_vec()));
        out
    }

    #[test]
    fn every_sequence_comes_whole_however_it_was_cut() {
        let stream = "a\u{e9}\x1b[1;31mred\x1b]2;title\x07\x1bPq\x1b\\\x1b(0x\x1b[2\x1b[3m\u{1f600}z".as_bytes();
        for cut in 0..=stream.len() {
            let mut splitter = Splitter::new();
            let mut all = pieces(&mut splitter, &stream[..cut]);
            all.extend(pieces(&mut splitter, &stream[cut..]));
            assert_eq!(all.concat(), stream, "nothing is lost or moved, cut at {cut}");
            let sequences: Vec<_> = all.iter().filter(|piece| piece[0] == ESC).cloned().collect();
            let want: [&[u8]; 6] =
                [b"\x1b[1;31m", b"\x1b]2;title\x07", b"\x1bPq\x1b\\", b"\x1b(0", b"\x1b[2", b"\x1b[3m"];
            assert_eq!(sequences, want, "cut at {cut}");
        }
    }

    #[test]
    fn a_character_broken_off_is_let_go() {
        let mut splitter = Splitter::new();
        assert_eq!(pieces(&mut splitter, b"a\xf0\x9f"), [b"a".to_vec()]);
        assert_eq!(splitter.pending(), b"\xf0\x9f");
        assert_eq!(pieces(&mut splitter, b"b"), [b"\xf0\x9f".to_vec(), b"b".to_vec()]);
        assert_eq!(splitter.pending(), b"");
    }

    #[test]
    fn a_sequence_without_end_is_held_up_to_its_bound() {
        for (begin, end) in [("\x1b]52;c;", "\x07"), ("\x1bP", "\x1b\\"), ("\x1b_", "\x1b\\"), ("\x1b[", "m")] {
            let mut splitter = Splitter::new();
            assert!(pieces(&mut splitter, begin.as_bytes()).is_empty());
            for _ in 0..64 {
                assert!(pieces(&mut splitter, &[b'0'; 64 << 10]).is_empty());
                assert!(splitter.held.capacity() <= 2 * SEQUENCE_MAX_BYTES);
            }
            assert!(splitter.pending().len() < 16, "{begin:?}");
            let after = pieces(&mut splitter, end.as_bytes()).concat();
            assert!(after.is_empty() || after == b"\x1b\\", "{after:?}");
            assert_eq!(pieces(&mut splitter, b"text"), [b"text".to_vec()]);
        }
    }
}
