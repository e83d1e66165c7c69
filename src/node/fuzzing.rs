//! What the fuzz targets of `fuzz/` reach of this room.

use std::path::Path;

use super::store::meta;

/// A meta file's bytes: none if they are none; else what would be written for it, which must read back.
pub fn meta(bytes: &[u8]) -> Option<Vec<u8>> {
    meta::parse(Path::new("meta"), bytes).ok().and_then(|read| meta::bytes(&read).ok())
}
