//! Queries are answered once, by the model.

use super::super::{ANSWERS_MAX_BYTES, Screen};
use super::{feed, screen, shown, sized};

#[test]
fn a_program_that_asks_is_answered() {
    let answers = feed(&mut screen(""), "\x1b[c\x1b[6n\x1b[5n\x1b]11;?\x07\x1b[?2026$p");
    let want = "\x1b[?62;22c\x1b[1;1R\x1b[0n\x1b]11;rgb:0000/0000/0000\x07\x1b[?2026;2$y";
    assert_eq!(shown(&answers), shown(want.as_bytes()));
}

#[test]
fn each_query_has_its_answer() {
    for (asked, want) in [
        ("\x1b[>c", "\x1b[>0;277;0c"),
        ("\x1bZ", "\x1b[?62;22c"),
        ("\x1b[5;10r\x1b[?6h\x1b[3;7H\x1b[6n", "\x1b[3;7R"),
        ("\x1b[?7$p\x1b[?7l\x1b[?7$p", "\x1b[?7;1$y\x1b[?7;2$y"),
        ("\x1b[?2026h\x1b[?2026$p", "\x1b[?2026;1$y"),
        ("\x1b[?1016h\x1b[?1016$p\x1b[?4711$p", "\x1b[?1016;1$y\x1b[?4711;0$y"),
        ("\x1b[4$p\x1b[4h\x1b[4$p\x1b[12$p", "\x1b[4;2$y\x1b[4;1$y\x1b[12;0$y"),
        ("\x1b]10;?\x1b\\", "\x1b]10;rgb:ffff/ffff/ffff\x1b\\"),
        (
            "\x1b]4;1;?\x07\x1b]4;21;?\x07\x1b]4;255;?\x07",
            concat!(
                "\x1b]4;1;rgb:cdcd/0000/0000\x07",
                "\x1b]4;21;rgb:0000/0000/ffff\x07",
                "\x1b]4;255;rgb:eeee/eeee/eeee\x07"
            ),
        ),
        ("\x1b]11;#102030\x07\x1b]11;?\x07", "\x1b]11;rgb:1010/2020/3030\x07"),
        ("\x1b[14t\x1b[18t", "\x1b[4;384;640t\x1b[8;24;80t"),
        ("\x1b[>5u\x1b[=2;2u\x1b[?u\x1b[<u\x1b[?u", "\x1b[?7u\x1b[?0u"),
        ("\x1b[>4;2m\x1b[?4m", "\x1b[>4;2m"),
        ("\x1bP$qm\x1b\\\x1bP+q544e\x1b\\", "\x1bP0$r\x1b\\\x1bP0+r\x1b\\"),
        ("\x1b]52;c;?\x07\x1b]52;p;?\x1b\\", ""),
    ] {
        assert_eq!(shown(&feed(&mut screen(""), asked)), shown(want.as_bytes()), "{}", shown(asked.as_bytes()));
    }
}

#[test]
fn a_query_that_comes_in_two_reads_is_answered_once() {
    let mut screen = screen("");
    assert_eq!(feed(&mut screen, "\x1b["), b"");
    assert_eq!(feed(&mut screen, "6n"), b"\x1b[1;1R");
}

#[test]
fn a_soft_reset_ends_the_sequence_it_cuts_off() {
    let mut screen = screen("");
    assert_eq!(shown(&feed(&mut screen, "\x1b[\x1b[!pc")), "");
    assert_eq!(screen.rows_text()[0], "c");
}

#[test]
fn a_program_that_does_not_read_its_answers_gets_no_more() {
    let mut screen = Screen::new(80, 24);
    let mut answers = Vec::new();
    for _ in 0..100 {
        screen.feed("\x1b[c".repeat(10_000).as_bytes(), &mut answers);
    }
    assert!(answers.len() <= ANSWERS_MAX_BYTES && answers.len() > ANSWERS_MAX_BYTES - 16, "{}", answers.len());
}

#[test]
fn a_picture_asks_nothing() {
    let mut from = screen("text\x1b[?1004h\x1b[?1003h\x1b[>7u\x1b]2;t\x07\x1b]4;1;#123456\x07\x1b[?1049hx");
    for bytes in [from.picture(), from.picture_for(40, 10), super::super::leave().to_vec()] {
        assert_eq!(feed(&mut sized(80, 24, ""), bytes), b"");
    }
}
