//! The stable JSON of answers: the one place that names its fields.
//!
//! Sizes are bytes, spans are seconds, times are RFC 3339 in UTC; what is not measured is null. Characters that could command a
//! terminal are written as `\uXXXX`, which any reader of JSON turns back.

use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};
use serde_json::{Map, Value, json};
use zerovisor_core::escape::is_dangerous;
use zerovisor_core::exit::{Exit, ExitReport, SpawnFailure, SpawnFault};
use zerovisor_core::fact::{Fact, State};
use zerovisor_core::limits::CgroupMode;
use zerovisor_core::name::{Labels, NodeName};
use zerovisor_core::size::Size;
use zerovisor_core::spec::{Leftovers, Spec};
use zerovisor_core::view::{Detail, ExitSummary, Nodes, ProcessRow};

use super::when::rfc3339;

mod events;
mod usage;

pub use events::{EventJson, gap, happening_text};
use events::{fact_fields, told_gap};
pub use usage::NodeRowJson;

/// A value as one line of text, without its end.
pub fn line(value: &impl Serialize) -> String {
    let mut out = Vec::new();
    // Writing to memory cannot fail, and none of these types has a key that is no text.
    let written = value.serialize(&mut Serializer::with_formatter(&mut out, TerminalSafe));
    debug_assert!(written.is_ok());
    String::from_utf8_lossy(&out).into_owned()
}

struct TerminalSafe;

impl Formatter for TerminalSafe {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_dangerous(*c)) {
            CompactFormatter.write_string_fragment(writer, &rest[..at])?;
            c.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(writer, "\\u{unit:04x}"))?;
            rest = &rest[at + c.len_utf8()..];
        }
        CompactFormatter.write_string_fragment(writer, rest)
    }
}

/// `{NOUN: rows, "nodes": ...}` as one line.
pub fn answer(noun: &str, rows: &[impl Serialize], nodes: &Nodes) -> String {
    let rows = rows.iter().map(line).collect::<Vec<_>>().join(",");
    format!("{{{}:[{rows}],\"nodes\":{}}}", line(&noun), line(&NodesJson::of(nodes)))
}

/// Which nodes an answer comes from.
#[derive(Serialize)]
pub struct NodesJson<'a> {
    asked: Vec<&'a str>,
    answered: Vec<&'a str>,
    missing: Vec<MissingJson<'a>>,
}

#[derive(Serialize)]
struct MissingJson<'a> {
    node: &'a str,
    why: &'a str,
}

impl<'a> NodesJson<'a> {
    /// That of the core's.
    pub fn of(nodes: &'a Nodes) -> NodesJson<'a> {
        let missing = nodes.missing.iter().map(|(node, why)| MissingJson { node: node.as_str(), why });
        NodesJson {
            asked: nodes.asked.iter().map(NodeName::as_str).collect(),
            answered: nodes.answered.iter().map(NodeName::as_str).collect(),
            missing: missing.collect(),
        }
    }
}

/// A process row.
#[derive(Serialize)]
pub struct RowJson<'a> {
    id: String,
    name: &'a str,
    node: &'a str,
    state: State,
    pid: Option<i32>,
    run: u32,
    started_at: Option<String>,
    ended_at: Option<String>,
    uptime_s: Option<f64>,
    cpu_percent: Option<f64>,
    memory_bytes: Option<u64>,
    memory_peak_bytes: Option<u64>,
    restarts: u32,
    exit: Option<ExitSummary>,
    command: &'a [String],
    labels: &'a Labels,
    rung: Option<&'a str>,
    journal_bytes: u64,
    silent_s: Option<f64>,
}

impl<'a> RowJson<'a> {
    /// That of the core's.
    pub fn of(row: &'a ProcessRow) -> RowJson<'a> {
        RowJson {
            id: row.id.to_string(),
            name: row.name.as_str(),
            node: row.node.as_str(),
            state: row.state,
            pid: row.pid,
            run: row.run,
            started_at: row.started_at.map(rfc3339),
            ended_at: row.ended_at.map(rfc3339),
            uptime_s: row.uptime.map(|span| span.as_secs_f64()),
            cpu_percent: row.cpu_percent,
            memory_bytes: row.memory_bytes,
            memory_peak_bytes: row.memory_peak_bytes,
            restarts: row.restarts,
            exit: row.exit,
            command: &row.command,
            labels: &row.labels,
            rung: row.rung.as_deref(),
            journal_bytes: row.journal_bytes,
            silent_s: row.silent.map(|span| span.as_secs_f64()),
        }
    }
}

/// Everything about a process: the fields of its row, and more.
#[derive(Serialize)]
pub struct DetailJson<'a> {
    #[serde(flatten)]
    row: RowJson<'a>,
    created_at: String,
    watcher_pid: i32,
    spec: Value,
    report: Option<Value>,
    spawn_failure: Option<Value>,
    gaps: u32,
    journal: Value,
    placement_why: &'a str,
    limits: Value,
    terminal: Option<Value>,
    sample: Option<Value>,
    latest_gaps: Vec<Map<String, Value>>,
    unknown_after_seq: Option<u64>,
    facts: Vec<Map<String, Value>>,
}

impl<'a> DetailJson<'a> {
    /// That of the core's.
    pub fn of(detail: &'a Detail) -> DetailJson<'a> {
        let told = |(at, fact): &(_, Fact)| {
            let (event, mut fields) = fact_fields(fact);
            fields.insert("at".into(), rfc3339(*at).into());
            fields.insert("event".into(), event.into());
            fields.insert("text".into(), fact.to_string().into());
            fields
        };
        DetailJson {
            row: RowJson::of(&detail.row),
            created_at: rfc3339(detail.created_at),
            watcher_pid: detail.watcher_pid,
            spec: spec(&detail.spec),
            report: detail.report.as_ref().map(report),
            spawn_failure: detail.spawn_failure.as_ref().map(spawn_failure),
            gaps: detail.gaps,
            journal: json!({
                "first_seq": detail.journal_first_seq,
                "last_seq": detail.journal_last_seq,
                "bytes": detail.journal_bytes,
                "trouble": detail.journal_trouble,
            }),
            placement_why: &detail.placement.why,
            limits: usage::limits(&detail.spec.limits),
            terminal: terminal_size(detail).map(usage::size),
            sample: detail.sample.as_ref().map(usage::sample),
            latest_gaps: detail.latest_gaps.iter().map(told_gap).collect(),
            unknown_after_seq: detail.unknown_after,
            facts: detail.facts.iter().map(told).collect(),
        }
    }
}

/// The size of its terminal as last told; none: it runs on pipes.
pub fn terminal_size(detail: &Detail) -> Option<Size> {
    let begun = detail.spec.terminal?;
    let resized = |(_, fact): &(_, Fact)| if let Fact::Resized { size, .. } = fact { Some(*size) } else { None };
    detail.facts.iter().rev().find_map(resized).or(Some(begun))
}

fn spec(spec: &Spec) -> Value {
    json!({
        "name": spec.name,
        "name_given": spec.name_given,
        "labels": spec.labels,
        "command": spec.command,
        "cwd": spec.cwd,
        "env_names": spec.env_names,
        "restart": spec.restart.to_string(),
        "start_s": spec.start_secs.as_secs_f64(),
        "exit_codes": spec.exit_codes,
        "backoff_min_s": spec.backoff.min.as_secs_f64(),
        "backoff_max_s": spec.backoff.max.as_secs_f64(),
        "stop_signal": spec.stop_signal.to_string(),
        "stop_timeout_s": spec.stop_timeout.as_secs_f64(),
        "leftovers": match spec.leftovers { Leftovers::Stop => "stop", Leftovers::Wait => "wait" },
        "detached": spec.detached,
        "terminal": spec.terminal.map(usage::size),
        "cgroup": match spec.cgroup { CgroupMode::Auto => "auto", CgroupMode::Require => "require", CgroupMode::Off => "off" },
    })
}

fn report(report: &ExitReport) -> Value {
    let core = match report.exit {
        Exit::Code(_) => false,
        Exit::Signal { core, .. } => core,
    };
    json!({
        "exit": ExitSummary::of(report),
        "core_dumped": core,
        "started_at": rfc3339(report.started_at),
        "ended_at": rfc3339(report.ended_at),
        "runtime_s": report.runtime.as_secs_f64(),
        "cpu_user_us": report.usage.cpu_user_us,
        "cpu_system_us": report.usage.cpu_system_us,
        "peak_rss_bytes": report.usage.peak_rss_bytes,
        "output_bytes": report.usage.output_bytes,
        "input_bytes": report.usage.input_bytes,
        "memory_peak_bytes": report.usage.memory_peak_bytes,
        "read_bytes": report.usage.read_bytes,
        "written_bytes": report.usage.written_bytes,
        "oom_kills": report.usage.oom_kills,
        "restarts": report.restarts,
    })
}

fn spawn_failure(failure: &SpawnFailure) -> Value {
    let fault = match failure.fault {
        SpawnFault::NotFound => "not_found",
        SpawnFault::NotExecutable => "not_executable",
        SpawnFault::Own => "own",
    };
    json!({ "fault": fault, "message": failure.message })
}

#[cfg(test)]
pub(super) mod tests {
    use zerovisor_core::id::Id;
    use zerovisor_core::units::Timestamp;

    use super::*;

    /// A row with nothing measured and the label app=web.
    pub(in crate::ctl) fn row(name: &str, state: State) -> ProcessRow {
        ProcessRow {
            id: Id::from_random([u8::try_from(name.len()).unwrap(); 16]),
            name: name.parse().unwrap(),
            node: "n1".parse().unwrap(),
            state,
            pid: state.has_run().then_some(4321),
            run: 1,
            started_at: Some(Timestamp(1_000_000)),
            ended_at: None,
            uptime: None,
            cpu_percent: None,
            memory_bytes: None,
            memory_peak_bytes: None,
            restarts: 0,
            exit: None,
            command: vec!["sleep".into(), "1d".into()],
            labels: Labels::new(["app=web".parse().unwrap()]).unwrap(),
            rung: None,
            journal_bytes: 7,
            silent: None,
        }
    }

    #[test]
    fn a_row_has_the_documented_fields_in_order() {
        let row = row("web", State::Running);
        let nodes = Nodes::only("n1".parse().unwrap());
        assert_eq!(
            answer("processes", &[RowJson::of(&row)], &nodes),
            concat!(
                r#"{"processes":[{"id":"03030303030303030303030303030303","name":"web","node":"n1","state":"RUNNING","#,
                r#""pid":4321,"run":1,"started_at":"1970-01-01T00:00:01.000000Z","ended_at":null,"uptime_s":null,"#,
                r#""cpu_percent":null,"memory_bytes":null,"memory_peak_bytes":null,"restarts":0,"exit":null,"#,
                r#""command":["sleep","1d"],"labels":{"app":"web"},"rung":null,"journal_bytes":7,"silent_s":null}],"#,
                r#""nodes":{"asked":["n1"],"answered":["n1"],"missing":[]}}"#
            )
        );
    }

    #[test]
    fn hostile_text_stays_json_and_reaches_no_terminal() {
        let hostile = "a\u{1b}[2J\u{9b}\u{202e}\u{e0041}\"é\t";
        let shown = line(&hostile);
        assert_eq!(shown, r#""a\u001b[2J\u009b\u202e\udb40\udc41\"é\t""#);
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), hostile);
    }
}
