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
//! Places are looked at every few seconds. An event (inotify) would not spare that: most places do not exist, so what had to be watched
//! is the directory around them, then each spool in them; the kernel tells that a lock's file was closed just before it gives the lock
//! back; and some file systems tell nothing. A look at a place that is not there is one system call.

pub(super) mod places;
mod play;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use zerovisor_core::id::Id;
use zerovisor_core::units::Timestamp;
use zerovisor_core::view::Happening;

use super::scribe::now_us;
use super::session::Node;
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
    /// For a node that takes in what is in these places.
    pub(super) fn new(node: Node, places: Vec<Place>) -> Adoption {
        Adoption { node, places, told: HashMap::new() }
    }

    /// Runs as long as the node. One spool at a time: links go on beside it, and what is in flight stays bounded.
    pub(super) async fn run(mut self) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            if self.look().await.is_err() {
                return;
            }
        }
    }

    /// Takes in what is there. An error only when the node ends.
    async fn look(&mut self) -> Result<(), PlayError> {
        let (mut met, places) = (Vec::new(), self.places.clone());
        let list = move || places.into_iter().map(|place| (Left::ids(&place), place)).collect::<Vec<_>>();
        for (ids, place) in blocking(list).await? {
            match ids {
                Ok(ids) => {
                    for id in ids {
                        met.push(place.dir().join(id.to_string()));
                        self.take(&place, id).await?;
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
        Ok(())
    }

    async fn take(&mut self, place: &Place, id: Id) -> Result<(), PlayError> {
        let of = place.clone();
        let taken = match blocking(move || Left::take(&of, id)).await? {
            Ok(None) => return Ok(()),
            Ok(Some(left)) => play(&self.node, id, left).await,
            Err(error) => Err(error.into()),
        };
        match taken {
            Ok(()) => {}
            Err(PlayError::Ending) => return Err(PlayError::Ending),
            Err(error @ PlayError::LetGo(_)) => tracing::debug!(%error, "a spool is looked at again"),
            Err(
                error @ (PlayError::Spool(_)
                | PlayError::Foreign { .. }
                | PlayError::Declaration { .. }
                | PlayError::Refused { .. }),
            ) => {
                self.node.hub.not_inherited(id);
                self.tell(place.dir().join(id.to_string()), error.to_string());
            }
            Err(error @ PlayError::Journal { .. }) => self.tell(place.dir().join(id.to_string()), error.to_string()),
        }
        Ok(())
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
