//! zvctl: parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    // For completions and man pages: the rooms do not know each other, so they meet here.
    let others = || vec![zerovisor::watcher::cli::command(), zerovisor::node::command()];
    ExitCode::from(zerovisor::ctl::run(std::env::args_os(), others))
}
