//! Files of the data directory beside the logs: a meta file and the cursors of the text log read back as what would be written for
//! them, or are refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zerovisor::node::{self, textlog};
use zerovisor_fuzz::peak_bytes;

/// Bytes that reading either may hold beyond some times the file's length.
const ROOM_BYTES: usize = 3 << 20;

fn read(kind: u8, bytes: &[u8]) {
    if kind % 2 == 0 {
        let file = [b"ZVMETA1\n", bytes].concat();
        if let Some(written) = node::fuzzing::meta(&file) {
            assert_eq!(node::fuzzing::meta(&written), Some(written));
        }
    } else if let Some(written) = std::str::from_utf8(bytes).ok().and_then(textlog::fuzzing::cursors) {
        // Sorted for comparison; a file begins with its title and ends with its end.
        let (mut title, mut end, mut lines) = (Vec::new(), Vec::new(), Vec::new());
        for line in &written {
            match line {
                line if line.starts_with("zerovisor") => title.push(line.as_str()),
                line if line.starts_with("end") => end.push(line.as_str()),
                line => lines.push(line.as_str()),
            }
        }
        let text = [title, lines, end].concat().join("\n") + "\n";
        assert_eq!(textlog::fuzzing::cursors(&text).as_ref(), Some(&written));
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((kind, bytes)) = input.split_first() else { return };
    let ((), peak) = peak_bytes(|| read(*kind, bytes));
    assert!(peak <= ROOM_BYTES + 128 * bytes.len(), "{} bytes took {peak}", bytes.len());
});
