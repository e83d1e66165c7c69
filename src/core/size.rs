//! The size of a terminal.

use serde::{Deserialize, Serialize};

/// Columns and rows of a terminal, in character cells.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Size {
    /// Cells in a row.
    pub cols: u16,
    /// Rows.
    pub rows: u16,
}
