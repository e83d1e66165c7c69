//! `zvctl ps`

use zerovisor_core::address::Selection;
use zerovisor_core::view::{Nodes, ProcessRow, merge_rows};
use zerovisor_core::wire::Ask;

use super::{Asker, finish};
use crate::ctl::cli::{Format, Ps, Targets};
use crate::ctl::client::Client;
use crate::ctl::error::{CtlError, failure_status};
use crate::ctl::{json, out, render};

/// Lists processes.
///
/// # Errors
/// No answer, or a partial one.
pub async fn run(asker: &Asker, args: &Ps) -> Result<(), CtlError> {
    let mut client = asker.client().await?;
    // Whoever names a process wants to see it, ended or not.
    let ended = args.all || !args.targets.names.is_empty();
    let (mut rows, nodes, worst) = rows(&mut client, &args.targets, ended).await?;
    if let Some(filter) = &args.filter {
        rows.retain(|row| filter.holds(row));
    }
    if let Some(key) = &args.sort {
        key.sort(&mut rows);
    }
    out::print(shown(&rows, &nodes, args.quiet, asker))?;
    if worst > 0 {
        return Err(CtlError::Silent(worst));
    }
    finish(&nodes)
}

fn shown(rows: &[ProcessRow], nodes: &Nodes, quiet: bool, asker: &Asker) -> String {
    if quiet {
        return rows.iter().map(|row| format!("{}\n", row.id)).collect();
    }
    let objects = || rows.iter().map(json::RowJson::of);
    match asker.format() {
        Format::Table => render::processes(rows, false, asker.look),
        Format::Wide => render::processes(rows, true, asker.look),
        Format::Json => json::answer("processes", &objects().collect::<Vec<_>>(), nodes) + "\n",
        Format::Jsonl => objects().map(|row| json::line(&row) + "\n").collect(),
    }
}

/// The rows of those meant, each once; those that are not there are said at once, with the worst status of it.
///
/// # Errors
/// The link is lost, or all of them failed.
pub async fn rows(
    client: &mut Client,
    targets: &Targets,
    ended: bool,
) -> Result<(Vec<ProcessRow>, Nodes, u8), CtlError> {
    let mut selections = targets.each();
    if selections.is_empty() {
        selections.push(Selection::default());
    }
    let alone = selections.len() == 1;
    let asks = selections.into_iter().map(|select| Ask::List { select, ended }).collect();
    let limit = Some(client.timeout());
    let (mut found, mut nodes, mut worst) = (Vec::new(), Nodes::default(), 0);
    for reply in client.answers(asks, limit).await? {
        match reply {
            Ok(reply) => {
                found.push(client.pages::<ProcessRow>(&reply)?);
                nodes.merge(reply.nodes);
            }
            Err(failure) if alone => return Err(CtlError::Failed(failure)),
            Err(failure) => {
                worst = worst.max(failure_status(&failure));
                out::note(&failure.to_string());
            }
        }
    }
    Ok((merge_rows(found), nodes, worst))
}
