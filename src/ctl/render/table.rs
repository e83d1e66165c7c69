//! A table of text: columns that fit the terminal, cells that cannot command it.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};
use zerovisor_core::escape::escaped;

use crate::ctl::out::Look;

/// The narrowest a column is cut to.
const COLUMN_MIN: usize = 8;
/// Between two columns.
const GUTTER: usize = 2;

/// How a cell is coloured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Paint {
    /// Not at all.
    Plain,
    /// All is well.
    Good,
    /// Something is going on.
    Busy,
    /// Somebody should look.
    Bad,
    /// Of the past.
    Faint,
}

impl Paint {
    fn code(self) -> &'static str {
        match self {
            Paint::Plain => "",
            Paint::Good => "\x1b[32m",
            Paint::Busy => "\x1b[33m",
            Paint::Bad => "\x1b[31m",
            Paint::Faint => "\x1b[2m",
        }
    }
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    title: &'static str,
    right: bool,
    /// The narrowest it may become; none where it is never cut.
    min: Option<usize>,
    /// The widest it becomes, even where there is no terminal.
    max: usize,
    /// Never left out.
    keep: bool,
}

impl Column {
    /// Text that is shown whole.
    pub const fn text(title: &'static str) -> Column {
        Column { title, right: false, min: None, max: usize::MAX, keep: false }
    }

    /// A quantity.
    pub const fn number(title: &'static str) -> Column {
        Column { right: true, ..Column::text(title) }
    }

    /// Text that is cut where the terminal is too narrow.
    pub const fn long(title: &'static str) -> Column {
        Column { min: Some(COLUMN_MIN), ..Column::text(title) }
    }

    /// The same, never left out.
    pub const fn kept(self) -> Column {
        Column { keep: true, ..self }
    }

    /// The same, cut to no less than this.
    pub const fn at_least(self, min: usize) -> Column {
        Column { min: Some(min), ..self }
    }

    /// The same, cut to this even where there is no terminal.
    pub const fn at_most(self, max: usize) -> Column {
        Column { max, ..self }
    }
}

/// A table. Cells are made safe here and nowhere else.
#[derive(Debug, Default)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<(String, Paint)>>,
}

impl Table {
    /// An empty one.
    pub fn new(columns: &[Column]) -> Table {
        Table { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row of as many cells as there are columns.
    pub fn push(&mut self, cells: impl IntoIterator<Item = (String, Paint)>) {
        self.rows.push(cells.into_iter().map(|(text, paint)| (escaped(&text).replace('\t', "\\x09"), paint)).collect());
    }

    /// The whole of it as text.
    pub fn render(&self, look: Look) -> String {
        let natural = self.natural();
        let shown = look.width.map_or_else(|| (0..natural.len()).collect(), |screen| self.shown(&natural, screen));
        let widths = self.widths(&natural, &shown, look.width);
        let titles: Vec<_> = self.columns.iter().map(|column| (column.title.to_owned(), Paint::Plain)).collect();
        let mut text = self.line(&titles, &shown, &widths, look);
        for row in &self.rows {
            text += &self.line(row, &shown, &widths, look);
        }
        text
    }

    /// How wide each column would be if there were room.
    fn natural(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.columns.iter().map(|column| column.title.width()).collect();
        for row in &self.rows {
            for ((width, (text, _)), column) in widths.iter_mut().zip(row).zip(&self.columns) {
                *width = (*width).max(text.width().min(column.max));
            }
        }
        widths
    }

    /// The narrowest a column may become.
    fn least(&self, at: usize, natural: usize) -> usize {
        let column = &self.columns[at];
        column.min.map_or(natural, |min| natural.min(min.max(column.title.width())))
    }

    /// The columns there is room for: first those go that say nothing, then as many as must for the others not to be cut to nothing.
    fn shown(&self, natural: &[usize], screen: usize) -> Vec<usize> {
        let total = |shown: &[usize], width: &dyn Fn(usize) -> usize| {
            shown.iter().map(|at| width(*at)).sum::<usize>() + GUTTER * shown.len().saturating_sub(1)
        };
        let mut shown: Vec<usize> = (0..natural.len()).collect();
        let empty = |at: &usize| !self.rows.is_empty() && self.rows.iter().all(|row| row[*at].0 == "-");
        // Quantities before text, those at the right before those at the left.
        let mut order = shown.clone();
        order.sort_by_key(|at| (!self.columns[*at].right, std::cmp::Reverse(*at)));
        for at in order.iter().filter(|at| empty(at)) {
            if total(&shown, &|at| natural[at]) > screen {
                shown.retain(|other| other != at);
            }
        }
        for at in order.iter().filter(|at| !self.columns[**at].keep) {
            if total(&shown, &|at| self.least(at, natural[at])) > screen {
                shown.retain(|other| other != at);
            }
        }
        shown
    }

    fn widths(&self, natural: &[usize], shown: &[usize], screen: Option<usize>) -> Vec<usize> {
        let mut widths: Vec<usize> = shown.iter().map(|at| natural[*at]).collect();
        let Some(screen) = screen else { return widths };
        let taken = widths.iter().sum::<usize>() + GUTTER * widths.len().saturating_sub(1);
        let mut excess = taken.saturating_sub(screen);
        // From the right, so that a command line gives way before a name; what must stay wide gives way last.
        let mut order: Vec<usize> = (0..widths.len()).rev().collect();
        order.sort_by_key(|at| self.columns[shown[*at]].min > Some(COLUMN_MIN));
        for at in order {
            let give = excess.min(widths[at] - self.least(shown[at], widths[at]));
            widths[at] -= give;
            excess -= give;
        }
        widths
    }

    fn line(&self, cells: &[(String, Paint)], shown: &[usize], widths: &[usize], look: Look) -> String {
        let (mut line, mut room) = (String::new(), look.width.unwrap_or(usize::MAX));
        for (place, (at, width)) in shown.iter().zip(widths).enumerate() {
            let ((text, paint), column) = (&cells[*at], &self.columns[*at]);
            if place > 0 {
                line += &" ".repeat(GUTTER.min(room));
                room -= GUTTER.min(room);
            }
            let width = (*width).min(room);
            room -= width;
            let text = cut(text, width);
            let pad = " ".repeat(width.saturating_sub(text.width()));
            let coloured = look.colour && *paint != Paint::Plain;
            let text = if coloured { format!("{}{text}\x1b[0m", paint.code()) } else { text };
            line += &if column.right { pad + &text } else { text + &pad };
        }
        line.truncate(line.trim_end_matches(' ').len());
        line + "\n"
    }
}

/// A text of at most so many columns; what is cut is marked.
pub fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.into();
    }
    let mut left = width.saturating_sub(1);
    let fits = |c: &char| match c.width().unwrap_or(0) {
        wide if wide <= left => {
            left -= wide;
            true
        }
        _ => false,
    };
    let kept: String = text.chars().take_while(fits).collect();
    if width == 0 { kept } else { kept + "…" }
}
