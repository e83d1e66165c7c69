//! Reading the output of processes: one request each, joined by time, written while the link is kept, resumed when it was lost.
//!
//! ```text
//! request per process -> Feed (last record seen) -> Merge (by time) -> Lines -> Page -> Paper (its own thread)
//!        ^                                                                                |
//!        +------------------------------- Grant <-------- ticket of what is written <-----+
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use regex::bytes::Regex;
use zerovisor_core::address::Selection;
use zerovisor_core::record::Head;
use zerovisor_core::view::Nodes;
use zerovisor_core::wire::{Answer, Ask, Failure, LogsAsk, STREAM_WINDOW_BYTES, Source, decode_page};

use super::client::{Client, Part, Wake};
use super::error::{CtlError, failure_status};
use super::json;
use super::lines::{Item, Line, Lines, Merge, Missing};
use super::out::{self, Look, Paper};
use super::page::{self, Page, Style};
use super::verbs::{Asker, backoff};
use crate::net::Backoff;

/// How long a follower of several processes holds a record for an earlier one of another.
const HOLD: Duration = Duration::from_millis(100);
/// Consumed bytes are granted again in pieces of at least this, well below the window that they keep open.
const GRANT_BYTES: u64 = STREAM_WINDOW_BYTES / 8;
/// How long a zerovisor that came back may not know a process: its watcher comes back by itself within this.
pub const UNKNOWN_MAX: Duration = Duration::from_secs(15);

/// Places where something is missing, one behind the other without a record between them; who tells of more means no journal.
const MISSING_IN_A_ROW_MAX: usize = 10_000;
/// What is said of such a place, in bytes.
const MISSING_MAX_BYTES: usize = 4096;
const MISSING_TOO_MUCH: &str = "it tells of more that is missing than a journal can have lost";

/// How far one reading goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// What is there.
    Present,
    /// What is there, and of it only the last so many lines that match.
    Tail(usize),
    /// What is there and what follows.
    Follow,
}

/// The stream of one process.
#[derive(Debug)]
struct Feed {
    select: Selection,
    source: Option<Source>,
    /// The last record that was received, behind which it goes on.
    last_seq: Option<u64>,
    lines: Lines,
    request: u64,
    over: bool,
    /// Bytes the zerovisor may still send.
    window: u64,
    /// Bytes written and not yet granted again.
    owed: u64,
    matched: VecDeque<(u64, Line)>,
}

/// Several streams on their way to standard output.
pub struct Reading<'a> {
    asker: &'a Asker,
    ask: LogsAsk,
    feeds: Vec<Feed>,
    merge: Merge,
    /// None: the bytes as they are.
    page: Option<Page>,
    filter: Option<Regex>,
    tail: Option<usize>,
    paper: Paper,
    out: Vec<u8>,
    /// Payload bytes consumed for what stands in `out`, by feed.
    consumed: Vec<u64>,
    /// What is on its way to paper: ticket, and bytes by feed.
    unwritten: VecDeque<(u64, Vec<(usize, u64)>)>,
    tickets: u64,
    order: u64,
    missing: Vec<String>,
    nodes: Nodes,
    worst: u8,
    quiet_beats: u32,
    missing_in_a_row: usize,
    unknown_since: Option<Instant>,
    waits: Backoff,
}

enum Next {
    Link(Wake),
    Written(Result<u64, CtlError>),
    Due,
}

impl<'a> Reading<'a> {
    /// Of these processes; without a style the bytes as they are.
    pub fn new(
        asker: &'a Asker,
        selections: Vec<Selection>,
        ask: LogsAsk,
        style: Option<Style>,
        filter: Option<Regex>,
        nodes: Nodes,
        paper: Paper,
    ) -> Reading<'a> {
        let feed = |select| Feed {
            select,
            source: None,
            last_seq: None,
            lines: Lines::default(),
            request: 0,
            over: false,
            window: 0,
            owed: 0,
            matched: VecDeque::new(),
        };
        let feeds: Vec<Feed> = selections.into_iter().map(feed).collect();
        let look = Look { ..asker.look };
        Reading {
            asker,
            ask,
            merge: Merge::new(feeds.len(), None),
            page: style.map(|style| Page::new(style, look, 0)),
            filter,
            tail: None,
            paper,
            out: Vec::new(),
            consumed: vec![0; feeds.len()],
            unwritten: VecDeque::new(),
            tickets: 0,
            order: 0,
            missing: Vec::new(),
            nodes,
            worst: 0,
            quiet_beats: 0,
            missing_in_a_row: 0,
            unknown_since: None,
            waits: backoff(),
            feeds,
        }
    }

    /// Reads to the end of the extent; while following also over lost links. Gives the link back.
    ///
    /// # Errors
    /// No answer, or the output cannot be written.
    pub async fn read(&mut self, mut client: Client, extent: Extent) -> Result<Client, CtlError> {
        let follow = extent == Extent::Follow;
        self.ask.follow = follow;
        self.tail = if let Extent::Tail(tail) = extent { Some(tail) } else { None };
        self.merge = Merge::new(self.feeds.len(), follow.then_some(HOLD));
        for feed in self.feeds.iter_mut().filter(|feed| feed.request != u64::MAX) {
            feed.over = false;
        }
        let mut said = false;
        loop {
            match self.pass(&mut client).await {
                Ok(()) => break,
                Err(error) if follow && error.is_transient() => {
                    if !said {
                        self.paper.note(format!("{error}: trying again until it is back"));
                    }
                    said = true;
                    self.unwritten.clear();
                    client = self.asker.relink(&mut self.waits).await?;
                }
                Err(error) => return Err(error),
            }
        }
        if self.tail.is_some() {
            // Where nothing was written yet, what follows begins with the first record.
            self.feeds.iter_mut().for_each(|feed| feed.last_seq = feed.last_seq.or(Some(0)));
        }
        self.write_matched();
        Ok(client)
    }

    /// Ends every line and waits until all is written.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(mut self) -> Result<(Nodes, u8), CtlError> {
        for at in 0..self.feeds.len() {
            let mut lines = Vec::new();
            self.feeds[at].lines.finish(&mut lines);
            self.write_lines(at, lines);
        }
        if let Some(page) = &mut self.page {
            let missing = format!("\"missing\":[{}]", self.missing.join(","));
            let nodes = json::line(&json::NodesJson::of(&self.nodes));
            page.finish(&format!("{missing},\"nodes\":{nodes}"), &mut self.out);
        }
        self.paper.write(std::mem::take(&mut self.out), 0);
        self.paper.finish()?;
        Ok((self.nodes, self.worst))
    }

    /// Reads over one link until every feed is over.
    async fn pass(&mut self, client: &mut Client) -> Result<(), CtlError> {
        for at in 0..self.feeds.len() {
            if !self.feeds[at].over {
                let ask = Ask::Logs(self.ask_of(at));
                self.feeds[at].request = client.ask(ask, None, None).await?;
                (self.feeds[at].window, self.feeds[at].owed) = (STREAM_WINDOW_BYTES, 0);
            }
        }
        loop {
            self.drain();
            if self.feeds.iter().all(|feed| feed.over) {
                return Ok(());
            }
            let held = self.merge.due();
            let due = held.unwrap_or_else(Instant::now);
            let next = tokio::select! {
                wake = client.wake() => Next::Link(wake),
                written = self.paper.written() => Next::Written(written),
                () = tokio::time::sleep_until(due.into()), if held.is_some() => Next::Due,
            };
            match next {
                Next::Due => {}
                Next::Written(ticket) => self.written(client, ticket?).await?,
                Next::Link(wake) => {
                    if matches!(wake, Wake::Beat) {
                        self.on_beat();
                    }
                    if let Some(part) = client.on(wake).await? {
                        self.on_part(client, part)?;
                    }
                }
            }
        }
    }

    fn ask_of(&self, at: usize) -> LogsAsk {
        let feed = &self.feeds[at];
        let mut ask = LogsAsk { select: feed.select.clone(), ..self.ask.clone() };
        if let Some(source) = &feed.source {
            ask.select = Selection { addresses: vec![source.id.into()], labels: Vec::new() };
        }
        if feed.last_seq.is_some() {
            (ask.after_seq, ask.tail) = (feed.last_seq, None);
        }
        ask
    }

    /// What was begun and has not gone on for a second is shown as it is: a prompt, a progress bar.
    fn on_beat(&mut self) {
        self.quiet_beats += 1;
        if self.quiet_beats == 2 && self.ask.follow && self.page.as_ref().is_some_and(|page| !page.is_json()) {
            for at in 0..self.feeds.len() {
                let mut lines = Vec::new();
                self.feeds[at].lines.flush(&mut lines);
                self.write_lines(at, lines);
            }
        }
    }

    fn on_part(&mut self, client: &Client, part: Part) -> Result<(), CtlError> {
        let Some(at) = self.feeds.iter().position(|feed| !feed.over && feed.request == part.request) else {
            return Ok(());
        };
        match part.answer {
            Answer::Sources => {
                let sources: Vec<Source> = decode_page(&part.payload).map_err(|error| client.violation(&error))?;
                if let (Some(page), Some(source)) = (&mut self.page, sources.first()) {
                    page.widen(source);
                }
                self.feeds[at].source = sources.into_iter().next().or(self.feeds[at].source.take());
            }
            Answer::Log { heads, .. } => self.on_records(client, at, &heads, &part.payload)?,
            Answer::Missing { what, .. } if what.len() > MISSING_MAX_BYTES => {
                return Err(client.beyond(MISSING_TOO_MUCH));
            }
            Answer::Missing { what, .. } => self.on_missing(client, at, Missing::Other(what))?,
            Answer::Gap { last_seq, gap, .. } => {
                let feed = &mut self.feeds[at];
                // It is not told again after a lost link; and a follower that lost its link before any record does not begin anew.
                feed.last_seq = feed.last_seq.max(Some(last_seq));
                self.on_missing(client, at, Missing::Gap(gap))?;
            }
            Answer::End(nodes) => {
                self.nodes.merge(nodes);
                self.close(at);
            }
            Answer::Failed(failure) => self.on_failure(at, failure)?,
            Answer::Here { .. }
            | Answer::Rows
            | Answer::Detail
            | Answer::Events
            | Answer::View(_)
            | Answer::Screen { .. }
            | Answer::NodeRows
            | Answer::Done { .. }
            | Answer::Reached { .. } => {}
        }
        Ok(())
    }

    fn close(&mut self, at: usize) {
        self.feeds[at].over = true;
        self.merge.close(at);
    }

    fn on_missing(&mut self, client: &Client, at: usize, what: Missing) -> Result<(), CtlError> {
        self.missing_in_a_row += 1;
        if self.missing_in_a_row > MISSING_IN_A_ROW_MAX {
            return Err(client.beyond(MISSING_TOO_MUCH));
        }
        self.merge.push(at, Item::Missing(what), Instant::now());
        Ok(())
    }

    fn on_records(
        &mut self,
        client: &Client,
        at: usize,
        heads: &[(Head, u32)],
        payload: &Bytes,
    ) -> Result<(), CtlError> {
        self.waits.reset();
        (self.quiet_beats, self.unknown_since, self.missing_in_a_row) = (0, None, 0);
        // What is kept for a reader who takes his time is bounded by what was granted.
        let window = self.feeds[at].window.checked_sub(payload.len() as u64);
        self.feeds[at].window = window.ok_or_else(|| client.beyond("it sends more output than was granted"))?;
        // One may be empty, where the last lines begin.
        if payload.is_empty() && heads.len() > 1 {
            return Err(client.beyond("it sends records without bytes"));
        }
        let (mut begin, now) = (0, Instant::now());
        for (head, length) in heads {
            let end = begin + *length as usize;
            if end > payload.len() {
                return Err(client.cut_short(payload.len()));
            }
            let feed = &mut self.feeds[at];
            if feed.last_seq.is_none_or(|last| head.seq > last) {
                feed.last_seq = Some(head.seq);
                self.merge.push(at, Item::Record(*head, payload.slice(begin..end)), now);
            } else {
                feed.owed += u64::from(*length);
            }
            begin = end;
        }
        Ok(())
    }

    /// One of several that has no answer does not end the others.
    fn on_failure(&mut self, at: usize, failure: Failure) -> Result<(), CtlError> {
        let resumed = self.feeds[at].last_seq.is_some();
        if matches!(failure, Failure::Unknown(_)) && self.ask.follow && resumed {
            let since = *self.unknown_since.get_or_insert_with(Instant::now);
            if since.elapsed() < UNKNOWN_MAX {
                let endpoint = self.asker.door.endpoint.clone();
                return Err(CtlError::LinkLost { endpoint, why: failure.to_string() });
            }
        }
        if self.feeds.len() == 1 {
            return Err(CtlError::Failed(failure));
        }
        self.worst = self.worst.max(failure_status(&failure));
        self.paper.note(failure.to_string());
        self.feeds[at].request = u64::MAX;
        self.close(at);
        Ok(())
    }

    /// Passes on what is certain, and has it written.
    fn drain(&mut self) {
        while let Some((at, item)) = self.merge.pop(Instant::now()) {
            match item {
                Item::Record(head, payload) => self.write_record(at, &head, &payload),
                Item::Missing(what) => self.write_missing(at, &what),
            }
            if self.out.len() >= out::PIECE_BYTES {
                self.hand_over();
            }
        }
        self.hand_over();
    }

    fn write_record(&mut self, at: usize, head: &Head, payload: &[u8]) {
        self.consumed[at] += payload.len() as u64;
        if !head.kind.is_output() {
            return;
        }
        if self.page.is_none() {
            self.out.extend_from_slice(payload);
            return;
        }
        let mut lines = Vec::new();
        self.feeds[at].lines.push(head, payload, &mut lines);
        self.write_lines(at, lines);
    }

    fn write_lines(&mut self, at: usize, lines: Vec<Line>) {
        for line in lines {
            if self.filter.as_ref().is_some_and(|regex| !page::matches(regex, &line)) {
                continue;
            }
            let feed = &mut self.feeds[at];
            if let Some(tail) = self.tail {
                self.order += 1;
                feed.matched.push_back((self.order, line));
                if feed.matched.len() > tail {
                    feed.matched.pop_front();
                }
            } else if let (Some(page), Some(source)) = (&mut self.page, &feed.source) {
                page.line(at, source, &line, &mut self.out);
            }
        }
    }

    /// Of what matched the last lines, in the order they came.
    fn write_matched(&mut self) {
        if self.tail.take().is_none() {
            return;
        }
        let mut matched: Vec<(u64, usize, Line)> = Vec::new();
        for (at, feed) in self.feeds.iter_mut().enumerate() {
            matched.extend(feed.matched.drain(..).map(|(order, line)| (order, at, line)));
        }
        matched.sort_by_key(|(order, ..)| *order);
        for (_, at, line) in matched {
            if let (Some(page), Some(source)) = (&mut self.page, &self.feeds[at].source) {
                page.line(at, source, &line, &mut self.out);
            }
        }
        self.hand_over();
    }

    /// Said on standard error whatever the format, so that it is seen where only bytes or lines are looked at.
    fn write_missing(&mut self, at: usize, missing: &Missing) {
        let Some(source) = &self.feeds[at].source else { return };
        let line = format!("{}: {}", source.name, page::missing_text(missing));
        if let Some(page) = &mut self.page {
            if page.is_json() {
                let object = page::missing_json(source, missing);
                if page.is_one_object() {
                    self.missing.push(object);
                } else {
                    page.object(&object, &mut self.out);
                }
            }
            page.end_open(&mut self.out);
        }
        self.hand_over();
        self.paper.note(line);
    }

    fn hand_over(&mut self) {
        let consumed: Vec<(usize, u64)> =
            self.consumed.iter().copied().enumerate().filter(|(_, bytes)| *bytes > 0).collect();
        if self.out.is_empty() && consumed.is_empty() {
            return;
        }
        self.consumed.fill(0);
        self.tickets += 1;
        self.unwritten.push_back((self.tickets, consumed));
        self.paper.write(std::mem::take(&mut self.out), self.tickets);
    }

    /// What is written can be granted again.
    async fn written(&mut self, client: &mut Client, ticket: u64) -> Result<(), CtlError> {
        while self.unwritten.front().is_some_and(|(written, _)| *written <= ticket) {
            let Some((_, consumed)) = self.unwritten.pop_front() else { break };
            for (at, bytes) in consumed {
                self.feeds[at].owed += bytes;
            }
        }
        for feed in self.feeds.iter_mut().filter(|feed| !feed.over && feed.owed >= GRANT_BYTES) {
            feed.window += feed.owed;
            client.grant(feed.request, std::mem::take(&mut feed.owed)).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
