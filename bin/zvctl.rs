//! zvctl: parse, run, exit code.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    ExitCode::from(zerovisor::ctl::run(&zerovisor::ctl::cli::Cli::parse()))
}
