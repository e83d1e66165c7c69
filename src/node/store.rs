//! The data directory: where each process keeps its declaration and its two logs.
//!
//! ```text
//! DATA/lock                       held for the life of the zerovisor, with its pid
//! DATA/events/                    the node's own numbered events
//! DATA/processes/ID/meta          what the watcher declared: name, spec, secret, host
//! DATA/processes/ID/log/          every record of its stream
//! DATA/processes/ID/facts/        the facts among them again, so that a start need not read the output
//! ```
//! Facts are written to `facts` before `log`: a crash in between leaves too many, never too few, and what is beyond the log is ignored.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zerovisor_core::fact::Fact;
use zerovisor_core::id::Id;
use zerovisor_core::name::ProcessName;
use zerovisor_core::record::{Head, Kind, Record};
use zerovisor_core::spec::Spec;
use zerovisor_core::stats::Placement;
use zerovisor_core::units::Timestamp;
use zerovisor_core::view::{Event, Story};
use zerovisor_core::wire::{self, HostProof, WireError};

use crate::journal::{self, JournalError, LogConfig, LogReader, SegmentLog};

/// Begins every meta file; the digit is its version.
const META_MAGIC: &[u8; 8] = b"ZVMETA1\n";
/// Facts of one process that are kept, in bytes: some tens of thousands.
const FACTS_RETAIN_BYTES: u64 = 8 << 20;
/// Events of the node that are kept, in bytes.
const EVENTS_RETAIN_BYTES: u64 = 64 << 20;
/// Bytes one read of a log takes at most.
const READ_BYTES: usize = 256 << 10;

/// What is known of a process before any of its records.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Meta {
    /// Its id.
    pub id: Id,
    /// What whoever writes its journal must have.
    pub secret: [u8; 32],
    /// The name it is known by here.
    pub name: ProcessName,
    /// What its watcher declared.
    pub spec: Spec,
    /// When the watcher began.
    pub created_at: Timestamp,
    /// Where the watcher is.
    pub host: HostProof,
    /// Whether it came over a unix socket, so that it is of this host.
    pub local: bool,
    /// On which rung of the cgroup ladder its runs stand.
    pub placement: Placement,
}

impl Meta {
    /// Reads the bytes of a meta file; else why they are none.
    pub(super) fn parse(bytes: &[u8]) -> Result<Meta, String> {
        let body = bytes.strip_prefix(META_MAGIC).ok_or("it does not begin with ZVMETA1")?;
        wire::decode_page(body).map_err(|error| error.to_string())
    }

    /// The bytes of its file.
    pub(super) fn bytes(&self) -> Result<Vec<u8>, WireError> {
        Ok([&META_MAGIC[..], &wire::encode_page(self)?].concat())
    }
}

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
    #[error("{} is not a process of this version: {why}", .path.display())]
    BadMeta {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A log.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// What is written is not known to be on the disk.
    #[error("the disk did not take the journal ({0}): restart this zerovisor once the disk is mended")]
    Unsynced(String),
    /// It was removed.
    #[error("the process {0} was removed")]
    Removed(Id),
    /// A message of our own that does not encode.
    #[error(transparent)]
    Wire(#[from] WireError),
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError + use<> {
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

    /// Where the node's events are.
    pub(super) fn events_dir(&self) -> PathBuf {
        self.root.join("events")
    }

    /// Where the text log keeps how far it has come.
    pub(super) fn text_cursor_path(&self) -> PathBuf {
        self.root.join("text-cursor")
    }

    /// Every process there is, with what cannot be read instead of it.
    ///
    /// # Errors
    /// The directory itself cannot be read.
    pub(super) fn processes(&self) -> Result<Vec<Result<Meta, StoreError>>, StoreError> {
        let dir = self.root.join("processes");
        let entries = fs::read_dir(&dir).map_err(io_error("read the directory", &dir))?;
        let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<Id>().ok());
        Ok(ids.map(|id| self.read_meta(id)).collect())
    }

    fn read_meta(&self, id: Id) -> Result<Meta, StoreError> {
        let path = self.dir(id).join("meta");
        let bytes = fs::read(&path).map_err(io_error("read", &path))?;
        let bad = |why: String| StoreError::BadMeta { path: path.clone(), why };
        let meta = Meta::parse(&bytes).map_err(bad)?;
        if meta.id == id { Ok(meta) } else { Err(bad(format!("it is of process {}", meta.id))) }
    }

    /// Writes what was declared, whole or not at all.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn write_meta(&self, meta: &Meta) -> Result<(), StoreError> {
        let dir = self.dir(meta.id);
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        made.map_err(io_error("create the directory", &dir))?;
        let bytes = meta.bytes()?;
        let (path, new) = (dir.join("meta"), dir.join("meta.new"));
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(&bytes)?;
            fs::rename(&new, &path)
        };
        write().map_err(io_error("write", &path))
    }

    /// Opens both logs of a process for writing.
    ///
    /// # Errors
    /// They cannot be opened or repaired.
    pub(super) fn open_process(&self, id: Id) -> Result<ProcessLogs, StoreError> {
        let (log, _) = SegmentLog::open(&self.log_dir(id), self.config)?;
        let facts = LogConfig {
            segment_bytes: FACTS_RETAIN_BYTES / 8,
            retain_bytes: Some(FACTS_RETAIN_BYTES),
            retain_age_us: None,
            ..self.config
        };
        let (mut facts, _) = SegmentLog::open(&self.facts_dir(id), facts)?;
        let end = log.last().map_or(0, |(seq, _)| seq);
        if facts.last().is_some_and(|(seq, _)| seq > end) {
            facts = self.rebuild_facts(id, &log, facts)?;
        }
        Ok(ProcessLogs { log, facts })
    }

    /// Opens both logs of a process that has been declared here and not removed since.
    ///
    /// # Errors
    /// There is none, or its logs cannot be opened.
    pub(crate) fn open_known(&self, id: Id) -> Result<ProcessLogs, StoreError> {
        // Opening creates what is missing: of a process that was just removed it would leave a ghost.
        if self.dir(id).join("meta").exists() { self.open_process(id) } else { Err(StoreError::Removed(id)) }
    }

    /// Facts beyond the end of the log, left by a crash between the two writes, would stand in the way of the next ones.
    fn rebuild_facts(&self, id: Id, log: &SegmentLog, facts: SegmentLog) -> Result<SegmentLog, StoreError> {
        let end = log.last().map_or(0, |(seq, _)| seq);
        let kept = read_all(facts.reader(), |record| record.head.seq <= end)?;
        drop(facts);
        let dir = self.facts_dir(id);
        fs::remove_dir_all(&dir).map_err(io_error("remove", &dir))?;
        let config =
            LogConfig { segment_bytes: FACTS_RETAIN_BYTES / 8, retain_bytes: Some(FACTS_RETAIN_BYTES), ..self.config };
        let (mut facts, _) = SegmentLog::open(&dir, config)?;
        facts.append(&kept.iter().map(stored).collect::<Vec<_>>())?;
        Ok(facts)
    }

    /// Opens the node's events for writing.
    ///
    /// # Errors
    /// They cannot be opened or repaired.
    pub(super) fn open_events(&self) -> Result<SegmentLog, StoreError> {
        let config = LogConfig {
            segment_bytes: EVENTS_RETAIN_BYTES / 16,
            retain_bytes: Some(EVENTS_RETAIN_BYTES),
            retain_age_us: None,
            ..self.config
        };
        Ok(SegmentLog::open(&self.events_dir(), config)?.0)
    }

    /// The life of a process as its journal has it.
    ///
    /// # Errors
    /// A log cannot be read.
    pub(super) fn read_story(&self, id: Id) -> Result<Story, StoreError> {
        let (log, _) = LogReader::open(&self.log_dir(id))?;
        let end = log.last().map_or(0, |(seq, _)| seq);
        let (facts, _) = LogReader::open(&self.facts_dir(id))?;
        let mut story = Story::default();
        for record in read_all(facts, |record| record.head.seq <= end)? {
            if let Ok(fact) = wire::decode_fact(&record.payload) {
                story.tell(record.head.at, &fact);
            }
        }
        Ok(story)
    }

    /// Removes everything of a process.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub(super) fn remove(&self, id: Id) -> Result<(), StoreError> {
        let dir = self.dir(id);
        // Renamed first: a half-removed process must not come back with the next start.
        let gone = self.root.join("processes").join(format!("{id}.removed"));
        match fs::rename(&dir, &gone) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            renamed => renamed.map_err(io_error("remove", &dir))?,
        }
        fs::remove_dir_all(&gone).map_err(io_error("remove", &gone))
    }

    /// Finishes removals that a crash interrupted.
    pub(super) fn sweep(&self) {
        let Ok(entries) = fs::read_dir(self.root.join("processes")) else { return };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            if path.extension().is_some_and(|ending| ending == "removed") {
                // Tried again with the next start.
                let _ = fs::remove_dir_all(path);
            }
        }
    }
}

/// All records of a log that are wanted, from the first on.
fn read_all(mut reader: LogReader, wanted: impl Fn(&Record) -> bool) -> Result<Vec<Record>, StoreError> {
    let mut all = Vec::new();
    reader.seek_first();
    loop {
        let batch = match reader.next_batch(READ_BYTES) {
            Ok(batch) => batch,
            Err(error) if is_passable(&error) => continue,
            Err(error) => return Err(error.into()),
        };
        if batch.is_empty() {
            return Ok(all);
        }
        all.extend(batch.into_iter().filter_map(loaded).filter(&wanted));
    }
}

/// Whether a reader goes on behind this error: a stretch has expired or is damaged.
pub(super) fn is_passable(error: &JournalError) -> bool {
    matches!(error, JournalError::Expired { .. } | JournalError::Damaged(_))
}

/// A record as a log stores it.
pub(super) fn stored(record: &Record) -> journal::Record {
    let Head { seq, at, run, kind, offset } = record.head;
    let meta = journal::RecordMeta { seq, at_us: at.0, run, kind: kind.into(), offset };
    journal::Record { meta, payload: record.payload.clone() }
}

/// A record as it was stored; none of a kind this version does not know.
pub(super) fn loaded(record: journal::Record) -> Option<Record> {
    let journal::RecordMeta { seq, at_us, run, kind, offset } = record.meta;
    let head = Head { seq, at: Timestamp(at_us), run, kind: Kind::try_from(kind).ok()?, offset };
    Some(Record { head, payload: record.payload })
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
