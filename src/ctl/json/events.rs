//! Events, facts and gaps in JSON, and what happened in words.

use serde::Serialize;
use serde_json::{Map, Value, json};
use zerovisor_core::fact::{Cause, Fact, Gap, GapReason, unknown_after};
use zerovisor_core::name::ProcessName;
use zerovisor_core::units::Bytes;
use zerovisor_core::view::{Event, Happening};

use super::{report, spawn_failure};
use crate::ctl::when::rfc3339;

/// An event. `event` names what happened; its own fields follow; `text` says it to people.
#[derive(Serialize)]
pub struct EventJson<'a> {
    seq: u64,
    at: String,
    node: &'a str,
    id: Option<String>,
    name: Option<&'a str>,
    event: &'static str,
    text: String,
    #[serde(flatten)]
    fields: Map<String, Value>,
}

impl<'a> EventJson<'a> {
    /// That of the core's.
    pub fn of(event: &'a Event) -> EventJson<'a> {
        let (kind, fields) = happening_fields(&event.what);
        EventJson {
            seq: event.seq,
            at: rfc3339(event.at),
            node: event.node.as_str(),
            id: event.id.map(|id| id.to_string()),
            name: event.name.as_ref().map(ProcessName::as_str),
            event: kind,
            text: happening_text(&event.what),
            fields,
        }
    }
}

/// What happened, in words for people.
pub fn happening_text(what: &Happening) -> String {
    match what {
        Happening::Fact { fact, .. } => fact.to_string(),
        Happening::NodeStarted { version } => format!("zerovisor started, {version}"),
        Happening::NodeStopping => "zerovisor stopping".into(),
        Happening::Declared => "declared by its watcher".into(),
        Happening::Returned => "its watcher is back".into(),
        Happening::Unreachable => "its watcher is not heard of".into(),
        Happening::Lost => "its watcher is dead".into(),
        Happening::Removed => "removed with its journal".into(),
        Happening::JournalFailing { why } => format!("the journal cannot be written: {why}"),
        Happening::JournalRecovered => "the journal is written again".into(),
        Happening::LostAfter { seq } => format!("its watcher is dead: {}", unknown_after(*seq)),
        Happening::TookIn { bytes, records } => {
            let bytes = Bytes(*bytes);
            format!("took in {bytes} of output ({records} records) kept while no zerovisor was here")
        }
        Happening::SpoolLeft { why } => format!("what a watcher left on disk is left there: {why}"),
        Happening::JournalDamaged { what } => format!("the journal is not intact: {what}"),
    }
}

type Fields = (&'static str, Map<String, Value>);

fn fields<const N: usize>(event: &'static str, fields: [(&str, Value); N]) -> Fields {
    (event, fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

fn happening_fields(what: &Happening) -> Fields {
    match what {
        Happening::Fact { seq, fact } => {
            let (event, mut fields) = fact_fields(fact);
            fields.insert("process_seq".into(), (*seq).into());
            (event, fields)
        }
        Happening::NodeStarted { version } => fields("node_started", [("version", version.as_str().into())]),
        Happening::NodeStopping => fields("node_stopping", []),
        Happening::Declared => fields("declared", []),
        Happening::Returned => fields("returned", []),
        Happening::Unreachable => fields("unreachable", []),
        Happening::Lost => fields("lost", []),
        Happening::Removed => fields("removed", []),
        Happening::JournalFailing { why } => fields("journal_failing", [("why", why.as_str().into())]),
        Happening::JournalRecovered => fields("journal_recovered", []),
        Happening::LostAfter { seq } => fields("lost", [("unknown_after_seq", (*seq).into())]),
        Happening::TookIn { bytes, records } => {
            fields("took_in", [("bytes", (*bytes).into()), ("records", (*records).into())])
        }
        Happening::SpoolLeft { why } => fields("spool_left", [("why", why.as_str().into())]),
        Happening::JournalDamaged { what } => fields("journal_damaged", [("what", what.as_str().into())]),
    }
}

pub(super) fn fact_fields(fact: &Fact) -> Fields {
    match fact {
        Fact::Waiting => fields("waiting", []),
        Fact::Started { run, pid } => fields("started", [("run", (*run).into()), ("pid", (*pid).into())]),
        Fact::Steady { run } => fields("running", [("run", (*run).into())]),
        Fact::SpawnFailed { run, failure } => {
            fields("spawn_failed", [("run", (*run).into()), ("failure", spawn_failure(failure))])
        }
        Fact::Stopping { run, cause } => {
            fields("stopping", [("run", (*run).into()), ("cause", cause_name(cause).into())])
        }
        Fact::Killed { run } => fields("killed", [("run", (*run).into())]),
        Fact::Ended { run, report: ended } => fields("ended", [("run", (*run).into()), ("report", report(ended))]),
        Fact::Backoff { delay, failures } => {
            fields("backoff", [("delay_s", delay.as_secs_f64().into()), ("failures", (*failures).into())])
        }
        Fact::Stopped => fields("stopped", []),
        Fact::Exited => fields("exited", []),
        Fact::Fatal { why } => fields("fatal", [("why", why.as_str().into())]),
        Fact::Signalled { run, signal } => {
            fields("signalled", [("run", (*run).into()), ("signal", signal.to_string().into())])
        }
        Fact::Commanded { command } => fields("commanded", [("command", json!(command))]),
        Fact::Gap(gap) => fields("gap", gap_fields(gap)),
        Fact::InputClosed { run } => fields("input_closed", [("run", (*run).into())]),
        Fact::Resized { run, size } => {
            fields("resized", [("run", (*run).into()), ("cols", size.cols().into()), ("rows", size.rows().into())])
        }
    }
}

fn cause_name(cause: &Cause) -> String {
    match cause {
        Cause::Operator => "operator".into(),
        Cause::Console(signal) => format!("console {signal}"),
        Cause::GuardDied => "guard_died".into(),
    }
}

/// The fields of a gap.
pub fn gap(gap: &Gap) -> Map<String, Value> {
    gap_fields(gap).into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

pub(super) fn told_gap(of: &Gap) -> Map<String, Value> {
    let mut fields = gap(of);
    fields.insert("text".into(), of.to_string().into());
    fields
}

fn gap_fields(gap: &Gap) -> [(&'static str, Value); 6] {
    let reason = match gap.reason {
        GapReason::Offline => "offline",
        GapReason::JournalLost => "journal_lost",
        GapReason::Expired => "expired",
        GapReason::WatcherDied => "watcher_died",
        GapReason::SpoolLost => "spool_lost",
    };
    [
        ("first_seq", gap.first_seq.into()),
        ("bytes", gap.bytes.into()),
        ("lines", gap.lines.into()),
        ("since", rfc3339(gap.since).into()),
        ("until", rfc3339(gap.until).into()),
        ("reason", reason.into()),
    ]
}

#[cfg(test)]
mod tests {
    use zerovisor_core::units::Timestamp;

    use super::*;
    use crate::ctl::json::line;

    #[test]
    fn events_name_what_happened() {
        let event = Event {
            seq: 9,
            at: Timestamp(1),
            node: "n1".parse().unwrap(),
            id: None,
            name: Some("x".parse().unwrap()),
            what: Happening::Fact { seq: 4, fact: Fact::Started { run: 2, pid: 7 } },
        };
        assert_eq!(
            line(&EventJson::of(&event)),
            concat!(
                r#"{"seq":9,"at":"1970-01-01T00:00:00.000001Z","node":"n1","id":null,"name":"x","event":"started","#,
                r#""text":"started, pid 7","pid":7,"process_seq":4,"run":2}"#
            )
        );
    }
}
