//! `zvctl why`: from what is known about a process, the sentence a person would say.

use std::time::Duration;

use zerovisor_core::exit::{Exit, ExitReport};
use zerovisor_core::fact::{Cause, Fact, Gap, GapReason, State, unknown_after};
use zerovisor_core::restart::RestartPolicy;
use zerovisor_core::units::{Bytes, Span, Timestamp};
use zerovisor_core::view::Detail;

use super::page::gap_text;
use super::verbs::start::zvwatch_line;
use super::when::rfc3339;

/// A kill that comes this much before the grace was over by the clock of the facts came because it was over.
const CLOCK_SLACK: Duration = Duration::from_millis(20);
/// A kill that follows a stop within this was part of it.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Why a process is in its state, in a sentence or two; `now` is for spans. Foreign text in it is not yet made safe.
pub fn why(detail: &Detail, now: Timestamp) -> String {
    let row = &detail.row;
    let because = match row.state {
        State::Waiting => format!("waits for a command: zvctl start {} -- COMMAND gives it one.", row.name),
        State::Starting => starting(detail, now),
        State::Running => running(detail, now),
        State::Backoff => backoff(detail, now),
        State::Stopping => stopping(detail),
        State::Stopped => stopped(detail),
        State::Exited => exited(detail),
        State::Fatal => fatal(detail),
        State::Lost => lost(detail),
        State::Unreachable => unreachable(detail),
    };
    format!("{} ({}) {because}{}{}", row.name, row.state, missing(detail), anew(detail))
}

fn ago(at: Timestamp, now: Timestamp) -> String {
    format!("{} ago", Span(Duration::from_secs(now.since(at).as_secs().max(1))))
}

fn pid(detail: &Detail) -> String {
    detail.row.pid.map_or_else(String::new, |pid| format!(", pid {pid}"))
}

/// The latest fact that says something, with its time.
fn latest<T>(detail: &Detail, pick: impl Fn(&Fact) -> Option<T>) -> Option<(Timestamp, T)> {
    detail.facts.iter().rev().find_map(|(at, fact)| pick(fact).map(|found| (*at, found)))
}

fn starting(detail: &Detail, now: Timestamp) -> String {
    let begun = detail.row.started_at.map_or_else(String::new, |at| format!(" {}", ago(at, now)));
    let steady = Span(detail.spec.start_secs);
    format!("began run {}{begun}{}; it counts as running once it has lived for {steady}.", detail.row.run, pid(detail))
}

fn running(detail: &Detail, now: Timestamp) -> String {
    let row = &detail.row;
    let since = row.started_at.map_or_else(String::new, |at| format!(" since {} ({})", rfc3339(at), ago(at, now)));
    let before = match (&detail.report, row.restarts) {
        (Some(report), 1..) => format!(" Restarted {}; the run before: {}.", times(row.restarts), end(detail, report)),
        (Some(_) | None, _) => String::new(),
    };
    format!("runs{since}: run {}{}.{before}", row.run, pid(detail))
}

fn times(count: u32) -> String {
    match count {
        1 => "once".into(),
        2 => "twice".into(),
        _ => format!("{count} times"),
    }
}

/// How a run ended, as the end of a sentence; and whom the kernel killed in it before.
fn end(detail: &Detail, report: &ExitReport) -> String {
    let kills = report.usage.oom_kills.filter(|kills| *kills > 0 && report.oom != Some(true));
    let others = kills.map(|kills| format!("; the kernel had killed {kills} of its processes for want of memory"));
    how(detail, report) + &others.unwrap_or_default()
}

fn how(detail: &Detail, report: &ExitReport) -> String {
    let lived = Span(report.runtime);
    let at = rfc3339(report.ended_at);
    match (report.oom, report.exit) {
        (Some(true), _) => {
            let limit = detail.spec.limits.memory_bytes.map_or_else(
                || "without a limit of its own: the machine, or a group it is in, had no more".to_owned(),
                |bytes| format!("its limit is {} (--memory)", Bytes(bytes)),
            );
            let peak = Bytes(report.peak_bytes());
            format!("the kernel killed it for want of memory at {at}, after {lived}; peak {peak}, {limit}")
        }
        (_, Exit::Code(0)) => format!("it ended by itself with exit code 0 at {at}, after {lived}"),
        (_, Exit::Code(code)) => format!("it failed with exit code {code} at {at}, after {lived}"),
        (_, Exit::Signal { signal, core }) => {
            let core = if core { " and left a core dump" } else { "" };
            format!("{signal} ended it{core} at {at}, after {lived}")
        }
    }
}

fn last_end(detail: &Detail) -> String {
    match (&detail.spawn_failure, &detail.report) {
        (Some(failure), _) => format!("it could not start: {}", failure.message),
        (None, Some(report)) => end(detail, report),
        (None, None) => "how its last run ended is not known".into(),
    }
}

fn backoff(detail: &Detail, now: Timestamp) -> String {
    let planned =
        latest(
            detail,
            |fact| if let Fact::Backoff { delay, failures } = fact { Some((*delay, *failures)) } else { None },
        );
    let next = planned.map_or_else(String::new, |(at, (delay, failures))| {
        let left = at.plus(delay).since(now);
        let when = if left.is_zero() { "now".into() } else { format!("in {}", Span(left)) };
        format!(" It starts again {when}; failed runs in a row: {failures} (--restart {}).", detail.spec.restart)
    });
    format!("is between two runs: {}.{next}", last_end(detail))
}

fn cause(detail: &Detail) -> Option<(Timestamp, Cause)> {
    let run = detail.row.run;
    latest(detail, |fact| {
        if let Fact::Stopping { run: stopped, cause } = fact
            && *stopped == run
        {
            Some(cause.clone())
        } else {
            None
        }
    })
}

fn killed_at(detail: &Detail) -> Option<Timestamp> {
    let run = detail.row.run;
    let killed = latest(detail, |fact| matches!(fact, Fact::Killed { run: killed } if *killed == run).then_some(()));
    killed.map(|(at, ())| at)
}

/// Whether there is still a watcher that could begin another run: a foreground one ends with its process, so does one whose first run
/// never began or whose guard died.
fn can_start(detail: &Detail) -> bool {
    let guarded = !matches!(cause(detail), Some((_, Cause::GuardDied)));
    detail.spec.detached && detail.row.started_at.is_some() && guarded
}

/// The command that makes a process anew which has no watcher any more. It ends what is said, so that it can be copied.
fn anew(detail: &Detail) -> String {
    let command = || zvwatch_line(&detail.spec);
    match (detail.row.state, &detail.spawn_failure) {
        _ if can_start(detail) => String::new(),
        (State::Stopped, _) => format!(" To run it anew, type: {}", command()),
        (State::Fatal, Some(_)) => format!(" Set that right, then type: {}", command()),
        (
            State::Waiting
            | State::Starting
            | State::Running
            | State::Backoff
            | State::Stopping
            | State::Exited
            | State::Fatal
            | State::Lost
            | State::Unreachable,
            _,
        ) => String::new(),
    }
}

fn stopping(detail: &Detail) -> String {
    let spec = &detail.spec;
    match cause(detail) {
        Some(_) if killed_at(detail).is_some() => "is being killed; its processes have not all ended yet.".into(),
        Some((at, cause)) => format!(
            "is being stopped {cause} since {}: it got {} and is killed when it has not ended within {}.",
            rfc3339(at),
            spec.stop_signal,
            Span(spec.stop_timeout)
        ),
        None => "ended its main process, and what that left running is being ended.".into(),
    }
}

fn stopped(detail: &Detail) -> String {
    let how = detail.report.as_ref().map_or_else(String::new, |report| format!(": {}", end(detail, report)));
    let grace = detail.spec.stop_timeout;
    let (by, killed) = match (cause(detail), killed_at(detail)) {
        (Some((at, cause)), None) => (format!("was stopped {cause} at {}", rfc3339(at)), String::new()),
        (Some((at, cause)), Some(killed)) if killed.since(at) + CLOCK_SLACK >= grace => {
            let killed = format!("; it did not end within {}, so all of it was killed", Span(grace));
            (format!("was stopped {cause} at {}", rfc3339(at)), killed)
        }
        (Some((at, cause)), Some(killed)) if killed.since(at) >= AT_ONCE => {
            let killed =
                format!("; all of it was killed {} later, without waiting {}", Span(killed.since(at)), Span(grace));
            (format!("was stopped {cause} at {}", rfc3339(at)), killed)
        }
        (Some((at, cause)), Some(_)) => (format!("was killed at once {cause} at {}", rfc3339(at)), String::new()),
        (None, None) => ("was stopped".into(), String::new()),
        (None, Some(_)) => ("was stopped".into(), "; what was left of it was killed".into()),
    };
    let again = if can_start(detail) { format!(": zvctl start {} does that", detail.row.name) } else { String::new() };
    format!("{by}{how}{killed}. It is not restarted{again}.")
}

fn exited(detail: &Detail) -> String {
    let policy = match (detail.spec.restart, detail.row.exit.and_then(|exit| exit.code)) {
        (RestartPolicy::No, _) => " It is not restarted (--restart no).".to_owned(),
        (RestartPolicy::OnFailure(_), Some(code)) if detail.spec.exit_codes.has(code) => {
            " That counts as success, so it is not restarted (--restart on-failure).".into()
        }
        (RestartPolicy::OnFailure(_) | RestartPolicy::Always, _) => String::new(),
    };
    format!("is over: {}.{policy}", last_end(detail))
}

fn fatal(detail: &Detail) -> String {
    let given_up = latest(detail, |fact| if let Fact::Fatal { why } = fact { Some(why.clone()) } else { None });
    match (&detail.spawn_failure, given_up) {
        (Some(failure), _) if can_start(detail) => {
            format!("could not start: {}. Set that right, then zvctl start {}.", failure.message, detail.row.name)
        }
        (Some(failure), _) => format!("could not start: {}.", failure.message),
        (None, Some((at, why))) => {
            format!("was given up at {}: {why}. Its last run: {}.", rfc3339(at), last_end(detail))
        }
        (None, None) => format!("was given up. Its last run: {}.", last_end(detail)),
    }
}

fn last_known(detail: &Detail) -> String {
    detail
        .facts
        .last()
        .map_or_else(String::new, |(at, fact)| format!(" The last thing known, at {}: {fact}.", rfc3339(*at)))
}

fn lost(detail: &Detail) -> String {
    let watcher = detail.watcher_pid;
    let known = last_known(detail);
    format!(
        "lost its watcher (pid {watcher}), which is gone without having handed over the rest: how its last run ended is not known. Its guard normally ends what is left of its processes.{known}"
    )
}

fn unreachable(detail: &Detail) -> String {
    let silent = detail.row.silent.map_or_else(|| "some time".into(), |span| Span(span).to_string());
    let (watcher, known) = (detail.watcher_pid, last_known(detail));
    format!(
        "has not been heard of for {silent}: its watcher (pid {watcher}) does not answer, and the process may well live.{known}"
    )
}

/// What of its output is missing; what is behind the end of the journal is said beside.
fn missing(detail: &Detail) -> String {
    let tail = detail.latest_gaps.iter().find(|gap| gap.reason == GapReason::WatcherDied);
    let latest = detail.latest_gaps.iter().rev().find(|gap| gap.reason != GapReason::WatcherDied);
    let recorded = match (detail.gaps.saturating_sub(u32::from(tail.is_some())), latest) {
        (0, _) => String::new(),
        (1, Some(gap)) => format!(" A stretch of its output is missing: {}.", gap_text(gap)),
        (many, Some(gap)) => format!(" {many} stretches of its output are missing, the last: {}.", gap_text(gap)),
        (many, None) => format!(" Stretches of its output are missing: {many}."),
    };
    let unknown = |gap: &Gap| format!(" {}.", capitalized(&unknown_after(gap.first_seq.saturating_sub(1))));
    recorded + &tail.map_or_else(String::new, unknown)
}

fn capitalized(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map_or_else(String::new, |first| first.to_uppercase().collect::<String>() + rest.as_str())
}

#[cfg(test)]
pub(super) mod tests {
    use zerovisor_core::exit::{SpawnFailure, SpawnFault, Usage};
    use zerovisor_core::signal::Signal;
    use zerovisor_core::spec::Spec;
    use zerovisor_core::view::ExitSummary;

    use zerovisor_core::stats::{Placement, Rung};

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
        says(
            &said(|d| d.facts = facts(10_000_000), State::Stopped),
            &["did not end within 10s, so all of it was killed"],
        );
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
        says(
            &said(last, State::Lost),
            &["pid 99", "gone without having handed over", "is not known", "started, pid 5"],
        );
        let silent = |d: &mut Detail| d.row.silent = Some(Duration::from_secs(12));
        says(&said(silent, State::Unreachable), &["not been heard of for 12s", "may well live"]);
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
        says(
            &said(lost(vec![gap.clone(), tail]), State::Lost),
            &["A stretch of its output is missing: 1.0", "record 7"],
        );
    }
}
