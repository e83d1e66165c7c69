//! What this machine has for the other one: programs, their libraries, a kernel.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where programs are looked for: also where only administrators' shells look.
const PROGRAM_DIRS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Where a program is.
pub(super) fn program(name: &str) -> Option<PathBuf> {
    PROGRAM_DIRS.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.is_file())
}

/// The kernel that scripts/tools has put beside what cargo builds.
pub(super) fn kernel() -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent()?;
    let entries = fs::read_dir(target.join("vm")).ok()?.flatten();
    entries.map(|entry| entry.path()).find(|path| path.to_string_lossy().contains("/vmlinuz-"))
}

/// The shared libraries and loaders that any of these programs needs, as ldd(1) finds them.
///
/// # Panics
/// One is missing.
pub(super) fn libraries(programs: &[PathBuf]) -> BTreeSet<PathBuf> {
    let ldd = Command::new("ldd").args(programs).output().expect("ldd runs");
    let said = String::from_utf8_lossy(&ldd.stdout);
    // "\tname => /path (address)" or "\t/path (address)"; without a tab stand the names of the programs themselves.
    let indented = said.lines().filter(|line| line.starts_with('\t'));
    indented
        .inspect(|line| assert!(!line.contains("not found"), "a program to take along lacks a library: {line}"))
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from)
        .collect()
}

/// Where a file of this machine stands once the links of its directory are followed: /lib is usually a link to /usr/lib.
pub(super) fn real_place(path: &Path) -> PathBuf {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return path.to_owned();
    };
    parent.canonicalize().unwrap_or_else(|_| parent.to_owned()).join(name)
}
