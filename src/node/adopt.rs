//! What watchers have left on disk while no zerovisor was there is taken into the journal, by itself and once.
//!
//! ```text
//!  PLACE/ID  --Left::take--> play --inherit--> hub         as a hello, without a link
//!   (spool)                   |  \--append----> scribe     what the journal has not; holes become gaps
//!                             |<---receipt------/
//!                             \--remove--> nothing is left
//! ```
//! A spool is taken only by who gets its lock: a watcher that lives holds it, so it always wins and brings the rest over its own link.
//!
//! Places are looked at every few seconds, and whenever a watcher is found dead: its process is not LOST before that. An event (inotify) would not spare that: most places do not exist, so what had to be watched
//! is the directory around them, then each spool in them; the kernel tells that a lock's file was closed just before it gives the lock
//! back; and some file systems tell nothing. A look at a place that is not there is one system call.

mod places;
mod play;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use zerovisor_core::id::Id;
use zerovisor_core::units::Timestamp;
use zerovisor_core::view::Happening;

use super::scribe::now_us;
use super::session::Node;
use crate::net::Endpoint;
use crate::spool::{Left, Place};
use play::{PlayError, blocking, play};

/// How often it is looked whether a watcher has left something.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Who takes spools in.
pub(super) struct Adoption {
    node: Node,
    places: Vec<Place>,
    /// What was told of a spool or place that cannot be taken in, so that it is told once. As many as there are such.
    told: HashMap<PathBuf, String>,
}

impl Adoption {
    /// For a node that serves these endpoints, and looks below these directories too.
    pub(super) fn new(node: Node, endpoints: &[Endpoint], dirs: &[PathBuf]) -> Adoption {
        Adoption { node, places: places::of(endpoints, dirs), told: HashMap::new() }
    }

    /// Runs as long as the node. One spool at a time: links go on beside it, and what is in flight stays bounded.
    pub(super) async fn run(mut self) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Both are cancel-safe: a tick stays in its interval, a death noted.
            tokio::select! {
                _ = look.tick() => {}
                () = self.node.hub.death() => {}
            }
            let Some(()) = self.node.hub.look_begins().await else { return };
            match self.look().await {
                Ok(waiting) => self.node.hub.look_ended(waiting),
                Err(PlayError::Ending) => return,
                // Whoever died is called LOST once that takes too long.
                Err(error) => tracing::error!(%error, "what watchers left on disk is looked for again"),
            }
        }
    }

    /// Takes in what is there; returns whose could not be taken in yet. An error when the node ends, or the list of what is there cannot be
    /// made.
    async fn look(&mut self) -> Result<HashSet<Id>, PlayError> {
        let (mut met, mut waiting, places) = (Vec::new(), HashSet::new(), self.places.clone());
        let list = move || places.into_iter().map(|place| (Left::ids(&place), place)).collect::<Vec<_>>();
        for (ids, place) in blocking(list).await? {
            match ids {
                Ok(ids) => {
                    for id in ids {
                        met.push(place.dir().join(id.to_string()));
                        if !self.take(&place, id).await? {
                            waiting.insert(id);
                        }
                    }
                }
                Err(error) => {
                    met.push(place.dir().to_path_buf());
                    self.tell(place.dir().to_path_buf(), error.to_string());
                }
            }
        }
        // What is gone may come again and be told again.
        self.told.retain(|path, _| met.contains(path));
        Ok(waiting)
    }

    /// False: the next look may do better.
    async fn take(&mut self, place: &Place, id: Id) -> Result<bool, PlayError> {
        let of = place.clone();
        let taken = match blocking(move || Left::take(&of, id)).await {
            Ok(Ok(None)) => return Ok(true),
            Ok(Ok(Some(left))) => play(&self.node, id, left).await,
            Ok(Err(error)) => Err(error.into()),
            Err(error) => Err(error),
        };
        match taken {
            Ok(()) => Ok(true),
            Err(PlayError::Ending) => Err(PlayError::Ending),
            Err(error @ PlayError::LetGo(_)) => {
                tracing::debug!(%error, "a spool is looked at again");
                Ok(false)
            }
            Err(error @ PlayError::Journal { .. }) => {
                self.tell(place.dir().join(id.to_string()), error.to_string());
                Ok(false)
            }
            Err(
                error @ (PlayError::Spool(_)
                | PlayError::Panicked
                | PlayError::Foreign { .. }
                | PlayError::Declaration { .. }
                | PlayError::Refused { .. }),
            ) => {
                self.tell(place.dir().join(id.to_string()), error.to_string());
                Ok(true)
            }
        }
    }

    /// Once, until it is another reason.
    fn tell(&mut self, path: PathBuf, why: String) {
        if self.told.get(&path) == Some(&why) {
            return;
        }
        tracing::warn!(path = %path.display(), %why, "what a watcher left on disk is left there");
        let what = Happening::SpoolLeft { why: format!("{}: {why}", path.display()) };
        self.node.scribe.note(Timestamp(now_us()), None, what);
        self.told.insert(path, why);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    /// Tells of a test that cannot be made here, past the capture.
    pub(in crate::node) fn skipped(what: &str, why: &str) {
        let _ = std::io::stderr().write_all(format!("SKIPPED {what}: {why}\n").as_bytes());
    }
}
