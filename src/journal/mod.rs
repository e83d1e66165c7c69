//! Append-only logs of checksummed records: what the journal of a zerovisor and the spool of a watcher are made of.
//!
//! A [`SegmentLog`] owns one directory. It appends batches of [`Record`]s to segment files, rolls
//! to a new segment at a size, and drops whole old segments by size and age. [`LogReader`]s follow
//! it from other threads. What a record means is the caller's business: here it is a sequence
//! number that only grows (gaps are normal), a time that never steps back, and bytes.
//!
//! ```text
//! log/00000000000000000001.seg   a sealed segment           layout: segment.rs
//! log/00000000000000000001.idx   its sparse index           layout: index.rs
//! log/00000000000000081920.seg   the active segment: the only file that is written
//! ```
//!
//! | file | what it does |
//! |---|---|
//! | `segment` | the bytes of segment and record headers |
//! | `walk` | reads records one after the other and finds the next good one behind damage |
//! | `index` | the sidecar that spares reading from the start |
//! | `shared` | what the writer publishes to its readers |
//! | `group` | lays a batch out for few writev calls without copying large payloads |
//! | `log` | the writer; `sync` is its part that another thread does, `retain` drops old segments |
//! | `mend` | what is done once a sync has failed |
//! | `recover` | what is found on opening, and what is cut or rebuilt; `scan` reads what no index vouches for |
//! | `reader` | the forward cursor; `blocks` goes backwards from the end |
//! | `stream` | what a record of a process's stream is here |
//! | `lock` | one zerovisor per data directory |
//!
//! Nothing here reads a clock or starts a thread.

mod blocks;
mod error;
mod group;
mod index;
mod lock;
mod log;
mod mend;
mod reader;
mod recover;
mod retain;
mod scan;
mod segment;
mod shared;
mod stream;
mod sync;
#[cfg(test)]
mod tests;
mod walk;

pub use blocks::{Block, BlocksBack};
pub use error::{Damage, JournalError};
pub use lock::{DataDirLock, LockError, lock_data_dir};
pub use log::{Dropped, LogConfig, Retained, SegmentLog};
pub use mend::Mended;
pub use reader::LogReader;
pub use recover::{Recovery, Torn, refuse_newer};
pub use segment::{MAX_PAYLOAD_BYTES, Record, RecordMeta};
pub use stream::{loaded, stored};
pub use sync::{SyncWork, sync_dir};
