//! Headers, facts and pages of every type: what decodes reads back from its own encoding, and no frame takes more memory than its
//! length can account for.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::{Serialize, de::DeserializeOwned};
use zerovisor_core::view::{Detail, Event, NodeRow, ProcessRow};
use zerovisor_core::wire::{self, Source, ToNode, ToPeer, WireError};
use zerovisor_fuzz::peak_bytes;

/// What the serializer may reserve for a list before it has seen its items (serde's own bound is 1 MiB), and working room.
const ROOM_BYTES: usize = 3 << 20;
/// A decoded item is at most so many times as large as its encoding: a row of empty strings has some 20 bytes, and 400 in memory, and
/// a growing list is copied.
const GROWTH: usize = 128;

fn decoded<T>(bytes: &[u8], decode: impl Fn(&[u8]) -> Result<T, WireError>) -> Option<T> {
    let (value, peak) = peak_bytes(|| decode(bytes));
    assert!(peak <= ROOM_BYTES + GROWTH * bytes.len(), "{} bytes took {peak}", bytes.len());
    value.ok()
}

fn header<T: Serialize + DeserializeOwned>(body: &[u8]) {
    // The first two bytes are constant.
    let frame = [b"Z\x01", body].concat();
    let Some(message) = decoded(&frame, wire::decode_header::<T>) else { return };
    // Integers may come longer than they must, so the frame itself need not come back; its encoding must.
    let Ok(once) = wire::encode_header(&message) else { return };
    let again = wire::encode_header(&wire::decode_header::<T>(&once).expect("what was encoded decodes"));
    assert_eq!(again, Ok(once));
}

fn page<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    let Some(page) = decoded(bytes, wire::decode_page::<T>) else { return };
    let once = wire::encode_page(&page).expect("a page is no larger than it was");
    let again = wire::encode_page(&wire::decode_page::<T>(&once).expect("what was encoded decodes"));
    assert_eq!(again, Ok(once));
}

fuzz_target!(|input: &[u8]| {
    let Some((kind, bytes)) = input.split_first() else { return };
    match kind % 10 {
        0 => header::<ToNode>(bytes),
        1 => header::<ToPeer>(bytes),
        2 => {
            let Some(fact) = decoded(bytes, wire::decode_fact) else { return };
            let once = wire::encode_fact(&fact).expect("a fact is no larger than it was");
            assert_eq!(wire::decode_fact(&once), Ok(fact));
        }
        3 => page::<Vec<ProcessRow>>(bytes),
        4 => page::<Detail>(bytes),
        5 => page::<Vec<Event>>(bytes),
        6 => page::<Event>(bytes),
        7 => page::<Vec<Source>>(bytes),
        8 => page::<Vec<NodeRow>>(bytes),
        _ => drop(decoded(bytes, wire::decode_header::<ToNode>)),
    }
});
