//! What the fuzz targets of `fuzz/` reach of this room.

use super::store::Meta;

/// A meta file's bytes: none if they are none; else what would be written for it, which must read back.
pub fn meta(bytes: &[u8]) -> Option<Vec<u8>> {
    Meta::parse(bytes).ok().and_then(|meta| meta.bytes().ok())
}
