//! Halves of wide characters.
//!
//! A wide character is a cell that holds it and a spacer behind it. Functions that shift or erase cells may part them, and the library
//! then lets what is left act as if it were whole: a later character clears a neighbour. As in xterm, half a character is a space.

use alacritty_terminal::grid::Row;
use alacritty_terminal::index::{Column, Line};
use alacritty_terminal::term::cell::{Cell, Flags};

use super::emulator::Emulator;

impl Emulator {
    /// Mends the cursor's row, after its cells have been shifted or erased.
    pub(super) fn mend_row(&mut self) {
        let line = self.term.grid().cursor.point.line;
        mend(&mut self.term.grid_mut()[line]);
    }

    /// Mends all rows, after a resize has cut them.
    pub(super) fn mend_rows(&mut self) {
        for line in 0..self.size().rows {
            mend(&mut self.term.grid_mut()[Line::from(line)]);
        }
    }
}

fn mend(row: &mut Row<Cell>) {
    let (columns, mut begun) = (row.len(), false);
    for column in 0..columns {
        let flags = row[Column(column)].flags;
        let spacer = flags.contains(Flags::WIDE_CHAR_SPACER);
        if begun && !spacer {
            row[Column(column - 1)].clear_wide();
        }
        if spacer && !begun {
            row[Column(column)].flags.remove(Flags::WIDE_CHAR_SPACER);
        }
        begun = flags.contains(Flags::WIDE_CHAR);
    }
    if begun {
        row[Column(columns - 1)].clear_wide();
    }
}
