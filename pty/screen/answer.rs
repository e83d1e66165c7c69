//! What the terminal writes back to the program that asks it.
//!
//! | asked | answered |
//! |---|---|
//! | DA1 `CSI c`, DA2 `CSI > c` | a VT220 with colours; the version of xterm from which on programs expect SGR mouse reports |
//! | DSR 5, 6 | ready; the cursor, within the region in origin mode |
//! | DECRQM, ANSI and private | 1 set, 2 not set, 0 not known |
//! | OSC 4, 10, 11, 12 with `?` | what the program has set, else white on black and xterm's palette |
//! | `CSI 14 t`, `CSI 18 t` | the size in pixels, with cells of 8 by 16, and in cells |
//! | `CSI ? u`, `CSI ? 4 m` | the flags of the kitty keyboard protocol; modifyOtherKeys |
//! | DECRQSS, XTGETTCAP | not supported |
//!
//! Anything else, and the clipboard above all, is not answered.

use alacritty_terminal::term::TermMode;
use alacritty_terminal::vte::ansi::{Mode, NamedColor, NamedMode, NamedPrivateMode, PrivateMode, Rgb};

use super::emulator::{Emulator, Passed, Size};

/// The most bytes that wait to be written back to the program. A program that asks on without reading gets no further answers.
pub const ANSWERS_MAX_BYTES: usize = 64 << 10;
/// What a cell measures for a program that asks for pixels.
const CELL_PIXELS: Size = Size { cols: 8, rows: 16 };

/// Answers that have been made and not yet handed over.
#[derive(Debug, Default)]
pub(super) struct Answers {
    bytes: Vec<u8>,
    room: usize,
}

impl Answers {
    /// Lets `room` bytes of answers be made.
    pub(super) fn allow(&mut self, room: usize) {
        self.room = room;
    }

    /// One answer, whole or not at all.
    pub(super) fn push(&mut self, answer: &str) {
        if let Some(room) = self.room.checked_sub(answer.len()) {
            self.room = room;
            self.bytes.extend_from_slice(answer.as_bytes());
        }
    }

    /// Moves what has been made to the end of `out`.
    pub(super) fn hand_over(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.bytes);
    }
}

impl Emulator {
    pub(super) fn answer_attributes(&mut self, intermediate: Option<char>) {
        match intermediate {
            None => self.answers.push("\x1b[?62;22c"),
            Some('>') => self.answers.push("\x1b[>0;277;0c"),
            Some(_) => (),
        }
    }

    pub(super) fn answer_status(&mut self, asked: usize) {
        match asked {
            5 => self.answers.push("\x1b[0n"),
            6 => {
                let (row, column) = self.position();
                let above = if self.has(TermMode::ORIGIN) { self.region.start } else { 0 };
                self.answers.push(&format!("\x1b[{};{}R", row.saturating_sub(above) + 1, column + 1));
            }
            _ => (),
        }
    }

    pub(super) fn answer_mode(&mut self, mode: Mode) {
        let set = match mode {
            Mode::Named(NamedMode::Insert) => Some(self.has(TermMode::INSERT)),
            Mode::Named(NamedMode::LineFeedNewLine) => Some(self.has(TermMode::LINE_FEED_NEW_LINE)),
            Mode::Unknown(_) => None,
        };
        self.answers.push(&format!("\x1b[{};{}$y", mode.raw(), state(set)));
    }

    pub(super) fn answer_private_mode(&mut self, mode: PrivateMode) {
        let set = match mode {
            PrivateMode::Named(NamedPrivateMode::SyncUpdate) => Some(self.passes(Passed::Synchronized)),
            PrivateMode::Named(NamedPrivateMode::AlternateScroll) => Some(self.passes(Passed::AlternateScroll)),
            PrivateMode::Named(NamedPrivateMode::BlinkingCursor) => {
                Some(self.style.is_some_and(|style| style.blinking))
            }
            PrivateMode::Named(named) => bit_of(named).map(|bit| self.has(bit)),
            PrivateMode::Unknown(47 | 1047) => Some(self.is_alternate()),
            PrivateMode::Unknown(number) => Passed::from_number(number).map(|known| self.passes(known)),
        };
        self.answers.push(&format!("\x1b[?{};{}$y", mode.raw(), state(set)));
    }

    pub(super) fn answer_colour(&mut self, prefix: &str, index: usize, terminator: &str) {
        let set = if index < alacritty_terminal::term::color::COUNT { self.term.colors()[index] } else { None };
        let Rgb { r, g, b } = set.unwrap_or_else(|| palette(index));
        self.answers.push(&format!("\x1b]{prefix};rgb:{r:02x}{r:02x}/{g:02x}{g:02x}/{b:02x}{b:02x}{terminator}"));
    }

    pub(super) fn answer_pixels(&mut self) {
        let Size { cols, rows } = self.size();
        self.answers.push(&format!("\x1b[4;{};{}t", rows * CELL_PIXELS.rows, cols * CELL_PIXELS.cols));
    }

    pub(super) fn answer_cells(&mut self) {
        let Size { cols, rows } = self.size();
        self.answers.push(&format!("\x1b[8;{rows};{cols}t"));
    }

    /// Refuses what a device control string asks for, where it asks.
    pub(super) fn answer_string(&mut self, string: &[u8]) {
        if string.starts_with(b"\x1bP$q") {
            self.answers.push("\x1bP0$r\x1b\\");
        } else if string.starts_with(b"\x1bP+q") {
            self.answers.push("\x1bP0+r\x1b\\");
        }
    }
}

/// The number in the answer to DECRQM.
fn state(set: Option<bool>) -> u8 {
    match set {
        None => 0,
        Some(true) => 1,
        Some(false) => 2,
    }
}

/// The library's bit of a private mode, where it has one that says all.
pub(super) fn bit_of(mode: NamedPrivateMode) -> Option<TermMode> {
    match mode {
        NamedPrivateMode::CursorKeys => Some(TermMode::APP_CURSOR),
        NamedPrivateMode::Origin => Some(TermMode::ORIGIN),
        NamedPrivateMode::LineWrap => Some(TermMode::LINE_WRAP),
        NamedPrivateMode::ShowCursor => Some(TermMode::SHOW_CURSOR),
        NamedPrivateMode::ReportMouseClicks => Some(TermMode::MOUSE_REPORT_CLICK),
        NamedPrivateMode::ReportCellMouseMotion => Some(TermMode::MOUSE_DRAG),
        NamedPrivateMode::ReportAllMouseMotion => Some(TermMode::MOUSE_MOTION),
        NamedPrivateMode::ReportFocusInOut => Some(TermMode::FOCUS_IN_OUT),
        NamedPrivateMode::Utf8Mouse => Some(TermMode::UTF8_MOUSE),
        NamedPrivateMode::SgrMouse => Some(TermMode::SGR_MOUSE),
        NamedPrivateMode::SwapScreenAndSetRestoreCursor => Some(TermMode::ALT_SCREEN),
        NamedPrivateMode::BracketedPaste => Some(TermMode::BRACKETED_PASTE),
        NamedPrivateMode::ColumnMode
        | NamedPrivateMode::BlinkingCursor
        | NamedPrivateMode::AlternateScroll
        | NamedPrivateMode::UrgencyHints
        | NamedPrivateMode::SyncUpdate => None,
    }
}

/// xterm's first sixteen colours, as 0xrrggbb; XTerm-col.ad.
const ANSI: [u32; 16] = [
    0x00_0000, 0xcd_0000, 0x00_cd00, 0xcd_cd00, 0x00_00ee, 0xcd_00cd, 0x00_cdcd, 0xe5_e5e5, 0x7f_7f7f, 0xff_0000,
    0x00_ff00, 0xff_ff00, 0x5c_5cff, 0xff_00ff, 0x00_ffff, 0xff_ffff,
];
/// The six levels of xterm's colour cube; 256colres.pl.
const LEVELS: [u8; 6] = [0, 95, 135, 175, 215, 255];

/// The colour behind an index that no program has set: xterm's palette, and white on black.
fn palette(index: usize) -> Rgb {
    match index {
        0..16 => {
            let [_, r, g, b] = ANSI[index].to_be_bytes();
            Rgb { r, g, b }
        }
        16..232 => {
            let cube = index - 16;
            Rgb { r: LEVELS[cube / 36], g: LEVELS[cube / 6 % 6], b: LEVELS[cube % 6] }
        }
        232..256 => {
            let level = u8::try_from(8 + 10 * (index - 232)).unwrap_or(u8::MAX);
            Rgb { r: level, g: level, b: level }
        }
        other if other == NamedColor::Background as usize => Rgb { r: 0, g: 0, b: 0 },
        _ => Rgb { r: 255, g: 255, b: 255 },
    }
}
