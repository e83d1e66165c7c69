//! zerovisor: parse, run, exit code.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = zerovisor::node::Cli::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false).init();
    match zerovisor::node::run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without a standard error nobody can be told.
            let _ = writeln!(std::io::stderr(), "zerovisor: {error}");
            ExitCode::FAILURE
        }
    }
}
