//! What viewers see of a program's output: the pieces it comes in make no difference, taking questions out makes no new ones, and the
//! screen model finds nothing to answer in what is left.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zerovisor_core::queries::{HELD_MAX_BYTES, QueryFilter};
use zerovisor_fuzz::{cuts_and_stream, pieces};
use zerovisor_pty::screen::Screen;

fn filtered<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let (mut filter, mut out, mut fed) = (QueryFilter::new(), Vec::new(), 0);
    for piece in pieces {
        filter.filter(piece, &mut out);
        fed += piece.len();
        // A string that was left open is ended before what follows a dropped one: two bytes for at least three. A graphics command of
        // at least four bytes is told to be quiet: four more.
        assert!(out.len() <= 2 * fed + 2, "{} bytes of {fed}", out.len());
    }
    assert!(filter.is_idle() || fed > 0, "nothing is held of nothing, and {HELD_MAX_BYTES} bytes at most");
    out
}

fuzz_target!(|input: &[u8]| {
    let (cuts, stream) = cuts_and_stream(input);
    let whole = filtered(std::iter::once(stream));
    assert_eq!(filtered(pieces(cuts, stream)), whole);
    assert_eq!(filtered(stream.chunks(1)), whole);
    assert_eq!(filtered(std::iter::once(&whole[..])), whole);
    let (mut screen, mut answers) = (Screen::new(80, 24), Vec::new());
    screen.feed(&whole, &mut answers);
    assert!(answers.is_empty(), "{} is answered: {}", whole.escape_ascii(), answers.escape_ascii());
});
