//! Whatever a program writes, the model stands and stays small.

use proptest::prelude::*;

use super::super::sequence::SEQUENCE_MAX_BYTES;
use super::streams::stream;
use super::{feed, screen, sized};

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_a_program_writes_breaks_it(
        pieces in prop::collection::vec((stream(), 0u16..40, 0u16..12), 1..4),
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut screen = screen("");
        for (stream, cols, rows) in pieces {
            feed(&mut screen, &stream.0);
            screen.resize(cols, rows);
            feed(&mut screen, &bytes);
            prop_assert!(!screen.picture().is_empty());
            screen.frame_for(rows, cols);
            let (_, rows) = screen.size();
            prop_assert_eq!(screen.rows_text().len(), usize::from(rows));
            let cursor = screen.cursor();
            prop_assert!(cursor.row < rows);
        }
        prop_assert_eq!(screen.failures(), 0);
    }
}

/// The most bytes a picture of 80 by 24 may be after any of the attacks below: what each cell may hold, and some more.
const PICTURE_MAX_BYTES: usize = 2 * 80 * 24 * 64 + 3 * SEQUENCE_MAX_BYTES;

#[test]
fn endless_things_end() {
    let marks = "e".to_owned() + &"\u{301}".repeat(100_000);
    let title = format!("\x1b]2;{}\x07", "t".repeat(1 << 20));
    let long_link = format!("\x1b]8;;http://{}\x07x", "l".repeat(60_000));
    let keyboard = "\x1b[>1u".repeat(100_000);
    let titles = "\x1b]2;title\x07\x1b[22t".repeat(100_000);
    let numbers = format!("\x1b[{}m", "1;".repeat(1 << 20));
    for attack in [marks, title, long_link, keyboard, titles, numbers] {
        let mut screen = screen(&attack);
        let picture = screen.picture();
        assert!(picture.len() < PICTURE_MAX_BYTES, "{} bytes after {:?}", picture.len(), &attack[..16]);
        feed(&mut screen, "\x1b[H\x1b[2Jstill here");
        assert_eq!(screen.rows_text()[0], "still here");
    }
}

#[test]
fn links_longer_than_their_text_make_no_endless_picture() {
    let mut screen = screen("");
    for cell in 0..80 * 24 {
        feed(&mut screen, format!("\x1b]8;;http://{cell}{}\x07x", "l".repeat(2000)));
    }
    feed(&mut screen, "\x1b]8;;\x07");
    let picture = screen.picture();
    let (most, ansi) = ((256 << 10) + PICTURE_MAX_BYTES, screen.rows_ansi().concat());
    assert!(picture.len() < most && ansi.len() < most, "{} and {} bytes", picture.len(), ansi.len());
    assert!(String::from_utf8_lossy(&picture).contains("http://9l"), "the first ones are there");
    let (mut drawn, mut nobody) = (sized(80, 24, ""), Vec::new());
    drawn.feed(&picture, &mut nobody);
    assert_eq!(drawn.rows_text(), screen.rows_text());
}

#[test]
fn repeating_for_ever_repeats_a_screenful() {
    let mut small = sized(10, 2, "x\x1b[65535b");
    assert!(small.emulator.repeat_max(65_535) < 4 * 10);
    // 65,536 of them end in the sixth column.
    assert_eq!((small.cursor().col, small.rows_text()), (6, vec!["x".repeat(10), "x".repeat(6)]));
    feed(&mut small, "\x1b[H\x1b[Jx\x1b[5b");
    assert_eq!(small.rows_text()[0], "xxxxxx");
}

#[test]
fn a_string_that_never_ends_is_passed_over() {
    for begin in ["\x1b]2;", "\x1bP", "\x1b_", "\x1b^"] {
        let mut screen = screen(begin);
        for _ in 0..64 {
            feed(&mut screen, [b'x'; 64 << 10]);
        }
        assert!(screen.picture().len() < 4096, "{begin:?}");
        feed(&mut screen, "\x1b\\text");
        assert_eq!(screen.rows_text()[0], "text");
    }
}

#[test]
fn sizes_beyond_reason_are_cut() {
    assert_eq!(sized(0, 0, "\u{4f60}\u{597d}").size(), (2, 1));
    assert_eq!(sized(u16::MAX, 1, "").size(), (super::super::SIDE_MAX_CELLS, 1));
}
