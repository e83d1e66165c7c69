//! The watcher's own words: one line on stderr each, and never anything on stdout.

use std::fmt::Display;
use std::io::{self, Write};

use zerovisor_core::escape::escaped;

/// Says one line to whoever started the watcher, in a single write and safe for a terminal, since words of a zerovisor may be in it; with
/// stderr gone there is nobody to tell.
pub fn say(message: impl Display) {
    let line = message.to_string().replace(['\n', '\r'], " ");
    let _nobody = io::stderr().write_all(format!("zvwatch: {}\n", escaped(&line)).as_bytes());
}
