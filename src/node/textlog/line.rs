//! Rendering without any input or output: times, columns, and how bytes of a stream become lines.

use memchr::{memchr, memrchr};
use zerovisor_core::escape::{Colours, escape_into};
use zerovisor_core::record::Kind;
use zerovisor_core::units::Timestamp;

/// The longest piece of a line that is written as one, in bytes as the program wrote them.
pub(super) const PIECE_BYTES: usize = 8 << 10;
/// The second column is filled up to this width.
const WHO_WIDTH: usize = 12;
/// The third column, with room for [`ON`].
const WORD_WIDTH: usize = 6;
/// Behind the third column: this piece's line goes on.
const ON: u8 = b'+';
/// 9999-12-31T23:59:59.999999Z, the last time RFC 3339 can write.
const LAST_US: u64 = 253_402_300_799_999_999;

/// The third column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Word {
    Stdout,
    Stderr,
    Term,
    State,
    Node,
    Gap,
}

impl Word {
    /// The word of a stream; none for facts.
    pub(super) fn of(kind: Kind) -> Option<Word> {
        match kind {
            Kind::Stdout => Some(Word::Stdout),
            Kind::Stderr => Some(Word::Stderr),
            Kind::Terminal => Some(Word::Term),
            Kind::Fact => None,
        }
    }

    fn text(self) -> &'static [u8] {
        match self {
            Word::Stdout => b"stdout",
            Word::Stderr => b"stderr",
            Word::Term => b"term",
            Word::State => b"state",
            Word::Node => b"node",
            Word::Gap => b"gap",
        }
    }
}

/// Writes times; keeps the second written last, as most records share it with the one before.
#[derive(Debug)]
struct Clock {
    second: u64,
    text: [u8; 27],
}

impl Default for Clock {
    fn default() -> Clock {
        Clock { second: 0, text: *b"1970-01-01T00:00:00.000000Z" }
    }
}

impl Clock {
    fn stamp(&mut self, at: Timestamp) -> &[u8; 27] {
        let us = at.0.min(LAST_US);
        let second = us / 1_000_000;
        if second != self.second {
            self.second = second;
            let (year, month, day) = civil_from_days(second / 86_400);
            let time = second % 86_400;
            self.digits(0, 4, year);
            self.digits(5, 2, month);
            self.digits(8, 2, day);
            self.digits(11, 2, time / 3600);
            self.digits(14, 2, time / 60 % 60);
            self.digits(17, 2, time % 60);
        }
        self.digits(20, 6, us % 1_000_000);
        &self.text
    }

    fn digits(&mut self, at: usize, count: usize, mut value: u64) {
        for place in self.text[at..at + count].iter_mut().rev() {
            *place = b'0' + u8::try_from(value % 10).unwrap_or(0);
            value /= 10;
        }
    }
}

/// Year, month and day of so many days since 1970-01-01: `civil_from_days` of Howard Hinnant's
/// "chrono-Compatible Low-Level Date Algorithms", for days that are not before 1970.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    // Years begin in March there, so that the leap day is the last of its year; 719,468 days from 0000-03-01 to 1970.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// The second column: `name.run[pid]`, only the name before the first run.
pub(super) fn who(name: &str, run: u32, pid: Option<i32>) -> Vec<u8> {
    let mut text = Vec::new();
    escape_into(name.as_bytes(), &mut text, Colours::Escape);
    if run > 0 {
        let pid = pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        text.extend_from_slice(format!(".{run}[{pid}]").as_bytes());
    }
    text.resize(text.len().max(WHO_WIDTH), b' ');
    text
}

/// Rendered lines on their way to the file. Always whole ones.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// The lines.
    pub(super) text: Vec<u8>,
    clock: Clock,
    /// The first three columns of the lines to come.
    head: Vec<u8>,
    /// Where the word in it ends: there a piece has its mark.
    word_end: usize,
}

impl Page {
    fn head(&mut self, at: Timestamp, who: &[u8], word: Word) {
        self.head.clear();
        self.head.extend_from_slice(self.clock.stamp(at));
        self.head.push(b' ');
        self.head.extend_from_slice(who);
        self.head.push(b' ');
        let end = self.head.len() + WORD_WIDTH;
        self.head.extend_from_slice(word.text());
        self.word_end = self.head.len();
        self.head.resize(end, b' ');
    }

    fn put(&mut self, text: &[u8]) {
        self.text.extend_from_slice(&self.head);
        self.text.push(b' ');
        escape_into(text, &mut self.text, Colours::Escape);
        self.text.push(b'\n');
    }

    fn put_piece(&mut self, text: &[u8]) {
        let end = self.text.len() + self.head.len();
        self.text.extend_from_slice(&self.head[..self.word_end]);
        self.text.push(ON);
        self.text.resize(self.text.len().max(end), b' ');
        self.text.push(b' ');
        escape_into(text, &mut self.text, Colours::Escape);
        self.text.push(b'\n');
    }

    /// One line of our own or of a fact.
    pub(super) fn line(&mut self, at: Timestamp, who: &[u8], word: Word, text: &str) {
        self.head(at, who, word);
        self.put(text.as_bytes());
    }
}

/// One stream of a run, as far as its line is not over.
///
/// ```text
/// empty ──bytes without line end──> pending ──line end──> empty, a line written
///                                      └──too long, too old──> pending less a piece, written with `+`; `open`
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Stream {
    /// The beginning of a line, at most [`PIECE_BYTES`].
    pub(super) pending: Vec<u8>,
    /// When its first byte came.
    pub(super) at: Timestamp,
    /// Whether pieces of this line are written already.
    pub(super) open: bool,
}

impl Stream {
    /// Takes the next bytes of the stream: whole lines are written, the rest waits.
    pub(super) fn feed(&mut self, bytes: &[u8], at: Timestamp, who: &[u8], word: Word, page: &mut Page) {
        let mut rest = self.complete(bytes, at, who, word, page);
        if rest.is_empty() {
            return;
        }
        page.head(at, who, word);
        while let Some(end) = memchr(b'\n', rest) {
            let line = cut_pieces(&rest[..end], page);
            page.put(line.strip_suffix(b"\r").unwrap_or(line));
            rest = &rest[end + 1..];
            self.open = false;
        }
        let tail = cut_pieces(rest, page);
        self.open |= tail.len() < rest.len();
        self.pending.extend_from_slice(tail);
        self.at = at;
    }

    /// Adds to the line that is pending until it is written; what is left of `bytes` then.
    fn complete<'b>(&mut self, bytes: &'b [u8], at: Timestamp, who: &[u8], word: Word, page: &mut Page) -> &'b [u8] {
        let mut rest = bytes;
        while !self.pending.is_empty() && !rest.is_empty() {
            let room = (PIECE_BYTES + 1).saturating_sub(self.pending.len()).min(rest.len());
            if let Some(end) = memchr(b'\n', &rest[..room]) {
                self.pending.extend_from_slice(&rest[..end]);
                rest = &rest[end + 1..];
                self.finish(who, word, page);
                continue;
            }
            self.pending.extend_from_slice(&rest[..room]);
            rest = &rest[room..];
            if self.pending.len() > PIECE_BYTES {
                self.write_piece(piece_len(&self.pending[..PIECE_BYTES]), who, word, page);
                self.at = at;
            }
        }
        rest
    }

    /// The line is over, with its end or without.
    pub(super) fn finish(&mut self, who: &[u8], word: Word, page: &mut Page) {
        if !self.pending.is_empty() {
            page.head(self.at, who, word);
            page.put(self.pending.strip_suffix(b"\r").unwrap_or(&self.pending));
            self.pending.clear();
        }
        self.open = false;
    }

    /// Writes what is pending although the line is not over. A character of which only the beginning is here, and a
    /// carriage return that may belong to a line end, wait on unless they are all there is.
    pub(super) fn write_out(&mut self, who: &[u8], word: Word, page: &mut Page) {
        if !self.pending.is_empty() {
            self.write_piece(piece_len(&self.pending), who, word, page);
        }
    }

    fn write_piece(&mut self, len: usize, who: &[u8], word: Word, page: &mut Page) {
        page.head(self.at, who, word);
        page.put_piece(&self.pending[..len]);
        self.pending.drain(..len);
        self.open = true;
    }
}

/// Writes pieces until what is left fits one line.
fn cut_pieces<'b>(text: &'b [u8], page: &mut Page) -> &'b [u8] {
    let mut rest = text;
    while rest.len() > PIECE_BYTES {
        let len = piece_len(&rest[..PIECE_BYTES]);
        page.put_piece(&rest[..len]);
        rest = &rest[len..];
    }
    rest
}

/// How much of `text` to write if its line goes on: not half a character, nor half a CRLF. All of it rather than nothing.
fn piece_len(text: &[u8]) -> usize {
    let end = match text {
        [before @ .., b'\r'] => before.len(),
        _ => text.len() - unfinished_len(text),
    };
    if end == 0 { text.len() } else { end }
}

/// Bytes at the end that begin a character of UTF-8 and lack its rest.
fn unfinished_len(text: &[u8]) -> usize {
    for back in 1..=text.len().min(3) {
        let needed = match text[text.len() - back] {
            0x80..0xc0 => continue,
            0xc0..0xe0 => 2,
            0xe0..0xf0 => 3,
            0xf0..0xf8 => 4,
            _ => 1,
        };
        return if needed > back { back } else { 0 };
    }
    0
}

/// Where the last line that fits into `room` ends.
pub(super) fn lines_within(text: &[u8], room: usize) -> Option<usize> {
    memrchr(b'\n', &text[..room.min(text.len())]).map(|at| at + 1)
}

/// Where the first line ends.
pub(super) fn first_line(text: &[u8]) -> usize {
    memchr(b'\n', text).map_or(text.len(), |at| at + 1)
}
