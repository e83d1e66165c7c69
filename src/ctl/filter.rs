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

use std::borrow::Cow;
use std::cmp::Ordering;
use std::str::FromStr;

use regex::Regex;
use zerovisor_core::signal::Signal;
use zerovisor_core::units::{Bytes, Span};
use zerovisor_core::view::ProcessRow;

use super::when;

/// The deepest nesting of parentheses and negations.
const DEPTH_MAX: usize = 64;

/// A field of a process row.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Field {
    Id,
    Name,
    Node,
    State,
    Pid,
    Run,
    StartedAt,
    EndedAt,
    Uptime,
    Cpu,
    Memory,
    Peak,
    Restarts,
    ExitCode,
    ExitSignal,
    ExitOom,
    Command,
    Rung,
    Journal,
    Silent,
    Label(String),
}

/// What a field's values are, and so what a literal beside it means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sort {
    Text,
    Number,
    Bytes,
    Span,
    Signal,
    Flag,
}

/// The names of the fields: those of JSON and shorter ones.
const FIELDS: [(&str, Field); 28] = [
    ("id", Field::Id),
    ("name", Field::Name),
    ("node", Field::Node),
    ("state", Field::State),
    ("pid", Field::Pid),
    ("run", Field::Run),
    ("started_at", Field::StartedAt),
    ("ended_at", Field::EndedAt),
    ("uptime", Field::Uptime),
    ("uptime_s", Field::Uptime),
    ("up", Field::Uptime),
    ("cpu", Field::Cpu),
    ("cpu_percent", Field::Cpu),
    ("memory", Field::Memory),
    ("memory_bytes", Field::Memory),
    ("mem", Field::Memory),
    ("peak", Field::Peak),
    ("memory_peak_bytes", Field::Peak),
    ("restarts", Field::Restarts),
    ("exit.code", Field::ExitCode),
    ("exit.signal", Field::ExitSignal),
    ("exit.oom", Field::ExitOom),
    ("command", Field::Command),
    ("rung", Field::Rung),
    ("journal", Field::Journal),
    ("journal_bytes", Field::Journal),
    ("silent", Field::Silent),
    ("silent_s", Field::Silent),
];

/// The value of a field in a row.
#[derive(Clone, PartialEq, Debug)]
enum Value<'a> {
    Null,
    Number(f64),
    Text(Cow<'a, str>),
    Flag(bool),
}

impl Field {
    fn named(name: &str) -> Option<Field> {
        let label = name.strip_prefix("labels.").filter(|key| !key.is_empty());
        let known = || FIELDS.iter().find(|(known, _)| *known == name).map(|(_, field)| field.clone());
        label.map(|key| Field::Label(key.into())).or_else(known)
    }

    fn sort(&self) -> Sort {
        match self {
            Field::Id | Field::Name | Field::Node | Field::State | Field::StartedAt | Field::EndedAt => Sort::Text,
            Field::Command | Field::Rung | Field::Label(_) => Sort::Text,
            Field::Pid | Field::Run | Field::Cpu | Field::Restarts | Field::ExitCode => Sort::Number,
            Field::Memory | Field::Peak | Field::Journal => Sort::Bytes,
            Field::Uptime | Field::Silent => Sort::Span,
            Field::ExitSignal => Sort::Signal,
            Field::ExitOom => Sort::Flag,
        }
    }

    fn of<'a>(&self, row: &'a ProcessRow) -> Value<'a> {
        let text = |text: String| Value::Text(Cow::Owned(text));
        let number = |number: Option<f64>| number.map_or(Value::Null, Value::Number);
        #[expect(clippy::cast_precision_loss, reason = "sizes are compared, not summed")]
        let bytes = |bytes: Option<u64>| number(bytes.map(|b| b as f64));
        let exit = row.exit.as_ref();
        match self {
            Field::Id => text(row.id.to_string()),
            Field::Name => Value::Text(row.name.as_str().into()),
            Field::Node => Value::Text(row.node.as_str().into()),
            Field::State => text(row.state.to_string()),
            Field::StartedAt => row.started_at.map_or(Value::Null, |at| text(when::rfc3339(at))),
            Field::EndedAt => row.ended_at.map_or(Value::Null, |at| text(when::rfc3339(at))),
            Field::Command => text(row.command.join(" ")),
            Field::Rung => row.rung.as_deref().map_or(Value::Null, |rung| Value::Text(rung.into())),
            Field::Label(key) => {
                let value = row.labels.iter().find(|(known, _)| known == key);
                value.map_or(Value::Null, |(_, value)| Value::Text(value.into()))
            }
            Field::Pid => number(row.pid.map(f64::from)),
            Field::Run => Value::Number(f64::from(row.run)),
            Field::Cpu => number(row.cpu_percent),
            Field::Restarts => Value::Number(f64::from(row.restarts)),
            Field::ExitCode => number(exit.and_then(|exit| exit.code).map(f64::from)),
            Field::ExitSignal => number(exit.and_then(|exit| exit.signal).map(f64::from)),
            Field::ExitOom => exit.and_then(|exit| exit.oom).map_or(Value::Null, Value::Flag),
            Field::Memory => bytes(row.memory_bytes),
            Field::Peak => bytes(row.memory_peak_bytes),
            Field::Journal => bytes(Some(row.journal_bytes)),
            Field::Uptime => number(row.uptime.map(|span| span.as_secs_f64())),
            Field::Silent => number(row.silent.map(|span| span.as_secs_f64())),
        }
    }
}

impl Value<'_> {
    fn is_true(&self) -> bool {
        match self {
            Value::Null => false,
            Value::Number(number) => *number != 0.0,
            Value::Text(text) => !text.is_empty(),
            Value::Flag(flag) => *flag,
        }
    }

    /// None where the two cannot be compared: one is not known.
    fn compare(&self, other: &Value<'_>) -> Option<Ordering> {
        match (self, other) {
            (Value::Null, Value::Null) => Some(Ordering::Equal),
            (Value::Number(a), Value::Number(b)) => a.partial_cmp(b),
            (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
            (Value::Flag(a), Value::Flag(b)) => Some(a.cmp(b)),
            (Value::Null | Value::Number(_) | Value::Text(_) | Value::Flag(_), _) => None,
        }
    }
}

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
        let mut parser = Parser { tokens: tokens(text)?, at: 0, end: text.chars().count() + 1, depth: 0 };
        let expression = parser.or()?;
        match parser.peek() {
            None => Ok(Filter(expression)),
            Some(_) => Err(parser.instead_of("&& or ||")),
        }
    }
}

#[derive(Clone, PartialEq, Debug)]
enum Token {
    Symbol(&'static str),
    Quoted(String),
    Word(String),
}

/// Longer ones first, so that `<=` is not `<` and `=`.
const SYMBOLS: [&str; 13] = ["&&", "||", "==", "!=", "<=", ">=", "!~", "<", ">", "~", "!", "(", ")"];

fn tokens(text: &str) -> Result<Vec<(Token, usize)>, BadFilter> {
    let (mut tokens, mut rest) = (Vec::new(), text);
    loop {
        rest = rest.trim_start();
        let position = text[..text.len() - rest.len()].chars().count() + 1;
        let Some(first) = rest.chars().next() else { return Ok(tokens) };
        let (token, used) = if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            (Token::Symbol(symbol), symbol.len())
        } else if first == '"' || first == '\'' {
            let Some(inner) = rest[1..].find(first) else {
                return Err(BadFilter { what: format!("a {first} without its second"), position });
            };
            (Token::Quoted(rest[1..=inner].into()), inner + 2)
        } else {
            let end = rest.find(|c: char| c.is_whitespace() || "&|=!<>~()\"'".contains(c)).unwrap_or(rest.len());
            if end == 0 {
                let what = if first == '=' { "a single '=': write ==".into() } else { format!("unexpected '{first}'") };
                return Err(BadFilter { what, position });
            }
            (Token::Word(rest[..end].into()), end)
        };
        tokens.push((token, position));
        rest = &rest[used..];
    }
}

struct Parser {
    tokens: Vec<(Token, usize)>,
    at: usize,
    end: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    fn take(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Symbol(known)) if *known == symbol);
        self.at += usize::from(found);
        found
    }

    fn wrong(&self, what: impl Into<String>) -> BadFilter {
        self.wrong_at(self.at, what)
    }

    fn wrong_at(&self, at: usize, what: impl Into<String>) -> BadFilter {
        let position = self.tokens.get(at).map_or(self.end, |(_, position)| *position);
        BadFilter { what: what.into(), position }
    }

    /// What stands here in place of what was expected; a word of other languages is told its sign.
    fn instead_of(&self, expected: &str) -> BadFilter {
        match self.peek() {
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("or") => self.wrong("write || for or"),
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("and") => self.wrong("write && for and"),
            Some(Token::Word(_) | Token::Quoted(_) | Token::Symbol(_)) | None => {
                self.wrong(format!("expected {expected}"))
            }
        }
    }

    fn or(&mut self) -> Result<Expression, BadFilter> {
        let mut parts = vec![self.and()?];
        while self.take("||") {
            parts.push(self.and()?);
        }
        Ok(Expression::Any(parts))
    }

    fn and(&mut self) -> Result<Expression, BadFilter> {
        let mut parts = vec![self.not()?];
        while self.take("&&") {
            parts.push(self.not()?);
        }
        Ok(Expression::All(parts))
    }

    fn not(&mut self) -> Result<Expression, BadFilter> {
        if self.depth == DEPTH_MAX {
            return Err(self.wrong(format!("more than {DEPTH_MAX} levels")));
        }
        self.depth += 1;
        let part = if self.take("!") {
            Expression::Not(Box::new(self.not()?))
        } else if self.take("(") {
            let inner = self.or()?;
            if !self.take(")") {
                return Err(self.instead_of(")"));
            }
            inner
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(part)
    }

    fn comparison(&mut self) -> Result<Expression, BadFilter> {
        let Some(Token::Word(name)) = self.peek().cloned() else {
            return Err(self.wrong("expected a field such as cpu or name"));
        };
        if name.eq_ignore_ascii_case("not") {
            return Err(self.wrong("write ! for not"));
        }
        let Some(field) = Field::named(&name) else {
            return Err(self.wrong(format!("'{}' is not a field; zvctl ps --help lists them", name.escape_debug())));
        };
        self.at += 1;
        let tests = [
            ("==", Test::Equal),
            ("!=", Test::Unequal),
            ("<", Test::Less),
            ("<=", Test::LessOrEqual),
            (">", Test::Greater),
            (">=", Test::GreaterOrEqual),
        ];
        for (symbol, test) in tests {
            if self.take(symbol) {
                let literal = self.literal(&field, test)?;
                return Ok(Expression::Compare(field, test, literal));
            }
        }
        if self.take("~") {
            return Ok(Expression::Matches(field.clone(), self.regex(&field)?));
        }
        if self.take("!~") {
            return Ok(Expression::Not(Box::new(Expression::Matches(field.clone(), self.regex(&field)?))));
        }
        Ok(Expression::Is(field))
    }

    fn text(&mut self) -> Result<(String, bool), BadFilter> {
        let (text, quoted) = match self.peek() {
            Some(Token::Quoted(text)) => (text.clone(), true),
            Some(Token::Word(text)) => (text.clone(), false),
            Some(Token::Symbol(_)) | None => return Err(self.wrong("expected a value")),
        };
        self.at += 1;
        Ok((text, quoted))
    }

    fn literal(&mut self, field: &Field, test: Test) -> Result<Value<'static>, BadFilter> {
        let at = self.at;
        let (text, quoted) = self.text()?;
        if text == "null" && !quoted {
            let fits = matches!(test, Test::Equal | Test::Unequal);
            return if fits { Ok(Value::Null) } else { Err(self.wrong_at(at, "null compares with == and != only")) };
        }
        let number = |number: Option<f64>, what: &str| {
            let shown: String = text.chars().take(40).collect();
            let wrong = || self.wrong_at(at, format!("'{}' is not {what}", shown.escape_debug()));
            number.map(Value::Number).ok_or_else(wrong)
        };
        #[expect(clippy::cast_precision_loss, reason = "sizes are compared, not summed")]
        match field.sort() {
            Sort::Text if *field == Field::State => Ok(Value::Text(text.to_ascii_uppercase().into())),
            Sort::Text => Ok(Value::Text(text.into())),
            Sort::Number => number(text.trim_end_matches('%').parse().ok().filter(|n: &f64| n.is_finite()), "a number"),
            Sort::Bytes => number(text.parse::<Bytes>().ok().map(|b| b.0 as f64), "a size such as 64M"),
            Sort::Span => number(text.parse::<Span>().ok().map(|s| s.0.as_secs_f64()), "a span such as 10m"),
            Sort::Signal => {
                number(text.parse::<Signal>().ok().map(|s| f64::from(s.number())), "a signal such as KILL or 9")
            }
            Sort::Flag => match text.as_str() {
                "true" => Ok(Value::Flag(true)),
                "false" => Ok(Value::Flag(false)),
                _ => Err(self.wrong_at(at, "expected true or false")),
            },
        }
    }

    fn regex(&mut self, field: &Field) -> Result<Regex, BadFilter> {
        if field.sort() != Sort::Text {
            return Err(self.wrong_at(self.at.saturating_sub(1), "~ is for text: compare a quantity with == < >"));
        }
        let at = self.at;
        let (text, _) = self.text()?;
        // The library's message spans lines and draws a picture; its last line says what is wrong.
        let brief = |error: regex::Error| error.to_string().lines().last().unwrap_or_default().to_owned();
        Regex::new(&text)
            .map_err(|error| self.wrong_at(at, format!("a regular expression that does not parse ({})", brief(error))))
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
