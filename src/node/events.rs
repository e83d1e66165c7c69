//! The node's events, read back and followed.

use std::collections::{HashSet, VecDeque};

use zerovisor_core::id::Id;
use zerovisor_core::view::Event;
use zerovisor_core::wire::{self, Answer, EventsAsk, Failure};

use super::client::{Answers, Stop};
use super::scribe::Which;
use super::session::Node;
use super::store::{is_passable, loaded_event};
use crate::journal::LogReader;

/// Bytes one read takes at most.
const READ_BYTES: usize = 256 << 10;
/// Events that `tail` asks for, at most.
const TAIL_MAX: usize = 100_000;

/// Answers a question for events.
///
/// # Errors
/// [`Stop`].
pub(super) async fn answer(node: &Node, ask: EventsAsk, answers: &Answers) -> Result<(), Stop> {
    let wanted = if ask.select.is_empty() {
        None
    } else {
        let targets = node.hub.targets(ask.select).await.ok_or(Stop::Gone)??;
        Some(targets.into_iter().map(|target| target.id).collect::<HashSet<Id>>())
    };
    let mut changes = node.scribe.events();
    let reader = node.scribe.reader(Which::Events).await.ok_or(Stop::Gone)?;
    let mut reader = reader.map_err(|error| Failure::Other(error.to_string()))?;
    let last_seq = reader.last().map_or(0, |(seq, _)| seq);
    if let Some(after) = ask.after_seq.filter(|after| *after > last_seq) {
        let what = format!("the latest event is {last_seq}: those behind {after} are still to come");
        answers.send(Answer::Missing { source: 0, what }, None).await?;
    }
    reader.seek_seq(ask.after_seq.map_or(0, |after| after.saturating_add(1)));
    let tail = ask.tail.map(|tail| usize::try_from(tail).unwrap_or(usize::MAX).min(TAIL_MAX));
    let mut turn = if tail.is_some() { Some(answers.turn().await?) } else { None };
    let (mut last, mut held) = (tail.unwrap_or(0), tail.map(|_| VecDeque::new()));
    loop {
        changes.mark_unchanged();
        let (back, events) = read(reader).await?;
        reader = back;
        let at_end = events.is_empty();
        let chosen = events
            .into_iter()
            .filter(|event| wanted.as_ref().is_none_or(|ids| event.id.is_some_and(|id| ids.contains(&id))));
        match &mut held {
            Some(held) if !at_end => {
                held.extend(chosen);
                let excess = held.len().saturating_sub(last);
                held.drain(..excess);
            }
            Some(_) | None => {
                let mut all: Vec<Event> = held.take().unwrap_or_default().into();
                all.extend(chosen);
                last = 0;
                send(answers, &all).await?;
                drop(turn.take());
            }
        }
        if at_end && held.is_none() {
            if !ask.follow {
                return Ok(());
            }
            tokio::select! {
                changed = changes.changed() => changed.map_err(|_| Stop::Gone)?,
                () = answers.unwanted() => return Err(Stop::Gone),
            }
        }
    }
}

/// The next events, read where blocking hurts nobody; none at the end.
async fn read(mut reader: LogReader) -> Result<(LogReader, Vec<Event>), Stop> {
    let read = tokio::task::spawn_blocking(move || {
        loop {
            match reader.next_batch(READ_BYTES) {
                Ok(batch) => return Ok((reader, batch.iter().filter_map(loaded_event).collect())),
                Err(error) if is_passable(&error) => {}
                Err(error) => return Err(Stop::Failed(Failure::Other(error.to_string()))),
            }
        }
    });
    read.await.unwrap_or(Err(Stop::Gone))
}

async fn send(answers: &Answers, events: &[Event]) -> Result<(), Stop> {
    if events.is_empty() {
        return Ok(());
    }
    let (pages, left_out) = wire::encode_pages(events);
    if left_out > 0 {
        tracing::error!(left_out, "events too large for a page were left out of an answer");
    }
    for page in pages {
        answers.stream(Answer::Events, page).await?;
    }
    Ok(())
}
