//! The text of `--where`: its tokens, and the grammar over them.

use regex::Regex;
use zerovisor_core::signal::Signal;
use zerovisor_core::units::{Bytes, Span};

use super::field::{Field, Sort, Value};
use super::{BadFilter, Expression, Test};

/// The deepest nesting of parentheses and negations.
const DEPTH_MAX: usize = 64;

/// Reads an expression to its end.
///
/// # Errors
/// It does not parse.
pub(super) fn parse(text: &str) -> Result<Expression, BadFilter> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, end: text.chars().count() + 1, depth: 0 };
    let expression = parser.or()?;
    match parser.peek() {
        None => Ok(expression),
        Some(_) => Err(parser.instead_of("&& or ||")),
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
