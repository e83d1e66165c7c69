//! The fields of a process row, and their values.

use std::borrow::Cow;
use std::cmp::Ordering;

use zerovisor_core::view::ProcessRow;

use crate::ctl::when;

/// A field of a process row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Field {
    Id,
    Name,
    Node,
    State,
    Pid,
    Run,
    StartedAt,
    EndedAt,
    Uptime,
    Cpu,
    Memory,
    Peak,
    Restarts,
    ExitCode,
    ExitSignal,
    ExitOom,
    Command,
    Rung,
    Journal,
    Silent,
    Label(String),
}

/// What a field's values are, and so what a literal beside it means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sort {
    Text,
    Number,
    Bytes,
    Span,
    Signal,
    Flag,
}

/// The names of the fields: those of JSON and shorter ones.
const FIELDS: [(&str, Field); 28] = [
    ("id", Field::Id),
    ("name", Field::Name),
    ("node", Field::Node),
    ("state", Field::State),
    ("pid", Field::Pid),
    ("run", Field::Run),
    ("started_at", Field::StartedAt),
    ("ended_at", Field::EndedAt),
    ("uptime", Field::Uptime),
    ("uptime_s", Field::Uptime),
    ("up", Field::Uptime),
    ("cpu", Field::Cpu),
    ("cpu_percent", Field::Cpu),
    ("memory", Field::Memory),
    ("memory_bytes", Field::Memory),
    ("mem", Field::Memory),
    ("peak", Field::Peak),
    ("memory_peak_bytes", Field::Peak),
    ("restarts", Field::Restarts),
    ("exit.code", Field::ExitCode),
    ("exit.signal", Field::ExitSignal),
    ("exit.oom", Field::ExitOom),
    ("command", Field::Command),
    ("rung", Field::Rung),
    ("journal", Field::Journal),
    ("journal_bytes", Field::Journal),
    ("silent", Field::Silent),
    ("silent_s", Field::Silent),
];

/// The value of a field in a row.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Value<'a> {
    Null,
    Number(f64),
    Text(Cow<'a, str>),
    Flag(bool),
}

impl Field {
    pub(super) fn named(name: &str) -> Option<Field> {
        let label = name.strip_prefix("labels.").filter(|key| !key.is_empty());
        let known = || FIELDS.iter().find(|(known, _)| *known == name).map(|(_, field)| field.clone());
        label.map(|key| Field::Label(key.into())).or_else(known)
    }

    pub(super) fn sort(&self) -> Sort {
        match self {
            Field::Id | Field::Name | Field::Node | Field::State | Field::StartedAt | Field::EndedAt => Sort::Text,
            Field::Command | Field::Rung | Field::Label(_) => Sort::Text,
            Field::Pid | Field::Run | Field::Cpu | Field::Restarts | Field::ExitCode => Sort::Number,
            Field::Memory | Field::Peak | Field::Journal => Sort::Bytes,
            Field::Uptime | Field::Silent => Sort::Span,
            Field::ExitSignal => Sort::Signal,
            Field::ExitOom => Sort::Flag,
        }
    }

    pub(super) fn of<'a>(&self, row: &'a ProcessRow) -> Value<'a> {
        let text = |text: String| Value::Text(Cow::Owned(text));
        let number = |number: Option<f64>| number.map_or(Value::Null, Value::Number);
        #[expect(clippy::cast_precision_loss, reason = "sizes are compared, not summed")]
        let bytes = |bytes: Option<u64>| number(bytes.map(|b| b as f64));
        let exit = row.exit.as_ref();
        match self {
            Field::Id => text(row.id.to_string()),
            Field::Name => Value::Text(row.name.as_str().into()),
            Field::Node => Value::Text(row.node.as_str().into()),
            Field::State => text(row.state.to_string()),
            Field::StartedAt => row.started_at.map_or(Value::Null, |at| text(when::rfc3339(at))),
            Field::EndedAt => row.ended_at.map_or(Value::Null, |at| text(when::rfc3339(at))),
            Field::Command => text(row.command.join(" ")),
            Field::Rung => row.rung.as_deref().map_or(Value::Null, |rung| Value::Text(rung.into())),
            Field::Label(key) => {
                let value = row.labels.iter().find(|(known, _)| known == key);
                value.map_or(Value::Null, |(_, value)| Value::Text(value.into()))
            }
            Field::Pid => number(row.pid.map(f64::from)),
            Field::Run => Value::Number(f64::from(row.run)),
            Field::Cpu => number(row.cpu_percent),
            Field::Restarts => Value::Number(f64::from(row.restarts)),
            Field::ExitCode => number(exit.and_then(|exit| exit.code).map(f64::from)),
            Field::ExitSignal => number(exit.and_then(|exit| exit.signal).map(f64::from)),
            Field::ExitOom => exit.and_then(|exit| exit.oom).map_or(Value::Null, Value::Flag),
            Field::Memory => bytes(row.memory_bytes),
            Field::Peak => bytes(row.memory_peak_bytes),
            Field::Journal => bytes(Some(row.journal_bytes)),
            Field::Uptime => number(row.uptime.map(|span| span.as_secs_f64())),
            Field::Silent => number(row.silent.map(|span| span.as_secs_f64())),
        }
    }
}

impl Value<'_> {
    pub(super) fn is_true(&self) -> bool {
        match self {
            Value::Null => false,
            Value::Number(number) => *number != 0.0,
            Value::Text(text) => !text.is_empty(),
            Value::Flag(flag) => *flag,
        }
    }

    /// None where the two cannot be compared: one is not known.
    pub(super) fn compare(&self, other: &Value<'_>) -> Option<Ordering> {
        match (self, other) {
            (Value::Null, Value::Null) => Some(Ordering::Equal),
            (Value::Number(a), Value::Number(b)) => a.partial_cmp(b),
            (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
            (Value::Flag(a), Value::Flag(b)) => Some(a.cmp(b)),
            (Value::Null | Value::Number(_) | Value::Text(_) | Value::Flag(_), _) => None,
        }
    }
}
