//! What the processes of one zvwatch say to each other: frames between the front and the watcher are heard alike in any pieces and
//! read back as they would be sent; what the guard is entrusted with is a cgroup of our form or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zerovisor::watcher::front::fuzzing::{to_front, to_watcher};
use zerovisor_cgroup::{REMAINS_MAX_BYTES, Remains};
use zerovisor_fuzz::{cuts_and_stream, pieces};

fuzz_target!(|input: &[u8]| {
    let Some((kind, input)) = input.split_first() else { return };
    let (cuts, stream) = cuts_and_stream(input);
    match kind % 3 {
        0 => {
            let whole = to_watcher(std::iter::once(stream));
            assert_eq!(to_watcher(pieces(cuts, stream)), whole);
            let again = whole.0.concat();
            assert_eq!(to_watcher(again.chunks(3)), (whole.0, false));
        }
        1 => {
            let whole = to_front(std::iter::once(stream));
            assert_eq!(to_front(pieces(cuts, stream)), whole);
            let again = whole.0.concat();
            let (heard, garbled) = to_front(again.chunks(3));
            // Text that is no UTF-8 grows when it is made so, and may then be longer than a frame; what we send is UTF-8.
            assert!(garbled || heard == whole.0);
        }
        _ => {
            let Ok(text) = std::str::from_utf8(stream) else { return };
            let Ok(remains) = Remains::parse(text) else { return };
            let written = remains.to_text();
            // The last line may have come without its end.
            assert!(written.len() <= REMAINS_MAX_BYTES + 1, "{written}");
            let written = written.trim_end_matches('\n');
            assert_eq!(
                Remains::parse(written).expect("what is written is read").to_text().trim_end_matches('\n'),
                written
            );
        }
    }
});
