//! Tests of what a process has only once: signals, the panic hook, children.

use std::io::{self, Write};
use std::process::Command;

/// Set in the process that has a test to itself.
const ALONE: &str = "ZV_TEST_ALONE";

/// Runs `story` in a process where no other test runs, started by a harness that runs this one side by side with others, and fails if it
/// fails. To be called by the test itself, whose name is its thread's.
pub(crate) fn alone(story: impl FnOnce()) {
    let thread = std::thread::current();
    match thread.name() {
        Some(test) if test != "main" && std::env::var_os(ALONE).is_none() => run(test),
        Some(_) | None => story(),
    }
}

fn run(test: &str) {
    let own = std::env::current_exe().unwrap();
    let output = Command::new(own).args(["--exact", test, "--nocapture"]).env(ALONE, "1").output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let erred = String::from_utf8_lossy(&output.stderr);
    for skipped in told.lines().chain(erred.lines()).filter(|line| line.starts_with("SKIPPED ")) {
        // On a line of its own, also where the harness has begun one.
        writeln!(io::stderr(), "\n{skipped}").unwrap();
    }
    assert!(output.status.success() && told.contains("1 passed"), "{told}\n{erred}");
}
