//! Who views a terminal, who may type into it, and whose size it has.
//!
//! Owned by the watcher. A viewer that is read-only never types and never counts for the size. Attaching with a size, typing and resizing make
//! a viewer the active one. When it leaves, the size goes by whoever of the rest was active last; with nobody left it stays.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::size::Size;

/// Viewers of one terminal; one more is refused, since each costs the watcher a copy of the stream.
pub const VIEWERS_MAX: usize = 256;

/// `--size-policy latest|largest|smallest|fixed`: whose size a terminal has. Over the wire by position: append only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum SizePolicy {
    /// That of the viewer that was active last.
    #[default]
    Latest,
    /// The most columns and the most rows any viewer has.
    Largest,
    /// What fits on the screen of every viewer.
    Smallest,
    /// The one it was given; viewers do not change it.
    Fixed,
}

/// A text that is no size policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a size policy: write latest, largest, smallest or fixed")]
pub struct NotASizePolicy(String);

impl FromStr for SizePolicy {
    type Err = NotASizePolicy;

    fn from_str(text: &str) -> Result<SizePolicy, NotASizePolicy> {
        match text {
            "latest" => Ok(SizePolicy::Latest),
            "largest" => Ok(SizePolicy::Largest),
            "smallest" => Ok(SizePolicy::Smallest),
            "fixed" => Ok(SizePolicy::Fixed),
            _ => Err(NotASizePolicy(text.chars().take(40).collect())),
        }
    }
}

impl fmt::Display for SizePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            SizePolicy::Latest => "latest",
            SizePolicy::Largest => "largest",
            SizePolicy::Smallest => "smallest",
            SizePolicy::Fixed => "fixed",
        })
    }
}

/// What a viewer cannot have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// [`VIEWERS_MAX`] are there.
    #[error(
        "the terminal has {VIEWERS_MAX} viewers, which is the most: detach one, or attach with --steal to detach all"
    )]
    Full,
    /// The number is taken.
    #[error("viewer {0} is attached already: detach it first")]
    Attached(u64),
    /// It never attached, or was detached.
    #[error("viewer {0} is not attached to this terminal: attach again")]
    NotAttached(u64),
    /// It only watches.
    #[error("viewer {0} is read-only and cannot type: attach without -r to type")]
    ReadOnly(u64),
}

/// How a viewer wants to attach.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Attach {
    /// The size of its screen, if it has one.
    pub size: Option<Size>,
    /// It only watches.
    pub read_only: bool,
    /// All others are detached.
    pub steal: bool,
}

/// What an attach changed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Attached {
    /// The terminal's new size, if it changed.
    pub size: Option<Size>,
    /// Who was detached, in ascending order.
    pub stolen: Vec<u64>,
}

/// One viewer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Viewer {
    /// The size of its screen, if it has one; another than the terminal's means that it gets rendered frames.
    pub size: Option<Size>,
    /// It only watches.
    pub read_only: bool,
    /// When it was active last, in activities of all viewers; 0: never.
    active_at: u64,
}

/// The viewers of one terminal.
#[derive(Clone, Debug)]
pub struct Viewers {
    policy: SizePolicy,
    size: Size,
    viewers: BTreeMap<u64, Viewer>,
    activities: u64,
}

impl Viewers {
    /// Nobody views a terminal of this size.
    pub fn new(policy: SizePolicy, size: Size) -> Viewers {
        Viewers { policy, size, viewers: BTreeMap::new(), activities: 0 }
    }

    /// The terminal's size.
    pub fn size(&self) -> Size {
        self.size
    }

    /// All viewers by number.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Viewer)> {
        self.viewers.iter().map(|(id, viewer)| (*id, viewer))
    }

    /// The viewer of that number.
    pub fn get(&self, id: u64) -> Option<&Viewer> {
        self.viewers.get(&id)
    }

    /// The viewer that was active last of those that are there and may type.
    pub fn active(&self) -> Option<u64> {
        let active = self.viewers.iter().filter(|(_, viewer)| viewer.active_at > 0);
        active.max_by_key(|(_, viewer)| viewer.active_at).map(|(id, _)| *id)
    }

    /// A viewer comes.
    ///
    /// # Errors
    /// [`Denied::Attached`], [`Denied::Full`]; nothing has changed then.
    pub fn attach(&mut self, id: u64, attach: Attach) -> Result<Attached, Denied> {
        if self.viewers.contains_key(&id) {
            return Err(Denied::Attached(id));
        }
        if self.viewers.len() >= VIEWERS_MAX && !attach.steal {
            return Err(Denied::Full);
        }
        let stolen = if attach.steal { std::mem::take(&mut self.viewers).into_keys().collect() } else { Vec::new() };
        let Attach { size, read_only, steal: _ } = attach;
        let active_at = if size.is_some() && !read_only { self.next_activity() } else { 0 };
        self.viewers.insert(id, Viewer { size, read_only, active_at });
        Ok(Attached { size: self.settle(), stolen })
    }

    /// A viewer leaves, or is gone. The terminal's new size, if it changed; nothing happens when it was not there.
    pub fn detach(&mut self, id: u64) -> Option<Size> {
        self.viewers.remove(&id)?;
        self.settle()
    }

    /// A viewer's screen has another size. The terminal's new size, if it changed.
    ///
    /// # Errors
    /// [`Denied::NotAttached`].
    pub fn resize(&mut self, id: u64, size: Size) -> Result<Option<Size>, Denied> {
        let now = self.next_activity();
        let viewer = self.viewers.get_mut(&id).ok_or(Denied::NotAttached(id))?;
        viewer.size = Some(size);
        if !viewer.read_only {
            viewer.active_at = now;
        }
        Ok(self.settle())
    }

    /// A viewer types: its input may go to the program. The terminal's new size, if it changed.
    ///
    /// # Errors
    /// [`Denied::NotAttached`], [`Denied::ReadOnly`]; the input is to be dropped.
    pub fn typed(&mut self, id: u64) -> Result<Option<Size>, Denied> {
        let now = self.next_activity();
        let viewer = self.viewers.get_mut(&id).ok_or(Denied::NotAttached(id))?;
        if viewer.read_only {
            return Err(Denied::ReadOnly(id));
        }
        viewer.active_at = now;
        Ok(self.settle())
    }

    /// Another policy from now on. The terminal's new size, if it changed.
    pub fn set_policy(&mut self, policy: SizePolicy) -> Option<Size> {
        self.policy = policy;
        self.settle()
    }

    /// An activity's number. One each nanosecond would last for 584 years.
    fn next_activity(&mut self) -> u64 {
        self.activities = self.activities.saturating_add(1);
        self.activities
    }

    /// Takes the size the policy asks for; that size, if it is another one.
    fn settle(&mut self) -> Option<Size> {
        let wanted = self.wanted()?;
        (wanted != std::mem::replace(&mut self.size, wanted)).then_some(wanted)
    }

    /// The size by the policy; none where nobody counts.
    fn wanted(&self) -> Option<Size> {
        let counted = self.viewers.values().filter(|viewer| !viewer.read_only);
        let sizes = counted.clone().filter_map(|viewer| viewer.size);
        match self.policy {
            SizePolicy::Latest => {
                counted.filter(|viewer| viewer.size.is_some()).max_by_key(|viewer| viewer.active_at)?.size
            }
            SizePolicy::Largest => sizes.reduce(Size::covering),
            SizePolicy::Smallest => sizes.reduce(Size::common),
            SizePolicy::Fixed => None,
        }
    }
}

#[cfg(test)]
mod tests;
