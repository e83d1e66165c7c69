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
    if let Some(trouble) = &detail.journal_trouble {
        return format!(
            "has not been linked for {silent}: its journal is in trouble ({trouble}). Its watcher (pid {watcher}) may well live, and keeps what it writes until the journal takes it.{known}"
        );
    }
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
pub(super) mod tests;
