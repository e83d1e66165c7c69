//! `--where`: any text is an expression or refused in one line with a place, and an expression is true or false of any row, also with
//! a row's own words in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zerovisor::ctl::filter::Filter;
use zerovisor_core::view::ProcessRow;
use zerovisor_core::wire::decode_page;

/// Longer ones are only more of the same, and a regular expression of some KiB takes a second to compile.
const TEXT_MAX_BYTES: usize = 300;

fuzz_target!(|input: &[u8]| {
    // The text, a NUL, and a row as it came from a zerovisor.
    let mut halves = input.splitn(2, |byte| *byte == 0);
    let (text, row) = (halves.next().unwrap_or_default(), halves.next().unwrap_or_default());
    let Some(text) = std::str::from_utf8(text).ok().filter(|text| text.len() <= TEXT_MAX_BYTES) else { return };
    match text.parse::<Filter>() {
        Ok(filter) => {
            if let Ok(row) = decode_page::<ProcessRow>(row) {
                let held = filter.holds(&row);
                let not: Result<Filter, _> = format!("!({text})").parse();
                // One level deeper may be one too many.
                assert!(not.is_err() || not.is_ok_and(|not| not.holds(&row) != held));
            }
        }
        Err(error) => {
            let error = error.to_string();
            assert!(!error.contains('\n') && error.starts_with("at character "), "{error:?}");
        }
    }
});
