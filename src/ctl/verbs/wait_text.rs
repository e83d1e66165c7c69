//! `zvctl wait --text`: until a screen shows, or a run has written, what matches.
//!
//! The output is subscribed to first and looked at then, so that nothing falls between. A screen is read again after output came, at most
//! [`LOOKS_PER_S`] times a second; the output itself is not searched, since what a terminal shows is not what was written to it.

use std::time::Duration;

use regex::Regex;
use tokio::time::{Instant, timeout};
use zerovisor_core::address::{Address, Selection};
use zerovisor_core::units::Span;
use zerovisor_core::view::Detail;
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

/// The same over restarts of the zerovisor, which knows its watchers again only a moment later.
async fn over_links(asker: &Asker, address: &Address, regex: &Regex) -> Result<(), CtlError> {
    let (mut client, mut lost, mut waits) = (asker.client().await?, None::<Instant>, backoff());
    loop {
        match on_link(&mut client, address, regex).await {
            Err(CtlError::LinkLost { .. }) => {
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

async fn on_link(client: &mut Client, address: &Address, regex: &Regex) -> Result<(), CtlError> {
    let reply = client.answer(Ask::Inspect(address.clone())).await?;
    let detail = inspect::detail(client, &reply)?;
    let Some(detail) = detail else { return Err(CtlError::Failed(Failure::Unknown(address.to_string()))) };
    let matched = if detail.spec.terminal.is_some() {
        on_screen(client, &detail, regex).await?
    } else {
        in_lines(client, &detail, regex).await?
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

fn logs(detail: &Detail) -> LogsAsk {
    LogsAsk {
        select: Selection { addresses: vec![detail.row.id.into()], labels: Vec::new() },
        follow: true,
        tail: None,
        since: None,
        until: None,
        kind: None,
        runs: Runs::All,
        after_seq: None,
    }
}

/// The lines of the present run, from its first; false when it ended without a match.
async fn in_lines(client: &mut Client, detail: &Detail, regex: &Regex) -> Result<bool, CtlError> {
    let run = detail.row.run;
    let request = client.ask(Ask::Logs(LogsAsk { since: detail.row.started_at, ..logs(detail) }), None, None).await?;
    let mut lines = Lines::default();
    loop {
        let part = client.part(None).await?;
        let Some(output) = output(client, request, part).await? else { return Ok(false) };
        for (head, bytes) in output {
            if head.run > run {
                return Ok(false);
            }
            let mut whole = Vec::new();
            lines.push(&head, &bytes, &mut whole);
            let mut all = whole.iter().chain(lines.unfinished()).filter(|line| line.run == run);
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
        Answer::Sources | Answer::Missing { .. } => Vec::new(),
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

/// The present screen, whenever it may have changed; false when the process ended without a match.
async fn on_screen(client: &mut Client, detail: &Detail, regex: &Regex) -> Result<bool, CtlError> {
    let request = client.ask(Ask::Logs(LogsAsk { tail: Some(0), ..logs(detail) }), None, None).await?;
    let pause = Duration::from_secs(1) / LOOKS_PER_S;
    let mut over = false;
    loop {
        let looked_at = Instant::now();
        let mut changed = false;
        let seen = match look(client, detail, request, &mut changed, &mut over).await {
            // The watcher of a process that has ended leaves: no screen, and no reason to wait for one.
            Err(CtlError::Failed(Failure::Other(_))) if !is_live(client, detail).await? => return Ok(false),
            seen => seen?,
        };
        match seen {
            Some(text) if regex.is_match(&text) => return Ok(true),
            Some(_) if !over => {}
            Some(_) | None => return Ok(false),
        }
        while !changed && !over {
            let part = client.part(None).await?;
            match output(client, request, part).await? {
                Some(output) => changed = !output.is_empty(),
                None => over = true,
            }
        }
        // Output that comes meanwhile is part of what is seen next; the link is kept.
        let next = looked_at + pause;
        while let Ok(part) = tokio::time::timeout_at(next, client.wake()).await {
            if let Some(part) = client.on(part).await?
                && output(client, request, part).await?.is_none()
            {
                over = true;
            }
        }
    }
}

/// Whether it may still show something.
async fn is_live(client: &mut Client, detail: &Detail) -> Result<bool, CtlError> {
    let reply = client.answer(Ask::Inspect(detail.row.id.into())).await?;
    Ok(inspect::detail(client, &reply)?.is_some_and(|detail| detail.row.state.is_live()))
}

/// The text of the screen now; none when nothing runs. Output that comes meanwhile may or may not be in it.
async fn look(
    client: &mut Client,
    detail: &Detail,
    logs: u64,
    changed: &mut bool,
    over: &mut bool,
) -> Result<Option<String>, CtlError> {
    let limit = client.timeout();
    let asked = client.ask(Ask::Screen { address: detail.row.id.into(), ansi: false }, Some(limit), None).await?;
    let mut reply = Ok(Reply::default());
    loop {
        let part = client.part(Some(limit)).await?;
        if part.request != asked {
            match output(client, logs, part).await? {
                Some(output) => *changed |= !output.is_empty(),
                None => *over = true,
            }
            continue;
        }
        if !part.payload.is_empty() {
            client.grant(asked, part.payload.len() as u64).await?;
        }
        if let Answer::Failed(Failure::NotRunning(_)) = part.answer {
            return Ok(None);
        }
        if collect(&mut reply, part.answer, part.payload) {
            let reply = reply.map_err(CtlError::Failed)?;
            let text = screen::read(client, &reply)?.text;
            return Ok(Some(String::from_utf8_lossy(&text).into_owned()));
        }
    }
}
