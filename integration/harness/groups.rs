//! What the hierarchies of cgroups say about the processes of a farm.

use std::fs;
use std::path::{Path, PathBuf};

/// The cgroups of a process, in whatever hierarchies: directories that carry its id.
pub(crate) fn cgroups_of(id: &str) -> Vec<PathBuf> {
    fn look(dir: &Path, id: &str, found: &mut Vec<PathBuf>) {
        let below = fs::read_dir(dir).into_iter().flatten().flatten();
        for dir in below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()) {
            if dir.to_string_lossy().contains(id) {
                found.push(dir);
            } else {
                look(&dir, id, found);
            }
        }
    }
    let mut found = Vec::new();
    look(Path::new("/sys/fs/cgroup"), id, &mut found);
    found
}
