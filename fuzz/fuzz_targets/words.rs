//! What users write as arguments: every word is taken or refused in one line, and one that is taken is shown so that it reads back as
//! the same.
#![no_main]

use std::ffi::OsStr;
use std::fmt::{Debug, Display};
use std::os::unix::ffi::OsStrExt;
use std::str::FromStr;

use jiff::Zoned;
use jiff::tz::TimeZone;
use libfuzzer_sys::fuzz_target;
use zerovisor::ctl::filter::SortKey;
use zerovisor::ctl::when;
use zerovisor::net::Endpoint;
use zerovisor::watcher::env::Variable;
use zerovisor_core::address::Address;
use zerovisor_core::detach::DetachKeys;
use zerovisor_core::id::Id;
use zerovisor_core::keys::{Key, KeyModes};
use zerovisor_core::limits::{CpuLimit, MemoryLimit, PidsLimit};
use zerovisor_core::name::{Label, NodeName, ProcessName};
use zerovisor_core::record::Kind;
use zerovisor_core::restart::RestartPolicy;
use zerovisor_core::signal::Signal;
use zerovisor_core::size::Size;
use zerovisor_core::spec::ExitCodes;
use zerovisor_core::units::{Bytes, Span, SpanRange};
use zerovisor_core::viewers::SizePolicy;

/// An error's text: a few sentences, and the word twice at most, with each of its bytes escaped.
const ERROR_MAX_BYTES: usize = 600;

fn parsed<T: FromStr<Err: Display>>(text: &str) -> Option<T> {
    match text.parse() {
        Ok(value) => Some(value),
        Err(error) => {
            let error = error.to_string();
            assert!(error.len() <= ERROR_MAX_BYTES + 16 * text.len(), "{error}");
            None
        }
    }
}

fn reads_back<T: FromStr<Err: Display + Debug> + Display + PartialEq + Debug>(text: &str) {
    if let Some(value) = parsed::<T>(text) {
        let shown = value.to_string();
        assert_eq!(shown.parse::<T>().expect("what is shown is read"), value, "{text:?} is shown as {shown:?}");
    }
}

/// Shown in rounder figures than it was written with.
fn shows<T: FromStr<Err: Display> + Display>(text: &str) {
    if let Some(value) = parsed::<T>(text) {
        assert!(value.to_string().len() < 100);
    }
}

fn key(text: &str) {
    let Some(key) = parsed::<Key>(text) else { return };
    for modes in [false, true] {
        let mut bytes = Vec::new();
        key.encode(KeyModes { application_cursor: modes, application_keypad: modes }, &mut bytes);
        assert!((1..=16).contains(&bytes.len()), "{key} sends {}", bytes.escape_ascii());
    }
}

/// A time is the same again as it is shown, from 1970 on.
fn time(text: &str, now: &Zoned) {
    match when::parse(text, now) {
        Ok(at) => assert_eq!(when::parse(&when::rfc3339(at), now).expect("what is shown is read"), at),
        Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((kind, word)) = input.split_first() else { return };
    let _variable = Variable::parse(OsStr::from_bytes(word));
    let Ok(text) = std::str::from_utf8(word) else { return };
    assert!(ProcessName::of_command(text).as_str().parse::<ProcessName>().is_ok());
    assert!(NodeName::nearest(text).as_str().parse::<NodeName>().is_ok());
    match kind % 22 {
        0 => shows::<Span>(text),
        1 => shows::<SpanRange>(text),
        2 => shows::<Bytes>(text),
        3 => reads_back::<Id>(text),
        4 => reads_back::<ProcessName>(text),
        5 => reads_back::<Address>(text),
        6 => drop(parsed::<Label>(text)),
        // The two that the C library keeps for itself have no name.
        7 if text.parse().is_ok_and(|signal: Signal| (32..34).contains(&signal.number())) => {}
        7 => reads_back::<Signal>(text),
        8 => reads_back::<Size>(text),
        9 => reads_back::<RestartPolicy>(text),
        10 => reads_back::<ExitCodes>(text),
        11 => reads_back::<CpuLimit>(text),
        12 => drop(parsed::<MemoryLimit>(text)),
        13 => drop(parsed::<PidsLimit>(text)),
        14 => reads_back::<DetachKeys>(text),
        15 => reads_back::<Key>(text),
        16 => reads_back::<Endpoint>(text),
        17 => reads_back::<Kind>(text),
        18 => reads_back::<SizePolicy>(text),
        19 => drop(parsed::<SortKey>(text)),
        20 => time(text, &Zoned::new(jiff::Timestamp::UNIX_EPOCH, TimeZone::UTC)),
        _ => key(text),
    }
});
