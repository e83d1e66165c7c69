//! What is read off the model: rows, cursor, title, frames.

use super::super::KeyModes;
use super::{Screen, feed, screen, sized};

#[test]
fn rows_are_text_without_what_follows_it() {
    let rows = screen("\x1b[31mred\x1b[0m   \r\n\u{4f60}\u{597d}!\r\n\ttab e\u{301}").rows_text();
    assert_eq!(rows.len(), 24);
    assert_eq!(rows[..4], ["red", "\u{4f60}\u{597d}!", "        tab e\u{301}", ""]);
}

#[test]
fn coloured_rows_stand_by_themselves() {
    let rows = screen("\x1b[1;31mred\r\nmore\x1b[0m plain").rows_ansi();
    assert_eq!(rows[0], "\x1b[0;1;31mred\x1b[0m");
    assert_eq!(rows[1], "\x1b[0;1;31mmore\x1b[0m plain");
    assert_eq!(rows[2], "");
}

#[test]
fn the_cursor_the_title_and_the_keys_are_told() {
    let mut screen = screen("");
    assert!(screen.is_pristine());
    assert_eq!(screen.title(), None);
    feed(&mut screen, "\x1b]2;vim\x07\x1b[3;5H\x1b[?25l\x1b[?1h\x1b=\x1b[?2004h");
    assert!(!screen.is_pristine());
    assert_eq!(screen.title(), Some("vim"));
    let cursor = screen.cursor();
    assert_eq!((cursor.col, cursor.row, cursor.visible), (4, 2, false));
    assert_eq!(
        screen.key_modes(),
        KeyModes { application_cursor: true, application_keypad: true, bracketed_paste: true }
    );
}

/// What a terminal of `cols` by `rows` shows after a frame.
fn viewed(screen: &Screen, cols: u16, rows: u16) -> Screen {
    let mut viewer = sized(cols, rows, "\x1b[?1000hold\r\ncontents\x1b[2;3r");
    assert_eq!(feed(&mut viewer, screen.frame_for(cols, rows)), b"");
    viewer
}

#[test]
fn a_smaller_viewer_sees_the_part_with_the_cursor() {
    let lines: Vec<_> = (1..=24).map(|line| format!("line {line} and so on")).collect();
    let screen = screen(lines.join("\r\n") + "\x1b[20;3H");
    let viewer = viewed(&screen, 10, 4);
    assert_eq!(viewer.rows_text(), ["line 17 an", "line 18 an", "line 19 an", "line 20 an"]);
    assert_eq!((viewer.cursor().col, viewer.cursor().row), (2, 3));
}

#[test]
fn a_larger_viewer_sees_all_and_nothing_else() {
    let screen = sized(20, 2, "one\r\ntwo\x1b[?2004h");
    let viewer = viewed(&screen, 40, 4);
    assert_eq!(viewer.rows_text(), ["one", "two", "", ""]);
    assert_eq!((viewer.cursor().col, viewer.cursor().row), (3, 1));
    assert!(viewer.key_modes().bracketed_paste);
}

#[test]
fn a_wide_character_on_the_edge_is_not_drawn_by_half() {
    let screen = sized(20, 2, "abc\u{4f60}def\x1b[1;1H");
    assert_eq!(viewed(&screen, 4, 2).rows_text()[0], "abc");
    assert_eq!(viewed(&screen, 5, 2).rows_text()[0], "abc\u{4f60}");
}

#[test]
fn a_smaller_terminal_wraps_what_it_showed() {
    let mut screen = sized(10, 4, "0123456789");
    screen.resize(5, 4);
    assert_eq!(screen.rows_text()[..2], ["01234", "56789"]);
}

#[test]
fn a_screen_can_live_on_another_thread() {
    let mut screen = screen("here");
    let moved = std::thread::spawn(move || {
        feed(&mut screen, " and there");
        screen.rows_text().swap_remove(0)
    });
    assert_eq!(moved.join().expect("no panic"), "here and there");
}
