//! What tables and JSON objects show, and how the answers of several nodes become one.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::exit::{Exit, ExitReport, SpawnFailure};
use crate::fact::{Fact, Gap, State};
use crate::id::Id;
use crate::name::{Labels, NodeName, ProcessName};
use crate::spec::Spec;
use crate::stats::{Placement, Pressure, Sample};
use crate::units::{Timestamp, micros};

/// How a run ended, in the three fields every row has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ExitSummary {
    /// The exit code, if it ended by itself.
    pub code: Option<i32>,
    /// The signal's number, if one ended it.
    pub signal: Option<i32>,
    /// Whether the kernel's OOM killer did it; none where nobody can know.
    pub oom: Option<bool>,
}

impl ExitSummary {
    /// The summary of a report.
    pub fn of(report: &ExitReport) -> ExitSummary {
        match report.exit {
            Exit::Code(code) => ExitSummary { code: Some(code), signal: None, oom: report.oom },
            Exit::Signal { signal, .. } => ExitSummary { code: None, signal: Some(signal.number()), oom: report.oom },
        }
    }
}

/// One process as a node knows it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ProcessRow {
    /// Its id.
    pub id: Id,
    /// Its name.
    pub name: ProcessName,
    /// The node that keeps its journal.
    pub node: NodeName,
    /// Its state.
    pub state: State,
    /// The main process, while there is one.
    pub pid: Option<i32>,
    /// Number of the present or last run; 0 before the first.
    pub run: u32,
    /// When the present or last run began.
    pub started_at: Option<Timestamp>,
    /// When the last run ended, if none lives.
    pub ended_at: Option<Timestamp>,
    /// How long the present run has lived.
    pub uptime: Option<Duration>,
    /// CPU of the whole tree over the last sample, in percent of one core; none where it is not measured.
    pub cpu_percent: Option<f64>,
    /// Working set of the whole tree in bytes; none where it is not measured.
    pub memory_bytes: Option<u64>,
    /// The most memory its tree had at any time; without a cgroup the most that was sampled.
    pub memory_peak_bytes: Option<u64>,
    /// Runs that followed the first.
    pub restarts: u32,
    /// How the last run ended.
    pub exit: Option<ExitSummary>,
    /// Its command line, cut to what is shown.
    pub command: Vec<String>,
    /// Its labels.
    pub labels: Labels,
    /// The rung of the cgroup ladder it stands on: `v2`, `hybrid`, `v1` or `none`.
    pub rung: Option<String>,
    /// Its journal on disk, in bytes.
    pub journal_bytes: u64,
    /// How long its watcher has been silent, while it is not heard of.
    pub silent: Option<Duration>,
}

/// The life of a process as its facts tell it. Kept by a node for every process; rebuilt from the journal.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Story {
    /// The state by the last fact that changed it.
    pub state: Option<State>,
    /// The run by the last fact that named one.
    pub run: u32,
    /// The pid while a run lives.
    pub pid: Option<i32>,
    /// When the present or last run began.
    pub started_at: Option<Timestamp>,
    /// How the last run ended.
    pub report: Option<ExitReport>,
    /// Why the last run did not begin.
    pub spawn_failure: Option<SpawnFailure>,
    /// When the last fact happened.
    pub changed_at: Timestamp,
    /// Gaps in its stream.
    pub gaps: u32,
    /// The latest of them, oldest first, at most [`GAPS_SHOWN`].
    pub latest_gaps: Vec<Gap>,
    /// The command given later to a process that waited for one.
    pub command: Option<Vec<String>>,
}

impl Story {
    /// Goes on with the next fact.
    pub fn tell(&mut self, at: Timestamp, fact: &Fact) {
        self.changed_at = self.changed_at.max(at);
        self.state = fact.state().or(self.state);
        match fact {
            Fact::Started { run, pid } => {
                (self.run, self.pid, self.started_at) = (*run, Some(*pid), Some(at));
                self.spawn_failure = None;
            }
            Fact::SpawnFailed { run, failure } => {
                (self.run, self.pid, self.spawn_failure) = (*run, None, Some(failure.clone()));
            }
            Fact::Ended { report, .. } => (self.pid, self.report) = (None, Some(report.clone())),
            Fact::Gap(gap) => self.tell_gap(gap),
            Fact::Commanded { command } => self.command = Some(command.clone()),
            Fact::Waiting
            | Fact::Steady { .. }
            | Fact::Stopping { .. }
            | Fact::Killed { .. }
            | Fact::Backoff { .. }
            | Fact::Stopped
            | Fact::Exited
            | Fact::Fatal { .. }
            | Fact::Signalled { .. }
            | Fact::InputClosed { .. }
            | Fact::Resized { .. } => {}
        }
    }

    fn tell_gap(&mut self, gap: &Gap) {
        self.gaps = self.gaps.saturating_add(1);
        if self.latest_gaps.len() >= GAPS_SHOWN {
            self.latest_gaps.remove(0);
        }
        self.latest_gaps.push(gap.clone());
    }
}

/// Something that happened on a node: a fact of a process, or the node's own observation. Numbered by the node.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Place in the node's own sequence of events, from 1.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// The node.
    pub node: NodeName,
    /// The process it is about, if any.
    pub id: Option<Id>,
    /// Its name.
    pub name: Option<ProcessName>,
    /// What happened.
    pub what: Happening,
}

/// What an [`Event`] tells. Append-only, as it is journaled.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Happening {
    /// A fact from the watcher, with its place in the process's stream.
    Fact {
        /// The sequence number of the process's stream.
        seq: u64,
        /// The fact.
        fact: Fact,
    },
    /// The node began to serve.
    NodeStarted {
        /// Its version.
        version: String,
    },
    /// The node ends on request.
    NodeStopping,
    /// A watcher declared a process.
    Declared,
    /// A watcher that was away is back.
    Returned,
    /// A watcher is not heard of; its process may well live.
    Unreachable,
    /// A watcher is known to be dead. Written no more: [`Happening::LostAfter`] says it.
    Lost,
    /// A process and its journal were removed.
    Removed,
    /// The journal cannot be written.
    JournalFailing {
        /// Why.
        why: String,
    },
    /// The journal is written again.
    JournalRecovered,
    /// A watcher is known to be dead: nobody knows what its process wrote behind this record.
    LostAfter {
        /// The last record of it in the journal; 0: none.
        seq: u64,
    },
    /// What a watcher had left on disk while no zerovisor was there is in the journal now.
    TookIn {
        /// Bytes of output.
        bytes: u64,
        /// Records, facts among them.
        records: u64,
    },
    /// Something that a watcher left on disk is left where it is.
    SpoolLeft {
        /// Where, and why.
        why: String,
    },
    /// The start found that something of the journal is not intact.
    JournalDamaged {
        /// What.
        what: String,
    },
}

/// Everything about one process.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Detail {
    /// Its row.
    pub row: ProcessRow,
    /// What its watcher declared.
    pub spec: Spec,
    /// When it was first declared.
    pub created_at: Timestamp,
    /// The watcher's pid on its host.
    pub watcher_pid: i32,
    /// The report of the last run that ended.
    pub report: Option<ExitReport>,
    /// Why the last run did not begin.
    pub spawn_failure: Option<SpawnFailure>,
    /// Gaps in its stream: those recorded, what retention removed, and what a lost watcher had not handed over.
    pub gaps: u32,
    /// First record still in the journal; 0 when it is empty.
    pub journal_first_seq: u64,
    /// Last record in the journal; 0 when it is empty.
    pub journal_last_seq: u64,
    /// Its size on disk in bytes.
    pub journal_bytes: u64,
    /// The latest facts, oldest first, at most [`FACTS_SHOWN`].
    pub facts: Vec<(Timestamp, Fact)>,
    /// On which rung of the cgroup ladder it stands, and why on no better one.
    pub placement: Placement,
    /// The latest sample of the present run.
    pub sample: Option<Sample>,
    /// The latest gaps, in the order of the stream: what retention removed, at most [`GAPS_SHOWN`] of those recorded, and what a lost
    /// watcher had not handed over.
    pub latest_gaps: Vec<Gap>,
    /// Of a process whose watcher is lost the last record in the journal: nobody knows what it wrote behind that.
    pub unknown_after: Option<u64>,
    /// Why nothing of its journal is acknowledged now, or what of it was not intact at the start.
    pub journal_trouble: Option<String>,
}

/// A node, and what it and its machine use.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct NodeRow {
    /// Its name.
    pub name: NodeName,
    /// Its version.
    pub version: String,
    /// How long it has served.
    pub uptime: Duration,
    /// Processes it knows.
    pub processes: u64,
    /// Of these, the live ones.
    pub live: u64,
    /// CPU of all its live processes together, in percent of one core.
    pub cpu_percent: f64,
    /// Memory of all of them, in bytes.
    pub memory_bytes: u64,
    /// Processors of its machine.
    pub machine_cpus: u32,
    /// CPU the whole machine uses, in percent of one core; none until it was looked at twice.
    pub machine_cpu_percent: Option<f64>,
    /// Memory of the machine that is not available, in bytes.
    pub machine_memory_used_bytes: Option<u64>,
    /// Memory of the machine, in bytes.
    pub machine_memory_bytes: Option<u64>,
    /// Pressure on the machine.
    pub pressure: Pressure,
}

/// How many of its latest facts a [`Detail`] carries.
pub const FACTS_SHOWN: usize = 50;

/// How many of its latest recorded gaps a [`Story`] keeps and a [`Detail`] carries.
pub const GAPS_SHOWN: usize = 10;

/// Which nodes an answer comes from.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Nodes {
    /// Those that were asked.
    pub asked: Vec<NodeName>,
    /// Those that answered.
    pub answered: Vec<NodeName>,
    /// Those that did not, with the reason.
    pub missing: BTreeMap<NodeName, String>,
}

impl Nodes {
    /// The answer of one node alone.
    pub fn only(node: NodeName) -> Nodes {
        Nodes { asked: vec![node.clone()], answered: vec![node], missing: BTreeMap::new() }
    }

    /// Whether a node that was asked did not answer.
    pub fn is_partial(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Joins the answers of two sets of nodes: who answered in either has answered.
    pub fn merge(&mut self, other: Nodes) {
        let join = |into: &mut Vec<NodeName>, from: Vec<NodeName>| {
            into.extend(from);
            into.sort();
            into.dedup();
        };
        join(&mut self.asked, other.asked);
        join(&mut self.answered, other.answered);
        self.missing.extend(other.missing);
        let answered = &self.answered;
        self.missing.retain(|node, _| !answered.contains(node));
    }
}

/// Joins the rows of several nodes: of a process that two nodes know, the one who heard of it last speaks.
pub fn merge_rows(answers: impl IntoIterator<Item = Vec<ProcessRow>>) -> Vec<ProcessRow> {
    let mut by_id: BTreeMap<Id, ProcessRow> = BTreeMap::new();
    for row in answers.into_iter().flatten() {
        let silence = |row: &ProcessRow| row.silent.map_or(0, micros);
        match by_id.get(&row.id) {
            Some(known) if silence(known) <= silence(&row) => {}
            Some(_) | None => {
                by_id.insert(row.id, row);
            }
        }
    }
    let mut rows: Vec<ProcessRow> = by_id.into_values().collect();
    rows.sort_by(|a, b| (&a.node, &a.name, a.started_at, a.id).cmp(&(&b.node, &b.name, b.started_at, b.id)));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeName {
        name.parse().unwrap()
    }

    fn row(id: u8, on: &str, silent_s: u64) -> ProcessRow {
        ProcessRow {
            id: Id::from_random([id; 16]),
            name: "p".parse().unwrap(),
            node: node(on),
            state: State::Running,
            pid: None,
            run: 1,
            started_at: None,
            ended_at: None,
            uptime: None,
            cpu_percent: None,
            memory_bytes: None,
            memory_peak_bytes: None,
            restarts: 0,
            exit: None,
            command: vec![],
            labels: Labels::default(),
            rung: None,
            journal_bytes: 0,
            silent: Some(Duration::from_secs(silent_s)),
        }
    }

    #[test]
    fn of_two_reports_the_fresher_one_speaks() {
        let rows = merge_rows([vec![row(1, "a", 9), row(2, "a", 0)], vec![row(1, "b", 1)]]);
        let told: Vec<_> = rows.iter().map(|r| (r.id.bytes()[0], r.node.as_str())).collect();
        assert_eq!(told, [(2, "a"), (1, "b")]);
    }

    #[test]
    fn a_node_that_answered_anywhere_is_not_missing() {
        let mut nodes =
            Nodes { asked: vec![node("a")], answered: vec![], missing: [(node("a"), "late".into())].into() };
        assert!(nodes.is_partial());
        nodes.merge(Nodes::only(node("a")));
        assert!(!nodes.is_partial());
    }

    #[test]
    fn a_story_follows_the_facts() {
        let mut story = Story::default();
        story.tell(Timestamp(5), &Fact::Started { run: 2, pid: 77 });
        story.tell(Timestamp(6), &Fact::Steady { run: 2 });
        assert_eq!((story.state, story.pid, story.run), (Some(State::Running), Some(77), 2));
        story.tell(Timestamp(7), &Fact::Exited);
        assert_eq!((story.state, story.changed_at), (Some(State::Exited), Timestamp(7)));
    }
}
