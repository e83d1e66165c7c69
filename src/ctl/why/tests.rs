//! What `why` says, state by state.

use zerovisor_core::exit::{SpawnFailure, SpawnFault, Usage};
use zerovisor_core::signal::Signal;
use zerovisor_core::spec::Spec;
use zerovisor_core::stats::{Placement, Rung};
use zerovisor_core::view::ExitSummary;

use super::*;
use crate::ctl::json::tests::row;

pub(in crate::ctl) fn detail(state: State) -> Detail {
    let mut row = row("web", state);
    row.started_at = Some(Timestamp(100_000_000));
    let spec = Spec {
        name_given: true,
        labels: row.labels.clone(),
        detached: true,
        ..Spec::new(row.name.clone(), row.command.clone())
    };
    Detail {
        row,
        spec,
        created_at: Timestamp(0),
        watcher_pid: 99,
        report: None,
        spawn_failure: None,
        gaps: 0,
        journal_first_seq: 1,
        journal_last_seq: 9,
        journal_bytes: 1000,
        facts: vec![],
        placement: Placement { rung: Rung::None, why: "no cgroup".into() },
        sample: None,
        latest_gaps: vec![],
        unknown_after: None,
        journal_trouble: None,
    }
}

fn ended(exit: Exit, oom: bool) -> Option<ExitReport> {
    Some(ExitReport {
        exit,
        oom: Some(oom),
        started_at: Timestamp(100_000_000),
        ended_at: Timestamp(105_000_000),
        runtime: Duration::from_secs(5),
        usage: Usage::default(),
        restarts: 0,
    })
}

fn said(change: impl FnOnce(&mut Detail), state: State) -> String {
    let mut detail = detail(state);
    change(&mut detail);
    why(&detail, Timestamp(110_000_000))
}

#[track_caller]
fn says(text: &str, parts: &[&str]) {
    assert!(!text.contains('\n') && text.ends_with('.'), "{text}");
    for part in parts {
        assert!(text.contains(part), "'{part}' in: {text}");
    }
}

const STOPPING: Fact = Fact::Stopping { run: 1, cause: Cause::Operator };

#[test]
fn live_states_say_what_is_going_on() {
    says(&said(|_| {}, State::Waiting), &["waits for a command", "zvctl start web -- COMMAND"]);
    says(&said(|_| {}, State::Starting), &["began run 1 10s ago, pid 4321", "once it has lived for 1s"]);
    let restarted = |d: &mut Detail| (d.row.restarts, d.report) = (2, ended(Exit::Code(3), false));
    says(&said(restarted, State::Running), &["runs since", "Restarted twice", "failed with exit code 3"]);
    let again = |d: &mut Detail| {
        d.report = ended(Exit::Code(1), false);
        d.facts = vec![(Timestamp(105_000_000), Fact::Backoff { delay: Duration::from_secs(8), failures: 2 })];
    };
    says(&said(again, State::Backoff), &["failed with exit code 1", "starts again in 3s", "in a row: 2"]);
    says(&said(|d| d.facts = vec![(Timestamp(1), STOPPING)], State::Stopping), &["by an operator", "within 10s"]);
    let killed = |d: &mut Detail| d.facts = vec![(Timestamp(1), STOPPING), (Timestamp(2), Fact::Killed { run: 1 })];
    says(&said(killed, State::Stopping), &["being killed"]);
    says(&said(|_| {}, State::Stopping), &["ended its main process"]);
}

#[test]
fn ended_states_say_how() {
    let end = |exit, oom| move |d: &mut Detail| d.report = ended(exit, oom);
    let killed = Exit::Signal { signal: Signal::KILL, core: false };
    says(&said(end(Exit::Code(0), false), State::Exited), &["ended by itself with exit code 0", "--restart no"]);
    says(&said(end(killed, false), State::Exited), &["SIGKILL ended it"]);
    says(&said(end(killed, true), State::Exited), &["killed it for want of memory"]);
    let success = |d: &mut Detail| {
        d.report = ended(Exit::Code(0), false);
        d.row.exit = Some(ExitSummary { code: Some(0), signal: None, oom: None });
        d.spec.restart = RestartPolicy::OnFailure(3);
    };
    says(&said(success, State::Exited), &["counts as success"]);
    let stopped = |d: &mut Detail| {
        d.facts = vec![(Timestamp(1), STOPPING)];
        d.report = ended(Exit::Signal { signal: Signal::TERM, core: false }, false);
    };
    says(&said(stopped, State::Stopped), &["was stopped by an operator", "SIGTERM ended it", "zvctl start web"]);
    let facts = |killed: u64| vec![(Timestamp(1), STOPPING), (Timestamp(1 + killed), Fact::Killed { run: 1 })];
    says(&said(|d| d.facts = facts(10_000_000), State::Stopped), &["did not end within 10s, so all of it was killed"]);
    says(&said(|d| d.facts = facts(3_000_000), State::Stopped), &["was killed 3s later, without waiting 10s"]);
    says(&said(|d| d.facts = facts(200), State::Stopped), &["was killed at once by an operator"]);
    let earlier = |d: &mut Detail| (d.row.run, d.facts) = (2, vec![(Timestamp(1), STOPPING)]);
    assert!(!said(earlier, State::Stopped).contains("operator"), "that was another run");
}

#[test]
fn what_failed_is_told_with_its_reason() {
    let failure = SpawnFailure { fault: SpawnFault::NotFound, message: "cannot run 'x': no such file".into() };
    let exec = |d: &mut Detail| d.spawn_failure = Some(failure);
    says(&said(exec, State::Fatal), &["could not start: cannot run 'x'", "zvctl start web"]);
    let gave_up = |d: &mut Detail| {
        d.report = ended(Exit::Code(1), false);
        d.facts = vec![(Timestamp(1), Fact::Fatal { why: "failed 3 times in a row".into() })];
    };
    says(&said(gave_up, State::Fatal), &["given up at", "failed 3 times", "exit code 1"]);
    let last = |d: &mut Detail| d.facts = vec![(Timestamp(1), Fact::Started { run: 1, pid: 5 })];
    says(&said(last, State::Lost), &["pid 99", "gone without having handed over", "is not known", "started, pid 5"]);
    let silent = |d: &mut Detail| d.row.silent = Some(Duration::from_secs(12));
    says(&said(silent, State::Unreachable), &["not been heard of for 12s", "may well live"]);
    let full = |detail: &mut Detail| {
        silent(detail);
        detail.journal_trouble = Some("cannot write /j: No space left on device".into());
    };
    says(
        &said(full, State::Unreachable),
        &["not been linked for 12s", "No space left on device", "keeps what it writes"],
    );
}

#[test]
fn what_has_no_watcher_is_made_anew_by_zvwatch() {
    let anew = "type: zvwatch -d --name web -l app=web --cwd / -- sleep 1d";
    let failure = || SpawnFailure { fault: SpawnFault::NotFound, message: "cannot run 'x'".into() };
    let foreground = said(|d| d.spec.detached = false, State::Stopped);
    let guard = Fact::Stopping { run: 1, cause: Cause::GuardDied };
    let unguarded = said(|d| d.facts = vec![(Timestamp(1), guard)], State::Stopped);
    let never = said(|d| (d.row.started_at, d.spawn_failure) = (None, Some(failure())), State::Fatal);
    for text in [foreground, unguarded, never] {
        assert!(text.ends_with(anew) && !text.contains("zvctl start"), "{text}");
    }
}

#[test]
fn gaps_are_told_in_every_state() {
    let gap = Gap {
        first_seq: 1,
        bytes: Some(1 << 20),
        lines: Some(20),
        since: Timestamp(1),
        until: Timestamp(2),
        reason: GapReason::Offline,
    };
    let with = |gaps| {
        let gap = gap.clone();
        move |d: &mut Detail| (d.gaps, d.latest_gaps) = (gaps, vec![gap])
    };
    says(&said(with(1), State::Running), &["A stretch of its output is missing: 1.0 MiB of output (20 lines)"]);
    says(&said(with(3), State::Exited), &["3 stretches of its output are missing"]);
    says(&said(|d| d.gaps = 2, State::Exited), &["missing: 2"]);
    let tail = Gap { first_seq: 8, reason: GapReason::WatcherDied, ..gap.clone() };
    let lost = |gaps: Vec<Gap>| {
        move |d: &mut Detail| {
            (d.gaps, d.latest_gaps, d.unknown_after) = (u32::try_from(gaps.len()).unwrap(), gaps, Some(7));
        }
    };
    let only = said(lost(vec![tail.clone()]), State::Lost);
    says(&only, &["What it wrote after record 7 is unknown."]);
    assert!(!only.contains("stretch"), "{only}");
    says(&said(lost(vec![gap.clone(), tail]), State::Lost), &["A stretch of its output is missing: 1.0", "record 7"]);
}
