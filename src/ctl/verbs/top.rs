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
use crate::net::Backoff;
use crate::tty::{Console, ConsoleEvent, Ended, TYPED_MAX_BYTES, UserTerminal};

/// The alternate screen, without a cursor.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l";
/// And back.
const LEAVE: &[u8] = b"\x1b[0m\x1b[?25h\x1b[?1049l";

/// Above a table that nobody keeps up to date.
const LOST: &str = "link lost, trying again: this is what was known before";

/// What one table shows.
#[derive(Debug, Default)]
struct Totals {
    nodes: Vec<NodeRow>,
    processes: Vec<ProcessRow>,
    answered: Nodes,
    /// What could not be had, a line each.
    notes: Vec<String>,
    /// The link was lost since.
    lost: bool,
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

/// A table on a terminal, drawn again and again.
struct Live<'a> {
    asker: &'a Asker,
    args: &'a Top,
    console: Console,
    client: Option<Client>,
    totals: Totals,
}

async fn interactive(asker: &Asker, args: &Top, client: Client, terminal: UserTerminal) -> Result<(), CtlError> {
    let none = "none".parse().map_err(|error| CtlError::Usage(format!("{error}")))?;
    let mut console =
        Console::open(terminal, none, LEAVE).map_err(|error| CtlError::io("take this terminal", error))?;
    console.show(ENTER);
    let mut live = Live { asker, args, console, client: Some(client), totals: Totals::default() };
    let (mut next, mut shown) = (Instant::now(), 0);
    loop {
        if let Some(end) = live.fetch().await {
            return end;
        }
        live.draw();
        shown += 1;
        if args.count.is_some_and(|count| shown >= count) {
            return Ok(());
        }
        next = following(next, args);
        if let Some(end) = live.pause(next).await {
            return end;
        }
    }
}

impl Live<'_> {
    /// A terminal that has not taken the last table is not sent another one.
    fn draw(&mut self) {
        draw(&mut self.console, self.asker, &self.totals);
    }

    /// The next table, over restarts of the zerovisor; some when that was the end.
    async fn fetch(&mut self) -> Option<Result<(), CtlError>> {
        let mut waits = backoff();
        loop {
            let fetched = {
                let fetching = fetch_linked(self.asker, &mut self.client, self.args, &mut waits);
                tokio::pin!(fetching);
                loop {
                    self.console.set_room(TYPED_MAX_BYTES);
                    let event = tokio::select! {
                        fetched = &mut fetching => break fetched,
                        event = self.console.next() => event,
                    };
                    if let ConsoleEvent::Resized(_) = event {
                        draw(&mut self.console, self.asker, &self.totals);
                    }
                    if let Some(end) = leaving(event) {
                        return Some(end);
                    }
                }
            };
            match fetched {
                Ok(totals) => {
                    self.totals = totals;
                    return None;
                }
                Err(error) if error.is_transient() => self.lost(),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Waits for the next table: keeps the link, draws this one again in another size; some when that was the end.
    async fn pause(&mut self, until: Instant) -> Option<Result<(), CtlError>> {
        loop {
            // What is typed and means nothing is read all the same: q may stand behind it.
            self.console.set_room(TYPED_MAX_BYTES);
            let next = tokio::select! {
                event = self.console.next() => Next::Console(event),
                wake = wake(&mut self.client) => Next::Link(wake),
                () = tokio::time::sleep_until(until) => return None,
            };
            match next {
                Next::Console(ConsoleEvent::Resized(_)) => self.draw(),
                Next::Console(event) => {
                    if let Some(end) = leaving(event) {
                        return Some(end);
                    }
                }
                Next::Link(wake) => {
                    if let Some(linked) = &mut self.client
                        && linked.on(wake).await.is_err()
                    {
                        self.lost();
                    }
                }
            }
        }
    }

    /// Without a link the last table stays, and is not taken for a present one.
    fn lost(&mut self) {
        self.client = None;
        self.totals.lost = true;
        self.draw();
    }
}

fn draw(console: &mut Console, asker: &Asker, totals: &Totals) {
    if console.pending() == 0 {
        let table = frame(asker, totals, console.size());
        console.show(table.as_bytes());
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
    let lost = totals.lost.then_some(LOST).into_iter();
    let notes = lost.chain(totals.notes.iter().map(String::as_str));
    let notes: String = notes.map(|note| cut(&escaped(note), usize::from(size.cols())) + "\n").collect();
    let text = notes + &tables(totals, asker.format() == Format::Wide, look);
    let lines: Vec<&str> = text.lines().take(usize::from(size.rows())).collect();
    format!("\x1b[?2026h\x1b[H{}\x1b[K\x1b[J\x1b[?2026l", lines.join("\x1b[K\r\n"))
}

/// A table's content; without a link one is made first, however long that takes.
async fn fetch_linked(
    asker: &Asker,
    client: &mut Option<Client>,
    args: &Top,
    waits: &mut Backoff,
) -> Result<Totals, CtlError> {
    let linked = match client {
        Some(linked) => linked,
        None => client.insert(asker.relink(waits).await?),
    };
    fetch(linked, args).await
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
