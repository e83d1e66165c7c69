//! What the fuzz targets of `fuzz/` reach of this room.

use std::path::Path;

use zerovisor_core::id::Id;

use super::removed::{self, Removed};
use super::store::meta;

/// Removed processes that are remembered.
pub const REMOVED_MAX: usize = removed::REMOVED_MAX;

/// A meta file's bytes: none if they are none; else what would be written for it, which must read back.
pub fn meta(bytes: &[u8]) -> Option<Vec<u8>> {
    meta::parse(Path::new("meta"), bytes).ok().and_then(|read| meta::bytes(&read).ok())
}

/// The ids of removed processes in a data directory; then those that the next start finds after another was added.
pub fn removed(data: &Path, another: Id) -> (Vec<Id>, Vec<Id>) {
    let (mut removed, ids) = Removed::load(data);
    removed.add(another);
    (ids, Removed::load(data).1)
}
