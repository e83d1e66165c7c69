//! `--where` and `--sort`: the fields of a row, and a small language over them.
//!
//! ```text
//! or         = and { "||" and }
//! and        = not { "&&" not }
//! not        = "!" not | "(" or ")" | comparison
//! comparison = field [ ("==" | "!=" | "<" | "<=" | ">" | ">=" | "~" | "!~") literal ]
//! literal    = "text" | 'text' | null | word        (a word: a number with a unit, or text without spaces)
//! ```
//! What a literal means depends on the field before it: 64M is bytes, 10m is a span, 9 and KILL are signals. All of that is settled
//! while parsing; evaluation cannot fail.

mod field;
mod parse;

use std::cmp::Ordering;
use std::str::FromStr;

use regex::Regex;
use zerovisor_core::view::ProcessRow;

use field::{Field, Sort, Value};

/// What `--where` compares with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Test {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Test {
    fn holds(self, order: Option<Ordering>) -> bool {
        match self {
            Test::Equal => order == Some(Ordering::Equal),
            Test::Unequal => order != Some(Ordering::Equal),
            Test::Less => order == Some(Ordering::Less),
            Test::LessOrEqual => order.is_some_and(Ordering::is_le),
            Test::Greater => order == Some(Ordering::Greater),
            Test::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
        }
    }
}

#[derive(Clone, Debug)]
enum Expression {
    Any(Vec<Expression>),
    All(Vec<Expression>),
    Not(Box<Expression>),
    Is(Field),
    Compare(Field, Test, Value<'static>),
    Matches(Field, Regex),
}

impl Expression {
    fn holds(&self, row: &ProcessRow) -> bool {
        match self {
            Expression::Any(parts) => parts.iter().any(|part| part.holds(row)),
            Expression::All(parts) => parts.iter().all(|part| part.holds(row)),
            Expression::Not(part) => !part.holds(row),
            Expression::Is(field) => field.of(row).is_true(),
            Expression::Compare(field, test, literal) => test.holds(field.of(row).compare(literal)),
            Expression::Matches(field, regex) => match field.of(row) {
                Value::Text(text) => regex.is_match(&text),
                Value::Null | Value::Number(_) | Value::Flag(_) => false,
            },
        }
    }
}

/// An expression of `--where`.
#[derive(Clone, Debug)]
pub struct Filter(Expression);

impl Filter {
    /// Whether it is true of a row.
    pub fn holds(&self, row: &ProcessRow) -> bool {
        self.0.holds(row)
    }
}

/// An expression that does not parse, with the place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at character {position}: {what}")]
pub struct BadFilter {
    /// What is wrong.
    what: String,
    /// Counted from 1.
    position: usize,
}

impl FromStr for Filter {
    type Err = BadFilter;

    fn from_str(text: &str) -> Result<Filter, BadFilter> {
        parse::parse(text).map(Filter)
    }
}

/// A field to order by.
#[derive(Clone, Debug)]
pub struct SortKey {
    field: Field,
    turned: bool,
}

/// A text that names no field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{}' is not a field: zvctl ps --help lists them", .0.escape_debug())]
pub struct NotAField(String);

impl FromStr for SortKey {
    type Err = NotAField;

    fn from_str(text: &str) -> Result<SortKey, NotAField> {
        let (turned, name) = text.strip_prefix('-').map_or((false, text), |name| (true, name));
        let field = Field::named(&name.to_ascii_lowercase()).or_else(|| Field::named(name));
        field.map(|field| SortKey { field, turned }).ok_or_else(|| NotAField(text.chars().take(40).collect()))
    }
}

impl SortKey {
    /// Orders rows: text ascending, quantities largest first; what is not known comes last either way.
    pub fn sort(&self, rows: &mut [ProcessRow]) {
        let quantity = self.field.sort() != Sort::Text;
        rows.sort_by(|a, b| {
            let (a, b) = (self.field.of(a), self.field.of(b));
            let unknown = (a == Value::Null).cmp(&(b == Value::Null));
            let order = a.compare(&b).unwrap_or(Ordering::Equal);
            unknown.then(if quantity == self.turned { order } else { order.reverse() })
        });
    }
}

#[cfg(test)]
mod tests;
