//! A picture makes any terminal into the one it was taken of, at any moment.
//!
//! Two models are compared by the pictures they give: those hold everything that is promised, in one order.

use proptest::prelude::*;

use super::super::leave;
use super::streams::{STREAMS, stream};
use super::{Screen, feed, shown, sized};

/// Leaves a terminal in as odd a state as it can be in.
const MESS: &str = "\x1b[2;5r\x1b[?6h\x1b[4h\x1b(0\x1b)0\x0e\x1b[7;31mjunk\x1b[?25l\x1b[?1003h\x1b[?7l\x1b[3g\x1b[?1h\x1b=\x1b[>31u\
    \x1b[?1049h\x1b[>31u\x1b[20h\x1b[5 q\x1b[?5h\x1b7junk\x1b]8;;http://x\x07junk\x1b[?2026h\x1b[>4;2m\x1b]52;c;never ended";

/// The state of `screen`, for comparison.
fn state(screen: &mut Screen) -> String {
    let picture = screen.picture();
    let beyond = picture.strip_prefix(leave()).expect("a picture begins with leave");
    format!("{}\n{}", screen.rows_ansi().join("\n"), shown(beyond).replace("\\u{1b}", "\n\u{241b}"))
}

fn copy(screen: &mut Screen, mess: &[u8]) -> Screen {
    let (cols, rows) = screen.size();
    let mut copy = sized(cols, rows, mess);
    assert_eq!(shown(&feed(&mut copy, screen.picture())), shown(b""), "a picture asks nothing");
    copy
}

#[test]
fn a_picture_brings_any_terminal_to_the_same_state() {
    for (name, stream) in STREAMS {
        let mut original = sized(80, 24, stream);
        for mess in ["", MESS] {
            let mut copy = copy(&mut original, mess.as_bytes());
            assert_eq!(state(&mut copy), state(&mut original), "{name}");
            assert_eq!(copy.cursor(), original.cursor(), "{name}");
            assert_eq!(copy.key_modes(), original.key_modes(), "{name}");
        }
    }
}

#[test]
fn a_picture_at_any_byte_and_then_the_rest_is_the_whole_stream() {
    for (name, stream) in STREAMS {
        let stream = stream.as_bytes();
        let mut whole = sized(80, 24, stream);
        let whole = state(&mut whole);
        for at in 0..=stream.len() {
            let mut copy = copy(&mut sized(80, 24, &stream[..at]), MESS.as_bytes());
            feed(&mut copy, &stream[at..]);
            assert_eq!(state(&mut copy), whole, "{name}, at {at}: {}", shown(&stream[..at]));
        }
    }
}

#[test]
fn leave_makes_a_terminal_normal_and_is_the_same_twice() {
    let normal = shown(&sized(80, 24, "\x1b[9999H\x1b7").picture());
    let mut messed = sized(80, 24, MESS);
    for _ in 0..2 {
        feed(&mut messed, leave());
        // What it shows and where the cursor was saved is not leave's to clear.
        let mut cleared = copy(&mut messed, b"");
        feed(&mut cleared, "\x1b[2J\x1b7");
        assert_eq!(shown(&cleared.picture()), normal);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_state_has_a_picture(
        stream in stream(),
        mess in stream(),
        (cols, rows) in (2u16..40, 1u16..12),
    ) {
        let mut original = sized(cols, rows, &stream.0);
        let mut copy = copy(&mut original, &mess.0);
        // Colours and titles that the picture does not set stay as they were; the streams here set none.
        prop_assert_eq!(state(&mut copy), state(&mut original));
    }

    #[test]
    fn any_stream_may_be_taken_up_in_the_middle(
        (before, after) in (stream(), stream()),
        (cols, rows) in (2u16..40, 1u16..12),
    ) {
        let mut whole = sized(cols, rows, &before.0);
        let mut copy = copy(&mut whole, b"");
        feed(&mut whole, &after.0);
        feed(&mut copy, &after.0);
        prop_assert_eq!(state(&mut copy), state(&mut whole));
    }
}
