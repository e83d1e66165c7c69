//! Output, read back from the journal by a cursor and followed: a slow client costs an offset, not memory.

use bytes::{Bytes, BytesMut};
use tokio::sync::watch;
use zerovisor_core::fact::{Fact, Gap, State};
use zerovisor_core::record::{Head, Kind, Record};
use zerovisor_core::units::Timestamp;
use zerovisor_core::wire::{self, Answer, Failure, LOG_HEADS_MAX, LogsAsk, Runs, Source};

use super::client::{Answers, Stop};
use super::gaps::{self, Expired};
use super::hub::Target;
use super::runs;
use super::scribe::{Which, Written};
use super::session::Node;
use crate::journal::{BlocksBack, JournalError, LogReader, loaded};

/// Bytes one read of a log takes, and one answer carries, at most.
const READ_BYTES: usize = 256 << 10;

/// Processes whose output one request reads, at most: each has a reader of its own.
const SOURCES_MAX: usize = 256;

/// Answers a question for output: each source from its beginning in turn, then all of them as they go on.
///
/// # Errors
/// [`Stop`].
pub(super) async fn answer(node: &Node, ask: LogsAsk, answers: &Answers) -> Result<(), Stop> {
    if ask.select.is_empty() {
        return Err(Failure::Other("no process was named".into()).into());
    }
    let targets = node.hub.targets(ask.select.clone()).await.ok_or(Stop::Gone)??;
    if targets.len() > SOURCES_MAX {
        let why = format!("{} processes are too many to read at once: at most {SOURCES_MAX}", targets.len());
        return Err(Failure::Other(why).into());
    }
    let source = |target: &Target| Source { id: target.id, name: target.name.clone(), node: node.name.clone() };
    let sources: Vec<Source> = targets.iter().map(source).collect();
    for page in wire::encode_pages(&sources).0 {
        answers.send(Answer::Sources, Some(page)).await?;
    }
    let mut followed = tokio::task::JoinSet::new();
    for (index, target) in (0u32..).zip(targets) {
        let reader = node.scribe.reader(Which::Log(target.id)).await.ok_or(Stop::Gone)?;
        let reader = reader.map_err(|error| Failure::Other(error.to_string()))?;
        let run = wanted_run(node, &target, ask.runs).await?;
        let first_seq = match run {
            Some(run) => runs::first_seq(node, target.id, run).await?,
            None => 1,
        };
        let (filter, answers) = (Filter::new(&ask, run), answers.clone());
        let read_to = target.created_at;
        let mut stream = Stream { index, filter, read_to, target, answers, expired: None, first_seq };
        if ask.follow {
            let ask = ask.clone();
            followed.spawn(async move { stream.send_all(reader, &ask).await });
        } else {
            stream.send_all(reader, &ask).await?;
        }
    }
    while let Some(ended) = followed.join_next().await {
        ended.unwrap_or(Err(Stop::Gone))?;
    }
    Ok(())
}

/// The number of the run that is asked for; none: all of them.
async fn wanted_run(node: &Node, target: &Target, runs: Runs) -> Result<Option<u32>, Stop> {
    match runs {
        Runs::All => Ok(None),
        Runs::Number(run) => {
            let known = node.hub.known(target.id).await.ok_or(Stop::Gone)?;
            if run == 0 || run > known.story.run {
                let last = known.story.run;
                let why = format!("'{}' has no run {run}: its last one is {last}", target.name);
                return Err(Failure::Other(why).into());
            }
            Ok(Some(run))
        }
        Runs::Previous => {
            let known = node.hub.known(target.id).await.ok_or(Stop::Gone)?;
            match known.story.run.checked_sub(1) {
                Some(run) if run > 0 => Ok(Some(run)),
                Some(_) | None => Err(Failure::Other(format!("'{}' has no previous run", target.name)).into()),
            }
        }
    }
}

/// Which records of a source are sent.
#[derive(Clone, Debug)]
struct Filter {
    run: Option<u32>,
    kind: Option<Kind>,
    since_us: u64,
    until_us: u64,
}

impl Filter {
    fn new(ask: &LogsAsk, run: Option<u32>) -> Filter {
        Filter {
            run,
            kind: ask.kind,
            since_us: ask.since.map_or(0, |at| at.0),
            until_us: ask.until.map_or(u64::MAX, |at| at.0),
        }
    }

    fn wants(&self, head: &Head) -> bool {
        head.kind.is_output()
            && self.run.is_none_or(|run| run == head.run)
            && self.kind.is_none_or(|kind| kind == head.kind)
            && head.at.0 >= self.since_us
            && head.at.0 < self.until_us
    }

    /// Nothing behind this record can be wanted: times never step back in a log, and neither do runs.
    fn is_past(&self, head: &Head) -> bool {
        head.at.0 >= self.until_us || self.run.is_some_and(|run| head.run > run)
    }
}

/// What reading on gave.
enum Read {
    Records(Vec<Record>),
    Expired(Expired),
    Missing(String),
    Nothing,
}

/// How many bytes of the record with this number are left out.
type Cut = Option<(u64, usize)>;

struct Stream {
    index: u32,
    filter: Filter,
    target: Target,
    answers: Answers,
    /// The time of the last record that was read.
    read_to: Timestamp,
    /// What retention removed of what is wanted, to be said before the next record.
    expired: Option<Expired>,
    /// The first record that can be wanted.
    first_seq: u64,
}

impl Stream {
    async fn send_all(&mut self, reader: LogReader, ask: &LogsAsk) -> Result<(), Stop> {
        let (mut reader, mut cut) = self.place(reader, ask).await?;
        loop {
            // Looked at before reading: what is written in between wakes the wait below at once.
            self.target.written.mark_unchanged();
            let ended = self.target.state.borrow_and_update().to_owned();
            let (back, read) = next(reader).await?;
            reader = back;
            match read {
                Read::Records(records) => {
                    if self.send(records, &mut cut).await? {
                        return Ok(());
                    }
                }
                Read::Expired(expired) => self.expired = Some(expired.behind(self.expired)),
                Read::Missing(what) => self.answers.send(Answer::Missing { source: self.index, what }, None).await?,
                Read::Nothing if !ask.follow || is_over(ended) => return self.send_tail(&reader, ended).await,
                Read::Nothing => {
                    if !wait(&mut self.target.written, &mut self.target.state, &self.answers).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Puts the cursor where the answer begins; returns how many bytes of the first wanted record to leave out.
    async fn place(&mut self, mut reader: LogReader, ask: &LogsAsk) -> Result<(LogReader, Cut), Stop> {
        // From the very first record ever, or of the run, and not the first that is kept: what retention removed in between is said.
        reader.seek_seq(self.first_seq);
        if let Some(after) = ask.after_seq {
            reader.seek_seq(after.saturating_add(1));
            return Ok((reader, None));
        }
        if self.filter.since_us > 0 {
            reader = self.place_in_time(reader).await?;
        }
        let Some(lines) = ask.tail else { return Ok((reader, None)) };
        let (blocks, filter, first_seq) = (reader.blocks_back(), self.filter.clone(), self.first_seq);
        let answers = self.answers.clone();
        let search = move || last_lines(blocks, &filter, first_seq, lines, || answers.is_unwanted());
        match tokio::task::spawn_blocking(search).await.unwrap_or(Ok(Tail::All)) {
            Ok(Tail::All) => Ok((reader, None)),
            Ok(Tail::Unwanted) => Err(Stop::Gone),
            Ok(Tail::From { seq, skip }) => {
                reader.seek_seq(seq);
                self.expired = None;
                Ok((reader, Some((seq, skip))))
            }
            Err(error) => Err(Failure::Other(error.to_string()).into()),
        }
    }

    /// To the first record that is late enough. What has expired is missing if it may have been, too.
    async fn place_in_time(&mut self, mut reader: LogReader) -> Result<LogReader, Stop> {
        let since_us = self.filter.since_us;
        let placed = tokio::task::spawn_blocking(move || {
            let expired = gaps::expired(&mut reader);
            reader.seek_time(since_us);
            (reader, expired)
        });
        let (reader, expired) = placed.await.map_err(|_| Stop::Gone)?;
        self.expired = expired.filter(|(_, kept_at)| kept_at.0 > since_us).map(|(expired, _)| expired);
        self.read_to = self.read_to.max(Timestamp(since_us));
        Ok(reader)
    }

    /// Says what is missing in this place.
    async fn send_gap(&self, last_seq: u64, gap: Gap) -> Result<(), Stop> {
        Ok(self.answers.send(Answer::Gap { source: self.index, last_seq, gap }, None).await?)
    }

    /// The end of what there is, of a process that was in this state before it was read.
    async fn send_tail(&self, reader: &LogReader, state: State) -> Result<(), Stop> {
        if let Some(expired) = self.expired {
            self.send_gap(expired.next_seq.saturating_sub(1), expired.gap(self.read_to, self.read_to)).await?;
        }
        match gaps::unknown_tail(state, reader.last()) {
            Some(gap) => self.send_gap(gap.first_seq.saturating_sub(1), gap).await,
            None => Ok(()),
        }
    }

    /// Sends what is wanted of some records; true when nothing behind them can be wanted.
    async fn send(&mut self, records: Vec<Record>, cut: &mut Cut) -> Result<bool, Stop> {
        let mut page = Page::default();
        if let (Some(first), Some(expired)) = (records.first(), self.expired.take()) {
            let gap = expired.gap(self.read_to, first.head.at);
            self.send_gap(expired.next_seq.saturating_sub(1), gap).await?;
        }
        for mut record in records {
            self.read_to = record.head.at;
            if self.filter.is_past(&record.head) {
                page.send(self.index, &self.answers).await?;
                return Ok(true);
            }
            if let Some(gap) = gap_in(&record) {
                page.send(self.index, &self.answers).await?;
                self.send_gap(record.head.seq, gap).await?;
            }
            if !self.filter.wants(&record.head) {
                continue;
            }
            if let Some((seq, skip)) = cut.take()
                && seq == record.head.seq
            {
                record.head.offset += skip as u64;
                record.payload = record.payload.slice(skip.min(record.payload.len())..);
            }
            if page.is_full(&record) {
                page.send(self.index, &self.answers).await?;
            }
            page.add(record);
        }
        page.send(self.index, &self.answers).await?;
        Ok(false)
    }
}

/// A process in this state writes nothing more unless it is started again.
fn is_over(state: State) -> bool {
    !state.is_live()
}

/// Waits for more to be written or the state to change; false when the process was removed.
async fn wait(
    written: &mut watch::Receiver<Written>,
    state: &mut watch::Receiver<State>,
    answers: &Answers,
) -> Result<bool, Stop> {
    tokio::select! {
        changed = written.changed() => Ok(changed.is_ok()),
        changed = state.changed() => Ok(changed.is_ok()),
        () = answers.unwanted() => Err(Stop::Gone),
    }
}

/// Reads on where blocking hurts nobody.
async fn next(mut reader: LogReader) -> Result<(LogReader, Read), Stop> {
    let read = tokio::task::spawn_blocking(move || {
        let first_seq = reader.next_seq();
        let read = match reader.next_batch(READ_BYTES) {
            Ok(batch) if batch.is_empty() => Read::Nothing,
            Ok(batch) => Read::Records(batch.into_iter().filter_map(loaded).collect()),
            Err(JournalError::Expired { first_available }) => {
                Read::Expired(Expired { first_seq, next_seq: first_available })
            }
            Err(JournalError::Damaged(damage)) => Read::Missing(format!("the journal is damaged: {damage}")),
            Err(error) => return Err(Stop::Failed(Failure::Other(error.to_string()))),
        };
        Ok((reader, read))
    });
    read.await.unwrap_or(Err(Stop::Gone))
}

fn gap_in(record: &Record) -> Option<Gap> {
    if record.head.kind != Kind::Fact {
        return None;
    }
    match wire::decode_fact(&record.payload) {
        Ok(Fact::Gap(gap)) => Some(gap),
        Ok(_) | Err(_) => None,
    }
}

/// Records that travel together.
#[derive(Default)]
struct Page {
    heads: Vec<(Head, u32)>,
    payloads: Vec<Bytes>,
    bytes: usize,
}

impl Page {
    fn is_full(&self, next: &Record) -> bool {
        self.heads.len() >= LOG_HEADS_MAX || (self.bytes > 0 && self.bytes + next.payload.len() > READ_BYTES)
    }

    fn add(&mut self, record: Record) {
        self.bytes += record.payload.len();
        self.heads.push((record.head, u32::try_from(record.payload.len()).unwrap_or(u32::MAX)));
        self.payloads.push(record.payload);
    }

    async fn send(&mut self, source: u32, answers: &Answers) -> Result<(), Stop> {
        let Page { heads, mut payloads, bytes } = std::mem::take(self);
        if heads.is_empty() {
            return Ok(());
        }
        let payload = match payloads.pop() {
            Some(only) if payloads.is_empty() => only,
            last => {
                let mut all = BytesMut::with_capacity(bytes);
                payloads.iter().chain(&last).for_each(|part| all.extend_from_slice(part));
                all.freeze()
            }
        };
        Ok(answers.stream(Answer::Log { source, heads }, payload).await?)
    }
}

/// Where the last lines begin.
enum Tail {
    /// At the beginning: there are not more.
    All,
    /// In this record, behind so many of its bytes.
    From { seq: u64, skip: usize },
    /// Nobody wants to know any more.
    Unwanted,
}

/// Goes backwards through the log until enough lines are found, or nothing before can be wanted. A last line without its end counts as one.
fn last_lines(
    blocks: BlocksBack,
    filter: &Filter,
    first_seq: u64,
    lines: u64,
    is_unwanted: impl Fn() -> bool,
) -> Result<Tail, JournalError> {
    let mut left = lines;
    let mut at_end = true;
    for block in blocks {
        if is_unwanted() {
            return Ok(Tail::Unwanted);
        }
        for record in block?.read()?.into_iter().rev().filter_map(loaded) {
            if record.head.seq < first_seq || record.head.at.0 < filter.since_us {
                return Ok(Tail::All);
            }
            if !filter.wants(&record.head) || record.payload.is_empty() {
                continue;
            }
            let (seq, bytes) = (record.head.seq, &record.payload);
            if lines == 0 {
                return Ok(Tail::From { seq, skip: bytes.len() });
            }
            // The very last byte ends its line rather than beginning another.
            let body = if at_end { &bytes[..bytes.len() - 1] } else { &bytes[..] };
            at_end = false;
            for at in memchr::memrchr_iter(b'\n', body) {
                left -= 1;
                if left == 0 {
                    return Ok(Tail::From { seq, skip: at + 1 });
                }
            }
        }
    }
    Ok(Tail::All)
}
