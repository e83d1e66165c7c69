//! A program's output on its way to a viewer's terminal, without the sequences that make a terminal answer.
//!
//! The screen model in the watcher answers a program's questions. A viewer's terminal must not answer them again: its answer would be typed
//! into the program, or into the user's shell after a detach. Which sequences ask is told by the module `ask`; here is what finds them in a stream
//! that comes in any pieces, and passes on everything else byte for byte. Only graphics commands that want a receipt are changed.
//!
//! ```text
//! text --ESC or C1--> escape --[--> CSI -----------final byte----> text      asks: dropped, else passed on
//!                       |------ ] P _ --> string --its end-------> text      as soon as it cannot ask: passed on, its rest is text
//!                       '---------other---------------------------> text
//! ```
//! What is held is what may yet be a question. Terminals agree (Paul Williams' parser, XTerm Control Sequences) that ESC, and CAN or SUB, end
//! whatever is under way, that other controls inside a sequence act at once, and that ENQ has no meaning but its question. So:
//! - ENQ never passes.
//! - Of a dropped sequence the controls it contained are passed on.
//! - A sequence cut off by the ESC of a question goes with the question: passed on, it would join with what follows and ask.
//! - Some terminals read C1 controls that are encoded in UTF-8 (0xC2 and 0x80 to 0x9F), so these count as ESC and a letter, and become that
//!   inside a sequence, where others would pass over them. Bytes 0x80 to 0x9F in any other place are text, and what would make controls of
//!   them, a switch of the coding, never passes.
//!
//! Modes that make a terminal report what its user does (mouse, focus, colour scheme) are no questions and pass.

mod ask;

use std::mem;

use ask::Verdict;

const BEL: u8 = 0x07;
const ENQ: u8 = 0x05;
const CAN: u8 = 0x18;
const SUB: u8 = 0x1a;
const ESC: u8 = 0x1b;
/// The first byte in UTF-8 of U+0080 to U+00BF, the C1 controls among them.
const C1_LEAD: u8 = 0xc2;

/// The most that is held back, in bytes. A longer sequence that may still ask is dropped to its end, since passed on it would be answered.
/// The longest honest one, a palette of 256 colours set at once (OSC 4), has 4.6 KiB.
pub const HELD_MAX_BYTES: usize = 8 << 10;
/// Up to this length a string is judged at each byte, beyond it only at its end: work stays linear. Every early verdict falls before.
const EARLY_BYTES: usize = 64;

/// Where the stream stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    /// Text. Nothing is held, or the byte that may begin a C1 control.
    #[default]
    Text,
    /// After ESC. `intermediates`: and characters from space to `/`.
    Escape { intermediates: bool },
    /// In a control sequence.
    Csi,
    /// In a string that may yet ask.
    String(StringKind),
    /// In a string or a control sequence that asks, or is too long, and is dropped.
    Dropping(Dropped),
}

/// The strings that can ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum StringKind {
    Osc,
    Dcs,
    Apc,
}

/// What is being dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Dropped {
    String(StringKind),
    /// Ends with a byte from `final_from` on.
    Sequence {
        final_from: u8,
    },
}

/// The filter of one stream.
#[derive(Clone, Debug, Default)]
pub struct QueryFilter {
    state: State,
    /// What may be a question: sequences that were cut off, then the present one.
    held: Vec<u8>,
    /// Where in `held` the body of the present string or control sequence begins.
    body: usize,
    /// The string before this ESC was dropped, and so is the backslash that ends it.
    end_due: bool,
    /// A string was passed on before its end, so the terminal may still be inside it.
    inside_string: bool,
}

impl QueryFilter {
    /// A filter at the beginning of a stream.
    pub fn new() -> QueryFilter {
        QueryFilter::default()
    }

    /// Whether nothing is held back and nothing is being dropped: the output so far is all of the input but its questions.
    pub fn is_idle(&self) -> bool {
        self.state == State::Text && self.held.is_empty()
    }

    /// Appends `input` without its questions to `out`; up to [`HELD_MAX_BYTES`] of it may come with a later call.
    pub fn filter(&mut self, input: &[u8], out: &mut Vec<u8>) {
        let mut rest = input;
        while let Some((first, after)) = rest.split_first() {
            let plain = if self.is_idle() { plain_len(rest) } else { 0 };
            if plain > 0 {
                let (text, after) = rest.split_at(plain);
                self.inside_string = self.inside_string && !text.contains(&BEL);
                out.extend_from_slice(text);
                rest = after;
                continue;
            }
            if *first != ENQ {
                self.step(*first, out);
            }
            rest = after;
        }
    }

    fn step(&mut self, byte: u8, out: &mut Vec<u8>) {
        let led = self.held.last() == Some(&C1_LEAD);
        if led && (0x80..0xa0).contains(&byte) {
            self.held.pop();
            return self.on_c1(byte, out);
        }
        match byte {
            ESC => return self.begin(ESC, out),
            CAN | SUB if self.state != State::Text => return self.cancel(byte, out),
            _ => self.held.push(byte),
        }
        match self.state {
            State::Text if byte == C1_LEAD => {}
            State::Text => {
                self.inside_string &= byte != BEL;
                out.append(&mut self.held);
            }
            State::Escape { intermediates } => self.on_escape(byte, intermediates, out),
            State::Csi => self.on_csi(byte, out),
            State::String(kind) => self.on_string(kind, byte, out),
            State::Dropping(what) => self.on_dropping(what, byte, out),
        }
        if self.held.len() >= HELD_MAX_BYTES {
            self.overflow(out);
        }
    }

    /// A C1 control in UTF-8, from behind its first byte. Inside a sequence or a string terminals disagree on whether it is one, so there it is
    /// passed on as ESC and a letter, on which they agree.
    fn on_c1(&mut self, byte: u8, out: &mut Vec<u8>) {
        let letter = byte - 0x40;
        let (introducer, second) = if self.state == State::Text { (C1_LEAD, byte) } else { (ESC, letter) };
        self.begin(introducer, out);
        self.held.push(second);
        self.on_escape(letter, false, out);
    }

    /// ESC, or the first byte of a C1 control: ends what is under way and begins a sequence.
    fn begin(&mut self, introducer: u8, out: &mut Vec<u8>) {
        self.end_due = false;
        let asks = self.asks_if_it_ends();
        match self.state {
            State::String(_) if asks => {
                self.drop_held(out);
                self.end_due = true;
            }
            State::Dropping(Dropped::String(_)) => {
                self.held.clear();
                self.end_due = true;
            }
            State::Dropping(Dropped::Sequence { .. }) => self.held.clear(),
            State::Text | State::Escape { .. } | State::Csi | State::String(_) => {}
        }
        self.held.push(introducer);
        self.state = State::Escape { intermediates: false };
        if self.held.len() >= HELD_MAX_BYTES {
            self.body = self.held.len();
            self.drop_held(out);
            self.held.push(introducer);
            self.state = State::Escape { intermediates: false };
        }
    }

    /// CAN and SUB end whatever is under way; most terminals then still act on an OSC.
    fn cancel(&mut self, byte: u8, out: &mut Vec<u8>) {
        let asks = self.asks_if_it_ends();
        match self.state {
            State::String(_) if asks => self.drop_held(out),
            State::Dropping(_) => self.held.clear(),
            State::Text | State::Escape { .. } | State::Csi | State::String(_) => {}
        }
        self.held.push(byte);
        self.pass(out);
    }

    /// A byte after ESC. `byte` has been added to what is held.
    fn on_escape(&mut self, byte: u8, intermediates: bool, out: &mut Vec<u8>) {
        self.body = self.held.len();
        match byte {
            0x20..0x30 => self.state = State::Escape { intermediates: true },
            0x30..0x7f if intermediates && self.switches_coding() => self.drop_held(out),
            0x30..0x7f if intermediates => self.pass(out),
            b'[' => self.state = State::Csi,
            b']' => self.state = State::String(StringKind::Osc),
            b'P' => self.state = State::String(StringKind::Dcs),
            b'_' => self.state = State::String(StringKind::Apc),
            b'Z' => self.drop_held(out), // DECID
            b'\\' if self.end_due => self.drop_held(out),
            0x30..0x7f => self.pass(out),
            _ => {} // a control, or a byte that terminals pass over here
        }
    }

    /// Whether the escape sequence that is held, the last one begun, switches the coding.
    fn switches_coding(&self) -> bool {
        let begin = memchr::memrchr(ESC, &self.held).map_or(0, |at| at + 1);
        ask::switches_coding(&self.held[begin..])
    }

    fn on_csi(&mut self, byte: u8, out: &mut Vec<u8>) {
        if (0x40..0x7f).contains(&byte) {
            match ask::control_sequence(&self.held[self.body..]) {
                Verdict::Asks => {
                    self.body = self.held.len();
                    self.drop_held(out);
                }
                Verdict::Passes | Verdict::Open => self.pass(out),
            }
        }
    }

    fn on_string(&mut self, kind: StringKind, byte: u8, out: &mut Vec<u8>) {
        let ended = kind == StringKind::Osc && byte == BEL;
        if !ended && self.held.len() - self.body > EARLY_BYTES && !matches!((kind, byte), (StringKind::Apc, b';')) {
            return;
        }
        match self.judge(kind, ended) {
            Verdict::Open => {}
            Verdict::Passes => {
                self.pass(out);
                self.inside_string = !ended;
            }
            Verdict::Asks => {
                self.drop_held(out);
                if !ended {
                    self.state = State::Dropping(Dropped::String(kind));
                }
            }
        }
    }

    /// Whether a string is held that asks if it ends here.
    fn asks_if_it_ends(&mut self) -> bool {
        let State::String(kind) = self.state else { return false };
        self.judge(kind, true) == Verdict::Asks
    }

    /// What the string held asks; a graphics command is made one without a receipt.
    fn judge(&mut self, kind: StringKind, ended: bool) -> Verdict {
        let body = ask::without_controls(&self.held[self.body..]);
        match kind {
            StringKind::Osc => ask::operating_system_command(&body, ended),
            StringKind::Dcs => ask::device_control(&body, ended),
            StringKind::Apc => {
                let verdict = ask::graphics_command(&body, ended);
                if let Some(quiet) = (verdict == Verdict::Passes).then(|| ask::without_receipt(&body)).flatten() {
                    self.held.truncate(self.body);
                    self.held.extend_from_slice(&quiet);
                }
                verdict
            }
        }
    }

    fn on_dropping(&mut self, what: Dropped, byte: u8, out: &mut Vec<u8>) {
        if byte != C1_LEAD {
            self.held.clear();
        }
        let ended = match what {
            Dropped::String(kind) => kind == StringKind::Osc && byte == BEL,
            Dropped::Sequence { final_from } => {
                if byte < 0x20 {
                    out.push(byte);
                }
                (final_from..0x7f).contains(&byte)
            }
        };
        if ended {
            self.state = State::Text;
        }
    }

    /// Nothing here asks, whatever follows.
    fn pass(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
        self.body = 0;
        self.state = State::Text;
        self.inside_string = false;
    }

    /// Forgets what is held but its controls. The ESC in it would have ended a string: one takes its place.
    fn drop_held(&mut self, out: &mut Vec<u8>) {
        if mem::take(&mut self.inside_string) {
            out.extend_from_slice(b"\x1b\\");
        }
        out.extend(self.held[..self.body].iter().filter(|byte| **byte < 0x20 && **byte != ESC));
        self.held.clear();
        self.body = 0;
        self.state = State::Text;
    }

    /// More is held than [`HELD_MAX_BYTES`]: it is dropped, and so is its rest.
    fn overflow(&mut self, out: &mut Vec<u8>) {
        let rest = match self.state {
            State::Text | State::Dropping(_) => None,
            State::Escape { .. } => Some(Dropped::Sequence { final_from: 0x30 }),
            State::Csi => Some(Dropped::Sequence { final_from: 0x40 }),
            State::String(kind) => Some(Dropped::String(kind)),
        };
        if matches!(rest, Some(Dropped::Sequence { .. })) {
            self.body = self.held.len();
        }
        self.drop_held(out);
        self.state = rest.map_or(State::Text, State::Dropping);
    }
}

/// Length of the longest beginning in which no sequence begins and nothing asks.
fn plain_len(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = memchr::memchr3(ESC, ENQ, C1_LEAD, &text[at..]) {
        at += found;
        match (text[at], text.get(at + 1).copied()) {
            (C1_LEAD, Some(0x80..0xa0 | ESC | ENQ | C1_LEAD) | None) | (ESC | ENQ, _) => return at,
            (_, Some(_) | None) => at += 2,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests;
