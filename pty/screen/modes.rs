//! Modes as escape bytes, for a terminal that is as `leave` makes it. None of them moves the cursor.

use std::io::Write as _;

use alacritty_terminal::term::TermMode;
use alacritty_terminal::term::color::COUNT;
use alacritty_terminal::vte::ansi::{CharsetIndex, CursorShape, NamedColor};

use super::emulator::{Emulator, Passed};

/// Modes of the input side, and with which sequence each differs from normal.
const INPUT: [(TermMode, &[u8]); 9] = [
    (TermMode::APP_CURSOR, b"\x1b[?1h"),
    (TermMode::APP_KEYPAD, b"\x1b="),
    (TermMode::BRACKETED_PASTE, b"\x1b[?2004h"),
    (TermMode::FOCUS_IN_OUT, b"\x1b[?1004h"),
    (TermMode::MOUSE_REPORT_CLICK, b"\x1b[?1000h"),
    (TermMode::MOUSE_DRAG, b"\x1b[?1002h"),
    (TermMode::MOUSE_MOTION, b"\x1b[?1003h"),
    (TermMode::UTF8_MOUSE, b"\x1b[?1005h"),
    (TermMode::SGR_MOUSE, b"\x1b[?1006h"),
];

/// Ends the modes of [`INPUT`] and what else of input [`write_input`] sets; a frame is drawn over the one before.
const INPUT_OFF: &[u8] = b"\x1b[?1l\x1b>\x1b[?2004l\x1b[?1004l\x1b[?9l\x1b[?1000l\x1b[?1002l\x1b[?1003l\
    \x1b[?1005l\x1b[?1006l\x1b[?1015l\x1b[?1016l\x1b[>4m";

/// How keys, pastes and the mouse reach the program.
pub(super) fn write_input(emulator: &Emulator, out: &mut Vec<u8>) {
    for (mode, set) in INPUT {
        if emulator.has(mode) {
            out.extend_from_slice(set);
        }
    }
    for mode in [Passed::X10Mouse, Passed::AlternateScroll, Passed::UrxvtMouse, Passed::PixelMouse] {
        write_passed(emulator, mode, out);
    }
    if emulator.other_keys > 0 {
        let _ = write!(out, "\x1b[>4;{}m", emulator.other_keys);
    }
}

/// [`write_input`] for a terminal that may have had others.
pub(super) fn write_input_again(emulator: &Emulator, out: &mut Vec<u8>) {
    out.extend_from_slice(INPUT_OFF);
    write_input(emulator, out);
}

/// How what the program writes is taken.
pub(super) fn write_output(emulator: &Emulator, out: &mut Vec<u8>) {
    for (on, set) in [
        (emulator.has(TermMode::INSERT), b"\x1b[4h".as_slice()),
        (emulator.has(TermMode::LINE_FEED_NEW_LINE), b"\x1b[20h"),
        (!emulator.has(TermMode::LINE_WRAP), b"\x1b[?7l"),
    ] {
        if on {
            out.extend_from_slice(set);
        }
    }
    write_look(emulator, out);
    write_passed(emulator, Passed::Synchronized, out);
}

/// The title, the cursor's shape and whether it shows, and the screen in reverse.
pub(super) fn write_look(emulator: &Emulator, out: &mut Vec<u8>) {
    if let Some(title) = &emulator.title {
        let _ = write!(out, "\x1b]2;{title}\x1b\\");
    }
    if let Some(style) = emulator.style {
        let steady = match style.shape {
            CursorShape::Block | CursorShape::HollowBlock | CursorShape::Hidden => 2,
            CursorShape::Underline => 4,
            CursorShape::Beam => 6,
        };
        let _ = write!(out, "\x1b[{} q", if style.blinking { steady - 1 } else { steady });
    }
    write_passed(emulator, Passed::ReverseScreen, out);
    out.extend_from_slice(if emulator.has(TermMode::SHOW_CURSOR) { b"\x1b[?25h" } else { b"\x1b[?25l" });
}

/// The colours that the program has defined.
pub(super) fn write_colours(emulator: &Emulator, out: &mut Vec<u8>) {
    for index in 0..COUNT {
        let Some(rgb) = emulator.term.colors()[index] else { continue };
        let which = match index {
            0..256 => format!("4;{index}"),
            other if other == NamedColor::Foreground as usize => "10".to_owned(),
            other if other == NamedColor::Background as usize => "11".to_owned(),
            _ => "12".to_owned(),
        };
        let _ = write!(out, "\x1b]{which};rgb:{:02x}/{:02x}/{:02x}\x1b\\", rgb.r, rgb.g, rgb.b);
    }
}

/// Shift in or out.
pub(super) fn write_charset_in_use(index: CharsetIndex, out: &mut Vec<u8>) {
    match index {
        CharsetIndex::G0 => (),
        CharsetIndex::G1 => out.push(0x0e),
        CharsetIndex::G2 => out.extend_from_slice(b"\x1bn"),
        CharsetIndex::G3 => out.extend_from_slice(b"\x1bo"),
    }
}

fn write_passed(emulator: &Emulator, mode: Passed, out: &mut Vec<u8>) {
    if emulator.passes(mode) {
        let _ = write!(out, "\x1b[?{}h", mode as u16);
    }
}
