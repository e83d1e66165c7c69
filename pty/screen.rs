//! A model of the terminal that a program writes to: what it shows, and every mode it is in.
//!
//! The watcher feeds it all bytes of the program. It answers the program's queries, whether nobody looks or many; a viewer that comes
//! gets a [picture](Screen::picture) and then the live bytes; `zvctl screen` prints its rows.
//!
//! ```text
//! bytes -> Splitter -> whole sequences -> vte -> Emulator -> alacritty_terminal's grids
//!             |                                     |  \-> answers
//!             \-- what is pending ------ picture <--/
//! ```
//! The library does the text, the scrolling and the attributes. What it keeps to itself (scroll region, tab stops, which charset is in
//! use), bounds too late or does otherwise than xterm is the emulator's. There is no clock: a synchronized update is shown as it comes.
//! All memory is bounded: two grids without history, and what the constants of this module's files allow beside them.

mod alternate;
mod answer;
mod emulator;
mod handler;
mod keyboard;
mod modes;
mod pen;
mod picture;
mod row;
mod sequence;
#[cfg(test)]
mod tests;
mod wide;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use alacritty_terminal::term::TermMode;
use alacritty_terminal::vte::ansi::{Processor, Timeout};

pub use self::answer::ANSWERS_MAX_BYTES;
pub use self::picture::leave;

use self::emulator::{Emulator, Size};
use self::pen::Pen;
use self::sequence::Splitter;

/// The most cells of a model in one direction, so that nobody makes one huge by a size: at 24 bytes a cell 1000 by 1000 take 24 MB, and as
/// much again while the alternate screen shows.
pub const SIDE_MAX_CELLS: u16 = 1000;

/// Never waits: synchronized updates are interpreted as they come, and only their beginning is passed on to viewers.
#[derive(Default)]
struct NoWaiting;

impl Timeout for NoWaiting {
    fn set_timeout(&mut self, _: Duration) {}

    fn clear_timeout(&mut self) {}

    fn pending_timeout(&self) -> bool {
        false
    }
}

/// How keys are to be sent to the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KeyModes {
    /// Cursor keys as `ESC O` and not `ESC [` (DECCKM).
    pub application_cursor: bool,
    /// The keypad in application mode (DECKPAM).
    pub application_keypad: bool,
    /// Pasted text between `ESC [ 200 ~` and `ESC [ 201 ~`.
    pub bracketed_paste: bool,
}

/// Where the cursor is, from 0, and whether it shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CursorAt {
    /// The column; the last one also while a wrap is pending.
    pub col: u16,
    /// The row.
    pub row: u16,
    /// Whether the program shows it (DECTCEM).
    pub visible: bool,
}

/// The terminal of one run. See the module.
pub struct Screen {
    splitter: Splitter,
    parser: Processor<NoWaiting>,
    emulator: Emulator,
    pristine: bool,
    failures: u64,
}

impl Screen {
    /// An empty terminal of that many columns and rows, at least 2 and 1, at most [`SIDE_MAX_CELLS`].
    pub fn new(cols: u16, rows: u16) -> Screen {
        Screen {
            splitter: Splitter::new(),
            parser: Processor::new(),
            emulator: Emulator::new(size(cols, rows)),
            pristine: true,
            failures: 0,
        }
    }

    /// Takes the next bytes of the program, in pieces of any size, and appends to `answers` what goes back to it. While `answers` holds
    /// [`ANSWERS_MAX_BYTES`] nothing is appended.
    ///
    /// It never panics: should the terminal library, the model begins anew with an empty screen of the same size, and
    /// [`failures`](Screen::failures) counts that.
    pub fn feed(&mut self, bytes: &[u8], answers: &mut Vec<u8>) {
        self.pristine &= bytes.is_empty();
        let Screen { splitter, parser, emulator, .. } = self;
        emulator.answers.allow(ANSWERS_MAX_BYTES.saturating_sub(answers.len()));
        let fed = catch_unwind(AssertUnwindSafe(|| {
            splitter.feed(bytes, |piece| interpret(parser, emulator, piece));
        }));
        emulator.answers.hand_over(answers);
        if fed.is_err() {
            self.begin_anew();
        }
    }

    /// Gives the terminal another size. The primary screen's text is wrapped anew, the scroll region is whole again, as in a real one.
    pub fn resize(&mut self, cols: u16, rows: u16) {
        let emulator = &mut self.emulator;
        if catch_unwind(AssertUnwindSafe(|| emulator.resize(size(cols, rows)))).is_err() {
            self.emulator = Emulator::new(size(cols, rows));
            self.begin_anew();
        }
    }

    /// Whether the program has written nothing at all yet: a viewer needs no picture.
    pub fn is_pristine(&self) -> bool {
        self.pristine
    }

    /// How often the terminal library failed and the model began anew; feeding a new model the run's journal may bring back what it knew.
    pub fn failures(&self) -> u64 {
        self.failures
    }

    /// Escape bytes that bring an xterm-like terminal of the same size from any state to this one: text, cursor and modes of both screens.
    /// What it showed before goes to its history. The program's further bytes can follow at once, also in the middle of a sequence.
    pub fn picture(&mut self) -> Vec<u8> {
        let emulator = &mut self.emulator;
        let drawn = catch_unwind(AssertUnwindSafe(|| picture::picture(emulator)));
        let mut out = drawn.unwrap_or_else(|_| {
            self.begin_anew();
            leave().to_vec()
        });
        self.splitter.write_pending(&mut out);
        out
    }

    /// Escape bytes for a terminal of another size: what it showed goes to its history, then [`frame_for`](Screen::frame_for). The
    /// program's own bytes cannot follow, only further frames.
    pub fn picture_for(&self, cols: u16, rows: u16) -> Vec<u8> {
        let mut out = picture::scroll_away(usize::from(rows));
        out.extend_from_slice(&self.frame_for(cols, rows));
        out
    }

    /// The present screen drawn over the last frame of a terminal of `cols` by `rows`: the upper left part that has the cursor in it, each
    /// row in its place and cut at the edge. Modes of input are those of the program.
    pub fn frame_for(&self, cols: u16, rows: u16) -> Vec<u8> {
        let view = Size { cols: usize::from(cols.max(1)), rows: usize::from(rows.max(1)) };
        picture::frame(&self.emulator, view)
    }

    /// The rows as plain text, without spaces at their ends; those before the cursor stay, as most prompts end in one.
    pub fn rows_text(&self) -> Vec<String> {
        let (at, col) = self.emulator.position();
        let rows = row::rows(self.emulator.term.grid(), self.emulator.size().rows);
        rows.enumerate().map(|(number, row)| row::text(row, if number == at { col } else { 0 })).collect()
    }

    /// The rows with colours, attributes and links (SGR and OSC 8, nothing else); each begins and ends plain.
    pub fn rows_ansi(&self) -> Vec<String> {
        let mut pen = Pen::plain();
        let rows = row::rows(self.emulator.term.grid(), self.emulator.size().rows);
        rows.map(|row| row::ansi(row, &mut pen)).collect()
    }

    /// The columns and rows it has.
    pub fn size(&self) -> (u16, u16) {
        let Size { cols, rows } = self.emulator.size();
        (narrow(cols), narrow(rows))
    }

    /// The cursor.
    pub fn cursor(&self) -> CursorAt {
        let (row, col) = self.emulator.position();
        CursorAt { col: narrow(col), row: narrow(row), visible: self.emulator.has(TermMode::SHOW_CURSOR) }
    }

    /// Whether the alternate screen is shown, as by an editor.
    pub fn is_alternate(&self) -> bool {
        self.emulator.is_alternate()
    }

    /// The title that the program has set, without control characters.
    pub fn title(&self) -> Option<&str> {
        self.emulator.title.as_deref()
    }

    /// What `zvctl send` must know to send keys as a terminal would.
    pub fn key_modes(&self) -> KeyModes {
        KeyModes {
            application_cursor: self.emulator.has(TermMode::APP_CURSOR),
            application_keypad: self.emulator.has(TermMode::APP_KEYPAD),
            bracketed_paste: self.emulator.has(TermMode::BRACKETED_PASTE),
        }
    }

    fn begin_anew(&mut self) {
        let (cols, rows) = self.size();
        *self = Screen { pristine: false, failures: self.failures + 1, ..Screen::new(cols, rows) };
    }
}

impl fmt::Debug for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = (self.size(), self.cursor(), self.failures);
        f.debug_tuple("Screen").field(&fields).finish()
    }
}

/// Lets the parser act on a whole sequence or a run of text, where the emulator does not act by itself.
fn interpret(parser: &mut Processor<NoWaiting>, emulator: &mut Emulator, piece: &[u8]) {
    match piece {
        // The parser too must see it, or it would go on in what the sequence has cut off.
        b"\x1b[!p" => {
            parser.advance(emulator, piece);
            emulator.soft_reset();
        }
        [0x1b, b'[', number @ .., b'b'] => match parameter(number) {
            Some(asked) => {
                let count = emulator.repeat_max(asked);
                parser.advance(emulator, format!("\x1b[{count}b").as_bytes());
            }
            None => parser.advance(emulator, piece),
        },
        _ => {
            emulator.answer_string(piece);
            parser.advance(emulator, piece);
        }
    }
}

/// The value of a single parameter.
fn parameter(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn size(cols: u16, rows: u16) -> Size {
    Size::new(cols.min(SIDE_MAX_CELLS), rows.min(SIDE_MAX_CELLS))
}

fn narrow(cells: usize) -> u16 {
    u16::try_from(cells).unwrap_or(u16::MAX)
}
