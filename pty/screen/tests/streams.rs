//! Streams that use what terminals have, for the other tests.

use std::fmt;

use proptest::prelude::*;

/// Streams with a name, each of which ends in a state of its own.
pub(super) const STREAMS: &[(&str, &str)] = &[
    ("nothing", ""),
    ("text", "one\r\ntwo\r\n\tthree\u{e9}"),
    ("scrolled", "\x1b[31mred\r\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\nlast\x1b[m end"),
    ("wide at the margin", "\x1b[1;79H\u{4f60}\u{597d}\x1b[5;80H\u{4f60}x\x1b[7;79Hab\u{4f60}"),
    ("combining", "e\u{301}\u{302} a\u{308}\u{4f60}\u{301}x\x1b[2;80Ho\u{301}"),
    ("emoji", "\u{1f600}a\u{1f468}\u{200d}\u{1f469}b\u{2764}\u{fe0f}c"),
    ("line drawing", "\x1b(0lqqk\r\nx  x\r\nmqqj\x1b(B ascii \x1b)0\x0eqq\x0fqq\x1b(0"),
    ("shifted out", "\x1b)0abc\x0eabc"),
    ("colours", "\x1b[31;42ma\x1b[91;102mb\x1b[38;5;200mc\x1b[48;5;17md\x1b[38;2;1;2;3;48;2;9;8;7me\x1b[39;49mf"),
    ("attributes", "\x1b[1mb\x1b[2md\x1b[22m\x1b[3mi\x1b[7mr\x1b[27m\x1b[8mh\x1b[28m\x1b[9ms\x1b[0m."),
    ("underlines", "\x1b[4ma\x1b[4:2mb\x1b[4:3mc\x1b[4:4md\x1b[4:5me\x1b[58:2::255:0:9mf\x1b[58;5;3mg\x1b[24;59mh"),
    ("background erased", "\x1b[44m\x1b[2J\x1b[5;5H\x1b[K\x1b[0mx\x1b[41m\x1b[10;1H\x1b[X"),
    ("region with origin", "\x1b[3;10r\x1b[?6h\x1b[2;5Hin\x1b[99;99Hlow\r\n\n"),
    ("region left again", "\x1b[3;10r\x1b[20;1Hbelow\x1b[2;1Habove"),
    ("tabs", "\x1b[3g\x1b[5G\x1bH\x1b[33G\x1bH\ra\tb\tc\td"),
    ("tab stops as ever", "\x1b[3g\x1b[?5Wa\tb\tc"),
    ("insert mode", "abcdef\x1b[3G\x1b[4hXY"),
    ("pending wrap", "\x1b[3;80HX"),
    ("pending wrap, wide", "\x1b[3;79H\u{4f60}"),
    ("pending wrap, bottom", "\x1b[24;80H\x1b[33mX"),
    ("pending wrap, in a region with origin", "\x1b[3;9r\x1b[?6h\x1b[7;80H\x1b[33mX\x1b[4h"),
    ("no wrap", "\x1b[?7l\x1b[4;70Habcdefghijklmnop"),
    ("alternate", "primary\x1b[2;3Hmore\x1b[32m\x1b[?1049h\x1b[Halternate\x1b[10;10H"),
    ("alternate over a pending wrap", "\x1b[3;80HX\x1b[?1049hY"),
    ("alternate and back", "one\x1b[?1049htwo\x1b[?1049l three"),
    ("old alternate", "one\x1b[?47htwo\x1b[?47l three\x1b[?1047h4"),
    ("saved cursor", "\x1b[7;9H\x1b[35m\x1b(0\x1b7\x1b(B\x1b[0m\x1b[Hhome"),
    ("saved cursor in origin mode", "\x1b[3;9r\x1b[?6h\x1b[2;2H\x1b7\x1b[?6l\x1b[Hhome"),
    ("modes", "\x1b[?1h\x1b=\x1b[?2004h\x1b[?1002h\x1b[?1006h\x1b[?1004h\x1b[?25l\x1b[20h"),
    ("mouse", "\x1b[?1000h\x1b[?1003h\x1b[?1005h\x1b[?1015h"),
    ("cursor shapes", "\x1b[5 q\x1b[?12l"),
    ("reverse", "\x1b[?5htext"),
    ("keyboard", "\x1b[=1u\x1b[>3u\x1b[>5u\x1b[>4;2m\x1b[?1049h\x1b[>9u"),
    ("title", "\x1b]0;a \u{fc} title\x07text"),
    ("links", "\x1b]8;;http://a\x1b\\one\x1b]8;;\x1b\\ \x1b]8;id=7;http://b\x07two\x1b]8;;\x07"),
    ("palette", "\x1b]4;1;rgb:12/34/56\x07\x1b]10;#ffeedd\x07\x1b[31mx"),
    ("synchronized", "before\x1b[?2026hinside"),
    ("editing", "abcdef\x1b[3D\x1b[2@\x1b[P\x1b[2;1Hxyz\x1b[A\x1b[L\x1b[3;1H\x1b[M\x1b[2S\x1b[T"),
    ("soft reset", "\x1b[3;9r\x1b[4h\x1b[?6h\x1b[31mx\x1b[?25l\x1b[!py"),
    ("full reset", "\x1b[3;9r\x1b[?1049h\x1b[31mx\x1b]2;t\x07\x1bcy"),
    ("alignment", "\x1b#8\x1b[5;5H"),
];

/// One control function or piece of text, biased to what makes trouble; without REP, which no picture can know.
fn token() -> impl Strategy<Value = Vec<u8>> {
    let text = prop::sample::select(vec![
        "a",
        "word ",
        "\u{e9}",
        "\u{4f60}\u{597d}",
        "e\u{301}",
        "\u{301}",
        "\u{1f600}",
        "\u{200d}",
        "\u{fe0f}",
        "\t",
        "\r",
        "\n",
        "\x08",
        "\x0e",
        "\x0f",
        "qqqxxx",
        "0123456789abcdef0123456789abcdef",
    ]);
    let number = prop_oneof![3 => 0u32..12, 1 => 12u32..90, 1 => Just(65_535u32)];
    let csi = (prop::collection::vec(number, 0..4), prop::sample::select(b"@ABCDEFGHIJKLMPSTXZdfgmrsu".to_vec()))
        .prop_map(|(numbers, last)| {
            let numbers: Vec<_> = numbers.iter().map(u32::to_string).collect();
            format!("\x1b[{}{}", numbers.join(";"), char::from(last))
        });
    let mode = (
        prop::sample::select(vec![
            1, 3, 5, 6, 6, 7, 7, 12, 25, 47, 1000, 1002, 1003, 1004, 1005, 1006, 1015, 1047, 1048, 1049, 1049, 2004,
            2026,
        ]),
        prop::bool::ANY,
    )
        .prop_map(|(mode, on)| format!("\x1b[?{mode}{}", if on { 'h' } else { 'l' }));
    let place = (1u16..30, 1u16..90).prop_map(|(row, column)| format!("\x1b[{row};{column}H"));
    let other = prop::sample::select(vec![
        "\x1b7",
        "\x1b8",
        "\x1bD",
        "\x1bM",
        "\x1bE",
        "\x1bH",
        "\x1bc",
        "\x1b(0",
        "\x1b(B",
        "\x1b)0",
        "\x1b=",
        "\x1b>",
        "\x1b#8",
        "\x1b[4h",
        "\x1b[4l",
        "\x1b[20h",
        "\x1b[!p",
        "\x1b[>1u",
        "\x1b[<u",
        "\x1b[=3;1u",
        "\x1b[3 q",
        "\x1b[38;5;99m",
        "\x1b[48;2;1;2;3m",
        "\x1b[4:3m",
        "\x1b[?5W",
        "\x1b[3g",
        "\x1b]8;;http://x\x07",
        "\x1b]8;;\x07",
        "\x1b[7m",
        "\x1b[0m",
        "\x1b[3;9r",
        "\x1b[>4;1m",
    ]);
    let wild = prop::collection::vec(any::<u8>(), 1..6).prop_map(|bytes| {
        // Not the beginning of a string: it would swallow what follows, and the run would test little.
        bytes.into_iter().filter(|byte| !matches!(byte, b'b' | b']' | b'P' | b'X' | b'^' | b'_')).collect()
    });
    prop_oneof![
        6 => text.prop_map(|text| text.as_bytes().to_vec()),
        5 => csi.prop_map(String::into_bytes),
        3 => mode.prop_map(String::into_bytes),
        3 => place.prop_map(String::into_bytes),
        3 => other.prop_map(|text| text.as_bytes().to_vec()),
        1 => wild,
    ]
}

/// Bytes that a failed test shows as text.
#[derive(Clone)]
pub(super) struct Stream(pub(super) Vec<u8>);

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// Some of those in a row.
pub(super) fn stream() -> impl Strategy<Value = Stream> {
    prop::collection::vec(token(), 0..60).prop_map(|tokens| Stream(tokens.concat()))
}
