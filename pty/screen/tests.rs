//! What the model promises, checked model against model; `tests/` checks it against a real terminal.

mod bounds;
mod queries;
mod roundtrip;
mod streams;
mod views;

use super::Screen;

/// A terminal of 80 by 24 that has been fed `bytes`.
fn screen(bytes: impl AsRef<[u8]>) -> Screen {
    sized(80, 24, bytes)
}

fn sized(cols: u16, rows: u16, bytes: impl AsRef<[u8]>) -> Screen {
    let mut screen = Screen::new(cols, rows);
    feed(&mut screen, bytes);
    screen
}

/// Feeds and returns the answers.
fn feed(screen: &mut Screen, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut answers = Vec::new();
    screen.feed(bytes.as_ref(), &mut answers);
    assert_eq!(screen.failures(), 0, "the library failed");
    answers
}

/// What any sequence of control functions may be drawn from.
fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).escape_debug().to_string()
}
