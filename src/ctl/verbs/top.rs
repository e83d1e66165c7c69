//! `zvctl top`: the nodes and the processes, again and again.

use tokio::time::Instant;
use zerovisor_core::address::Selection;
use zerovisor_core::escape::escaped;
use zerovisor_core::view::{NodeRow, Nodes, ProcessRow, merge_rows};
use zerovisor_core::wire::Ask;

use super::{Asker, backoff, finish};
use crate::ctl::cli::{Format, Top};
use crate::ctl::client::{Client, Wake};
use crate::ctl::error::CtlError;
use crate::ctl::out::Look;
use crate::ctl::render::{self, cut};
use crate::ctl::when::{now, rfc3339};
use crate::ctl::{json, out};
use crate::tty::{Console, ConsoleEvent, Ended, UserTerminal};

/// The alternate screen, without a cursor.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l";
/// And back.
const LEAVE: &[u8] = b"\x1b[0m\x1b[?25h\x1b[?1049l";

/// What one table shows.
#[derive(Debug, Default)]
struct Totals {
    nodes: Vec<NodeRow>,
    processes: Vec<ProcessRow>,
    answered: Nodes,
    /// What could not be had, a line each.
    notes: Vec<String>,
}

/// Shows tables until somebody leaves or all are shown.
///
/// # Errors
/// No answer, or a partial one in the last table.
pub async fn run(asker: &Asker, args: &Top) -> Result<(), CtlError> {
    let client = asker.client().await?;
    let live = !args.batch && matches!(asker.format(), Format::Table | Format::Wide);
    match UserTerminal::open() {
        Ok(terminal) if live => interactive(asker, args, client, terminal).await,
        Ok(_) | Err(_) => batch(asker, args, client).await,
    }
}

async fn batch(asker: &Asker, args: &Top, mut client: Client) -> Result<(), CtlError> {
    let (mut next, mut shown) = (Instant::now(), 0);
    loop {
        let totals = fetch(&mut client, args).await?;
        out::print(batch_text(asker, &totals, shown > 0))?;
        shown += 1;
        if args.count.is_some_and(|count| shown >= count) {
            return finish(&totals.answered);
        }
        next = following(next, args);
        while let Ok(wake) = tokio::time::timeout_at(next, client.wake()).await {
            client.on(wake).await?;
        }
    }
}

/// When the next table is due: the clock's next beat, none is made up for.
fn following(last: Instant, args: &Top) -> Instant {
    (last + args.delay).max(Instant::now())
}

fn batch_text(asker: &Asker, totals: &Totals, again: bool) -> String {
    match asker.format() {
        Format::Table | Format::Wide => {
            let empty = if again { "\n" } else { "" };
            totals.notes.iter().for_each(|note| out::note(note));
            format!("{empty}{}", tables(totals, asker.format() == Format::Wide, asker.look))
        }
        Format::Json | Format::Jsonl => {
            let rows: Vec<_> = totals.processes.iter().map(json::RowJson::of).collect();
            let machines: Vec<_> = totals.nodes.iter().map(json::NodeRowJson::of).collect();
            let answer = json::answer("processes", &rows, &totals.answered);
            let at = json::line(&rfc3339(now()));
            format!("{{\"at\":{at},\"totals\":{},{}\n", json::line(&machines), answer.trim_start_matches('{'))
        }
    }
}

fn tables(totals: &Totals, wide: bool, look: Look) -> String {
    let nodes = if totals.nodes.is_empty() { String::new() } else { render::nodes(&totals.nodes, look) + "\n" };
    nodes + &render::processes(&totals.processes, wide, look)
}

async fn interactive(asker: &Asker, args: &Top, client: Client, terminal: UserTerminal) -> Result<(), CtlError> {
    let none = "none".parse().map_err(|error| CtlError::Usage(format!("{error}")))?;
    let mut console =
        Console::open(terminal, none, LEAVE).map_err(|error| CtlError::io("take this terminal", error))?;
    console.show(ENTER);
    let (mut client, mut next, mut shown) = (Some(client), Instant::now(), 0);
    loop {
        let totals = {
            let fetched = fetch_again(asker, &mut client, args);
            tokio::pin!(fetched);
            loop {
                tokio::select! {
                    totals = &mut fetched => break totals?,
                    event = console.next() => if let Some(end) = leaving(event) { return end },
                }
            }
        };
        // A terminal that has not taken the last table is not sent another one.
        if console.pending() == 0 {
            console.show(frame(asker, &totals, console.size()).as_bytes());
        }
        shown += 1;
        if args.count.is_some_and(|count| shown >= count) {
            return Ok(());
        }
        next = following(next, args);
        if let Some(end) = pause(asker, &mut console, &mut client, &totals, next).await {
            return end;
        }
    }
}

/// Waits for the next table: keeps the link, draws this one again in another size; some when that was the end.
async fn pause(
    asker: &Asker,
    console: &mut Console,
    client: &mut Option<Client>,
    totals: &Totals,
    until: Instant,
) -> Option<Result<(), CtlError>> {
    loop {
        let next = tokio::select! {
            event = console.next() => Next::Console(event),
            wake = wake(client) => Next::Link(wake),
            () = tokio::time::sleep_until(until) => return None,
        };
        match next {
            Next::Console(ConsoleEvent::Resized(size)) => console.show(frame(asker, totals, size).as_bytes()),
            Next::Console(event) => {
                if let Some(end) = leaving(event) {
                    return Some(end);
                }
            }
            Next::Link(wake) => {
                if let Some(linked) = client
                    && linked.on(wake).await.is_err()
                {
                    // The next table finds it missing, and says so if it does not come back.
                    *client = None;
                }
            }
        }
    }
}

enum Next {
    Console(ConsoleEvent),
    Link(Wake),
}

async fn wake(client: &mut Option<Client>) -> Wake {
    match client {
        Some(client) => client.wake().await,
        None => std::future::pending().await,
    }
}

/// Whether that was the end: q, Ctrl-C, a signal, a terminal that is gone.
fn leaving(event: ConsoleEvent) -> Option<Result<(), CtlError>> {
    match event {
        ConsoleEvent::Typed(keys) => keys.iter().any(|key| matches!(key, b'q' | b'Q' | 0x03)).then_some(Ok(())),
        ConsoleEvent::Resized(_) | ConsoleEvent::Written => None,
        ConsoleEvent::Detach => Some(Ok(())),
        ConsoleEvent::Ended(Ended::Signal(signal)) => {
            Some(Err(CtlError::Silent(u8::try_from(128 + signal.number()).unwrap_or(u8::MAX))))
        }
        ConsoleEvent::Ended(Ended::HungUp) => Some(Err(CtlError::Silent(crate::ctl::error::status::ERROR))),
        ConsoleEvent::Ended(Ended::Failed(error)) => Some(Err(CtlError::io("use this terminal", error))),
    }
}

/// A whole screen in one piece: each line over the old one, so that nothing flickers.
fn frame(asker: &Asker, totals: &Totals, size: zerovisor_core::size::Size) -> String {
    let look = Look { width: Some(usize::from(size.cols())), ..asker.look };
    let notes: String = totals.notes.iter().map(|note| cut(&escaped(note), usize::from(size.cols())) + "\n").collect();
    let text = notes + &tables(totals, asker.format() == Format::Wide, look);
    let lines: Vec<&str> = text.lines().take(usize::from(size.rows())).collect();
    format!("\x1b[?2026h\x1b[H{}\x1b[K\x1b[J\x1b[?2026l", lines.join("\x1b[K\r\n"))
}

/// A table's content, over restarts of the zerovisor.
async fn fetch_again(asker: &Asker, client: &mut Option<Client>, args: &Top) -> Result<Totals, CtlError> {
    let mut waits = backoff();
    loop {
        let linked = match client {
            Some(linked) => linked,
            None => client.insert(asker.relink(&mut waits).await?),
        };
        match fetch(linked, args).await {
            Err(error) if error.is_transient() => *client = None,
            fetched => return fetched,
        }
    }
}

async fn fetch(client: &mut Client, args: &Top) -> Result<Totals, CtlError> {
    let mut selections = args.targets.each();
    if selections.is_empty() {
        selections.push(Selection::default());
    }
    let named = !args.targets.names.is_empty();
    let lists = selections.into_iter().map(|select| Ask::List { select, ended: named });
    let asks = std::iter::once(Ask::NodeRows).chain(lists).collect();
    let (limit, mut totals, mut found) = (Some(client.timeout()), Totals::default(), Vec::new());
    for (at, reply) in client.answers(asks, limit).await?.into_iter().enumerate() {
        match reply {
            Ok(reply) if at == 0 => totals.nodes = client.pages(&reply)?,
            Ok(reply) => {
                found.push(client.pages::<ProcessRow>(&reply)?);
                totals.answered.merge(reply.nodes);
            }
            Err(failure) => totals.notes.push(failure.to_string()),
        }
    }
    totals.processes = merge_rows(found);
    if let Some(filter) = &args.filter {
        totals.processes.retain(|row| filter.holds(row));
    }
    args.sort.sort(&mut totals.processes);
    Ok(totals)
}
