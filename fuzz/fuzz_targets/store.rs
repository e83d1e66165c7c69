//! Files of the data directory beside the logs: a meta file and the cursors of the text log read back as what would be written for
//! them, or are refused; of the ids of removed processes each whole line is remembered, whatever stands beside it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zerovisor::node::fuzzing::REMOVED_MAX;
use zerovisor::node::{self, textlog};
use zerovisor_core::id::Id;
use zerovisor_fuzz::{peak_bytes, put, with_directory};

/// Bytes that reading either may hold beyond some times the file's length.
const ROOM_BYTES: usize = 3 << 20;

fn meta(body: &[u8]) {
    // A good checksum of anything, and the format before that had none.
    let crc = crc32c::crc32c(body).to_le_bytes();
    for file in [[b"ZVMETA2\n", &crc[..], body].concat(), [b"ZVMETA1\n", body].concat(), body.to_vec()] {
        if let Some(written) = node::fuzzing::meta(&file) {
            assert_eq!(node::fuzzing::meta(&written), Some(written));
        }
    }
}

fn cursors(text: &str) {
    let Some(written) = textlog::fuzzing::cursors(text) else { return };
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

/// Lines as they come, but that 0xff and a byte stand for the line of an id; `many`: behind more ids than are kept.
fn removed(lines: &[u8], many: bool) {
    let one = |number: u8| Id::from_random([number; 16]);
    let mut file: Vec<u8> = if many { format!("\n{}", one(0)).repeat(REMOVED_MAX).into_bytes() } else { Vec::new() };
    let mut rest = lines.iter();
    while let Some(byte) = rest.next() {
        match (byte, rest.as_slice()) {
            (0xff, [number, ..]) => {
                file.extend(format!("\n{}\n", one(*number)).bytes());
                rest.next();
            }
            _ => file.push(*byte),
        }
    }
    let lines = file.split(|byte| *byte == b'\n');
    let mut wanted: Vec<Id> = lines.filter_map(|line| std::str::from_utf8(line).ok()?.parse().ok()).collect();
    let latest = |ids: &[Id]| ids[ids.len().saturating_sub(REMOVED_MAX)..].to_vec();
    let (found, next) = with_directory(|dir| {
        put(&dir.join("removed"), &file);
        node::fuzzing::removed(dir, one(1))
    });
    assert_eq!(found, latest(&wanted));
    wanted.push(one(1));
    assert_eq!(next, latest(&wanted));
}

fn read(kind: u8, bytes: &[u8]) {
    match (kind, kind % 3, std::str::from_utf8(bytes)) {
        // As many as are kept take a hundred times as long.
        (u8::MAX, ..) => removed(bytes, true),
        (_, 0, _) => meta(bytes),
        (_, 1, Ok(text)) => cursors(text),
        (_, 1, Err(_)) => {}
        _ => removed(bytes, false),
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((kind, bytes)) = input.split_first() else { return };
    let ((), peak) = peak_bytes(|| read(*kind, bytes));
    assert!(peak <= ROOM_BYTES + 128 * bytes.len(), "{} bytes took {peak}", bytes.len());
});
