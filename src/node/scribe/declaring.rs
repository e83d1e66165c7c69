//! What watchers declared: put by until their logs are opened, written before the first record can be, and brought to the disk with it.

use std::collections::HashMap;

use zerovisor_core::id::Id;
use zerovisor_core::name::ProcessName;
use zerovisor_core::units::Timestamp;

use crate::node::store::{DeclarationSync, Meta, OnDisk, Store, StoreError};

/// What watchers declared, of every process that has had a link or a spool since the start.
#[derive(Debug, Default)]
pub(super) struct Declarations {
    known: HashMap<Id, Declaration>,
}

#[derive(Debug, Default)]
struct Declaration {
    /// To be written; none: nothing since it was.
    next: Option<Box<Meta>>,
    /// Since when its process is known, until that is told.
    news: Option<Timestamp>,
    /// The directory has it, as far as the kernel knows.
    is_written: bool,
    /// Its way to the disk has yet to be handed out.
    is_dirty: bool,
    on_disk: OnDisk,
}

impl Declarations {
    /// A watcher has declared this; `news`: when, of a process that was not known.
    pub(super) fn put(&mut self, meta: Box<Meta>, news: Option<Timestamp>) {
        let known = self.known.entry(meta.id).or_default();
        known.news = known.news.or(news);
        known.next = Some(meta);
    }

    /// The process was removed: whoever would write of it now is refused.
    pub(super) fn forget(&mut self, id: Id) {
        self.known.remove(&id);
    }

    /// Whoever declared this is not let in: true if nothing was written of it, and it is to be declared anew.
    pub(super) fn drop_unwritten(&mut self, id: Id) -> bool {
        self.known.get(&id).is_some_and(|known| !known.is_written) && self.known.remove(&id).is_some()
    }

    /// Makes sure that the directory has what was declared last. Returns what is news.
    ///
    /// # Errors
    /// It cannot be written, and is to be declared anew; [`StoreError::Removed`] where nothing is declared.
    pub(super) fn write(&mut self, store: &Store, id: Id) -> Result<Option<(Timestamp, ProcessName)>, StoreError> {
        let known = self.known.get_mut(&id).ok_or(StoreError::Removed(id))?;
        let Some(meta) = known.next.take() else {
            return if known.is_written { Ok(None) } else { Err(StoreError::Removed(id)) };
        };
        if !store.has_meta(&meta) {
            if let Err(error) = store.write_meta(&meta) {
                self.known.remove(&id);
                return Err(error);
            }
            known.on_disk = OnDisk::default();
        }
        known.is_written = true;
        // Also what a zerovisor before this one wrote: nobody knows whether that had it on the disk.
        known.is_dirty = !known.on_disk.is_set();
        Ok(known.news.take().map(|at| (at, meta.name)))
    }

    /// The way to the disk of what was written since the last call.
    pub(super) fn dirty(&mut self, store: &Store, id: Id) -> Option<DeclarationSync> {
        let known = self.known.get_mut(&id)?;
        std::mem::take(&mut known.is_dirty).then(|| store.declaration_sync(id, known.on_disk.clone()))
    }

    /// A sync has failed: writes again whatever is not known to be on the disk.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn rewrite(&mut self, store: &Store) -> Result<Vec<DeclarationSync>, StoreError> {
        let mut work = Vec::new();
        for (id, known) in self.known.iter_mut().filter(|(_, known)| known.is_written && !known.on_disk.is_set()) {
            // One that cannot be read back is written when its watcher returns.
            let (meta, unreadable) = store.declaration(*id);
            if unreadable.is_none() {
                store.write_meta(&meta)?;
                known.on_disk = OnDisk::default();
                known.is_dirty = false;
                work.push(store.declaration_sync(*id, known.on_disk.clone()));
            }
        }
        Ok(work)
    }

    /// The data directory has gone: it may be another one from now on.
    pub(super) fn gone(&mut self) {
        for known in self.known.values_mut() {
            (known.is_written, known.is_dirty, known.on_disk) = (false, false, OnDisk::default());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::journal::LogConfig;
    use crate::node::store::sync_declarations;

    fn declared(store: &Store, all: &mut Declarations, id: Id) -> Result<(), StoreError> {
        all.put(Box::new(Meta { secret: [1; 32], ..Meta::unknown(id) }), None);
        all.write(store, id).map(drop)
    }

    fn one() -> (tempfile::TempDir, Store, Declarations, Id) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), LogConfig::default()).unwrap();
        (dir, store, Declarations::default(), Id::from_random([1; 16]))
    }

    #[test]
    fn a_declaration_is_written_only_while_the_disk_has_another() {
        let (dir, store, mut all, id) = one();
        let path = dir.path().join(format!("processes/{id}/meta"));
        let inode = || std::os::unix::fs::MetadataExt::ino(&fs::metadata(&path).unwrap());
        declared(&store, &mut all, id).unwrap();
        let first = inode();
        sync_declarations(&[all.dirty(&store, id).unwrap()]).unwrap();
        declared(&store, &mut all, id).unwrap();
        assert_eq!(inode(), first, "the same again");
        assert!(all.dirty(&store, id).is_none(), "it is on the disk");
        all.put(Box::new(Meta { local: true, secret: [1; 32], ..Meta::unknown(id) }), None);
        assert!(all.write(&store, id).unwrap().is_none());
        assert!(store.declaration(id).0.local);
        assert!(all.dirty(&store, id).is_some());
    }

    #[test]
    fn one_that_cannot_be_written_is_no_news_and_is_to_be_declared_anew() {
        let (dir, store, mut all, id) = one();
        let (processes, away) = (dir.path().join("processes"), dir.path().join("away"));
        let put = |all: &mut Declarations, at| all.put(Box::new(Meta::unknown(id)), Some(Timestamp(at)));
        fs::rename(&processes, &away).unwrap();
        put(&mut all, 1);
        assert!(matches!(all.write(&store, id), Err(StoreError::Io { .. })));
        assert!(matches!(all.write(&store, id), Err(StoreError::Removed(_))), "nothing is declared");
        fs::rename(&away, &processes).unwrap();
        put(&mut all, 2);
        let (at, name) = all.write(&store, id).unwrap().unwrap();
        assert_eq!((at, name.as_str()), (Timestamp(2), "unknown"));
        assert!(all.write(&store, id).unwrap().is_none(), "told once");
        assert!(!all.drop_unwritten(id));
        put(&mut all, 3);
        all.forget(id);
        put(&mut all, 3);
        assert!(all.drop_unwritten(id) && !all.drop_unwritten(id));
    }

    #[test]
    fn what_a_dead_zerovisor_wrote_is_brought_to_the_disk_by_the_next() {
        let (_dir, store, mut all, id) = one();
        declared(&store, &mut all, id).unwrap();
        let mut next = Declarations::default();
        declared(&store, &mut next, id).unwrap();
        assert!(next.dirty(&store, id).is_some());
        assert!(next.dirty(&store, id).is_none(), "handed out once");
    }

    #[test]
    fn behind_a_failed_sync_all_that_is_in_doubt_is_written_again() {
        let (dir, store, mut all, id) = one();
        let safe = Id::from_random([2; 16]);
        declared(&store, &mut all, safe).unwrap();
        sync_declarations(&[all.dirty(&store, safe).unwrap()]).unwrap();
        declared(&store, &mut all, id).unwrap();
        let inode = |id| {
            let path = dir.path().join(format!("processes/{id}/meta"));
            std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap())
        };
        let before = (inode(id), inode(safe));
        let work = all.rewrite(&store).unwrap();
        assert_eq!(work.len(), 1);
        assert!(inode(id) != before.0 && inode(safe) == before.1);
        sync_declarations(&work).unwrap();
        assert!(all.rewrite(&store).unwrap().is_empty());
    }

    #[test]
    fn of_a_removed_process_and_in_a_directory_that_has_gone_nothing_is_written() {
        let (_dir, store, mut all, id) = one();
        assert!(matches!(all.write(&store, id), Err(StoreError::Removed(_))));
        declared(&store, &mut all, id).unwrap();
        all.gone();
        assert!(matches!(all.write(&store, id), Err(StoreError::Removed(_))), "before it is declared again");
        declared(&store, &mut all, id).unwrap();
        store.remove(id).unwrap();
        all.forget(id);
        assert!(matches!(all.write(&store, id), Err(StoreError::Removed(_))));
        assert!(store.ids().unwrap().is_empty());
    }
}
