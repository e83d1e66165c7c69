//! The size of a terminal in character cells.

use std::fmt;

/// The most columns a terminal may have: beyond any real screen, and few enough that a screen of cells stays small.
pub const COLS_MAX: u16 = 1000;
/// The most rows, likewise.
pub const ROWS_MAX: u16 = 500;

/// Columns and rows of a terminal: 1 to [`COLS_MAX`] by 1 to [`ROWS_MAX`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Size {
    cols: u16,
    rows: u16,
}

/// A size outside the bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no terminal has {cols} columns and {rows} rows: give 1 to {COLS_MAX} columns and 1 to {ROWS_MAX} rows")]
pub struct BadSize {
    /// The columns asked for.
    pub cols: u16,
    /// The rows asked for.
    pub rows: u16,
}

impl Size {
    /// Checks the bounds.
    pub fn new(cols: u16, rows: u16) -> Result<Size, BadSize> {
        if (1..=COLS_MAX).contains(&cols) && (1..=ROWS_MAX).contains(&rows) {
            Ok(Size { cols, rows })
        } else {
            Err(BadSize { cols, rows })
        }
    }

    /// Columns, at least 1.
    pub fn cols(self) -> u16 {
        self.cols
    }

    /// Rows, at least 1.
    pub fn rows(self) -> u16 {
        self.rows
    }
}

/// What a terminal has where nobody says: that of a VT100, which programs fall back to as well.
impl Default for Size {
    fn default() -> Size {
        Size { cols: 80, rows: 24 }
    }
}

/// As people write it: `80x24`.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.cols, self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive_and_nothing_beyond_them_is_a_size() {
        for (cols, rows) in [(1, 1), (COLS_MAX, 1), (1, ROWS_MAX), (COLS_MAX, ROWS_MAX)] {
            assert_eq!(Size::new(cols, rows).map(|size| (size.cols(), size.rows())), Ok((cols, rows)));
        }
        for (cols, rows) in [(0, 1), (1, 0), (0, 0), (COLS_MAX + 1, 1), (1, ROWS_MAX + 1), (u16::MAX, u16::MAX)] {
            assert_eq!(Size::new(cols, rows), Err(BadSize { cols, rows }));
        }
    }

    #[test]
    fn the_refusal_says_what_is_allowed() {
        let error = Size::new(0, 70).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no terminal has 0 columns and 70 rows: give 1 to 1000 columns and 1 to 500 rows"
        );
    }
}
