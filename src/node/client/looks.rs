//! What a client can look at: rows, everything about one process, what the node and its machine use.

use std::collections::VecDeque;

use zerovisor_core::address::{Address, Selection};
use zerovisor_core::fact::{Fact, Gap};
use zerovisor_core::units::Timestamp;
use zerovisor_core::view::{Detail, FACTS_SHOWN, NodeRow};
use zerovisor_core::wire::{self, Answer, Failure};

use super::answers::{Answers, Stop};
use super::chosen::one;
use crate::PROGRAM_VERSION;
use crate::journal::LogReader;
use crate::node::gaps;
use crate::node::hub::Known;
use crate::node::scribe::Which;
use crate::node::session::Node;
use crate::node::store::{is_passable, loaded_fact};

/// Answers with rows.
///
/// # Errors
/// [`Stop`].
pub(super) async fn list(node: &Node, select: Selection, ended: bool, answers: &Answers) -> Result<(), Stop> {
    let _turn = answers.turn().await?;
    let rows = node.hub.rows(select, ended).await.ok_or(Stop::Gone)??;
    let (pages, left_out) = wire::encode_pages(&rows);
    if left_out > 0 {
        tracing::error!(left_out, "rows too large for a page were left out of an answer");
    }
    for page in pages {
        answers.send(Answer::Rows, Some(page)).await?;
    }
    Ok(())
}

/// Answers with the row of this node.
///
/// # Errors
/// [`Stop`].
pub(super) async fn nodes(node: &Node, answers: &Answers) -> Result<(), Stop> {
    let totals = node.hub.totals().await.ok_or(Stop::Gone)?;
    let used = node.machine.used().await;
    let row = NodeRow {
        name: node.name.clone(),
        version: PROGRAM_VERSION.to_owned(),
        uptime: node.began.elapsed(),
        processes: totals.processes,
        live: totals.live,
        cpu_percent: totals.cpu_percent,
        memory_bytes: totals.memory_bytes,
        machine_cpus: used.cpus,
        machine_cpu_percent: used.cpu_percent,
        machine_memory_used_bytes: used.memory_used_bytes,
        machine_memory_bytes: used.memory_bytes,
        pressure: used.pressure,
    };
    let page = wire::encode_page(&vec![row]).map_err(|error| Failure::Other(error.to_string()))?;
    Ok(answers.send(Answer::NodeRows, Some(page)).await?)
}

/// Answers with everything about one process.
///
/// # Errors
/// [`Stop`].
pub(super) async fn inspect(node: &Node, address: Address, answers: &Answers) -> Result<(), Stop> {
    let _turn = answers.turn().await?;
    let target = one(node, address).await?;
    let known = node.hub.known(target.id).await.ok_or(Stop::Gone)?;
    let sizes = node.scribe.sizes(target.id).await;
    let facts = match node.scribe.reader(Which::Facts(target.id)).await {
        Some(Ok(reader)) => tokio::task::spawn_blocking(move || latest_facts(reader)).await.unwrap_or_default(),
        // Said by the trouble of its journal.
        Some(Err(_)) => Vec::new(),
        None => return Err(Stop::Gone),
    };
    let (gaps, latest_gaps, unknown_after) = gaps_of(node, &known).await?;
    let detail = Detail {
        row: known.row,
        spec: known.meta.spec,
        created_at: known.meta.created_at,
        watcher_pid: known.meta.host.pid,
        report: known.story.report,
        spawn_failure: known.story.spawn_failure,
        gaps,
        journal_first_seq: sizes.first_seq,
        journal_last_seq: sizes.last_seq,
        journal_bytes: sizes.bytes,
        facts,
        placement: known.meta.placement,
        sample: known.sample,
        latest_gaps,
        unknown_after,
        journal_trouble: sizes.trouble,
    };
    let page = wire::encode_page(&detail).map_err(|error| Failure::Other(error.to_string()))?;
    Ok(answers.send(Answer::Detail, Some(page)).await?)
}

/// The last facts, as far as they can be read: around what is damaged, or has expired meanwhile.
fn latest_facts(mut reader: LogReader) -> Vec<(Timestamp, Fact)> {
    reader.seek_first();
    let mut facts = VecDeque::new();
    loop {
        match reader.next_batch(256 << 10) {
            Ok(batch) if batch.is_empty() => break,
            Ok(batch) => facts.extend(batch.iter().filter_map(loaded_fact)),
            Err(error) if is_passable(&error) => {}
            Err(_) => break,
        }
        while facts.len() > FACTS_SHOWN {
            facts.pop_front();
        }
    }
    Vec::from(facts)
}

/// How many gaps a process has, the latest of them, and the record behind which nobody knows what it wrote.
async fn gaps_of(node: &Node, known: &Known) -> Result<(u32, Vec<Gap>, Option<u64>), Stop> {
    let Ok(mut reader) = node.scribe.reader(Which::Log(known.meta.id)).await.ok_or(Stop::Gone)? else {
        // Said by the trouble of its journal; what was recorded of gaps is known all the same.
        return Ok((known.story.gaps, known.story.latest_gaps.to_vec(), None));
    };
    let tail = gaps::unknown_tail(known.row.state, reader.last());
    let expired = tokio::task::spawn_blocking(move || gaps::expired(&mut reader)).await.unwrap_or_default();
    let expired = expired.map(|(expired, kept_at)| expired.gap(known.meta.created_at, kept_at));
    let beside = u32::from(expired.is_some()) + u32::from(tail.is_some());
    let unknown_after = tail.as_ref().map(|gap| gap.first_seq.saturating_sub(1));
    // One that was recorded and has expired since is told of by both.
    let latest = expired.into_iter().chain(known.story.latest_gaps.iter().cloned()).chain(tail).collect();
    Ok((known.story.gaps.saturating_add(beside), latest, unknown_after))
}
