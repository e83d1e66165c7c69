//! `zvctl logs`: which processes, which part of what they wrote, and how it is to look.

use jiff::Zoned;
use regex::bytes::Regex;
use zerovisor_core::address::Selection;
use zerovisor_core::units::Timestamp;
use zerovisor_core::view::Nodes;
use zerovisor_core::wire::{LogsAsk, Runs};

use super::deed::nobody;
use super::{Asker, finish, ps};
use crate::ctl::cli::{Format, Logs};
use crate::ctl::client::Client;
use crate::ctl::error::{CtlError, status};
use crate::ctl::out::Paper;
use crate::ctl::page::Style;
use crate::ctl::reading::{Extent, Reading};
use crate::ctl::when;

/// The most processes whose output is read at once: each has a stream of its own over the link.
const SOURCES_MAX: usize = 256;

/// Shows what processes wrote, and with `-f` what they write.
///
/// # Errors
/// No answer, or a partial one.
pub async fn run(asker: &Asker, args: &Logs) -> Result<(), CtlError> {
    if args.targets.selection().is_empty() {
        return Err(CtlError::Usage("whose output? give a NAME, or -l KEY=VALUE for all with a label".into()));
    }
    if args.follow && asker.format == Some(Format::Json) {
        return Err(CtlError::Usage("-o json makes one object: with -f use -o jsonl".into()));
    }
    let ask = ask(args)?;
    let mut client = asker.client().await?;
    let (selections, nodes, worst) = sources(&mut client, args).await?;
    let style = style(asker, args, selections.len());
    let filter = args.grep.as_ref().map(|regex| Regex::new(regex.as_str()));
    let filter = filter.transpose().map_err(|error| CtlError::Usage(error.to_string()))?;
    let mut reading = Reading::new(asker, selections, ask, style, filter, nodes, Paper::begin());
    // Lines that match are counted here, so the node is asked for all of what is there first, and then for what follows.
    if let (Some(_), Some(tail)) = (&args.grep, args.tail) {
        client = reading.read(client, Extent::Tail(usize::try_from(tail).unwrap_or(usize::MAX))).await?;
        if args.follow {
            reading.read(client, Extent::Follow).await?;
        }
    } else {
        reading.read(client, if args.follow { Extent::Follow } else { Extent::Present }).await?;
    }
    let (nodes, reading_worst) = reading.finish()?;
    match worst.max(reading_worst) {
        0 => finish(&nodes),
        worst => Err(CtlError::Silent(worst)),
    }
}

fn ask(args: &Logs) -> Result<LogsAsk, CtlError> {
    let now = Zoned::now();
    let time = |text: &Option<String>| -> Result<Option<Timestamp>, CtlError> {
        let at = text.as_deref().map(|text| when::parse(text, &now)).transpose();
        at.map_err(|error| CtlError::Usage(error.to_string()))
    };
    Ok(LogsAsk {
        select: Selection::default(),
        follow: false,
        tail: if args.grep.is_some() { None } else { args.tail },
        since: time(&args.since)?,
        until: time(&args.until)?,
        kind: args.stream,
        runs: match (args.previous, args.run) {
            (true, _) => Runs::Previous,
            (false, Some(run)) => Runs::Number(run),
            (false, None) => Runs::All,
        },
        after_seq: None,
    })
}

/// Each process whose output is read, as a selection of its own, so that each can be resumed behind its own last record.
async fn sources(client: &mut Client, args: &Logs) -> Result<(Vec<Selection>, Nodes, u8), CtlError> {
    let targets = &args.targets;
    if targets.names.len() == 1 && targets.labels.is_empty() {
        return Ok((vec![targets.selection()], Nodes::default(), 0));
    }
    let (rows, nodes, worst) = ps::rows(client, targets, true).await?;
    if rows.is_empty() && worst == 0 && !nodes.is_partial() {
        let line = nobody(&targets.labels);
        return Err(CtlError::Told { line, status: status::NO_SUCH });
    }
    if rows.len() > SOURCES_MAX {
        let line = format!("{} processes are too many to read at once: at most {SOURCES_MAX}", rows.len());
        return Err(CtlError::Usage(line));
    }
    let one = |row: &zerovisor_core::view::ProcessRow| Selection { addresses: vec![row.id.into()], labels: Vec::new() };
    Ok((rows.iter().map(one).collect(), nodes, worst))
}

/// None: the bytes as they are.
fn style(asker: &Asker, args: &Logs, sources: usize) -> Option<Style> {
    match asker.format() {
        _ if args.raw => None,
        Format::Json => Some(Style::Json),
        Format::Jsonl => Some(Style::Jsonl),
        Format::Table | Format::Wide => {
            Some(Style::Text { timestamps: args.timestamps, prefix: args.prefix || sources > 1 })
        }
    }
}
