//! One process whose journal is being rendered.

use std::time::{Duration, Instant};

use zerovisor_core::fact::Fact;
use zerovisor_core::name::ProcessName;
use zerovisor_core::record::{Kind, OUTPUT_MAX_BYTES};
use zerovisor_core::units::{Bytes, Timestamp};
use zerovisor_core::wire;

use super::cursor::{Cursor, STREAMS};
use super::line::{Page, Word, who};
use super::now;
use crate::journal::{JournalError, LogReader, Record};

/// Bytes of a process's log that are read in one turn.
const TURN_BYTES: usize = 256 << 10;
/// How often it is measured how far behind a process is, while it is.
const MEASURE_EVERY: Duration = Duration::from_secs(1);

/// What becomes of a process that is rendered to the end of its log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Ending {
    /// More may come.
    #[default]
    Open,
    /// No more comes; its cursor is kept.
    Closed,
    /// It is forgotten.
    Removed,
}

/// What a turn came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    /// There is more to read.
    More,
    /// That is all for now.
    Done,
    /// The log cannot be read; why.
    Failed(String),
}

/// A line that is not over.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// When its first byte came: another time, another line.
    at: Timestamp,
    /// When it is written all the same.
    due: Instant,
}

/// A process and its place in its journal.
#[derive(Debug)]
pub(super) struct Process {
    name: ProcessName,
    reader: LogReader,
    cursor: Cursor,
    who: Vec<u8>,
    measured_at: Option<Instant>,
    /// What its streams have not ended, since the end of the log was reached.
    waiting: [Option<Waiting>; 3],
    /// What happens at the end of its log.
    pub(super) ending: Ending,
    /// Whether it stands in the queue of those to be read.
    pub(super) queued: bool,
    /// Whether its failure has been told.
    pub(super) failing: bool,
}

impl Process {
    /// From where `cursor` says; from the first record where it says nothing.
    pub(super) fn new(name: ProcessName, mut reader: LogReader, cursor: Cursor) -> Process {
        if cursor.next_seq > 0 {
            reader.seek_seq(cursor.next_seq);
        }
        let who = who(name.as_str(), cursor.run, cursor.pid);
        Process {
            name,
            reader,
            cursor,
            who,
            measured_at: None,
            waiting: [None; 3],
            ending: Ending::Open,
            queued: false,
            failing: false,
        }
    }

    /// How far it is rendered.
    pub(super) fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// The log is read to its end: from now on the lines that are not over have `patience`. When the first of them is due.
    pub(super) fn wait_for_ends(&mut self, at: Instant, patience: Duration) -> Option<Instant> {
        for (waiting, stream) in self.waiting.iter_mut().zip(&mut self.cursor.streams) {
            let due = waiting.filter(|waiting| waiting.at == stream.at).map_or(at + patience, |waiting| waiting.due);
            *waiting = (!stream.pending.is_empty()).then_some(Waiting { at: stream.at, due });
            if stream.pending.is_empty() {
                // There may be thousands of idle ones.
                stream.pending.shrink_to(0);
            }
        }
        self.first_due()
    }

    /// Writes the lines whose time has come, marked as going on. When the next one is due.
    pub(super) fn write_due(&mut self, page: &mut Page, at: Instant, patience: Duration) -> Option<Instant> {
        let streams = STREAMS.iter().zip(&mut self.cursor.streams).zip(&mut self.waiting);
        for ((kind, stream), waiting) in streams {
            if let (Some(word), Some(_)) = (Word::of(*kind), waiting.filter(|waiting| waiting.due <= at)) {
                stream.write_out(&self.who, word, page);
                // Half a character has its time too, then it is shown as it is.
                let left = !stream.pending.is_empty();
                *waiting = left.then_some(Waiting { at: stream.at, due: at + patience });
            }
        }
        self.first_due()
    }

    /// When the first line that waits for its end is due.
    pub(super) fn first_due(&self) -> Option<Instant> {
        self.waiting.iter().flatten().map(|waiting| waiting.due).min()
    }

    /// Reads and renders the next part of the log.
    pub(super) fn turn(&mut self, page: &mut Page, at: Instant, far_behind_bytes: u64) -> Turn {
        self.skip_if_far_behind(page, at, far_behind_bytes);
        let before = self.reader.next_seq();
        let outcome = match self.reader.next_batch(TURN_BYTES) {
            Ok(batch) => {
                batch.iter().for_each(|record| self.record(record, page));
                if self.is_behind() && !batch.is_empty() { Turn::More } else { Turn::Done }
            }
            Err(JournalError::Expired { first_available }) => {
                let last = first_available.saturating_sub(1);
                self.gap(&format!("records {before} to {last} have expired from the journal"), page);
                Turn::More
            }
            Err(JournalError::Damaged(damage)) => {
                self.gap(&format!("the journal is damaged: {damage}"), page);
                Turn::More
            }
            Err(error) => Turn::Failed(error.to_string()),
        };
        self.cursor.next_seq = self.reader.next_seq();
        outcome
    }

    fn is_behind(&self) -> bool {
        self.reader.last().is_some_and(|(last, _)| last >= self.reader.next_seq())
    }

    fn record(&mut self, record: &Record, page: &mut Page) {
        let (at, run) = (Timestamp(record.meta.at_us), record.meta.run);
        if run != self.cursor.run {
            self.begin_run(run, None, page);
        }
        let kind = Kind::try_from(record.meta.kind);
        let Ok(kind) = kind else {
            let text = format!("record {}: a kind this version does not know", record.meta.seq);
            return page.line(at, &self.who, Word::Gap, &text);
        };
        match (Word::of(kind), STREAMS.iter().position(|known| *known == kind)) {
            (Some(word), Some(place)) => {
                self.cursor.streams[place].feed(&record.payload, at, &self.who, word, page);
            }
            _ => self.fact(record, at, page),
        }
    }

    fn fact(&mut self, record: &Record, at: Timestamp, page: &mut Page) {
        let fact = match wire::decode_fact(&record.payload) {
            Ok(fact) => fact,
            Err(error) => {
                let text = format!("record {}: {error}", record.meta.seq);
                return page.line(at, &self.who, Word::Gap, &text);
            }
        };
        match &fact {
            Fact::Started { run, pid } => self.begin_run(*run, Some(*pid), page),
            Fact::Ended { .. } => self.end_lines(page),
            Fact::Gap(_) => {
                self.write_out(page);
                return page.line(at, &self.who, Word::Gap, &fact.to_string());
            }
            Fact::Waiting
            | Fact::Steady { .. }
            | Fact::SpawnFailed { .. }
            | Fact::Stopping { .. }
            | Fact::Killed { .. }
            | Fact::Backoff { .. }
            | Fact::Stopped
            | Fact::Exited
            | Fact::Fatal { .. }
            | Fact::Signalled { .. }
            | Fact::Commanded { .. }
            | Fact::InputClosed { .. }
            | Fact::Resized { .. } => {}
        }
        page.line(at, &self.who, Word::State, &fact.to_string());
    }

    /// What the run before has not ended is over.
    fn begin_run(&mut self, run: u32, pid: Option<i32>, page: &mut Page) {
        self.end_lines(page);
        (self.cursor.run, self.cursor.pid) = (run, pid);
        self.who = who(self.name.as_str(), run, pid);
    }

    fn end_lines(&mut self, page: &mut Page) {
        for (kind, stream) in STREAMS.iter().zip(&mut self.cursor.streams) {
            if let Some(word) = Word::of(*kind) {
                stream.finish(&self.who, word, page);
            }
        }
    }

    /// Writes what the streams have not ended, marked as going on.
    pub(super) fn write_out(&mut self, page: &mut Page) {
        for (kind, stream) in STREAMS.iter().zip(&mut self.cursor.streams) {
            if let Some(word) = Word::of(*kind) {
                stream.write_out(&self.who, word, page);
            }
        }
    }

    /// Something is not in the log; what there is of its lines comes first.
    pub(super) fn gap(&mut self, text: &str, page: &mut Page) {
        self.write_out(page);
        page.line(now(), &self.who, Word::Gap, text);
    }

    /// Leaves out the oldest of more than `limit` bytes, so that what is shown is of some use.
    fn skip_if_far_behind(&mut self, page: &mut Page, at: Instant, limit: u64) {
        let next = self.reader.next_seq();
        let unread = self.reader.last().map_or(0, |(last, _)| last.saturating_add(1).saturating_sub(next));
        let recently = self.measured_at.is_some_and(|then| at.saturating_duration_since(then) < MEASURE_EVERY);
        // A record has at most so many bytes: with few of them nothing need be measured.
        if recently || unread <= limit / OUTPUT_MAX_BYTES as u64 {
            return;
        }
        self.measured_at = Some(at);
        if let Some((bytes, to)) = self.measure(next, limit) {
            let text = format!(
                "far behind: {} records of {} are skipped, the journal has them (zvctl logs)",
                to - next,
                Bytes(bytes)
            );
            self.gap(&text, page);
            self.reader.seek_seq(to);
        }
    }

    /// If more than `limit` bytes are unread: how many are to be skipped, and where to go on so that a quarter of `limit` is left.
    fn measure(&self, next: u64, limit: u64) -> Option<(u64, u64)> {
        let (mut unread, mut kept, mut to) = (0, 0, None);
        // What cannot be read ends the measure; reading on will tell of it.
        for block in self.reader.blocks_back().map_while(Result::ok).take_while(|block| block.first_seq >= next) {
            unread += block.bytes();
            if to.is_none() {
                kept = unread;
                to = (kept > limit / 4).then_some(block.first_seq);
            }
        }
        to.filter(|to| unread > limit && *to > next).map(|to| (unread - kept, to))
    }
}
