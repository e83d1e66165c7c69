//! Bringing a declaration to the disk, with the entries of the directories it is found by.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{StoreError, io_error, meta};
use crate::journal::sync_dir;

/// Whether the disk has a declaration: told by whoever syncs.
#[derive(Clone, Debug, Default)]
pub(in crate::node) struct OnDisk(Arc<AtomicBool>);

impl OnDisk {
    /// Whether it does.
    pub(in crate::node) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A declaration that was written: hand it to a thread that may wait for the disk.
#[derive(Debug)]
pub(in crate::node) struct DeclarationSync {
    pub(super) dir: PathBuf,
    pub(super) done: OnDisk,
}

impl DeclarationSync {
    /// The file, and its entry.
    fn sync_file(&self) -> Result<(), StoreError> {
        let path = meta::path(&self.dir);
        match File::open(&path).and_then(|file| file.sync_data()) {
            // Removed meanwhile: there is nothing left to lose.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => done.map_err(io_error("sync", &path))?,
        }
        Ok(sync_dir(&self.dir)?)
    }
}

/// Waits for the disk: each file, its entry, and those of the processes among all, which is one wait for however many.
///
/// # Errors
/// The disk does not take one of them: then none of them counts as being there.
pub(in crate::node) fn sync_declarations(all: &[DeclarationSync]) -> Result<(), StoreError> {
    for declaration in all {
        declaration.sync_file()?;
    }
    let parents: BTreeSet<&Path> = all.iter().map(|declaration| parent(&declaration.dir)).collect();
    for dir in parents {
        sync_dir(dir)?;
    }
    all.iter().for_each(|declaration| declaration.done.0.store(true, Ordering::Release));
    Ok(())
}

/// The directory that has the entry of another.
pub(super) fn parent(dir: &Path) -> &Path {
    dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
