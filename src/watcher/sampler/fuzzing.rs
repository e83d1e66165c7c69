//! What the fuzz targets of `fuzz/` reach of this room.

use super::stat::Stat;
use super::walk::parse_pss;

/// The texts of `/proc/PID/stat` and `smaps_rollup`.
pub fn parse(text: &[u8]) {
    let _of_a_process = Stat::parse(text);
    let _of_its_memory = parse_pss(text);
}
