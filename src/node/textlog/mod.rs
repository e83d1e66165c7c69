//! The text log: the journal of all processes as lines for people, in `zerovisor.log`.
//!
//! ```text
//! 2026-11-23T04:12:00.000000Z zerovisor    node   started, version 0.1.0, pid 4240, node lab1
//! 2026-11-23T04:12:00.120000Z echo.1[4242] state  started, pid 4242
//! 2026-11-23T04:12:00.123456Z echo.1[4242] stdout bob is your uncle
//! 2026-11-23T04:12:00.130000Z echo.1[4242] state  ended: exit code 0 after 10ms (cpu 1ms, peak 2.1 MiB)
//! ```
//! Four columns, told apart by blanks:
//!
//! | column | |
//! |---|---|
//! | time | RFC 3339, UTC, µs: when the watcher had it; of a line in pieces, when its first byte came; of a note of the text log itself, when it was made |
//! | who | `name.run[pid]`; `-` for a pid that is not known; only the name before the first run and for what the node observed; `zerovisor` for the node itself. Filled up to 12 |
//! | word | `stdout` `stderr` `term` (output), `state` (what happened to the process), `node` (what the node observed), `gap` (something is not here, and why). Filled up to 6 |
//! | text | the rest, made safe by [`zerovisor_core::escape`]: no control character but tabs, so that `tail` is always safe |
//!
//! A `+` behind the word (`stdout+`) marks a piece of a line that goes on with the next line of the same run and
//! stream: it was not over after a second, or is longer than 8 KiB. An empty line may follow such a piece: its end came
//! alone. A line of a run that ended without a line feed is written like any other. The carriage return of a CRLF is dropped.
//! Lines of one process stand in the order of its journal; between processes the times tell.
//!
//! It is rendered from the journal by a cursor, never ahead of it, by a thread of its own that nobody waits for:
//!
//! ```text
//! scribe --opened, written, closed, removed--> a place for each process --\
//!        --event-----------------------------> queue, bounded -------------> thread --write(2)--> file or stdout
//! ```
//! | file | what it does |
//! |---|---|
//! | `line` | renders, without input or output |
//! | `process` | one process: reads its log, knows its run, skips when far behind |
//! | `cursor` | how far each process is rendered, kept for the next zerovisor |
//! | `file` | rotation, and files that are moved by others |
//! | `inbox` | what the thread is told |
//! | `thread` | who is read next, when it is written |

mod cursor;
mod file;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod inbox;
mod line;
mod process;
#[cfg(test)]
mod tests;
mod thread;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use zerovisor_core::id::Id;
use zerovisor_core::name::ProcessName;
use zerovisor_core::units::Timestamp;
use zerovisor_core::view::{Event, Happening};

use self::inbox::Inbox;
use self::thread::Renderer;
use crate::journal::LogReader;

/// A line that is not over is written after this long.
pub const PARTIAL_AFTER: Duration = Duration::from_secs(1);
/// A process with more unread bytes of journal than this is too far behind for a reader to be served by its oldest:
/// they are skipped with a note, down to a quarter of it.
pub const FAR_BEHIND_BYTES: u64 = 256 << 20;

/// Where the text log goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// A file, created 0600 and appended to.
    File(PathBuf),
    /// Standard output.
    Stdout,
}

/// How the text log is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TextConfig {
    /// Where it goes.
    pub target: Target,
    /// A file of more bytes than this is rotated; 0: never.
    pub rotate_bytes: u64,
    /// So many rotated files are kept.
    pub keep: u32,
    /// The file in which positions are kept.
    pub cursors: PathBuf,
    /// See [`PARTIAL_AFTER`].
    pub partial_after: Duration,
    /// See [`FAR_BEHIND_BYTES`].
    pub far_behind_bytes: u64,
}

impl TextConfig {
    /// The defaults: 64 MiB a file, four of them beside the one that is written.
    #[must_use]
    pub fn new(target: Target, cursors: PathBuf) -> TextConfig {
        TextConfig {
            target,
            rotate_bytes: 64 << 20,
            keep: 4,
            cursors,
            partial_after: PARTIAL_AFTER,
            far_behind_bytes: FAR_BEHIND_BYTES,
        }
    }
}

/// Why the text log cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum TextLogError {
    /// The file cannot be opened for writing.
    #[error("cannot write the text log {}: {source}: name another file with --log PATH, or none with --log none", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Standard output is closed.
    #[error("cannot write the text log to standard output: {0}: name a file with --log PATH, or none with --log none")]
    Stdout(io::Error),
    /// No thread.
    #[error("cannot start the thread of the text log: {0}: do without it with --log none")]
    Thread(io::Error),
}

/// The handle of the text log. Cheap to clone; nothing it does waits for the disk.
#[derive(Clone, Debug)]
pub struct TextLog {
    inbox: Option<Arc<Inbox>>,
    rendered: Arc<HashMap<Id, u64>>,
}

impl TextLog {
    /// No text log: everything told to it is dropped.
    #[must_use]
    pub fn none() -> TextLog {
        TextLog { inbox: None, rendered: Arc::default() }
    }

    /// Starts the thread. It ends after [`stop`](TextLog::stop), or with a standard output that nobody reads.
    ///
    /// # Errors
    /// The target cannot be written; there is no thread to be had.
    pub fn start(config: TextConfig) -> Result<(TextLog, JoinHandle<()>), TextLogError> {
        let inbox = Arc::new(Inbox::default());
        let renderer = Renderer::new(config, Arc::clone(&inbox))?;
        let rendered = Arc::new(renderer.rendered());
        let thread = std::thread::Builder::new().name("zv-text".into()).spawn(move || renderer.run());
        Ok((TextLog { inbox: Some(inbox), rendered }, thread.map_err(TextLogError::Thread)?))
    }

    /// The last record of a process that was rendered before this start; none of one that is not known. A process with
    /// later records whose log will not be opened is to be handed in by [`opened`](TextLog::opened) and
    /// [`closed`](TextLog::closed), or its last lines are never seen.
    #[must_use]
    pub fn rendered_before(&self, id: Id) -> Option<u64> {
        self.rendered.get(&id).copied()
    }

    /// Whether a text log was kept here before, so that a process it does not know is a new one and not merely unrendered.
    #[must_use]
    pub fn continues(&self) -> bool {
        !self.rendered.is_empty()
    }

    /// The log of a process is open: it is rendered from its cursor, or from its first record. A reader handed in
    /// before is replaced.
    pub fn opened(&self, id: Id, name: ProcessName, reader: LogReader) {
        if let Some(inbox) = &self.inbox {
            inbox.opened(id, name, reader);
        }
    }

    /// There is more in its log.
    pub fn written(&self, id: Id) {
        if let Some(inbox) = &self.inbox {
            inbox.written(id);
        }
    }

    /// Nothing more will come: it is rendered to its end and the reader let go.
    pub fn closed(&self, id: Id) {
        if let Some(inbox) = &self.inbox {
            inbox.closed(id);
        }
    }

    /// Its journal is being deleted: what can still be read is rendered, then it is forgotten.
    pub fn removed(&self, id: Id) {
        if let Some(inbox) = &self.inbox {
            inbox.removed(id);
        }
    }

    /// An event of the node becomes a line; facts do not, they come from the process's own log. At most
    /// 4,096 wait; of more it is told how many were left out.
    pub fn event(&self, event: Event) {
        if let (Some(inbox), false) = (&self.inbox, matches!(event.what, Happening::Fact { .. })) {
            inbox.event(event);
        }
    }

    /// Renders all there is, for at most 5 s, writes the cursors and ends the thread. Returns at once: join the thread.
    pub fn stop(&self) {
        if let Some(inbox) = &self.inbox {
            inbox.stop();
        }
    }
}

/// The wall clock.
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(zerovisor_core::units::micros(since))
}
