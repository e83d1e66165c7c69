//! The size of a terminal.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Most columns: wider than any screen there is, and few enough that a picture of it stays bounded.
pub const COLS_MAX: u16 = 1000;
/// Most rows, likewise.
pub const ROWS_MAX: u16 = 500;

/// Columns and rows of a terminal, in character cells: 1 to [`COLS_MAX`] by 1 to [`ROWS_MAX`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "(u16, u16)", into = "(u16, u16)")]
pub struct Size {
    cols: u16,
    rows: u16,
}

impl Size {
    /// What a terminal that nobody has sized is: as the VT100 was.
    pub const DEFAULT: Size = Size { cols: 80, rows: 24 };

    /// A size, if it is one.
    ///
    /// # Errors
    /// No column, no row, or too many.
    pub fn new(cols: u16, rows: u16) -> Result<Size, NotASize> {
        let good = (1..=COLS_MAX).contains(&cols) && (1..=ROWS_MAX).contains(&rows);
        if good { Ok(Size { cols, rows }) } else { Err(NotASize(format!("{cols}x{rows}"))) }
    }

    /// The nearest size to what a terminal says of itself; one that says nothing (0) has the default.
    pub fn nearest(cols: u16, rows: u16) -> Size {
        let pick = |said: u16, default: u16, max: u16| if said == 0 { default } else { said.min(max) };
        Size { cols: pick(cols, Size::DEFAULT.cols, COLS_MAX), rows: pick(rows, Size::DEFAULT.rows, ROWS_MAX) }
    }

    /// The smallest size that holds both.
    pub fn covering(self, other: Size) -> Size {
        Size { cols: self.cols.max(other.cols), rows: self.rows.max(other.rows) }
    }

    /// The largest size that both hold.
    pub fn common(self, other: Size) -> Size {
        Size { cols: self.cols.min(other.cols), rows: self.rows.min(other.rows) }
    }

    /// Columns.
    pub fn cols(self) -> u16 {
        self.cols
    }

    /// Rows.
    pub fn rows(self) -> u16 {
        self.rows
    }
}

/// A text, or a pair of numbers, that is no size of a terminal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a size of a terminal: write COLSxROWS, 1x1 to {COLS_MAX}x{ROWS_MAX}, such as 80x24")]
pub struct NotASize(String);

impl TryFrom<(u16, u16)> for Size {
    type Error = NotASize;

    fn try_from((cols, rows): (u16, u16)) -> Result<Size, NotASize> {
        Size::new(cols, rows)
    }
}

impl From<Size> for (u16, u16) {
    fn from(size: Size) -> (u16, u16) {
        (size.cols, size.rows)
    }
}

impl FromStr for Size {
    type Err = NotASize;

    fn from_str(text: &str) -> Result<Size, NotASize> {
        let wrong = || NotASize(text.chars().take(40).collect());
        let (cols, rows) = text.split_once(['x', 'X', '×']).ok_or_else(wrong)?;
        let number = |part: &str| part.parse::<u16>().map_err(|_| wrong());
        Size::new(number(cols)?, number(rows)?)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.cols, self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_within_its_bounds_however_it_comes() {
        assert_eq!("80x24".parse(), Ok(Size::DEFAULT));
        for wrong in ["0x0", "10000x10000", "80x", "80", "-1x5", "80x24x3", "1001x24", "80x501"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
        assert!(Size::try_from((0, 24)).is_err());
        assert_eq!(Size::nearest(0, 0), Size::DEFAULT);
        assert_eq!(Size::nearest(9999, 3).to_string(), "1000x3");
    }
}
