//! zerovisor: parse, run, exit code.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use zerovisor::node::{self, Cli};
use zerovisor::usage;

/// The command line is wrong.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => return tell(&usage::one_line(&error.render().to_string()), USAGE),
        Err(help) => {
            // Help that nobody reads to its end was help enough.
            let _ = help.print();
            return ExitCode::SUCCESS;
        }
    };
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false).init();
    match node::run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => tell(&error.to_string(), 1),
    }
}

fn tell(error: &str, status: u8) -> ExitCode {
    // Without a standard error nobody can be told.
    let _ = writeln!(std::io::stderr(), "zerovisor: {error}");
    ExitCode::from(status)
}
