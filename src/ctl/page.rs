//! How lines of output are written: prefix, time, colours, or JSON.

use regex::bytes::Regex;
use serde::Serialize;
use serde_json::{Map, Value};
use unicode_width::UnicodeWidthStr;
use zerovisor_core::escape::{Colours, RESET, escape_into, escaped};
use zerovisor_core::fact::Gap;
use zerovisor_core::record::Kind;
use zerovisor_core::wire::Source;

use super::json;
use super::lines::{Line, Missing};
use super::out::Look;
use super::render::NAME_COLOURS;
use super::when::rfc3339;

/// What stands around each line.
#[derive(Clone, Debug)]
pub enum Style {
    /// For people and for grep.
    Text {
        /// The time first.
        timestamps: bool,
        /// The name first.
        prefix: bool,
    },
    /// An object a line.
    Jsonl,
    /// Objects in the array of one.
    Json,
}

#[derive(Serialize)]
struct LineJson<'a> {
    id: String,
    name: &'a str,
    node: &'a str,
    run: u32,
    stream: String,
    seq: u64,
    at: String,
    text: &'a str,
    partial: bool,
}

#[derive(Serialize)]
struct MissingJson<'a> {
    missing: String,
    id: String,
    name: &'a str,
    node: &'a str,
    #[serde(flatten)]
    gap: Option<Map<String, Value>>,
}

/// What is missing of a source, as an object.
pub fn missing_json(source: &Source, missing: &Missing) -> String {
    let (what, gap) = match missing {
        Missing::Gap(gap) => (gap.to_string(), Some(json::gap(gap))),
        Missing::Other(what) => (what.clone(), None),
    };
    let (id, name, node) = (source.id.to_string(), source.name.as_str(), source.node.as_str());
    json::line(&MissingJson { missing: what, id, name, node, gap })
}

/// What is missing of a source, in one line.
pub fn missing_text(missing: &Missing) -> String {
    match missing {
        Missing::Gap(gap) => gap_text(gap),
        Missing::Other(what) => what.clone(),
    }
}

/// A gap in one line, with the time it was written in as far as that is known.
pub fn gap_text(gap: &Gap) -> String {
    match (gap.since, gap.until) {
        (since, until) if since == until => format!("{gap} (at {})", rfc3339(since)),
        (since, until) => format!("{gap} ({} to {})", rfc3339(since), rfc3339(until)),
    }
}

/// Writes lines, one behind the other, into a buffer.
#[derive(Debug)]
pub struct Page {
    style: Style,
    look: Look,
    name_width: usize,
    /// The line that was begun and not ended, if any.
    open: Option<(usize, Kind)>,
    first: bool,
}

impl Page {
    /// For sources whose names are at most so wide.
    pub fn new(style: Style, look: Look, name_width: usize) -> Page {
        Page { style, look, name_width, open: None, first: true }
    }

    /// Whether lines are objects.
    pub fn is_json(&self) -> bool {
        match self.style {
            Style::Text { .. } => false,
            Style::Jsonl | Style::Json => true,
        }
    }

    /// Whether all of it is one object.
    pub fn is_one_object(&self) -> bool {
        matches!(self.style, Style::Json)
    }

    /// Names turn out wider than thought.
    pub fn widen(&mut self, source: &Source) {
        self.name_width = self.name_width.max(source.name.as_str().width());
    }

    /// Adds a line of the source with this number.
    pub fn line(&mut self, number: usize, source: &Source, line: &Line, out: &mut Vec<u8>) {
        match self.style {
            Style::Text { timestamps, prefix } => self.text(number, source, line, (timestamps, prefix), out),
            Style::Jsonl | Style::Json => {
                let text = String::from_utf8_lossy(&line.text);
                self.object(
                    &json::line(&LineJson {
                        id: source.id.to_string(),
                        name: source.name.as_str(),
                        node: source.node.as_str(),
                        run: line.run,
                        stream: line.kind.to_string(),
                        seq: line.seq,
                        at: rfc3339(line.at),
                        text: &text,
                        partial: !line.ends,
                    }),
                    out,
                );
            }
        }
    }

    /// Adds an object.
    pub fn object(&mut self, object: &str, out: &mut Vec<u8>) {
        match self.style {
            Style::Json => {
                out.extend_from_slice(if self.first { b"{\"lines\":[" } else { b"," });
                out.extend_from_slice(object.as_bytes());
            }
            Style::Jsonl | Style::Text { .. } => {
                out.extend_from_slice(object.as_bytes());
                out.push(b'\n');
            }
        }
        self.first = false;
    }

    fn text(
        &mut self,
        number: usize,
        source: &Source,
        line: &Line,
        (timestamps, prefix): (bool, bool),
        out: &mut Vec<u8>,
    ) {
        let goes_on = !line.begins && self.open == Some((number, line.kind));
        if !goes_on {
            self.end_open(out);
            if prefix {
                self.prefix(number, source, out);
            }
            if timestamps {
                out.extend_from_slice(rfc3339(line.at).as_bytes());
                out.push(b' ');
            }
        }
        let colours = if self.look.colour { Colours::Keep } else { Colours::Drop };
        if escape_into(shown(line), out, colours) {
            out.extend_from_slice(RESET);
        }
        if line.ends {
            out.push(b'\n');
        }
        self.open = (!line.ends).then_some((number, line.kind));
    }

    fn prefix(&self, number: usize, source: &Source, out: &mut Vec<u8>) {
        let name = escaped(source.name.as_str());
        let pad = " ".repeat(self.name_width.saturating_sub(name.width()));
        let text = if self.look.colour {
            format!("{}{name}\x1b[0m{pad} | ", NAME_COLOURS[number % NAME_COLOURS.len()])
        } else {
            format!("{name}{pad} | ")
        };
        out.extend_from_slice(text.as_bytes());
    }

    /// Ends the line that was begun, so that something else can follow.
    pub fn end_open(&mut self, out: &mut Vec<u8>) {
        if self.open.take().is_some() {
            out.push(b'\n');
        }
    }

    /// The end of it all: `tail` closes the one object.
    pub fn finish(&mut self, tail: &str, out: &mut Vec<u8>) {
        self.end_open(out);
        if matches!(self.style, Style::Json) {
            let begin = if self.first { "{\"lines\":[" } else { "" };
            out.extend_from_slice(format!("{begin}],{tail}}}\n").as_bytes());
        }
    }
}

/// A line as it is shown: a carriage return before its end is the terminal's way to end a line.
fn shown(line: &Line) -> &[u8] {
    let text = line.text.as_slice();
    if line.ends { text.strip_suffix(b"\r").unwrap_or(text) } else { text }
}

/// Whether a line matches, judged by what would be shown in a pipe.
pub fn matches(regex: &Regex, line: &Line) -> bool {
    let mut text = Vec::with_capacity(line.text.len());
    escape_into(shown(line), &mut text, Colours::Drop);
    regex.is_match(&text)
}

#[cfg(test)]
mod tests {
    use zerovisor_core::id::Id;
    use zerovisor_core::units::Timestamp;

    use super::*;

    fn source(name: &str) -> Source {
        Source { id: Id::from_random([1; 16]), name: name.parse().unwrap(), node: "n1".parse().unwrap() }
    }

    fn line(text: &str, begins: bool, ends: bool) -> Line {
        Line { seq: 3, at: Timestamp(5), run: 1, kind: Kind::Stdout, text: text.into(), begins, ends }
    }

    fn page(style: Style, colour: bool, lines: &[(usize, &str, Line)]) -> String {
        let look = Look { width: colour.then_some(80), colour };
        let (mut page, mut out) = (Page::new(style, look, 4), Vec::new());
        for (number, name, line) in lines {
            page.line(*number, &source(name), line, &mut out);
        }
        page.finish("\"missing\":[]", &mut out);
        String::from_utf8(out).unwrap()
    }

    const PLAIN: Style = Style::Text { timestamps: false, prefix: false };
    const FULL: Style = Style::Text { timestamps: true, prefix: true };

    #[test]
    fn lines_have_their_names_and_times() {
        let lines = [(0, "web", line("hello\r", true, true)), (1, "base", line("x", true, true))];
        assert_eq!(page(PLAIN, false, &lines), "hello\nx\n");
        let at = "1970-01-01T00:00:00.000005Z";
        assert_eq!(page(FULL, false, &lines), format!("web  | {at} hello\nbase | {at} x\n"));
    }

    #[test]
    fn a_line_that_goes_on_is_not_begun_again_unless_another_came_between() {
        let lines = [(0, "a", line("ab", true, false)), (0, "a", line("cd", false, true))];
        assert_eq!(page(PLAIN, false, &lines), "abcd\n");
        let between = [lines[0].clone(), (1, "b", line("x", true, true)), lines[1].clone()];
        assert_eq!(page(PLAIN, false, &between), "ab\nx\ncd\n");
        assert_eq!(page(PLAIN, false, &lines[..1]), "ab\n");
    }

    #[test]
    fn on_a_terminal_colours_stay_and_nothing_else() {
        let lines = [(0, "a", line("\x1b[31mred\x1b[2J", true, true))];
        assert_eq!(page(PLAIN, true, &lines), "\x1b[31mred\\x1b[2J\x1b[0m\n");
        assert_eq!(page(PLAIN, false, &lines), "red\\x1b[2J\n");
        assert!(matches(&Regex::new("^red.x1b").unwrap(), &lines[0].2));
    }

    #[test]
    fn json_is_an_object_a_line_or_one_of_all() {
        let lines = [(0, "a", line("x", true, true)), (0, "a", line("y", true, false))];
        let jsonl = page(Style::Jsonl, false, &lines);
        assert_eq!(
            jsonl.lines().next().unwrap(),
            concat!(
                r#"{"id":"01010101010101010101010101010101","name":"a","node":"n1","run":1,"stream":"stdout","#,
                r#""seq":3,"at":"1970-01-01T00:00:00.000005Z","text":"x","partial":false}"#
            )
        );
        for lines in [&lines[..], &[]] {
            let whole: Value = serde_json::from_str(&page(Style::Json, false, lines)).unwrap();
            assert_eq!(whole["lines"].as_array().unwrap().len(), lines.len());
        }
    }
}
