//! What the verbs that do something share: one request a name, what became of each, the worst as exit status.

use std::time::{Duration, Instant};

use serde::Serialize;
use zerovisor_core::address::Selection;
use zerovisor_core::fact::State;
use zerovisor_core::id::Id;
use zerovisor_core::name::Label;
use zerovisor_core::units::Span;
use zerovisor_core::view::Nodes;
use zerovisor_core::wire::{Answer, Ask, Deed, Failure, Outcome, Until};

use super::{Asker, backoff};
use crate::ctl::cli::{Format, Targets};
use crate::ctl::client::{Client, Reply};
use crate::ctl::error::{CtlError, failure_status, status};
use crate::ctl::reading::UNKNOWN_MAX;
use crate::ctl::{json, out};

/// What became of one process, or of a name that means none.
#[derive(Debug)]
pub struct Fate {
    /// As it is called: its name, or what was asked for.
    pub name: String,
    /// Its id, if it is there.
    pub id: Option<Id>,
    /// The labels it was meant by, where nobody carries them.
    pub labels: Vec<Label>,
    /// What became of it.
    pub outcome: Result<Outcome, Failure>,
    /// The state it reached and the status of its last run, where that was waited for.
    pub reached: Option<(State, Option<u8>)>,
}

/// A verb in the forms its messages need.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// `cannot STOP x`
    pub to_do: &'static str,
    /// `x STOPPED`
    pub done: &'static str,
    /// `x HAD ENDED ALREADY`
    pub already: &'static str,
}

impl Fate {
    /// Whether nothing was done, and may be asked for again.
    pub fn is_busy(&self) -> bool {
        matches!(self.outcome, Ok(Outcome::Busy(_)))
    }

    fn failed(select: &Selection, failure: Failure) -> Fate {
        Fate { name: called(select), id: None, labels: select.labels.clone(), outcome: Err(failure), reached: None }
    }

    fn status(&self) -> u8 {
        match &self.outcome {
            Ok(Outcome::Done | Outcome::Already) => 0,
            Ok(Outcome::Denied(_) | Outcome::Busy(_)) => status::ERROR,
            Ok(Outcome::NotRunning(_)) | Err(Failure::NotRunning(_)) => status::NOT_RUNNING,
            Err(failure) => failure_status(failure),
        }
    }

    /// Why it was not done.
    fn why(&self) -> Option<String> {
        match &self.outcome {
            Err(Failure::Unknown(_)) if !self.labels.is_empty() => Some(nobody(&self.labels)),
            Ok(Outcome::Done | Outcome::Already) => None,
            Ok(Outcome::Denied(why) | Outcome::NotRunning(why) | Outcome::Busy(why)) => Some(why.clone()),
            Err(failure) => Some(failure.to_string()),
        }
    }

    fn outcome_name(&self) -> &'static str {
        match &self.outcome {
            Ok(Outcome::Done) => "done",
            Ok(Outcome::Already) => "already",
            Ok(Outcome::Denied(_)) => "denied",
            Ok(Outcome::Busy(_)) => "busy",
            Err(Failure::Unknown(_)) => "unknown",
            Err(Failure::Ambiguous(..)) => "ambiguous",
            Ok(Outcome::NotRunning(_)) | Err(Failure::NotRunning(_)) => "not_running",
            Err(Failure::TimedOut(_)) => "timed_out",
            Err(Failure::TooMany(_) | Failure::Other(_)) => "failed",
        }
    }

    fn line(&self, words: Words) -> String {
        let word = if self.outcome == Ok(Outcome::Already) { words.already } else { words.done };
        let status = self.reached.and_then(|(_, status)| status);
        let how = status.map_or_else(String::new, |status| format!(" (exit status {status})"));
        zerovisor_core::escape::escaped(&format!("{} {word}{how}", self.name)) + "\n"
    }
}

#[derive(Serialize)]
struct FateJson<'a> {
    name: &'a str,
    id: Option<String>,
    outcome: &'static str,
    why: Option<String>,
    state: Option<State>,
    status: Option<u8>,
}

impl<'a> FateJson<'a> {
    fn of(fate: &'a Fate) -> FateJson<'a> {
        FateJson {
            name: &fate.name,
            id: fate.id.map(|id| id.to_string()),
            outcome: fate.outcome_name(),
            why: fate.why(),
            state: fate.reached.map(|(state, _)| state),
            status: fate.reached.and_then(|(_, status)| status),
        }
    }
}

/// That nobody carries labels, as every verb says it.
pub fn nobody(labels: &[Label]) -> String {
    let each: Vec<String> = labels.iter().map(|label| format!("-l {}={}", label.key, label.value)).collect();
    format!("no process carries {}: zvctl ps -a -o wide shows the labels of all", each.join(" "))
}

/// What a selection was called.
fn called(select: &Selection) -> String {
    let labels = select.labels.iter().map(|label| format!("{}={}", label.key, label.value));
    select.addresses.iter().map(ToString::to_string).chain(labels).collect::<Vec<_>>().join(",")
}

/// One selection a name and one for the labels.
///
/// # Errors
/// Nothing was meant at all.
pub fn selections(targets: &Targets) -> Result<Vec<Selection>, CtlError> {
    let each = targets.each();
    if each.is_empty() {
        return Err(CtlError::Usage("which process? give a NAME, or -l KEY=VALUE for all with a label".into()));
    }
    Ok(each)
}

/// What is not running is a failure of its own, whoever found it out.
fn settled(outcome: Outcome) -> Result<Outcome, Failure> {
    match outcome {
        Outcome::NotRunning(why) => Err(Failure::NotRunning(why)),
        Outcome::Done | Outcome::Already | Outcome::Denied(_) | Outcome::Busy(_) => Ok(outcome),
    }
}

/// What became of those of one selection.
pub fn gather_one(select: &Selection, reply: Result<Reply, Failure>) -> (Vec<Fate>, Nodes) {
    let reply = match reply {
        Ok(reply) => reply,
        Err(failure) => return (vec![Fate::failed(select, failure)], Nodes::default()),
    };
    let mut fates = Vec::new();
    for (answer, _) in reply.parts {
        match answer {
            Answer::Done { id, name, outcome } => {
                fates.push(Fate {
                    name: name.to_string(),
                    id: Some(id),
                    labels: vec![],
                    outcome: settled(outcome),
                    reached: None,
                });
            }
            Answer::Reached { id, name, state, status } => {
                let (outcome, reached) = (Ok(Outcome::Done), Some((state, status)));
                fates.push(Fate { name: name.to_string(), id: Some(id), labels: vec![], outcome, reached });
            }
            Answer::Here { .. }
            | Answer::Rows
            | Answer::Detail
            | Answer::Sources
            | Answer::Log { .. }
            | Answer::Missing { .. }
            | Answer::Gap { .. }
            | Answer::Events
            | Answer::View(_)
            | Answer::Screen { .. }
            | Answer::NodeRows
            | Answer::End(_)
            | Answer::Failed(_) => {}
        }
    }
    if fates.is_empty() && !reply.nodes.is_partial() {
        fates.push(Fate::failed(select, Failure::Unknown(called(select))));
    }
    (fates, reply.nodes)
}

/// A link, once it is clear that something is meant.
///
/// # Errors
/// There is none, or nothing was meant.
pub async fn linked(asker: &Asker, targets: &Targets) -> Result<Client, CtlError> {
    selections(targets)?;
    asker.client().await
}

/// Does something to each of those meant.
///
/// # Errors
/// The link is lost, or nothing was meant.
pub async fn perform(client: &mut Client, targets: &Targets, deed: &Deed) -> Result<(Vec<Fate>, Nodes), CtlError> {
    let selections = selections(targets)?;
    let asks = selections.iter().map(|select| Ask::Do { select: select.clone(), deed: deed.clone() }).collect();
    let limit = Some(client.timeout());
    let replies = client.answers(asks, limit).await?;
    Ok(gather(&selections, replies))
}

/// Waits for each of them, over restarts of the zerovisor too: the same is asked again, for the time that is left.
///
/// # Errors
/// The zerovisor is there and refuses, or does not answer.
pub async fn await_state(
    asker: &Asker,
    client: &mut Client,
    selections: &[Selection],
    until: Until,
) -> Result<(Vec<Fate>, Nodes), CtlError> {
    let (begun, limit) = (Instant::now(), asker.limit);
    let left = || limit.map(|limit| limit.saturating_sub(begun.elapsed()).max(Duration::from_millis(1)));
    let (mut waits, mut lost, mut told) = (backoff(), None::<Instant>, false);
    let (mut fates, nodes) = loop {
        let asks = selections.iter().map(|select| Ask::Wait { select: select.clone(), until }).collect();
        let error = match client.answers(asks, left()).await {
            Ok(replies) => {
                let gathered = gather(selections, replies);
                let unknown = |fate: &Fate| matches!(fate.outcome, Err(Failure::Unknown(_)));
                // Watchers come back by themselves; until then a zerovisor without its journal does not know them.
                if lost.is_some_and(|at| at.elapsed() < UNKNOWN_MAX) && gathered.0.iter().any(unknown) {
                    tokio::time::sleep(waits.next()).await;
                    continue;
                }
                break gathered;
            }
            Err(error @ CtlError::LinkLost { .. }) => error,
            Err(error) => return Err(error),
        };
        if !told {
            out::note(&format!("{error}: trying again until it is back"));
        }
        told = true;
        let relinked = asker.relink(&mut waits);
        *client = match left() {
            None => relinked.await?,
            Some(left) => tokio::time::timeout(left, relinked).await.map_err(|_| error)??,
        };
        lost = Some(Instant::now());
    };
    for fate in &mut fates {
        if let Err(Failure::TimedOut(ms)) = fate.outcome {
            let what = match until {
                Until::Running => "does not run",
                Until::Ended => "has not ended",
            };
            let why = format!("it {what} after {}", Span(Duration::from_millis(ms)));
            fate.outcome = Err(Failure::Other(why));
        }
    }
    Ok((fates, nodes))
}

fn gather(selections: &[Selection], replies: Vec<Result<Reply, Failure>>) -> (Vec<Fate>, Nodes) {
    let (mut all, mut nodes) = (Vec::new(), Nodes::default());
    for (select, reply) in selections.iter().zip(replies) {
        let (fates, answered) = gather_one(select, reply);
        all.extend(fates);
        nodes.merge(answered);
    }
    (all, nodes)
}

/// Tells what became of each: nothing of a single success, a line each of several, a line on standard error of each failure.
///
/// # Errors
/// The worst of them, or a partial answer.
pub fn tell(asker: &Asker, fates: &[Fate], nodes: &Nodes, words: Words) -> Result<(), CtlError> {
    let objects = || fates.iter().map(FateJson::of);
    match asker.format {
        Some(Format::Json) => out::print_line(json::answer("results", &objects().collect::<Vec<_>>(), nodes))?,
        Some(Format::Jsonl) => out::print(objects().map(|fate| json::line(&fate) + "\n").collect::<String>())?,
        None | Some(Format::Table | Format::Wide) => tell_people(fates, words)?,
    }
    let worst = fates.iter().map(Fate::status).max().unwrap_or(0);
    if worst > 0 { Err(CtlError::Silent(worst)) } else { super::finish(nodes) }
}

fn tell_people(fates: &[Fate], words: Words) -> Result<(), CtlError> {
    for fate in fates {
        match fate.why() {
            // Of no process there is nothing to add to "no process 'x'".
            Some(why) if fate.status() == status::NO_SUCH => out::note(&why),
            Some(why) => out::note(&format!("cannot {} {}: {why}", words.to_do, fate.name)),
            None if fates.len() > 1 => out::print(fate.line(words))?,
            None => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(parts: Vec<Answer>) -> Result<Reply, Failure> {
        let parts = parts.into_iter().map(|answer| (answer, bytes::Bytes::new())).collect();
        Ok(Reply { parts, nodes: Nodes::only("n1".parse().unwrap()) })
    }

    #[test]
    fn each_name_has_its_own_fate_and_the_worst_counts() {
        let targets =
            Targets { names: vec!["a".parse().unwrap(), "b".parse().unwrap()], labels: vec!["k=v".parse().unwrap()] };
        let done =
            |name: &str, outcome| Answer::Done { id: Id::from_random([1; 16]), name: name.parse().unwrap(), outcome };
        let replies = vec![
            reply(vec![done("a", Outcome::Already)]),
            Err(Failure::NotRunning("it has ended".into())),
            reply(vec![done("c", Outcome::Done), done("d", Outcome::Denied("no".into()))]),
        ];
        let (fates, nodes) = gather(&selections(&targets).unwrap(), replies);
        let told: Vec<_> = fates.iter().map(|f| (f.name.as_str(), f.outcome_name(), f.status())).collect();
        assert_eq!(told, [("a", "already", 0), ("b", "not_running", 3), ("c", "done", 0), ("d", "denied", 1)]);
        assert!(!nodes.is_partial());
    }

    #[test]
    fn labels_that_nobody_carries_are_no_such_process() {
        let targets = Targets { names: vec![], labels: vec!["k=v".parse().unwrap()] };
        let (fates, _) = gather(&selections(&targets).unwrap(), vec![reply(vec![])]);
        assert_eq!((fates[0].status(), fates[0].name.as_str()), (4, "k=v"));
        assert!(fates[0].why().is_some_and(|why| why.starts_with("no process carries -l k=v: ")));
        assert_eq!(selections(&Targets::default()).unwrap_err().status(), 2);
    }
}
