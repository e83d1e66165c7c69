//! The data directory: where each process keeps its declaration and its two logs.
//!
//! ```text
//! DATA/lock                       held for the life of the zerovisor, with its pid
//! DATA/removed                    whose watchers may not know yet that they were removed
//! DATA/boot                       the boot of the machine in which the facts were last held against the logs: `boot.rs`
//! DATA/events/                    the node's own numbered events
//! DATA/processes/ID/meta          what the watcher declared: name, spec, secret, host
//! DATA/processes/ID/lost          its watcher is known to be dead, and how it ended is not known: empty
//! DATA/processes/ID/log/          every record of its stream
//! DATA/processes/ID/facts/        the facts among them again, so that a start need not read the output
//! ```
//! Facts are written to `facts` before `log`: a crash in between leaves too many, never too few, and what is beyond the log is ignored.

mod behind;
mod durable;
mod facts;
pub(super) mod meta;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zerovisor_core::fact::Fact;
use zerovisor_core::id::Id;
use zerovisor_core::record::{Kind, Record};
use zerovisor_core::units::Timestamp;
use zerovisor_core::view::{Event, Story};
use zerovisor_core::wire::{self, WireError};

pub(super) use behind::facts_behind;
pub(super) use durable::{DeclarationSync, OnDisk, sync_declarations};
pub(super) use meta::Meta;

use crate::journal::{self, JournalError, LockError, LogConfig, LogReader, Recovery, SegmentLog, loaded};

/// In the directory of a process that is LOST.
const LOST: &str = "lost";
/// Facts of one process that are kept, in bytes: some tens of thousands.
const FACTS_RETAIN_BYTES: u64 = 8 << 20;
/// Events of the node that are kept, in bytes.
const EVENTS_RETAIN_BYTES: u64 = 64 << 20;
/// Bytes written to find out whether the disk takes any: a watcher's largest window, or trouble would be over and back with each record.
const PROBE_BYTES: usize = 4 << 20;
/// Bytes one read of a log takes at most.
const READ_BYTES: usize = 256 << 10;

/// Something in the data directory that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The kernel said no.
    #[error("cannot {doing} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A meta file of another version, or damaged.
    #[error("{} cannot be used: {why}", .path.display())]
    BadMeta {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A meta file of a newer program. Nothing was touched.
    #[error("{} was written by a newer program (format {found}, this one knows up to {known}): start that one", .path.display())]
    NewerMeta {
        /// The file.
        path: PathBuf,
        /// The format it names.
        found: u8,
        /// The newest known.
        known: u8,
    },
    /// A log.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// What is written is not known to be on the disk.
    #[error("the journal cannot be written ({0}): it is tried again every few seconds")]
    Unsynced(String),
    /// The data directory is an empty mount point.
    #[error("{} is empty and on another file system than before: mount its disk again", .0.display())]
    Away(PathBuf),
    /// The data directory cannot be taken again.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// It was removed.
    #[error("the process {0} was removed")]
    Removed(Id),
    /// A message of our own that does not encode.
    #[error(transparent)]
    Wire(#[from] WireError),
}

pub(super) fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError + use<> {
    let path = path.to_path_buf();
    move |source| StoreError::Io { doing, path, source }
}

/// The logs of one process, open for writing.
#[derive(Debug)]
pub(super) struct ProcessLogs {
    /// Every record.
    pub log: SegmentLog,
    /// The facts among them.
    pub facts: SegmentLog,
}

impl ProcessLogs {
    /// As [`read_story`].
    ///
    /// # Errors
    /// A log cannot be read.
    pub(super) fn story(&self) -> Result<Story, StoreError> {
        read_story(Some(&mut self.log.reader()), Some(&mut self.facts.reader()))
    }
}

/// The data directory.
#[derive(Clone, Debug)]
pub(super) struct Store {
    root: PathBuf,
    config: LogConfig,
}

impl Store {
    /// The store in a directory that is locked already.
    ///
    /// # Errors
    /// Its subdirectories cannot be made.
    pub(super) fn open(root: &Path, config: LogConfig) -> Result<Store, StoreError> {
        let store = Store { root: root.to_path_buf(), config };
        let processes = store.root.join("processes");
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&processes);
        made.map_err(io_error("create the directory", &processes))?;
        Ok(store)
    }

    /// The directory itself.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    fn dir(&self, id: Id) -> PathBuf {
        self.root.join("processes").join(id.to_string())
    }

    /// Where a process's stream is.
    pub(super) fn log_dir(&self, id: Id) -> PathBuf {
        self.dir(id).join("log")
    }

    /// Where its facts are.
    pub(super) fn facts_dir(&self, id: Id) -> PathBuf {
        self.dir(id).join("facts")
    }

    /// Whether it can be seen that both logs of a process are missing or have no file at all, not even one that is set aside.
    ///
    /// # Errors
    /// That cannot be seen.
    pub(super) fn holds_nothing(&self, id: Id) -> Result<bool, StoreError> {
        for dir in [self.log_dir(id), self.facts_dir(id)] {
            match fs::read_dir(&dir) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(io_error("read the directory", &dir)(error)),
                Ok(mut files) => {
                    if files.next().is_some() {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }

    /// Where the node's events are.
    pub(super) fn events_dir(&self) -> PathBuf {
        self.root.join("events")
    }

    /// Where the text log keeps how far it has come.
    pub(super) fn text_cursor_path(&self) -> PathBuf {
        self.root.join("text-cursor")
    }

    /// The id of every process there is.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(super) fn ids(&self) -> Result<Vec<Id>, StoreError> {
        let dir = self.root.join("processes");
        let entries = fs::read_dir(&dir).map_err(io_error("read the directory", &dir))?;
        Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<Id>().ok()).collect())
    }

    /// What was declared of a process. Where that cannot be read: why, and then only its id and its journal are known.
    pub(super) fn declaration(&self, id: Id) -> (Meta, Option<StoreError>) {
        match self.read_meta(id) {
            Ok(meta) => (meta, None),
            Err(error) => (Meta::unknown(id), Some(error)),
        }
    }

    fn read_meta(&self, id: Id) -> Result<Meta, StoreError> {
        let path = meta::path(&self.dir(id));
        let meta = meta::read(&path)?;
        if meta.id == id {
            Ok(meta)
        } else {
            Err(StoreError::BadMeta { path, why: format!("it is of process {}", meta.id) })
        }
    }

    /// Makes sure, before anything is touched, that no newer program has written here.
    ///
    /// # Errors
    /// One has: [`JournalError::NewerFormat`] or [`StoreError::NewerMeta`].
    pub(super) fn refuse_newer(&self) -> Result<(), StoreError> {
        journal::refuse_newer(&self.events_dir())?;
        for id in self.ids()? {
            meta::refuse_newer(&meta::path(&self.dir(id)))?;
            journal::refuse_newer(&self.log_dir(id))?;
            journal::refuse_newer(&self.facts_dir(id))?;
        }
        Ok(())
    }

    /// Whether the directory has just this declaration.
    pub(super) fn has_meta(&self, meta: &Meta) -> bool {
        self.read_meta(meta.id).is_ok_and(|known| known == *meta)
    }

    /// Brings to the disk that there is a journal: the entries of all processes' directory and of the data directory.
    ///
    /// # Errors
    /// The disk does not take them.
    pub(super) fn sync_roots(&self) -> Result<(), StoreError> {
        journal::sync_dir(&self.root)?;
        Ok(journal::sync_dir(durable::parent(&self.root))?)
    }

    /// What brings the declaration of a process to the disk, and where that is told.
    pub(super) fn declaration_sync(&self, id: Id, done: OnDisk) -> DeclarationSync {
        DeclarationSync { dir: self.dir(id), done }
    }

    /// Writes what was declared, whole or not at all. The directory of all processes must be there: where it is not, the disk is away.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn write_meta(&self, meta: &Meta) -> Result<(), StoreError> {
        let dir = self.dir(meta.id);
        match fs::DirBuilder::new().mode(0o700).create(&dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.map_err(io_error("create the directory", &dir))?,
        }
        meta::write(&meta::path(&dir), meta)
    }

    /// Whether a process was found to be LOST, and nothing was heard of it since.
    pub(super) fn is_lost(&self, id: Id) -> bool {
        self.dir(id).join(LOST).exists()
    }

    /// A process is LOST: the next zerovisor may not be able to prove it again.
    pub(super) fn mark_lost(&self, id: Id) {
        let path = self.dir(id).join(LOST);
        if let Err(error) = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path) {
            let path = path.display();
            tracing::warn!(%path, %error, "a lost process may show as unreachable after a restart");
        }
    }

    /// Its watcher, or what that left, has come.
    pub(super) fn unmark_lost(&self, id: Id) {
        // There is none, as a rule.
        let _ = fs::remove_file(self.dir(id).join(LOST));
    }

    /// Opens both logs of a process for writing.
    ///
    /// # Errors
    /// They cannot be opened or repaired.
    pub(super) fn open_process(&self, id: Id) -> Result<ProcessLogs, StoreError> {
        let (log, _) = SegmentLog::open(&self.log_dir(id), self.config)?;
        self.settle_facts(id)?;
        let (facts, _) = SegmentLog::open(&self.facts_dir(id), self.facts_config())?;
        let mut logs = ProcessLogs { log, facts };
        self.align_facts(id, &mut logs)?;
        Ok(logs)
    }

    fn facts_config(&self) -> LogConfig {
        LogConfig {
            segment_bytes: FACTS_RETAIN_BYTES / 8,
            retain_bytes: Some(FACTS_RETAIN_BYTES),
            retain_age_us: None,
            ..self.config
        }
    }

    /// Whether the disk takes what a watcher may send at once.
    ///
    /// # Errors
    /// It does not.
    pub(super) fn try_to_write(&self) -> Result<(), StoreError> {
        let path = self.root.join("probe");
        let written = fs::write(&path, vec![0; PROBE_BYTES]);
        // One that stays behind is overwritten by the next.
        let _ = fs::remove_file(&path);
        written.map_err(io_error("write", &path))
    }

    /// Opens both logs of a process that has been declared here and not removed since.
    ///
    /// # Errors
    /// There is none, or its logs cannot be opened.
    pub(crate) fn open_known(&self, id: Id) -> Result<ProcessLogs, StoreError> {
        // Opening creates what is missing: of a process that was just removed it would leave a ghost.
        if self.dir(id).exists() { self.open_process(id) } else { Err(StoreError::Removed(id)) }
    }

    /// Opens the node's events for writing.
    ///
    /// # Errors
    /// They cannot be opened or repaired.
    pub(super) fn open_events(&self) -> Result<(SegmentLog, Recovery), StoreError> {
        let config = LogConfig {
            segment_bytes: EVENTS_RETAIN_BYTES / 16,
            retain_bytes: Some(EVENTS_RETAIN_BYTES),
            retain_age_us: None,
            ..self.config
        };
        Ok(SegmentLog::open(&self.events_dir(), config)?)
    }

    /// Removes everything of a process.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub(super) fn remove(&self, id: Id) -> Result<(), StoreError> {
        let dir = self.dir(id);
        // Renamed first: a half-removed process must not come back with the next start.
        let gone = self.root.join("processes").join(format!("{id}.removed"));
        // What an earlier removal of this process has left stands in the way of this one.
        remove_tree(&gone)?;
        match fs::rename(&dir, &gone) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            renamed => renamed.map_err(io_error("remove", &dir))?,
        }
        remove_tree(&gone)
    }

    /// Finishes removals and replacements that a crash interrupted.
    pub(super) fn sweep(&self) {
        for id in self.ids().unwrap_or_default() {
            // Tried again when its logs are opened.
            let _ = self.settle_facts(id);
        }
        let Ok(entries) = fs::read_dir(self.root.join("processes")) else { return };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            if path.extension().is_some_and(|ending| ending == "removed") {
                // Tried again with the next start.
                let _ = fs::remove_dir_all(path);
            }
        }
    }
}

/// Removes a directory with all that is in it, if it is there.
fn remove_tree(dir: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(io_error("remove", dir)),
    }
}

/// The life of a process as its logs have it. Where the facts are missing or damaged, all of the output is read instead. The readers are left
/// at the first record, with no file open.
///
/// # Errors
/// A log cannot be read.
pub(super) fn read_story(log: Option<&mut LogReader>, facts: Option<&mut LogReader>) -> Result<Story, StoreError> {
    let end = log.as_ref().and_then(|log| log.last()).map_or(0, |(seq, _)| seq);
    let (mut told, mut whole) = (Vec::new(), false);
    if let Some(facts) = facts {
        (told, whole) = read_all(facts, |record| record.head.seq <= end)?;
    }
    if let Some(log) = log
        && end > 0
        && (told.is_empty() || !whole)
    {
        told = read_all(log, is_fact)?.0;
    }
    let mut story = Story::default();
    tell(&mut story, &told);
    Ok(story)
}

/// Goes on with the life of a process.
pub(super) fn tell(story: &mut Story, facts: &[Record]) {
    for record in facts {
        if let Ok(fact) = wire::decode_fact(&record.payload) {
            story.tell(record.head.at, &fact);
        }
    }
}

fn is_fact(record: &Record) -> bool {
    record.head.kind == Kind::Fact
}

/// All records of a log that are wanted, from the first on, and whether it is whole as far as it goes.
fn read_all(reader: &mut LogReader, wanted: impl Fn(&Record) -> bool) -> Result<(Vec<Record>, bool), StoreError> {
    reader.seek_first();
    read_on(reader, wanted)
}

/// The same from where the reader stands.
fn read_on(reader: &mut LogReader, wanted: impl Fn(&Record) -> bool) -> Result<(Vec<Record>, bool), StoreError> {
    let (mut all, mut whole) = (Vec::new(), true);
    loop {
        let batch = match reader.next_batch(READ_BYTES) {
            Ok(batch) => batch,
            Err(error) if is_passable(&error) => {
                whole &= !matches!(error, JournalError::Damaged(_));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if batch.is_empty() {
            reader.seek_first();
            return Ok((all, whole));
        }
        all.extend(batch.into_iter().filter_map(loaded).filter(&wanted));
    }
}

/// Whether a reader goes on behind this error: a stretch has expired or is damaged.
pub(super) fn is_passable(error: &JournalError) -> bool {
    matches!(error, JournalError::Expired { .. } | JournalError::Damaged(_))
}

/// An event as the events log stores it.
///
/// # Errors
/// It does not fit a page.
pub(super) fn stored_event(event: &Event) -> Result<journal::Record, WireError> {
    let meta = journal::RecordMeta { seq: event.seq, at_us: event.at.0, run: 0, kind: Kind::Fact.into(), offset: 0 };
    Ok(journal::Record { meta, payload: wire::encode_page(event)? })
}

/// An event as it was stored.
pub(super) fn loaded_event(record: &journal::Record) -> Option<Event> {
    wire::decode_page(&record.payload).ok()
}

/// A fact as it was stored.
pub(super) fn loaded_fact(record: &journal::Record) -> Option<(Timestamp, Fact)> {
    let at = Timestamp(record.meta.at_us);
    wire::decode_fact(&record.payload).ok().map(|fact| (at, fact))
}
