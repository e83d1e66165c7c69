//! `zvctl events`

use zerovisor_core::view::{Event, Nodes};
use zerovisor_core::wire::{Answer, Ask, EventsAsk, STREAM_WINDOW_BYTES, decode_page};

use super::{Asker, backoff, finish};
use crate::ctl::cli::{Events, Format};
use crate::ctl::client::{Client, Part, Wake};
use crate::ctl::error::CtlError;
use crate::ctl::out::Paper;
use crate::ctl::{json, out, render};
use crate::net::Backoff;

/// Shows what happened, and with `-f` what happens.
///
/// # Errors
/// No answer, or a partial one.
pub async fn run(asker: &Asker, args: &Events) -> Result<(), CtlError> {
    let ask =
        EventsAsk { select: args.targets.selection(), after_seq: args.since_seq, tail: args.tail, follow: args.follow };
    let mut client = asker.client().await?;
    if args.follow {
        return follow(asker, client, ask).await;
    }
    let reply = client.answer(Ask::Events(ask)).await?;
    for (answer, _) in &reply.parts {
        if let Answer::Missing { what, .. } = answer {
            out::note(what);
        }
    }
    let events: Vec<Event> = client.pages(&reply)?;
    let objects = || events.iter().map(json::EventJson::of);
    let jsonl = || objects().map(|event| json::line(&event) + "\n").collect();
    out::print(match (asker.format, asker.look.is_terminal()) {
        (Some(Format::Json), _) => json::answer("events", &objects().collect::<Vec<_>>(), &reply.nodes) + "\n",
        (Some(Format::Jsonl), _) | (None, false) => jsonl(),
        (Some(Format::Table | Format::Wide), _) | (None, true) => render::events(&events, asker.look),
    })?;
    finish(&reply.nodes)
}

/// Follows until the reader or the user has enough; over a lost link it goes on behind the last event seen.
async fn follow(asker: &Asker, mut client: Client, mut ask: EventsAsk) -> Result<(), CtlError> {
    if asker.format == Some(Format::Json) {
        return Err(CtlError::Usage("-o json makes one object: with -f use -o jsonl".into()));
    }
    let table = matches!(asker.format, Some(Format::Table | Format::Wide));
    let (mut paper, mut waits) = (Paper::begin(), backoff());
    loop {
        match pass(&mut client, &mut ask, &mut paper, table, &mut waits).await {
            Ok(nodes) => {
                paper.finish()?;
                return finish(&nodes);
            }
            Err(error) if error.is_transient() => {
                paper.note(format!("{error}: trying again until it is back"));
                client = asker.relink(&mut waits).await?;
            }
            Err(error) => {
                paper.finish()?;
                return Err(error);
            }
        }
    }
}

/// Follows over one link.
async fn pass(
    client: &mut Client,
    ask: &mut EventsAsk,
    paper: &mut Paper,
    table: bool,
    waits: &mut Backoff,
) -> Result<Nodes, CtlError> {
    let request = client.ask(Ask::Events(ask.clone()), None, None).await?;
    let mut window = STREAM_WINDOW_BYTES;
    loop {
        let wake: Result<Wake, Result<u64, CtlError>> = tokio::select! {
            wake = client.wake() => Ok(wake),
            written = paper.written() => Err(written),
        };
        let part = match wake {
            Err(written) => {
                // The ticket of a page is its size; notes have none.
                let bytes = written?;
                if bytes > 0 {
                    window += bytes;
                    client.grant(request, bytes).await?;
                }
                continue;
            }
            Ok(wake) => client.on(wake).await?,
        };
        match part {
            Some(Part { answer: Answer::Events, payload, .. }) => {
                waits.reset();
                let left = window.checked_sub(payload.len() as u64);
                window = left.ok_or_else(|| client.beyond("it sends more events than was granted"))?;
                let events: Vec<Event> = decode_page(&payload).map_err(|error| client.violation(&error))?;
                let seen = ask.after_seq;
                let new = events.iter().filter(|event| seen.is_none_or(|seen| event.seq > seen));
                paper.write(lines(new.clone(), table).into_bytes(), payload.len() as u64);
                if let Some(last) = new.map(|event| event.seq).max() {
                    (ask.after_seq, ask.tail) = (Some(last), None);
                }
            }
            Some(Part { answer: Answer::Missing { what, .. }, .. }) => paper.note(what),
            Some(Part { answer: Answer::End(nodes), .. }) => return Ok(nodes),
            Some(Part { answer: Answer::Failed(failure), .. }) => return Err(CtlError::Failed(failure)),
            Some(_) | None => {}
        }
    }
}

fn lines<'a>(events: impl Iterator<Item = &'a Event>, table: bool) -> String {
    let line = |event| if table { render::event_line(event) } else { json::line(&json::EventJson::of(event)) };
    events.map(|event| line(event) + "\n").collect()
}
