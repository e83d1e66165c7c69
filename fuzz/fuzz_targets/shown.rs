//! Answers of a zerovisor nobody vouches for, as zvctl shows them: whatever decodes is shown, and tables and sentences hold nothing
//! that commands a terminal but colours; JSON holds no control byte at all.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::de::DeserializeOwned;
use zerovisor::ctl::out::Look;
use zerovisor::ctl::verbs::inspect;
use zerovisor::ctl::{json, render, why};
use zerovisor_core::units::Timestamp;
use zerovisor_core::view::{Detail, Event, NodeRow, ProcessRow};
use zerovisor_core::wire::decode_page;
use zerovisor_fuzz::assert_safe;

/// A list of which a page holds a few: rendering thousands of empty rows finds nothing more and takes long.
const ROWS_MAX: usize = 64;

fn page<T: DeserializeOwned>(bytes: &[u8]) -> Option<Vec<T>> {
    decode_page::<Vec<T>>(bytes).ok().filter(|rows| rows.len() <= ROWS_MAX)
}

fn json_is_one_line(text: &str) {
    assert!(!text.contains(|c: char| c < ' '), "{text:?}");
}

fuzz_target!(|input: &[u8]| {
    let [kind, width, bytes @ ..] = input else { return };
    let look = Look { width: Some(usize::from(*width)), colour: width % 2 == 1 };
    let wide = width % 4 < 2;
    match kind % 4 {
        0 => {
            let Some(rows) = page::<ProcessRow>(bytes) else { return };
            assert_safe(&render::processes(&rows, wide, look), look.colour);
            assert_safe(&render::processes(&rows, wide, Look::default()), false);
            rows.iter().for_each(|row| json_is_one_line(&json::line(&json::RowJson::of(row))));
        }
        1 => {
            let Ok(detail) = decode_page::<Detail>(bytes) else { return };
            assert_safe(&why::why(&detail, Timestamp(1_700_000_000_000_000)), false);
            assert_safe(&inspect::report(&detail), false);
            json_is_one_line(&json::line(&json::DetailJson::of(&detail)));
        }
        2 => {
            let Some(events) = page::<Event>(bytes) else { return };
            assert_safe(&render::events(&events, look), look.colour);
            for event in &events {
                assert_safe(&render::event_line(event), false);
                json_is_one_line(&json::line(&json::EventJson::of(event)));
            }
        }
        _ => {
            let Some(rows) = page::<NodeRow>(bytes) else { return };
            assert_safe(&render::nodes(&rows, look), look.colour);
        }
    }
});
