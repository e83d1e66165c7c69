//! The whole state as escape bytes for a terminal of the same size, whatever state that one is in.
//!
//! The order matters: what moves the cursor comes before what needs it in its place, what would change how text is drawn after the text.
//!
//! ```text
//! leave, scroll away          a normal, empty terminal
//! primary rows                and, where the alternate screen shows, the cursor to come back to; enter it; its rows
//! tab stops
//! saved cursor                with its charsets and origin mode, which every row is within as long as the region is whole
//! region, origin mode, cursor and a pending wrap, by writing the last cell again
//! charsets, pen, modes        move nothing
//! what is pending             the sequence or character that the program has not ended
//! ```
//! Nothing in it makes a terminal answer. Not in it: the stack of titles, blinking text, which rows were joined by wrapping, the character
//! that REP would repeat.

use std::io::Write as _;
use std::ops::Range;

use alacritty_terminal::grid::{Cursor, Grid};
use alacritty_terminal::index::{Column, Line};
use alacritty_terminal::term::TermMode;
use alacritty_terminal::term::cell::{Cell, Flags};
use alacritty_terminal::vte::ansi::{CharsetIndex, StandardCharset};

use super::emulator::{Emulator, Saved, Size, position_of};
use super::modes;
use super::pen::Pen;
use super::row;

/// What brings a terminal back to normal after any program and puts the cursor at the start of its last line: see [`leave`].
const LEAVE: &[u8] = b"\
    \x18\
    \x1b[?2026l\
    \x1b[<99u\x1b[?1049l\x1b[<99u\
    \x1b[>4m\
    \x1b[?9l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1004l\x1b[?1005l\x1b[?1006l\x1b[?1015l\x1b[?1016l\x1b[?2004l\
    \x1b[?1l\x1b>\
    \x1b[?5l\x1b[4l\x1b[20l\x1b[?6l\x1b[?7h\
    \x1b(B\x1b)B\x1b*B\x1b+B\x0f\
    \x1b[0m\x1b]8;;\x1b\\\
    \x1b[?5W\
    \x1b[?12l\x1b[?25h\x1b[0 q\
    \x1b[r\
    \x1b[9999;1H";

/// G0 to G3 are ASCII, and G0 is in use.
const ASCII: &[u8] = b"\x1b(B\x1b)B\x1b*B\x1b+B\x0f";

/// What brings a viewer's terminal back to normal after any program: an unfinished sequence ended, the alternate screen left, plain text,
/// the cursor shown in its default shape, no mouse, focus or paste reports, normal keys, every row scrolling, no origin mode, wrapping on,
/// inserting off, ASCII, no keyboard protocol, no synchronized update, tab stops at each eighth column; the cursor is then at the start of
/// the last line. It can be sent again and does no harm to a terminal that is normal already. A title and colours stay as they are.
pub fn leave() -> &'static [u8] {
    LEAVE
}

/// [`leave`], and then as many line feeds as there are rows: what the terminal shows goes to its history.
pub(super) fn scroll_away(rows: usize) -> Vec<u8> {
    let mut out = LEAVE.to_vec();
    out.extend(std::iter::repeat_n(b'\n', rows));
    // For a terminal with more rows than that.
    out.extend_from_slice(b"\x1b[H\x1b[J");
    out
}

/// The picture, without what is pending.
pub(super) fn picture(emulator: &mut Emulator) -> Vec<u8> {
    let size = emulator.size();
    let mut out = scroll_away(size.rows);
    modes::write_colours(emulator, &mut out);
    let mut pen = Pen::plain();
    if emulator.is_alternate() {
        let [_, saved] = emulator.saved;
        emulator.with_primary(|primary| primary_below(primary, saved, size, &mut out));
        emulator.keyboard.swap();
        emulator.keyboard.write(&mut out);
        emulator.keyboard.swap();
        // The terminal enters the alternate screen drawing with what it drew with last, and clears it so.
        out.extend_from_slice(b"\x1b[?1049h\x1b[<99u\x1b[?6l\x1b[0m\x1b]8;;\x1b\\\x1b[H\x1b[J");
        out.extend_from_slice(ASCII);
    }
    draw(emulator.term.grid(), size, &mut pen, &mut out);
    write_tabs(&emulator.tabs, &mut out);
    write_saved(emulator, &mut pen, &mut out);
    if emulator.region != (0..size.rows) {
        let _ = write!(out, "\x1b[{};{}r", emulator.region.start + 1, emulator.region.end);
    }
    write_cursor(emulator, &mut pen, &mut out);
    emulator.keyboard.write(&mut out);
    modes::write_output(emulator, &mut out);
    modes::write_input(emulator, &mut out);
    out
}

/// The screen that the alternate one covers, and its cursor, which entering the alternate screen then saves.
fn primary_below(grid: &Grid<Cell>, saved: Saved, size: Size, out: &mut Vec<u8>) {
    let mut pen = Pen::plain();
    draw(grid, size, &mut pen, out);
    if saved.origin {
        out.extend_from_slice(b"\x1b[?6h");
    }
    place(&grid.cursor, None, out);
    rewrite_last(grid, &grid.cursor, &mut pen, out);
    pen.take(&grid.cursor.template, out);
    write_charsets(&grid.cursor, out);
    modes::write_charset_in_use(saved.charset, out);
}

/// Each row that shows anything, put in its place: nothing depends on wrapping.
fn draw(grid: &Grid<Cell>, size: Size, pen: &mut Pen, out: &mut Vec<u8>) {
    for (line, row) in row::rows(grid, size.rows).enumerate() {
        let end = row::end_of(row, 0, size.cols);
        if end > 0 {
            let _ = write!(out, "\x1b[{}H", line + 1);
            write_glyphs(row::glyphs(row, 0, end), 0, pen, out);
        }
    }
    pen.put_down(out);
}

/// Glyphs from column `left` of the grid on, where the terminal's first column is and its cursor stands.
pub(super) fn write_glyphs<'a>(
    glyphs: impl Iterator<Item = row::Glyph<'a>>,
    left: usize,
    pen: &mut Pen,
    out: &mut Vec<u8>,
) {
    let mut uncertain = false;
    for glyph in glyphs {
        if uncertain {
            let _ = write!(out, "\x1b[{}G", glyph.column - left + 1);
        }
        glyph.draw(pen, out);
        uncertain = glyph.is_uncertain();
    }
}

/// Always, since few terminals know DECST8C. The first column needs none: nothing can go back beyond it.
fn write_tabs(tabs: &[bool], out: &mut Vec<u8>) {
    out.extend_from_slice(b"\x1b[3g");
    for (column, _) in tabs.iter().enumerate().skip(1).filter(|(_, stop)| **stop) {
        let _ = write!(out, "\x1b[{}G\x1bH", column + 1);
    }
}

/// Moves to where `cursor` is; in origin mode rows count from the region's first and there are no others.
fn place(cursor: &Cursor<Cell>, region: Option<&Range<usize>>, out: &mut Vec<u8>) {
    let (row, column) = position_of(cursor);
    let row = region.map_or(row, |region| row.clamp(region.start, region.end - 1) - region.start);
    let _ = write!(out, "\x1b[{};{}H", row + 1, column + 1);
}

fn write_saved(emulator: &Emulator, pen: &mut Pen, out: &mut Vec<u8>) {
    let [saved, _] = emulator.saved;
    let grid = emulator.term.grid();
    let cursor = &grid.saved_cursor;
    if saved.origin {
        out.extend_from_slice(b"\x1b[?6h");
    }
    place(cursor, None, out);
    rewrite_last(grid, cursor, pen, out);
    pen.take(&cursor.template, out);
    write_charsets(cursor, out);
    modes::write_charset_in_use(saved.charset, out);
    out.extend_from_slice(b"\x1b7");
    out.extend_from_slice(ASCII);
    if saved.origin {
        out.extend_from_slice(b"\x1b[?6l");
    }
}

fn write_cursor(emulator: &Emulator, pen: &mut Pen, out: &mut Vec<u8>) {
    let grid = emulator.term.grid();
    let origin = emulator.has(TermMode::ORIGIN);
    if origin {
        out.extend_from_slice(b"\x1b[?6h");
    }
    place(&grid.cursor, origin.then_some(&emulator.region), out);
    rewrite_last(grid, &grid.cursor, pen, out);
    pen.take(&grid.cursor.template, out);
    write_charsets(&grid.cursor, out);
    modes::write_charset_in_use(emulator.charset, out);
}

/// A wrap is pending when the last cell has been written and the cursor not moved since: writes it again.
fn rewrite_last(grid: &Grid<Cell>, cursor: &Cursor<Cell>, pen: &mut Pen, out: &mut Vec<u8>) {
    let row = &grid[cursor.point.line];
    if !cursor.input_needs_wrap || cursor.point.column + 1 != row.len() {
        return;
    }
    let last = row.len() - 1;
    let second_half = row[Column(last)].flags.contains(Flags::WIDE_CHAR_SPACER);
    for glyph in row::glyphs(row, if second_half { last - 1 } else { last }, row.len()) {
        let _ = write!(out, "\x1b[{}G", glyph.column + 1);
        glyph.draw(pen, out);
    }
}

fn write_charsets(cursor: &Cursor<Cell>, out: &mut Vec<u8>) {
    for (index, designate) in
        [(CharsetIndex::G0, '('), (CharsetIndex::G1, ')'), (CharsetIndex::G2, '*'), (CharsetIndex::G3, '+')]
    {
        match cursor.charsets[index] {
            StandardCharset::Ascii => (),
            StandardCharset::SpecialCharacterAndLineDrawing => {
                let _ = write!(out, "\x1b{designate}0");
            }
        }
    }
}

/// The part of the screen that a terminal of `cols` by `rows` shows: the upper left one, moved as far as it takes to hold the cursor. It
/// draws over what the terminal shows, each row in its place, and clears the rest.
pub(super) fn frame(emulator: &Emulator, view: Size) -> Vec<u8> {
    let (size, grid) = (emulator.size(), emulator.term.grid());
    let (row, column) = emulator.position();
    let (top, left) = ((row + 1).saturating_sub(view.rows), (column + 1).saturating_sub(view.cols));
    let mut out = b"\x18\x1b[?2026h\x1b[?25l\x1b[?6l\x1b[4l\x1b[r\x1b[?7l\x1b(B\x0f\x1b[0m\x1b]8;;\x1b\\".to_vec();
    let mut pen = Pen::plain();
    for line in 0..view.rows {
        let _ = write!(out, "\x1b[{}H", line + 1);
        if top + line < size.rows {
            let row = &grid[Line::from(top + line)];
            let end = row::end_of(row, left, left + view.cols);
            write_glyphs(row::glyphs(row, left, end), left, &mut pen, &mut out);
            pen.put_down(&mut out);
            if end - left >= view.cols {
                continue;
            }
        }
        out.extend_from_slice(b"\x1b[K");
    }
    let _ = write!(out, "\x1b[{};{}H", row - top + 1, column - left + 1);
    modes::write_input_again(emulator, &mut out);
    modes::write_look(emulator, &mut out);
    out.extend_from_slice(b"\x1b[?2026l");
    out
}
