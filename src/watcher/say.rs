//! The watcher's own words: one line on stderr each, and never anything on stdout.

use std::fmt::Display;
use std::io::{self, Write};

/// Says one line to whoever started the watcher, in a single write; with stderr gone there is nobody to tell.
pub fn say(message: impl Display) {
    let line = message.to_string().replace(['\n', '\r'], " ");
    let _nobody = io::stderr().write_all(format!("zvwatch: {line}\n").as_bytes());
}
