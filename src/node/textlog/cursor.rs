//! How far each process is rendered, kept so that the next zerovisor goes on there.
//!
//! A text file, replaced whole:
//!
//! ```text
//! zerovisor text cursors 1 running           `stopped` once nothing will be written any more
//! ID NEXT RUN PID [STREAM:AT:OPEN:TEXT]...   first record not rendered; its run and pid; lines that are not over,
//! end 1                                      in hexadecimal; and how many processes there are
//! ```
//! PID is `-` where it is not known; AT is in µs since 1970; OPEN is 1 when pieces of the line are written.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use zerovisor_core::id::Id;
use zerovisor_core::record::Kind;
use zerovisor_core::units::Timestamp;

use super::line::{PIECE_BYTES, Stream};

const TITLE: &str = "zerovisor text cursors 1";

/// The streams in the order in which they are kept.
pub(super) const STREAMS: [Kind; 3] = [Kind::Stdout, Kind::Stderr, Kind::Terminal];

/// How far one process is rendered.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Cursor {
    /// The first record that is not.
    pub(super) next_seq: u64,
    /// The run rendered last; 0 before the first.
    pub(super) run: u32,
    /// Its main process.
    pub(super) pid: Option<i32>,
    /// What its streams have not ended, as [`STREAMS`].
    pub(super) streams: [Stream; 3],
}

/// How the zerovisor before this one left the text log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Before {
    /// There was none.
    Nothing,
    /// Everything rendered is in the cursors.
    Stopped,
    /// What was rendered after the last cursors were written will be again.
    Crashed,
    /// The file says nothing: everything is rendered again.
    Unreadable(String),
}

/// The cursors of all processes.
#[derive(Debug)]
pub(super) struct Cursors {
    path: PathBuf,
    pub(super) known: HashMap<Id, Cursor>,
    /// A failure is said once.
    failing: bool,
}

impl Cursors {
    /// Reads what was kept.
    pub(super) fn load(path: &Path) -> (Cursors, Before) {
        let (known, before) = match fs::read_to_string(path) {
            Ok(text) => match parse(&text) {
                Some((known, true)) => (known, Before::Stopped),
                Some((known, false)) => (known, Before::Crashed),
                None => (HashMap::new(), Before::Unreadable("it is damaged".into())),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => (HashMap::new(), Before::Nothing),
            Err(error) => (HashMap::new(), Before::Unreadable(error.to_string())),
        };
        (Cursors { path: path.to_path_buf(), known, failing: false }, before)
    }

    /// Writes them all, whole or not at all. A failure is said once; the lines since would come again after a restart.
    pub(super) fn save(&mut self, stopped: bool) {
        match self.replace(stopped) {
            Ok(()) => self.failing = false,
            Err(error) if !self.failing => {
                self.failing = true;
                tracing::warn!(path = %self.path.display(), %error, "the positions of the text log cannot be kept");
            }
            Err(_) => {}
        }
    }

    fn replace(&self, stopped: bool) -> io::Result<()> {
        let mut new = self.path.clone().into_os_string();
        new.push(".new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(self.text(stopped).as_bytes())?;
        fs::rename(&new, &self.path)
    }

    /// Cursors that are kept nowhere.
    #[cfg(fuzzing)]
    pub(super) fn of(known: HashMap<Id, Cursor>) -> Cursors {
        Cursors { path: PathBuf::new(), known, failing: false }
    }

    pub(super) fn text(&self, stopped: bool) -> String {
        let mut text = format!("{TITLE} {}\n", if stopped { "stopped" } else { "running" });
        for (id, cursor) in &self.known {
            let pid = cursor.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
            // Writing to a string cannot fail.
            let _ = write!(text, "{id} {} {} {pid}", cursor.next_seq, cursor.run);
            for (kind, stream) in STREAMS.iter().zip(&cursor.streams) {
                if stream.open || !stream.pending.is_empty() {
                    let _ = write!(text, " {}:{}:{}:", u8::from(*kind), stream.at.0, u8::from(stream.open));
                    stream.pending.iter().for_each(|byte| text.extend([hex(byte >> 4), hex(byte & 15)]));
                }
            }
            text.push('\n');
        }
        let _ = writeln!(text, "end {}", self.known.len());
        text
    }
}

fn hex(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16).unwrap_or('0')
}

/// The cursors, and whether they are complete; none if the text is not what was written.
pub(super) fn parse(text: &str) -> Option<(HashMap<Id, Cursor>, bool)> {
    let mut lines = text.lines();
    let stopped = match lines.next()?.strip_prefix(TITLE)? {
        " stopped" => true,
        " running" => false,
        _ => return None,
    };
    let mut known = HashMap::new();
    for line in lines {
        if let Some(count) = line.strip_prefix("end ") {
            return (count.parse() == Ok(known.len())).then_some((known, stopped));
        }
        let (id, cursor) = parse_cursor(line)?;
        known.insert(id, cursor);
    }
    None
}

fn parse_cursor(line: &str) -> Option<(Id, Cursor)> {
    let mut words = line.split(' ');
    let id = words.next()?.parse().ok()?;
    let (next_seq, run) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let pid = match words.next()? {
        "-" => None,
        pid => Some(pid.parse().ok()?),
    };
    let mut cursor = Cursor { next_seq, run, pid, ..Cursor::default() };
    for word in words {
        let (kind, stream) = parse_stream(word)?;
        let place = STREAMS.iter().position(|known| *known == kind)?;
        cursor.streams[place] = stream;
    }
    Some((id, cursor))
}

fn parse_stream(word: &str) -> Option<(Kind, Stream)> {
    let mut parts = word.split(':');
    let kind = Kind::try_from(parts.next()?.parse::<u8>().ok()?).ok()?;
    let at = Timestamp(parts.next()?.parse().ok()?);
    let open = parts.next()? == "1";
    let digits = parts.next()?.as_bytes();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let pending: Vec<u8> = digits.chunks(2).map(pair).collect::<Option<_>>()?;
    (pending.len() <= PIECE_BYTES).then_some((kind, Stream { pending, at, open }))
}
