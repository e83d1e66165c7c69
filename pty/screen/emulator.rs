//! The terminal: the library's, and beside it what the library keeps to itself, does not know, or leaves unbounded.

use std::ops::Range;

use alacritty_terminal::event::VoidListener;
use alacritty_terminal::grid::{Cursor, Dimensions};
use alacritty_terminal::index::{Column, Line};
use alacritty_terminal::term::cell::Cell;
use alacritty_terminal::term::{Config, MIN_COLUMNS, MIN_SCREEN_LINES, Osc52, Term, TermMode};
use alacritty_terminal::vte::ansi::{CharsetIndex, CursorStyle, Handler, NamedPrivateMode, StandardCharset};
use unicode_width::UnicodeWidthChar;

use super::answer::Answers;
use super::keyboard::Keyboard;
use super::row;

/// A terminal has a tab stop at each eighth column, until a program sets others.
const TAB_COLUMNS: usize = 8;
/// The most characters that combine with one cell's; further ones are not kept.
const COMBINING_MAX: usize = 8;

/// The size of a terminal in cells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Size {
    pub(super) cols: usize,
    pub(super) rows: usize,
}

impl Size {
    /// The library needs two columns, for a wide character, and a row.
    pub(super) fn new(cols: u16, rows: u16) -> Size {
        Size { cols: usize::from(cols).max(MIN_COLUMNS), rows: usize::from(rows).max(MIN_SCREEN_LINES) }
    }
}

impl Dimensions for Size {
    fn total_lines(&self) -> usize {
        self.rows
    }

    fn screen_lines(&self) -> usize {
        self.rows
    }

    fn columns(&self) -> usize {
        self.cols
    }
}

/// What DECSC saves beside the library's own cursor.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Saved {
    pub(super) origin: bool,
    pub(super) charset: CharsetIndex,
}

/// Modes that change nothing on the screen and are only passed on to viewers, as their numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Passed {
    /// DECSCNM: the whole screen in reverse.
    ReverseScreen = 5,
    /// X10 mouse reports.
    X10Mouse = 9,
    /// The wheel as cursor keys while the alternate screen shows.
    AlternateScroll = 1007,
    /// urxvt's encoding of mouse reports.
    UrxvtMouse = 1015,
    /// SGR mouse reports in pixels.
    PixelMouse = 1016,
    /// A synchronized update has begun.
    Synchronized = 2026,
}

impl Passed {
    pub(super) const ALL: [Passed; 6] = [
        Passed::ReverseScreen,
        Passed::X10Mouse,
        Passed::AlternateScroll,
        Passed::UrxvtMouse,
        Passed::PixelMouse,
        Passed::Synchronized,
    ];

    pub(super) fn from_number(number: u16) -> Option<Passed> {
        Passed::ALL.into_iter().find(|mode| *mode as u16 == number)
    }
}

pub(super) struct Emulator {
    pub(super) term: Term<VoidListener>,
    pub(super) keyboard: Keyboard,
    pub(super) answers: Answers,
    pub(super) title: Option<String>,
    pub(super) titles: Vec<Option<String>>,
    /// The style a program asked for.
    pub(super) style: Option<CursorStyle>,
    /// xterm's modifyOtherKeys: 0, 1 or 2.
    pub(super) other_keys: u8,
    /// Rows that scroll, counted from 0.
    pub(super) region: Range<usize>,
    /// Whether there is a tab stop, by column.
    pub(super) tabs: Vec<bool>,
    /// Which of G0 to G3 is in use.
    pub(super) charset: CharsetIndex,
    /// By screen: the one that shows, the other one.
    pub(super) saved: [Saved; 2],
    /// Those of [`Passed`] that are set, in their order there.
    pub(super) passed: [bool; Passed::ALL.len()],
}

impl Emulator {
    pub(super) fn new(size: Size) -> Emulator {
        let mut emulator = Emulator {
            term: Term::new(config(0), &size, VoidListener),
            keyboard: Keyboard::default(),
            answers: Answers::default(),
            title: None,
            titles: Vec::new(),
            style: None,
            other_keys: 0,
            region: 0..size.rows,
            tabs: tab_stops(0..size.cols),
            charset: CharsetIndex::G0,
            saved: [Saved::default(); 2],
            passed: [false; Passed::ALL.len()],
        };
        emulator.drop_alternate();
        emulator
    }

    pub(super) fn size(&self) -> Size {
        Size { cols: self.term.columns(), rows: self.term.screen_lines() }
    }

    pub(super) fn resize(&mut self, size: Size) {
        if size == self.size() {
            return;
        }
        self.resize_text(size);
        self.drop_alternate();
        self.settle_wrap();
        self.mend_rows();
        self.region = 0..size.rows;
        let known = self.tabs.len();
        self.tabs.truncate(size.cols);
        self.tabs.extend(tab_stops(known..size.cols));
    }

    /// The library moves rows that no longer fit to the history, the upper ones, even where there is room below the text: for a moment
    /// there is a history, from which they come back when the screen grows by as many rows as it has to spare.
    fn resize_text(&mut self, size: Size) {
        let rows_of_each = self.size().cols.div_ceil(size.cols) + 1;
        self.term.set_options(config(self.size().rows.max(size.rows) * rows_of_each));
        self.term.resize(size);
        let spare = self.spare_rows().min(self.term.history_size());
        if spare > 0 {
            self.term.resize(Size { rows: size.rows + spare, ..size });
            self.term.resize(size);
        }
        self.term.set_options(config(0));
        self.term.grid_mut().truncate();
    }

    /// Rows below the cursor that show nothing.
    fn spare_rows(&self) -> usize {
        let (grid, (row, _), Size { cols, rows }) = (self.term.grid(), self.position(), self.size());
        (row + 1..rows).rev().take_while(|line| row::end_of(&grid[Line::from(*line)], 0, cols) == 0).count()
    }

    pub(super) fn has(&self, mode: TermMode) -> bool {
        self.term.mode().contains(mode)
    }

    pub(super) fn is_alternate(&self) -> bool {
        self.has(TermMode::ALT_SCREEN)
    }

    pub(super) fn passes(&self, mode: Passed) -> bool {
        self.passed.iter().zip(Passed::ALL).any(|(set, known)| *set && known == mode)
    }

    pub(super) fn set_passed(&mut self, mode: Passed, on: bool) {
        for (set, known) in self.passed.iter_mut().zip(Passed::ALL) {
            if known == mode {
                *set = on;
            }
        }
    }

    /// The row and column of the cursor, from 0.
    pub(super) fn position(&self) -> (usize, usize) {
        position_of(&self.term.grid().cursor)
    }

    /// Moves the cursor, ending a pending wrap; the caller stays inside the screen.
    pub(super) fn put_cursor(&mut self, row: usize, column: usize) {
        let cursor = &mut self.term.grid_mut().cursor;
        (cursor.point.line, cursor.point.column) = (Line::from(row), Column(column));
        cursor.input_needs_wrap = false;
    }

    /// Moves the cursor up, at most to the upper margin if it is below that.
    pub(super) fn up(&mut self, count: usize) {
        let (row, column) = self.position();
        let top = if row >= self.region.start { self.region.start } else { 0 };
        self.put_cursor(row.saturating_sub(count).max(top), column);
    }

    /// Moves the cursor down, at most to the lower margin if it is above that.
    pub(super) fn down(&mut self, count: usize) {
        let (row, column) = self.position();
        let end = if row < self.region.end { self.region.end } else { self.size().rows };
        self.put_cursor(row.saturating_add(count).min(end - 1), column);
    }

    /// Whether `c` would combine with a cell that has enough of them.
    pub(super) fn is_crowded_by(&self, c: char) -> bool {
        if c.width() != Some(0) {
            return false;
        }
        let (row, column) = self.position();
        // Where the library puts it: behind what was last written, and never on the second half of a wide character.
        let nearest = &self.term.grid()[Line::from(row)];
        (column.saturating_sub(2)..=column)
            .any(|at| nearest[Column(at)].zerowidth().is_some_and(|marks| marks.len() >= COMBINING_MAX))
    }

    /// A wrap is pending in the last column only; some functions of the library leave it so elsewhere.
    pub(super) fn settle_wrap(&mut self) {
        let last = self.size().cols - 1;
        let cursor = &mut self.term.grid_mut().cursor;
        cursor.input_needs_wrap &= cursor.point.column.0 == last;
    }

    pub(super) fn save(&mut self) {
        self.saved[0] = self.present();
        self.term.save_cursor_position();
    }

    pub(super) fn restore(&mut self) {
        let Saved { origin, charset } = self.saved[0];
        self.set_origin(origin);
        self.charset = charset;
        self.term.set_active_charset(charset);
        self.term.restore_cursor_position();
        self.enter_region();
    }

    /// In origin mode the cursor is never outside the region, which may be another than when it was saved.
    fn enter_region(&mut self) {
        let (row, column) = self.position();
        if self.has(TermMode::ORIGIN) && !self.region.contains(&row) {
            self.put_cursor(row.clamp(self.region.start, self.region.end - 1), column);
        }
    }

    /// Sets or ends origin mode; the cursor goes home.
    pub(super) fn set_origin(&mut self, on: bool) {
        let mode = NamedPrivateMode::Origin.into();
        if on {
            self.term.set_private_mode(mode);
        } else {
            self.term.unset_private_mode(mode);
            self.put_cursor(0, 0);
        }
    }

    /// The most times REP repeats a character. What it asks beyond the whole screen changes no more than the column where it ends, and
    /// few bytes would cost much time.
    pub(super) fn repeat_max(&self, asked: usize) -> usize {
        let Size { cols, rows } = self.size();
        let whole = cols * (rows + 1);
        if asked > whole { whole + (asked - whole) % cols } else { asked }
    }

    /// DECSTR: modes as they are at the start, with the screen and the cursor's place as they are.
    pub(super) fn soft_reset(&mut self) {
        let (row, column) = self.position();
        self.set_origin(false);
        self.set_scrolling_region(1, None);
        self.unset_mode(alacritty_terminal::vte::ansi::NamedMode::Insert.into());
        self.unset_keypad_application_mode();
        self.unset_private_mode(NamedPrivateMode::CursorKeys.into());
        self.set_private_mode(NamedPrivateMode::LineWrap.into());
        self.set_private_mode(NamedPrivateMode::ShowCursor.into());
        self.put_cursor(0, 0);
        for index in [CharsetIndex::G0, CharsetIndex::G1, CharsetIndex::G2, CharsetIndex::G3] {
            self.term.configure_charset(index, StandardCharset::Ascii);
        }
        self.set_active_charset(CharsetIndex::G0);
        self.term.grid_mut().cursor.template = Cell::default();
        self.save();
        self.put_cursor(row, column);
    }

    /// RIS.
    pub(super) fn hard_reset(&mut self) {
        self.term.reset_state();
        self.drop_alternate();
        let Size { cols, rows } = self.size();
        self.keyboard = Keyboard::default();
        (self.title, self.titles) = (None, Vec::new());
        (self.style, self.other_keys) = (None, 0);
        (self.region, self.tabs) = (0..rows, tab_stops(0..cols));
        (self.charset, self.saved) = (CharsetIndex::G0, [Saved::default(); 2]);
        self.passed = [false; Passed::ALL.len()];
    }

    pub(super) fn present(&self) -> Saved {
        Saved { origin: self.has(TermMode::ORIGIN), charset: self.charset }
    }
}

/// The library's settings, with a history of that many rows.
fn config(history: usize) -> Config {
    Config { scrolling_history: history, osc52: Osc52::Disabled, ..Config::default() }
}

/// The row and column of `cursor`, from 0.
pub(super) fn position_of(cursor: &Cursor<Cell>) -> (usize, usize) {
    (usize::try_from(cursor.point.line.0).unwrap_or_default(), cursor.point.column.0)
}

/// The tab stops of a terminal that no program has changed.
pub(super) fn tab_stops(columns: Range<usize>) -> Vec<bool> {
    columns.map(|column| column % TAB_COLUMNS == 0).collect()
}
