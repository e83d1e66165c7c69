//! A row of the grid as what is drawn in it, left to right, and as text.

use alacritty_terminal::grid::{Grid, Row};
use alacritty_terminal::index::{Column, Line};
use alacritty_terminal::term::cell::{Cell, Flags};

use super::pen::{Pen, draws_plain};

/// One character with all that combines with it, and the columns it takes.
pub(super) struct Glyph<'a> {
    pub(super) column: usize,
    pub(super) width: usize,
    c: char,
    combining: &'a [char],
    cell: &'a Cell,
}

impl Glyph<'_> {
    fn is_blank(&self) -> bool {
        self.c == ' ' && self.combining.is_empty() && draws_plain(self.cell)
    }

    /// Appends what draws it.
    pub(super) fn draw(&self, pen: &mut Pen, out: &mut Vec<u8>) {
        pen.take(self.cell, out);
        self.write(out);
    }

    fn write(&self, out: &mut Vec<u8>) {
        let mut buffer = [0; 4];
        for c in [self.c].iter().chain(self.combining) {
            out.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
        }
    }

    /// Terminals disagree on how wide it is: what combines, emoji and other symbols that are wide. The next one is put in its place.
    pub(super) fn is_uncertain(&self) -> bool {
        !self.combining.is_empty()
            || (self.width == 2
                && !matches!(self.c, '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{d7ff}' | '\u{ff00}'..='\u{ff60}'))
    }
}

/// The glyphs of `row` in columns `from..to`; a wide one that does not lie there whole, or has lost its other half, is a space.
pub(super) fn glyphs(row: &Row<Cell>, from: usize, to: usize) -> impl Iterator<Item = Glyph<'_>> {
    let to = to.min(row.len());
    let mut next = from;
    std::iter::from_fn(move || {
        let column = next;
        if column >= to {
            return None;
        }
        let cell = &row[Column(column)];
        let wide = cell.flags.contains(Flags::WIDE_CHAR)
            && column + 1 < to
            && row[Column(column + 1)].flags.contains(Flags::WIDE_CHAR_SPACER);
        let half = cell.flags.intersects(Flags::WIDE_CHAR | Flags::WIDE_CHAR_SPACER);
        // The library leaves tabs in the cells that they began in.
        let c = if (half && !wide) || cell.c == '\t' { ' ' } else { cell.c };
        let combining = if half && !wide { &[] } else { cell.zerowidth().unwrap_or_default() };
        let width = if wide { 2 } else { 1 };
        next += width;
        Some(Glyph { column, width, c, combining, cell })
    })
}

/// The column behind the last one in `from..to` that shows anything, or `from`.
pub(super) fn end_of(row: &Row<Cell>, from: usize, to: usize) -> usize {
    glyphs(row, from, to).filter(|glyph| !glyph.is_blank()).last().map_or(from, |last| last.column + last.width)
}

/// The rows of the screen, as an iterator over references.
pub(super) fn rows(grid: &Grid<Cell>, count: usize) -> impl Iterator<Item = &Row<Cell>> {
    (0..count).map(move |line| &grid[Line::from(line)])
}

/// The row's text, without spaces at its end.
pub(super) fn text(row: &Row<Cell>, keep: usize) -> String {
    let text = |from, to| {
        let mut out = Vec::new();
        for glyph in glyphs(row, from, to) {
            glyph.write(&mut out);
        }
        String::from_utf8_lossy(&out).into_owned()
    };
    text(0, keep.min(row.len())) + text(keep.min(row.len()), row.len()).trim_end_matches(' ')
}

/// The row with its colours and links; it begins and ends plain, and so does the pen.
pub(super) fn ansi(row: &Row<Cell>, pen: &mut Pen) -> String {
    let mut out = Vec::new();
    for glyph in glyphs(row, 0, end_of(row, 0, row.len())) {
        glyph.draw(pen, &mut out);
    }
    pen.put_down(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}
