//! What is typed at an attached terminal, in any pieces (an ESC at the end of one is the Escape key, so they matter): without the keys
//! all of it is passed on, in order, and with them a beginning of it.
#![no_main]

use std::sync::OnceLock;
use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use zerovisor_core::detach::{DetachKeys, DetachWatch};
use zerovisor_fuzz::{cuts_and_stream, pieces};

/// What was passed on, and whether the user left.
fn typed<'a>(keys: &DetachKeys, now: Instant, pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<u8>, bool) {
    let (mut watch, mut out) = (DetachWatch::new(keys.clone()), Vec::new());
    for piece in pieces {
        if watch.on_input(now, piece, &mut out) {
            return (out, true);
        }
    }
    watch.finish(&mut out);
    (out, false)
}

fuzz_target!(|input: &[u8]| {
    static NOW: OnceLock<Instant> = OnceLock::new();
    let now = *NOW.get_or_init(Instant::now);
    let Some((names, input)) = input.split_first() else { return };
    let keys: DetachKeys =
        ["ctrl-],ctrl-],ctrl-]", "ctrl-p,ctrl-q", "a,b,a,b", "none"][usize::from(names % 4)].parse().expect("keys");
    let (cuts, stream) = cuts_and_stream(input);
    for (passed, left) in [
        typed(&keys, now, std::iter::once(stream)),
        typed(&keys, now, stream.chunks(1)),
        typed(&keys, now, pieces(cuts, stream)),
    ] {
        assert!(if left { stream.starts_with(&passed) } else { passed == stream }, "{}", passed.escape_ascii());
    }
});
