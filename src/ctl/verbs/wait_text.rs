//! `zvctl wait --text`: until a screen shows, or a run has written, what matches. Where no run lives and one may follow, that is waited for.
//!
//! The output is subscribed to first and looked at then, so that nothing falls between. A screen is read again after output came, at most
//! [`LOOKS_PER_S`] times a second; the output itself is not searched, since what a terminal shows is not what was written to it.

use std::time::Duration;

use regex::Regex;
use tokio::time::{Instant, timeout};
use zerovisor_core::address::{Address, Selection};
use zerovisor_core::fact::State;
use zerovisor_core::id::Id;
use zerovisor_core::units::{Span, Timestamp};
use zerovisor_core::view::{Detail, ProcessRow};
use zerovisor_core::wire::{Answer, Ask, Failure, LogsAsk, Runs};

use super::{Asker, backoff, inspect, screen};
use crate::ctl::cli::Targets;
use crate::ctl::client::{Client, Part, Reply, collect};
use crate::ctl::error::{CtlError, status};
use crate::ctl::lines::Lines;
use crate::ctl::reading::UNKNOWN_MAX;

/// How often a screen is read while output comes.
const LOOKS_PER_S: u32 = 20;

/// Waits for text of one process.
///
/// # Errors
/// It ended without, the time is over, or there is no such process.
pub async fn run(asker: &Asker, targets: &Targets, regex: &Regex) -> Result<(), CtlError> {
    let [address] = &targets.names[..] else {
        return Err(CtlError::Usage("whose text? give one NAME".into()));
    };
    if !targets.labels.is_empty() {
        return Err(CtlError::Usage("--text looks at one process: give a NAME and no label".into()));
    }
    let waited = over_links(asker, address, regex);
    match asker.limit {
        None => waited.await,
        Some(limit) => timeout(limit, waited).await.unwrap_or_else(|_| {
            let line = format!("nothing of {address} matches '{regex}' after {}", Span(limit));
            Err(CtlError::Told { line, status: status::ERROR })
        }),
    }
}

/// Where the search began: what follows a lost link is the same one.
#[derive(Clone, Copy, Debug)]
struct Begin {
    process: Id,
    /// The run that lives or lived last; the next one where none lives yet.
    run: u32,
    since: Option<Timestamp>,
}

impl Begin {
    fn at(row: &ProcessRow) -> Begin {
        let run = match row.state {
            State::Waiting | State::Backoff => row.run.saturating_add(1),
            State::Starting
            | State::Running
            | State::Stopping
            | State::Stopped
            | State::Exited
            | State::Fatal
            | State::Lost
            | State::Unreachable => row.run,
        };
        Begin { process: row.id, run, since: row.started_at }
    }
}

/// The same over restarts of the zerovisor, which knows its watchers again only a moment later.
async fn over_links(asker: &Asker, address: &Address, regex: &Regex) -> Result<(), CtlError> {
    let (mut client, mut lost, mut waits) = (asker.client().await?, None::<Instant>, backoff());
    let mut begun = None;
    loop {
        match on_link(&mut client, address, regex, &mut begun).await {
            Err(error) if error.is_transient() => {
                client = asker.relink(&mut waits).await?;
                lost = Some(Instant::now());
            }
            Err(CtlError::Failed(Failure::Unknown(_))) if lost.is_some_and(|at| at.elapsed() < UNKNOWN_MAX) => {
                tokio::time::sleep(waits.next()).await;
            }
            done => return done,
        }
    }
}

async fn on_link(
    client: &mut Client,
    address: &Address,
    regex: &Regex,
    begun: &mut Option<Begin>,
) -> Result<(), CtlError> {
    let address = begun.map_or_else(|| address.clone(), |begin| begin.process.into());
    let reply = client.answer(Ask::Inspect(address.clone())).await?;
    let detail = inspect::detail(client, &reply)?;
    let Some(detail) = detail else { return Err(CtlError::Failed(Failure::Unknown(address.to_string()))) };
    let begin = *begun.get_or_insert_with(|| Begin::at(&detail.row));
    let matched = if detail.spec.terminal.is_some() {
        on_screen(client, begin, regex).await?
    } else {
        in_lines(client, begin, regex).await?
    };
    if matched { Ok(()) } else { Err(ended(&detail, regex)) }
}

fn ended(detail: &Detail, regex: &Regex) -> CtlError {
    let line = format!(
        "{name} ended and nothing matched '{regex}': zvctl logs {name} shows what it wrote",
        name = detail.row.name
    );
    CtlError::Told { line, status: status::NOT_RUNNING }
}

fn logs(begin: Begin) -> LogsAsk {
    LogsAsk {
        select: Selection { addresses: vec![begin.process.into()], labels: Vec::new() },
        follow: true,
        tail: None,
        since: begin.since,
        until: None,
        kind: None,
        runs: Runs::All,
        after_seq: None,
    }
}

/// The lines of a run, from its first, and of those that follow it; false when the process ended without a match.
async fn in_lines(client: &mut Client, begin: Begin, regex: &Regex) -> Result<bool, CtlError> {
    let request = client.ask(Ask::Logs(logs(begin)), None, None).await?;
    let mut lines = Lines::default();
    loop {
        let part = client.part(None).await?;
        let Some(output) = output(client, request, part).await? else { return Ok(false) };
        for (head, bytes) in output {
            let mut whole = Vec::new();
            lines.push(&head, &bytes, &mut whole);
            let mut all = whole.iter().chain(lines.unfinished()).filter(|line| line.run >= begin.run);
            if all.any(|line| regex.is_match(&String::from_utf8_lossy(&line.text))) {
                return Ok(true);
            }
        }
    }
}

type Output = Vec<(zerovisor_core::record::Head, bytes::Bytes)>;

/// The records in a part of an answer, granted again; none at the end of the answer.
async fn output(client: &mut Client, request: u64, part: Part) -> Result<Option<Output>, CtlError> {
    if part.request != request {
        return Ok(Some(Vec::new()));
    }
    if !part.payload.is_empty() {
        client.grant(request, part.payload.len() as u64).await?;
    }
    let heads = match part.answer {
        Answer::Log { heads, .. } => heads,
        Answer::Sources | Answer::Missing { .. } | Answer::Gap { .. } => Vec::new(),
        Answer::End(_) => return Ok(None),
        Answer::Failed(failure) => return Err(CtlError::Failed(failure)),
        other @ (Answer::Here { .. }
        | Answer::Rows
        | Answer::Detail
        | Answer::Events
        | Answer::Done { .. }
        | Answer::Reached { .. }
        | Answer::View(_)
        | Answer::Screen { .. }
        | Answer::NodeRows) => return Err(client.unexpected(&other)),
    };
    let (mut rest, mut output) = (part.payload, Vec::with_capacity(heads.len()));
    for (head, length) in heads {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > rest.len() {
            return Err(client.cut_short(rest.len()));
        }
        output.push((head, rest.split_to(length)));
    }
    Ok(Some(output))
}

/// What a look at a screen told.
enum Seen {
    Text(String),
    /// No run lives; one may follow.
    NoRun,
    /// The watcher does not answer now, and may a moment later.
    Unreachable,
}

/// What is known of the output beside the screen.
#[derive(Default)]
struct Followed {
    request: u64,
    changed: bool,
    /// The process has ended for good.
    over: bool,
}

/// The present screen, whenever it may have changed; false when the process ended without a match.
async fn on_screen(client: &mut Client, begin: Begin, regex: &Regex) -> Result<bool, CtlError> {
    let request = client.ask(Ask::Logs(LogsAsk { tail: Some(0), since: None, ..logs(begin) }), None, None).await?;
    let mut followed = Followed { request, ..Followed::default() };
    let mut waits = backoff();
    loop {
        let looked_at = Instant::now();
        followed.changed = false;
        let over = followed.over;
        let seen = look(client, begin.process, &mut followed).await?;
        let pause = match &seen {
            Seen::Text(text) if regex.is_match(text) => return Ok(true),
            // The watcher of a process that has ended leaves: no screen, and no reason to wait for one.
            Seen::Text(_) | Seen::NoRun | Seen::Unreachable if over => return Ok(false),
            Seen::Text(_) | Seen::NoRun => Duration::from_secs(1) / LOOKS_PER_S,
            Seen::Unreachable => waits.next(),
        };
        // Output tells that there may be something else to see, and the output's end that this is the last look.
        while !followed.changed && !followed.over && !matches!(seen, Seen::Unreachable) {
            let part = client.part(None).await?;
            followed.on(client, part).await?;
        }
        // Output that comes meanwhile is part of what is seen next; the link is kept.
        let next = looked_at + pause;
        while let Ok(wake) = tokio::time::timeout_at(next, client.wake()).await {
            if let Some(part) = client.on(wake).await? {
                followed.on(client, part).await?;
            }
        }
    }
}

impl Followed {
    async fn on(&mut self, client: &mut Client, part: Part) -> Result<(), CtlError> {
        match output(client, self.request, part).await? {
            Some(output) => self.changed |= !output.is_empty(),
            None => self.over = true,
        }
        Ok(())
    }
}

/// The screen now. Output that comes meanwhile may or may not be in it.
async fn look(client: &mut Client, process: Id, followed: &mut Followed) -> Result<Seen, CtlError> {
    let limit = client.timeout();
    let asked = client.ask(Ask::Screen { address: process.into(), ansi: false }, Some(limit), None).await?;
    let mut reply = Ok(Reply::default());
    loop {
        let part = client.part(Some(limit)).await?;
        if part.request != asked {
            followed.on(client, part).await?;
            continue;
        }
        if !part.payload.is_empty() {
            client.grant(asked, part.payload.len() as u64).await?;
        }
        if collect(&mut reply, part.answer, part.payload) {
            break;
        }
    }
    match reply {
        Ok(reply) => {
            let text = screen::read(client, &reply)?.text;
            Ok(Seen::Text(String::from_utf8_lossy(&text).into_owned()))
        }
        Err(Failure::NotRunning(_)) => Ok(Seen::NoRun),
        Err(Failure::Other(_) | Failure::TimedOut(_) | Failure::TooMany(_)) => Ok(Seen::Unreachable),
        Err(failure @ (Failure::Unknown(_) | Failure::Ambiguous(..))) => Err(CtlError::Failed(failure)),
    }
}
