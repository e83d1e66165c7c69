//! What programs print, as `zvctl logs` and `zerovisor.log` show it: no control, C1 or direction byte gets through but colours where
//! they are asked for, the pieces make no difference, and a line never grows by more than what its escapes need.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zerovisor::ctl::lines::{Line, Lines};
use zerovisor::ctl::out::Look;
use zerovisor::ctl::page::{Page, Style};
use zerovisor::node::textlog;
use zerovisor_core::escape::{Colours, escape_into, escaped};
use zerovisor_core::id::Id;
use zerovisor_core::record::{Head, Kind};
use zerovisor_core::units::Timestamp;
use zerovisor_core::wire::Source;
use zerovisor_fuzz::{assert_safe, cuts_and_stream, pieces};

/// `\xNN` for one byte, or `\u{NNNNNN}` for two.
const GROWTH: usize = 5;

fn escape(text: &[u8], colours: Colours) -> String {
    let mut out = Vec::new();
    escape_into(text, &mut out, colours);
    assert!(out.len() <= GROWTH * text.len());
    String::from_utf8(out).expect("what is escaped is UTF-8")
}

fn lines<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Line> {
    let (mut lines, mut out) = (Lines::default(), Vec::new());
    let head = Head { seq: 1, at: Timestamp(1), run: 1, kind: Kind::Stdout, offset: 0 };
    for piece in pieces {
        lines.push(&head, piece, &mut out);
    }
    lines.finish(&mut out);
    out
}

fn page(lines: &[Line], look: Look) -> String {
    let name = "web".parse().expect("a name");
    let source = Source { id: Id::from_random([1; 16]), name, node: "n".parse().expect("a name") };
    let style = Style::Text { timestamps: true, prefix: true };
    let (mut page, mut out) = (Page::new(style, look, 3), Vec::new());
    for line in lines {
        page.line(0, &source, line, &mut out);
    }
    page.finish("", &mut out);
    String::from_utf8(out).expect("a page is UTF-8")
}

fuzz_target!(|input: &[u8]| {
    let (cuts, stream) = cuts_and_stream(input);
    for text in stream.split(|byte| *byte == b'\n') {
        let plain = escape(text, Colours::Escape);
        assert_safe(&plain, false);
        assert_eq!(escaped(&plain), plain, "once is enough");
        assert_safe(&escape(text, Colours::Drop), false);
        assert_safe(&escape(text, Colours::Keep), true);
    }
    let whole = lines(std::iter::once(stream));
    assert_eq!(lines(pieces(cuts, stream)), whole);
    assert_safe(&page(&whole, Look::default()), false);
    assert_safe(&page(&whole, Look { width: Some(80), colour: true }), true);
    let written = textlog::fuzzing::rendered(std::iter::once(stream));
    assert_safe(&written, false);
    assert_eq!(textlog::fuzzing::rendered(pieces(cuts, stream)), written);
});
