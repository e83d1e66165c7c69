//! zvctl: parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(zerovisor::ctl::run(std::env::args_os()))
}
