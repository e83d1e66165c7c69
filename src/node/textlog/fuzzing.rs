//! What the fuzz targets of `fuzz/` reach of this room.

use zerovisor_core::units::Timestamp;

use super::cursor::{Cursors, parse};
use super::line::{Page, Stream, Word, who};

/// A text of cursors: none if it is not what was written; else its lines as they would be written, sorted.
pub fn cursors(text: &str) -> Option<Vec<String>> {
    let (known, stopped) = parse(text)?;
    let mut lines: Vec<String> = Cursors::of(known).text(stopped).lines().map(str::to_owned).collect();
    lines.sort_unstable();
    Some(lines)
}

/// One stream's bytes, in pieces, as lines of zerovisor.log.
pub fn rendered<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> String {
    let (mut stream, mut page, who) = (Stream::default(), Page::default(), who("web", 1, Some(2)));
    for piece in pieces {
        stream.feed(piece, Timestamp(1), &who, Word::Stdout, &mut page);
    }
    stream.finish(&who, Word::Stdout, &mut page);
    String::from_utf8_lossy(&page.text).into_owned()
}
