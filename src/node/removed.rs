//! The ids of removed processes, kept over a restart: a watcher that was away, or what it left on disk, does not bring them back.
//!
//! ```text
//! DATA/removed      an id a line, the latest last
//! ```

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use zerovisor_core::id::Id;

/// Removed processes that are remembered; a watcher that was away for longer brings its process back.
pub(super) const REMOVED_MAX: usize = 4096;

/// The file.
#[derive(Debug)]
pub(super) struct Removed {
    path: PathBuf,
    /// Ids in it: at most twice as many as are remembered, then the older half goes.
    ids: usize,
}

impl Removed {
    /// That of a data directory, and the latest ids in it. One that cannot be read is as one that is not there: that is told.
    pub(super) fn load(data: &Path) -> (Removed, Vec<Id>) {
        let mut removed = Removed { path: data.join("removed"), ids: 0 };
        let ids = removed.read();
        removed.ids = ids.len();
        (removed, ids)
    }

    /// The latest ids, which are all that is left in the file.
    fn read(&self) -> Vec<Id> {
        let bytes = fs::read(&self.path).unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(path = %self.path.display(), %error, "removed processes may come back");
            }
            Vec::new()
        });
        // A line that was cut off by a crash is no id, nor is one of which a bad disk changed a byte: the others are.
        let lines = bytes.split(|byte| *byte == b'\n');
        let mut ids: Vec<Id> = lines.filter_map(|line| std::str::from_utf8(line).ok()?.parse().ok()).collect();
        if ids.len() > REMOVED_MAX {
            ids.drain(..ids.len() - REMOVED_MAX);
            self.told(self.rewrite(&ids));
        }
        ids
    }

    /// Adds one.
    pub(super) fn add(&mut self, id: Id) {
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).mode(0o600).open(&self.path);
        // A line of its own, also behind one that was cut off.
        self.told(file.and_then(|mut file| file.write_all(format!("\n{id}").as_bytes())));
        self.ids += 1;
        if self.ids >= 2 * REMOVED_MAX {
            self.ids = self.read().len();
        }
    }

    fn rewrite(&self, ids: &[Id]) -> io::Result<()> {
        let new = self.path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(ids.iter().map(|id| format!("\n{id}")).collect::<String>().as_bytes())?;
        fs::rename(&new, &self.path)
    }

    fn told(&self, written: io::Result<()>) {
        if let Err(error) = written {
            let path = self.path.display();
            tracing::warn!(%path, %error, "a removed process may come back with its watcher after a restart");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_costs_one_id() {
        let dir = tempfile::tempdir().unwrap();
        let (mut removed, _) = Removed::load(dir.path());
        let ids = [1, 2, 3].map(|byte| Id::from_random([byte; 16]));
        ids.into_iter().for_each(|id| removed.add(id));
        let mut bytes = fs::read(dir.path().join("removed")).unwrap();
        bytes[40] ^= 0x80;
        fs::write(dir.path().join("removed"), bytes).unwrap();
        assert_eq!(Removed::load(dir.path()).1, [ids[0], ids[2]]);
    }

    #[test]
    fn it_does_not_grow_for_as_long_as_the_zerovisor_runs() {
        let dir = tempfile::tempdir().unwrap();
        let (mut removed, _) = Removed::load(dir.path());
        for number in 0..u128::try_from(3 * REMOVED_MAX).unwrap() {
            removed.add(Id::from_random(number.to_be_bytes()));
        }
        let bytes = fs::metadata(dir.path().join("removed")).unwrap().len();
        assert!(bytes <= 2 * 33 * REMOVED_MAX as u64, "{bytes}");
        let (_, ids) = Removed::load(dir.path());
        let last = u128::try_from(3 * REMOVED_MAX - 1).unwrap();
        assert_eq!((ids.len(), ids.last()), (REMOVED_MAX, Some(&Id::from_random(last.to_be_bytes()))));
    }

    #[test]
    fn the_latest_are_kept_and_a_cut_off_line_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let (mut removed, none) = Removed::load(dir.path());
        assert_eq!(none, []);
        let id = |number: usize| Id::from_random(u128::try_from(number).unwrap().to_be_bytes());
        (0..REMOVED_MAX + 3).for_each(|number| removed.add(id(number)));
        let cut = fs::read(dir.path().join("removed")).unwrap();
        fs::write(dir.path().join("removed"), &cut[..cut.len() - 1]).unwrap();
        removed.add(id(9_999_999));
        for _ in 0..2 {
            let (_, ids) = Removed::load(dir.path());
            assert_eq!((ids.len(), ids[0], *ids.last().unwrap()), (REMOVED_MAX, id(3), id(9_999_999)));
        }
    }
}
