//! Streams that use what terminals have, on their own.

use zerovisor_pty::screen::leave;

use super::tmux::Tmux;
use super::{MESS, assert_pictured, assert_same, model};

/// Where tmux 3.3 does as xterm does. It tells nothing of erased cells behind a row's text, and knows no reverse screen, no G2 and G3, and no line feed mode.
const STREAMS: &[(&str, &str)] = &[
    ("wide at the margin", "\x1b[1;79H\u{4f60}\u{597d}\x1b[5;80H\u{4f60}x\x1b[7;79Hab\u{4f60}"),
    ("combining", "e\u{301} a\u{308} o\u{301}x\x1b[2;40Ho\u{301}"),
    ("line drawing", "\x1b(0lqqk\r\nx  x\r\nmqqj\x1b(B ascii \x1b)0\x0eqq\x0fqq"),
    ("colours", "\x1b[31;42ma\x1b[91;102mb\x1b[38;5;200mc\x1b[48;5;17md\x1b[38;2;1;2;3;48;2;9;8;7me\x1b[39;49mf"),
    ("attributes", "\x1b[1mb\x1b[2md\x1b[22m\x1b[3mi\x1b[7mr\x1b[27m\x1b[8mh\x1b[28m\x1b[9ms\x1b[0m."),
    ("underlines", "\x1b[4ma\x1b[4:2mb\x1b[4:3mc\x1b[4:4md\x1b[4:5me\x1b[58:2::255:0:9mf\x1b[24;59mh"),
    ("background erased", "\x1b[5;20H\x1b[44m\x1b[1K\x1b[0mx\x1b[41m\x1b[10;1H\x1b[5X\x1b[0m\x1b[9Cy"),
    ("region with origin", "\x1b[3;10r\x1b[?6h\x1b[2;5Hin\x1b[8;1Hlow\r\n\n"),
    ("region left again", "\x1b[3;10r\x1b[20;1Hbelow\x1b[2;1Habove"),
    ("tabs", "\x1b[3g\x1b[5G\x1bH\x1b[33G\x1bH\ra\tb\tc\td"),
    ("insert mode", "abcdef\x1b[3G\x1b[4hXY"),
    ("pending wrap", "\x1b[3;80HX"),
    ("pending wrap, wide", "\x1b[3;79H\u{4f60}"),
    ("pending wrap at the bottom", "\x1b[24;80H\x1b[33mX"),
    ("no wrap", "\x1b[?7l\x1b[4;70Habcdef"),
    (
        "alternate over a full primary",
        "\x1b[44;33m\x1b[2J\x1b#8\x1b[12;30H\x1b[0m\x1b[?1049h\x1b[3;3Halternate\x1b[10;10H",
    ),
    ("alternate and back", "one\x1b[?1049htwo\x1b[?1049l three"),
    ("saved cursor", "\x1b[7;9H\x1b[35m\x1b7\x1b[0m\x1b[Hhome"),
    ("keys and mouse", "\x1b[?1h\x1b=\x1b[?2004h\x1b[?1002h\x1b[?1006h\x1b[?1004h\x1b[?25l"),
    ("cursor shape", "\x1b[5 q"),
    ("editing", "abcdef\x1b[3D\x1b[2@\x1b[P\x1b[2;1Hxyz\x1b[A\x1b[L\x1b[3;1H\x1b[M"),
    ("repeat", "ab\x1b[20b\r\n"),
];

/// Shows what followed the state: where text goes, what it is drawn with, what is saved, where tabs and the region are.
const PROBE: &str = "q\u{4f60}\tT\x1b8S\n\n\x1b[99;99HE\nF";

#[test]
fn tmux_shows_the_same() {
    let Some(tmux) = Tmux::start("pictures of synthetic streams") else { return };
    for (name, stream) in STREAMS {
        tmux.show("original", stream.as_bytes());
        assert_pictured(&tmux, "original", stream.as_bytes(), name);
        tmux.close("original");
    }
}

#[test]
fn tmux_goes_on_in_the_same_way() {
    let Some(tmux) = Tmux::start("streams that go on after a picture") else { return };
    for (name, stream) in STREAMS {
        let whole = format!("{stream}{PROBE}").into_bytes();
        tmux.show("original", &whole);
        for at in [stream.len(), stream.len() / 2, stream.len() - 1] {
            let picture = model(80, 24, &whole[..at]).picture();
            let taken_up = [&picture, &whole[at..]].concat();
            tmux.show("copy", &taken_up);
            assert_same(&tmux, ("original", "copy"), &format!("{name}, at {at}: {}", taken_up.escape_ascii()));
            tmux.close("copy");
        }
        tmux.close("original");
    }
}

#[test]
fn leave_makes_tmux_normal_and_does_a_normal_one_no_harm() {
    let Some(tmux) = Tmux::start("what leave does") else { return };
    tmux.show("normal", b"\x1b[24;1H");
    // tmux does not know DECST8C, and nothing else of fixed length sets tab stops back.
    let mess = MESS.replace("\x1b[3g", "");
    for before in [mess.as_str(), ""] {
        tmux.show("left", &[before.as_bytes(), leave(), leave(), b"\x1b[2J"].concat());
        assert_same(&tmux, ("normal", "left"), "after leave");
        tmux.close("left");
    }
}

#[test]
fn tmux_has_the_title() {
    let Some(tmux) = Tmux::start("the title in a picture") else { return };
    tmux.show("titled", &model(80, 24, "\x1b]0;a t\u{ef}tle\x07".as_bytes()).picture());
    assert_eq!(tmux.title("titled"), "a t\u{ef}tle\n");
}
