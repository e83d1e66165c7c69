//! What cargo has built from this workspace: its test programs, and the programs they test.
//!
//! Cargo itself is asked, and builds what is missing: what is found by its file name may be left over from yesterday, and whoever runs
//! this story alone has not built the other crates' tests. Cargo holds its lock on the target directory only while it builds, not while
//! the tests it has built run, so that this does not wait for the one that started us.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

/// Variables that cargo sets for the tests it runs. Build scripts that ask for some would take a change of them for a reason to run again.
const SET_FOR_TESTS: [&str; 5] =
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_EXE_", "CARGO_CRATE_NAME", "LD_LIBRARY_PATH"];

/// An executable.
pub(super) struct Built {
    /// The name of the crate it is built from, with underscores.
    pub(super) crate_name: String,
    /// Whether it runs tests.
    pub(super) is_test: bool,
    pub(super) path: PathBuf,
}

/// Every executable of the workspace, in the profile of this one.
///
/// # Panics
/// Something does not build.
pub(super) fn all() -> Vec<Built> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["test", "--workspace", "--locked", "--no-run", "--quiet", "--message-format=json"]);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    for (name, _) in std::env::vars_os() {
        if SET_FOR_TESTS.iter().any(|set| name.to_string_lossy().starts_with(set)) {
            command.env_remove(name);
        }
    }
    let built = command.output().expect("cargo runs");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let said = String::from_utf8_lossy(&built.stdout);
    said.lines().filter_map(|line| serde_json::from_str(line).ok()).filter_map(|said| executable(&said)).collect()
}

/// The executable that a message of cargo tells of.
fn executable(message: &Value) -> Option<Built> {
    let path = PathBuf::from(message["executable"].as_str()?);
    let crate_name = message["target"]["name"].as_str()?.replace('-', "_");
    Some(Built { crate_name, is_test: message["profile"]["test"].as_bool()?, path })
}
