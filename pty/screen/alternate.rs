//! The two screens: which one shows, and what each keeps while it does not.

use std::mem;

use alacritty_terminal::grid::Grid;
use alacritty_terminal::term::cell::Cell;
use alacritty_terminal::term::{MIN_COLUMNS, MIN_SCREEN_LINES};

use super::emulator::{Emulator, Saved, Size};

impl Emulator {
    /// Shows the alternate screen, or the primary one.
    pub(super) fn switch(&mut self, alternate: bool) {
        if alternate == self.is_alternate() {
            return;
        }
        if alternate {
            let (Size { cols, rows }, cursor) = (self.size(), self.term.grid().cursor.clone());
            // What an earlier program saved and pushed there is nobody's any more.
            self.saved = [Saved::default(), self.present()];
            self.keyboard.enter_alternate();
            self.term.swap_alt();
            let grid = self.term.grid_mut();
            *grid = Grid::new(rows, cols, 0);
            grid.cursor = cursor;
            grid.reset_region(..);
        } else {
            self.saved.swap(0, 1);
            self.keyboard.swap();
            *self.term.grid_mut() = no_grid();
            self.term.swap_alt();
        }
    }

    /// Ends the alternate screen and restores the cursor that was saved when it began.
    pub(super) fn leave_alternate(&mut self) {
        if self.is_alternate() {
            self.switch(false);
            // It has not moved, but a new size may have moved it with its text.
            let grid = self.term.grid_mut();
            grid.saved_cursor = grid.cursor.clone();
            self.restore();
        }
    }

    /// Shows the other screen as modes 47 and 1047 do: the cursor stays where it is.
    pub(super) fn switch_only(&mut self, alternate: bool) {
        let cursor = self.term.grid().cursor.clone();
        self.switch(alternate);
        self.term.grid_mut().cursor = cursor;
    }

    /// Calls `look` with the primary screen's grid while the alternate one shows; everything is as before afterwards.
    pub(super) fn with_primary<T>(&mut self, look: impl FnOnce(&Grid<Cell>) -> T) -> T {
        let alternate = mem::replace(self.term.grid_mut(), no_grid());
        self.term.swap_alt();
        let seen = look(self.term.grid());
        // This saves the primary cursor, where entering the alternate screen has saved it already.
        self.term.swap_alt();
        *self.term.grid_mut() = alternate;
        seen
    }

    /// The alternate screen's grid is as large as the primary one's, and few programs ever show it: while none does it is given back.
    pub(super) fn drop_alternate(&mut self) {
        if self.is_alternate() {
            return;
        }
        let saved = self.term.grid().saved_cursor.clone();
        self.term.swap_alt();
        *self.term.grid_mut() = no_grid();
        self.term.swap_alt();
        self.term.grid_mut().saved_cursor = saved;
    }
}

/// Takes the place of a grid that is not in use.
fn no_grid() -> Grid<Cell> {
    Grid::new(MIN_SCREEN_LINES, MIN_COLUMNS, 0)
}
