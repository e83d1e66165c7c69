//! `zvctl inspect` and `zvctl why`

use std::time::Duration;

use zerovisor_core::address::Address;
use zerovisor_core::escape::escaped;
use zerovisor_core::spec::{Leftovers, quoted_command};
use zerovisor_core::stats::Sample;
use zerovisor_core::units::{Bytes, Span};
use zerovisor_core::view::{Detail, Nodes};
use zerovisor_core::wire::{Answer, Ask, decode_page};

use super::{Asker, finish};
use crate::ctl::cli::{Format, Inspect};
use crate::ctl::client::{Client, Reply};
use crate::ctl::error::{CtlError, failure_status};
use crate::ctl::page::gap_text;
use crate::ctl::when::rfc3339;
use crate::ctl::{json, out, render, when, why};

/// Shows everything known about each.
///
/// # Errors
/// No answer, or a partial one.
pub async fn inspect(asker: &Asker, args: &Inspect) -> Result<(), CtlError> {
    show(asker, &args.names, report).await
}

/// Says why each is in its state.
///
/// # Errors
/// No answer, or a partial one.
pub async fn why(asker: &Asker, args: &Inspect) -> Result<(), CtlError> {
    show(asker, &args.names, |detail| escaped(&why::why(detail, when::now())) + "\n").await
}

async fn show(asker: &Asker, names: &[Address], text: impl Fn(&Detail) -> String) -> Result<(), CtlError> {
    let mut client = asker.client().await?;
    let (details, nodes, worst) = details(&mut client, names).await?;
    let objects = || details.iter().map(json::DetailJson::of);
    let shown = match asker.format() {
        Format::Table | Format::Wide => details.iter().map(text).collect::<Vec<_>>().join("\n"),
        Format::Json => json::answer("processes", &objects().collect::<Vec<_>>(), &nodes) + "\n",
        Format::Jsonl => objects().map(|object| json::line(&object) + "\n").collect(),
    };
    out::print(shown)?;
    if worst > 0 { Err(CtlError::Silent(worst)) } else { finish(&nodes) }
}

async fn details(client: &mut Client, names: &[Address]) -> Result<(Vec<Detail>, Nodes, u8), CtlError> {
    let limit = Some(client.timeout());
    let asks = names.iter().map(|name| Ask::Inspect(name.clone())).collect();
    let (mut details, mut nodes, mut worst) = (Vec::new(), Nodes::default(), 0);
    for reply in client.answers(asks, limit).await? {
        match reply {
            Ok(reply) => {
                details.extend(detail(client, &reply)?);
                nodes.merge(reply.nodes);
            }
            Err(failure) if names.len() == 1 => return Err(CtlError::Failed(failure)),
            Err(failure) => {
                worst = worst.max(failure_status(&failure));
                out::note(&failure.to_string());
            }
        }
    }
    Ok((details, nodes, worst))
}

/// The detail in an answer, if it has one.
///
/// # Errors
/// It does not decode.
pub fn detail(client: &Client, reply: &Reply) -> Result<Option<Detail>, CtlError> {
    let page = reply.parts.iter().find(|(answer, _)| *answer == Answer::Detail);
    page.map(|(_, page)| decode_page(page).map_err(|error| client.violation(&error))).transpose()
}

/// Everything about a process, a line a thing.
pub fn report(detail: &Detail) -> String {
    let mut lines = Lines::default();
    identity(detail, &mut lines);
    settings(detail, &mut lines);
    present(detail, &mut lines);
    lines.text += "facts\n";
    for (at, fact) in &detail.facts {
        lines.text += &(escaped(&format!("  {}  {fact}", rfc3339(*at))) + "\n");
    }
    lines.text
}

#[derive(Default)]
struct Lines {
    text: String,
}

impl Lines {
    fn add(&mut self, name: &str, value: impl AsRef<str>) {
        self.text += &(escaped(&format!("{name:<12} {}", value.as_ref())) + "\n");
    }
}

fn identity(detail: &Detail, lines: &mut Lines) {
    let (row, spec) = (&detail.row, &detail.spec);
    lines.add("name", row.name.as_str());
    lines.add("id", row.id.to_string());
    lines.add("node", row.node.as_str());
    lines.add("command", if spec.command.is_empty() { "-".into() } else { quoted_command(&spec.command) });
    lines.add("cwd", &spec.cwd);
    for (key, value) in row.labels.iter() {
        lines.add("label", format!("{key}={value}"));
    }
    if !spec.env_names.is_empty() {
        lines.add("env", spec.env_names.join(" "));
    }
    lines.add("created", rfc3339(detail.created_at));
    lines.add("watcher", format!("pid {}", detail.watcher_pid));
}

fn settings(detail: &Detail, lines: &mut Lines) {
    let spec = &detail.spec;
    let counts = Span(spec.start_secs);
    lines.add("restart", format!("{}, backoff {}, counts as running after {counts}", spec.restart, spec.backoff));
    lines.add("exit codes", spec.exit_codes.to_string());
    let leftovers = match spec.leftovers {
        Leftovers::Stop => "stopped",
        Leftovers::Wait => "waited for",
    };
    let grace = Span(spec.stop_timeout);
    lines.add("stop", format!("{}, killed after {grace}; leftovers are {leftovers}", spec.stop_signal));
}

fn present(detail: &Detail, lines: &mut Lines) {
    let row = &detail.row;
    let pid = row.pid.map_or_else(String::new, |pid| format!(", pid {pid}"));
    lines.add("state", format!("{}, run {}{pid}, restarts {}", row.state, row.run, row.restarts));
    if let Some(silent) = row.silent {
        lines.add("silent", Span(silent).to_string());
    }
    if let Some(at) = row.started_at {
        lines.add("started", rfc3339(at));
    }
    let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), |bytes| Bytes(bytes).to_string());
    let cpu = row.cpu_percent.map_or_else(|| "-".into(), |cpu| format!("{cpu:.1}%"));
    let (memory, peak) = (bytes(row.memory_bytes), bytes(row.memory_peak_bytes));
    lines.add("uses", format!("cpu {cpu}, memory {memory}, peak {peak}"));
    placement(detail, lines);
    if let Some(exit) = &row.exit {
        lines.add("exit", render::exit_cell(exit));
    }
    if let Some(report) = &detail.report {
        lines.add("last run", report.to_string());
    }
    if let Some(failure) = &detail.spawn_failure {
        lines.add("not started", &failure.message);
    }
    let (first, last) = (detail.journal_first_seq, detail.journal_last_seq);
    let disk = Bytes(detail.journal_bytes);
    lines.add("journal", format!("records {first} to {last}, {disk} on disk"));
    if let Some(trouble) = &detail.journal_trouble {
        lines.add("", trouble);
    }
    lines.add("gaps", detail.gaps.to_string());
    for gap in &detail.latest_gaps {
        lines.add("", gap_text(gap));
    }
}

/// Where it stands, what it may use, and what it uses.
fn placement(detail: &Detail, lines: &mut Lines) {
    lines.add("cgroup", format!("{}: {}", detail.placement.rung, detail.placement.why));
    let limits = detail.spec.limits;
    lines.add("limits", if limits.is_empty() { "none".into() } else { limits.to_string() });
    if let Some(size) = json::terminal_size(detail) {
        lines.add("terminal", size.to_string());
    }
    if let Some(sample) = &detail.sample {
        lines.add("sample", sample_line(sample));
    }
}

/// What of a sample is known, in one line.
fn sample_line(sample: &Sample) -> String {
    let bytes = |name: &str, bytes: Option<u64>| bytes.map(|bytes| format!("{name} {}", Bytes(bytes)));
    let count = |name: &str, count: Option<u64>| count.map(|count| format!("{name} {count}"));
    let span = |name: &str, us: u64| Some(format!("{name} {}", Span(Duration::from_micros(us))));
    let waits = |name: &str, percent: Option<f32>| percent.map(|percent| format!("{name} pressure {percent:.1}%"));
    let parts = [
        span("user", sample.cpu_user_us),
        span("system", sample.cpu_system_us),
        sample.throttled_us.filter(|us| *us > 0).and_then(|us| span("throttled", us)),
        bytes("anon", sample.anon_bytes),
        bytes("file", sample.file_bytes),
        bytes("swap", sample.swap_bytes.filter(|swap| *swap > 0)),
        count("oom kills", sample.oom_kills.filter(|kills| *kills > 0)),
        count("tasks", sample.pids),
        bytes("read", sample.read_bytes),
        bytes("written", sample.written_bytes),
        waits("cpu", sample.pressure.cpu),
        waits("memory", sample.pressure.memory),
        waits("io", sample.pressure.io),
        count("main threads", sample.main_threads),
        count("main descriptors", sample.main_fds),
        sample.main_state.map(|state| format!("main state {state}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use zerovisor_core::fact::{Fact, State};
    use zerovisor_core::units::Timestamp;

    use super::*;

    #[test]
    fn a_report_is_readable_and_safe() {
        let mut detail = why::tests::detail(State::Running);
        detail.spec.command = vec!["sh".into(), "\x1b[2J".into()];
        detail.facts = vec![(Timestamp(1_000_000), Fact::Fatal { why: "x\ny".into() })];
        detail.spec.terminal = Some(zerovisor_core::size::Size::DEFAULT);
        detail.spec.limits.memory_bytes = Some(64 << 20);
        detail.sample = Some(Sample { pids: Some(3), main_state: Some('S'), ..Sample::default() });
        let report = report(&detail);
        for part in [
            "cgroup       none: no cgroup\n",
            "limits       memory 64.0 MiB\n",
            "terminal     80x24\n",
            "tasks 3, main state S\n",
            "name         web\n",
            "command      sh '\\x1b[2J'\n",
            "SIGTERM, killed after 10s",
            "given up: x\\x0ay\n",
        ] {
            assert!(report.contains(part), "{part} in {report}");
        }
        let json = json::line(&json::DetailJson::of(&detail));
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&value["terminal"]["cols"], &value["limits"]["memory_bytes"]), (&80.into(), &(64 << 20).into()));
        assert_eq!((&value["placement_why"], &value["sample"]["pids"]), (&"no cgroup".into(), &3.into()));
        assert_eq!((&value["spec"]["restart"], &value["facts"][0]["event"]), (&"no".into(), &"fatal".into()));
    }
}
