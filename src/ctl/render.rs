//! Tables for people: columns that fit the terminal, nothing in them that could command it.

use std::time::Duration;

use zerovisor_core::escape::escaped;
use zerovisor_core::fact::State;
use zerovisor_core::id::unique_prefix_len;
use zerovisor_core::signal::Signal;
use zerovisor_core::spec::quoted_command;
use zerovisor_core::units::{Bytes, Span};
use zerovisor_core::view::{Event, ExitSummary, ProcessRow};

use super::json::happening_text;
use super::out::Look;
use super::when::rfc3339;

mod nodes;
mod table;

pub use nodes::nodes;
pub use table::{Column, Paint, Table, cut};

/// The narrowest the text of an event is cut to: it is what the table is for.
const EVENT_MIN: usize = 40;
/// The widest a command is where no terminal sets a limit; JSON has it whole.
const COMMAND_MAX: usize = 200;

/// Colours of names beside each other, for prefixes of lines.
pub const NAME_COLOURS: [&str; 6] = ["\x1b[36m", "\x1b[33m", "\x1b[32m", "\x1b[35m", "\x1b[34m", "\x1b[31m"];

/// `-` for what is not known.
fn or_dash<T>(value: Option<T>, show: impl Fn(T) -> String) -> String {
    value.map_or_else(|| "-".into(), show)
}

/// How a run ended, in a cell.
pub fn exit_cell(exit: &ExitSummary) -> String {
    let signal =
        |number: i32| Signal::try_from(number).map_or_else(|_| number.to_string(), |signal| signal.to_string());
    let how = match (exit.code, exit.signal) {
        (Some(code), _) => code.to_string(),
        (None, Some(number)) => signal(number),
        (None, None) => "-".into(),
    };
    if exit.oom == Some(true) { how + " (oom)" } else { how }
}

fn state_paint(state: State) -> Paint {
    match state {
        State::Running => Paint::Good,
        State::Waiting | State::Starting | State::Backoff | State::Stopping => Paint::Busy,
        State::Fatal | State::Lost | State::Unreachable => Paint::Bad,
        State::Stopped | State::Exited => Paint::Faint,
    }
}

fn state_cell(row: &ProcessRow) -> String {
    let silent = |span: Duration| format!("{} {}", row.state, Span(Duration::from_secs(span.as_secs())));
    match row.state {
        State::Unreachable => row.silent.map_or_else(|| row.state.to_string(), silent),
        State::Waiting
        | State::Starting
        | State::Running
        | State::Backoff
        | State::Stopping
        | State::Stopped
        | State::Exited
        | State::Fatal
        | State::Lost => row.state.to_string(),
    }
}

const PS_COLUMNS: [Column; 12] = [
    Column::text("ID"),
    Column::long("NAME").kept(),
    Column::long("NODE"),
    Column::text("STATE").kept(),
    Column::number("PID"),
    Column::number("UP"),
    Column::number("CPU%"),
    Column::number("MEM"),
    Column::number("PEAK"),
    Column::number("RESTARTS"),
    Column::text("EXIT").kept(),
    Column::long("COMMAND").at_most(COMMAND_MAX),
];

const PS_WIDE_COLUMNS: [Column; 5] = [
    Column::number("RUN"),
    Column::long("LABELS"),
    Column::long("RUNG"),
    Column::number("JOURNAL"),
    Column::text("STARTED"),
];

fn ps_cells(row: &ProcessRow, id_len: usize) -> Vec<(String, Paint)> {
    let plain = |text: String| (text, Paint::Plain);
    let failed = row.exit.is_some_and(|exit| exit.code != Some(0));
    vec![
        plain(row.id.prefix(id_len)),
        plain(row.name.to_string()),
        plain(row.node.to_string()),
        (state_cell(row), state_paint(row.state)),
        plain(or_dash(row.pid, |pid| pid.to_string())),
        plain(or_dash(row.uptime, up)),
        plain(or_dash(row.cpu_percent, |cpu| format!("{cpu:.1}"))),
        plain(or_dash(row.memory_bytes, |bytes| Bytes(bytes).to_string())),
        plain(or_dash(row.memory_peak_bytes, |bytes| Bytes(bytes).to_string())),
        plain(row.restarts.to_string()),
        (or_dash(row.exit, |exit| exit_cell(&exit)), if failed { Paint::Bad } else { Paint::Plain }),
        plain(quoted_command(&row.command)),
    ]
}

/// A span in whole seconds: nobody reads a table for the hundredths.
fn up(span: Duration) -> String {
    Span(Duration::from_secs(span.as_secs())).to_string().replace("0us", "0s")
}

/// The table of `ps`.
pub fn processes(rows: &[ProcessRow], wide: bool, look: Look) -> String {
    let id_len = unique_prefix_len(rows.iter().map(|row| row.id));
    let mut columns = PS_COLUMNS.to_vec();
    if wide {
        // The command stays last: it is the one without an end.
        columns.splice(11..11, PS_WIDE_COLUMNS);
    }
    let mut table = Table::new(&columns);
    for row in rows {
        let mut cells = ps_cells(row, id_len);
        if wide {
            let plain = |text: String| (text, Paint::Plain);
            let label = |(key, value): (&str, &str)| format!("{key}={value}");
            let more = [
                row.run.to_string(),
                or_dash(
                    Some(row.labels.iter().map(label).collect::<Vec<_>>().join(",")).filter(|l| !l.is_empty()),
                    |l| l,
                ),
                or_dash(row.rung.clone(), |rung| rung),
                Bytes(row.journal_bytes).to_string(),
                or_dash(row.started_at, rfc3339),
            ];
            cells.splice(11..11, more.map(plain));
        }
        table.push(cells);
    }
    table.render(look)
}

const EVENT_COLUMNS: [Column; 5] = [
    Column::number("SEQ"),
    Column::text("TIME").kept(),
    Column::long("NODE"),
    Column::long("NAME").kept(),
    Column::text("EVENT").kept().at_least(EVENT_MIN),
];

/// The table of `events`.
pub fn events(events: &[Event], look: Look) -> String {
    let mut table = Table::new(&EVENT_COLUMNS);
    for event in events {
        let name = or_dash(event.name.as_ref(), ToString::to_string);
        let cells =
            [event.seq.to_string(), rfc3339(event.at), event.node.to_string(), name, happening_text(&event.what)];
        table.push(cells.map(|text| (text, Paint::Plain)));
    }
    table.render(look)
}

/// One event as a line of its own, while following.
pub fn event_line(event: &Event) -> String {
    let name = or_dash(event.name.as_ref(), ToString::to_string);
    escaped(&format!("{} {} {} {name} {}", event.seq, rfc3339(event.at), event.node, happening_text(&event.what)))
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr;

    use super::*;
    use crate::ctl::json::tests::row;

    const PIPE: Look = Look { width: None, colour: false };

    #[test]
    fn a_table_shows_what_is_known_and_dashes() {
        let mut web = row("web", State::Running);
        web.uptime = Some(Duration::from_millis(90_500));
        web.cpu_percent = Some(62.54);
        web.memory_bytes = Some(64 << 20);
        let mut job = row("job-2", State::Exited);
        job.exit = Some(ExitSummary { code: None, signal: Some(9), oom: Some(true) });
        let table = processes(&[web, job], false, PIPE);
        assert_eq!(
            table.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>(),
            [
                "ID NAME NODE STATE PID UP CPU% MEM PEAK RESTARTS EXIT COMMAND",
                "03030303 web n1 RUNNING 4321 1m30s 62.5 64.0 MiB - 0 - sleep 1d",
                "05050505 job-2 n1 EXITED - - - - - 0 SIGKILL (oom) sleep 1d",
            ]
        );
        assert!(table.lines().all(|line| !line.ends_with(' ')));
    }

    #[test]
    fn an_unreachable_row_shows_how_long_it_has_been_silent() {
        let mut lost = row("web", State::Unreachable);
        lost.silent = Some(Duration::from_millis(12_345));
        assert!(processes(&[lost], false, PIPE).contains("UNREACHABLE 12s"));
    }

    #[test]
    fn a_table_fits_the_terminal_and_is_nearly_whole_in_a_pipe() {
        let mut long = row("a-rather-long-name-of-a-process-日本語", State::Running);
        long.command = vec!["x".repeat(500)];
        for width in [20, 60, 80, 100, 132] {
            let table = processes(std::slice::from_ref(&long), true, Look { width: Some(width), colour: false });
            for line in table.lines() {
                assert!(line.width() <= width, "{width}: {} {line}", line.width());
            }
        }
        let table = processes(std::slice::from_ref(&long), false, Look { width: Some(120), colour: false });
        assert!(table.contains("a-rather-long-name-of-a-process-日本語") && table.contains("xxx…"), "{table}");
        let table = processes(&[long], false, PIPE);
        assert!(table.contains(&("x".repeat(199) + "…\n")), "{table}");
    }

    #[test]
    fn on_a_narrow_terminal_columns_that_say_nothing_go_first() {
        let mut web = row("web", State::Running);
        web.command = vec!["x".repeat(500)];
        let mut job = row("job-2", State::Exited);
        job.exit = Some(ExitSummary { code: None, signal: Some(9), oom: Some(true) });
        let rows = [web, job];
        for (width, titles) in [
            (100, "ID NAME NODE STATE PID RESTARTS EXIT COMMAND"),
            (60, "ID NAME NODE STATE EXIT COMMAND"),
            (46, "ID NAME NODE STATE EXIT"),
            (30, "NAME STATE EXIT"),
        ] {
            let table = processes(&rows, false, Look { width: Some(width), colour: false });
            let first = table.lines().next().unwrap_or_default();
            assert_eq!(first.split_whitespace().collect::<Vec<_>>().join(" "), titles, "{width}\n{table}");
            assert!(table.contains("RUNNING") && table.contains("SIGKILL (oom)"), "{table}");
            assert!(table.lines().all(|line| line.width() <= width), "{table}");
        }
    }

    #[test]
    fn what_happened_keeps_its_room() {
        let row = row("a-rather-long-name-of-a-process", State::Running);
        let why = "failed three times in a row, and then some more".to_owned();
        let what = zerovisor_core::view::Happening::Fact { seq: 1, fact: zerovisor_core::fact::Fact::Fatal { why } };
        let at = zerovisor_core::units::Timestamp(1);
        let event = Event { seq: 1, at, node: row.node, id: Some(row.id), name: Some(row.name), what };
        let table = events(&[event], Look { width: Some(80), colour: false });
        assert!(table.contains("given up: failed three times in") && table.contains("a-rathe…"), "{table}");
    }

    #[test]
    fn a_hostile_command_reaches_no_terminal() {
        let mut row = row("web", State::Running);
        row.command = vec!["\x1b[2J\u{9b}0m\u{202e}a\nb\tc".into()];
        let table = processes(&[row], false, Look { width: Some(400), colour: true });
        assert!(table.contains(r"\x1b[2J\u{009b}0m\u{202e}a\x0ab\x09c"), "{table}");
        assert_eq!(table.matches('\x1b').count(), 2, "only our own colour of the state");
    }
}
