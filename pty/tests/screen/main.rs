//! The screen model against a real terminal, tmux: what a program draws there and what the model's picture of the same bytes draws there
//! are compared, cell by cell and mode by mode.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test says what is wrong by failing")]

mod programs;
mod synthetic;
mod tmux;

use tmux::{Seen, Tmux, is_in_time};
use zerovisor_pty::screen::Screen;

/// Leaves a terminal in as odd a state as it can be in, for a picture to begin with.
const MESS: &str = "\x1b[2;5r\x1b[?6h\x1b[4h\x1b(0\x1b)0\x0e\x1b[7;31mjunk\x1b[?25l\x1b[?1003h\x1b[?7l\x1b[3g\x1b[?1h\x1b=\
    \x1b[?1049h\x1b7junk\x1b]8;;http://x\x07junk\x1b]2;never ended";

/// A model that has been fed `bytes`.
fn model(cols: u16, rows: u16, bytes: &[u8]) -> Screen {
    let mut screen = Screen::new(cols, rows);
    screen.feed(bytes, &mut Vec::new());
    assert_eq!(screen.failures(), 0);
    screen
}

/// What a capture of tmux looks like, row by row. It tells spaces that were written from what was never drawn, and line drawing from the
/// same characters in UTF-8; no eye does.
fn drawn(capture: &str) -> Vec<String> {
    of_capture(capture).rows_ansi()
}

/// A model that shows what tmux captured with attributes.
fn of_capture(capture: &str) -> Screen {
    let rows = capture.trim_end_matches('\n').replace('\n', "\r\n");
    model(80, 24, format!("\x1b)0{rows}").as_bytes())
}

/// The pane `pane` shows what a picture of `bytes` shows in a terminal left in a mess.
fn assert_pictured(tmux: &Tmux, pane: &str, bytes: &[u8], what: &str) {
    let picture = model(80, 24, bytes).picture();
    tmux.show("picture", &[MESS.as_bytes(), &picture].concat());
    assert_same(tmux, (pane, "picture"), &format!("{what}, {}", picture.escape_ascii()));
    assert_eq!(drawn(&tmux.see_below("picture")), drawn(&tmux.see_below(pane)), "{what}: the primary screen below");
    tmux.close("picture");
}

/// Both panes come to show the same, in the same state.
fn assert_same(tmux: &Tmux, (original, copy): (&str, &str), what: &str) {
    let same = |left: &Seen, right: &Seen| left.modes == right.modes && drawn(&left.rows) == drawn(&right.rows);
    // tmux may still be taking in the last bytes of either.
    if is_in_time(|| same(&tmux.see(original), &tmux.see(copy))) {
        return;
    }
    let (left, right) = (tmux.see(copy), tmux.see(original));
    assert_eq!(left.modes, right.modes, "{what}");
    assert_eq!(drawn(&left.rows), drawn(&right.rows), "{what}");
}
