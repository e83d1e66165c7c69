//! What a session waits for, and until when.

use std::time::Instant;

use bytes::Bytes;
use tokio::io::unix::AsyncFd;
use zerovisor_core::record::Kind;

use super::Session;
use crate::watcher::console::{Tee, Typed};
use crate::watcher::front::inside::Front;
use crate::watcher::model::Model;
use crate::watcher::uplink::Arrival;

/// What happened.
pub(super) enum Event {
    /// A child has ended.
    Children,
    /// The guard has something to say.
    Control,
    /// An output can be read.
    Output(Kind),
    /// Input can be written.
    Input,
    /// The console sent something; none: its end.
    Typed(Option<Bytes>),
    /// The console took some of the copy.
    Teed,
    /// The user's own terminal takes something; true: types something, or is gone.
    Front(bool),
    /// The screen has caught up.
    Screen,
    /// Members of the run's cgroup have ended.
    Members,
    /// From the zerovisor.
    Uplink(Arrival),
    /// A job for the disk is done.
    Spool,
    /// A deadline has passed.
    Timer,
}

impl Session {
    /// Waits. Every branch is cancel-safe, as each says itself: what is not taken stays where it is.
    pub(super) async fn next(&mut self) -> Event {
        // A dead guard's socket stays readable for ever.
        let (may_read, deadline, guard_died) = (self.room() > 0, self.deadline(), self.guard_died);
        if let Some(at) = deadline
            && self.alarm.set(at).is_err()
        {
            return Event::Timer;
        }
        let room = self.process.input().map(|input| input.has_room());
        // A pipe's bytes wait for the first run, or the next; a user's keys do not: they may be those that leave.
        let (may_forward, may_type) = (room == Some(true), room != Some(false));
        let Session { process, uplink, children, control, typed, tee, viewers, alarm, spooling, .. } = self;
        tokio::select! {
            biased;
            Some(()) = children.recv() => Event::Children,
            () = readable(control), if !guard_died => Event::Control,
            arrival = uplink.wait() => Event::Uplink(arrival),
            () = alarm.rung(), if deadline.is_some() => Event::Timer,
            () = process.input_ready() => Event::Input,
            reads = fronted(viewers.front.as_ref(), may_type) => Event::Front(reads),
            () = process.screen_back() => Event::Screen,
            () = screen_fades(viewers.fading.as_ref()) => Event::Screen,
            () = teed(tee.as_ref()) => Event::Teed,
            () = process.members_changed() => Event::Members,
            () = spooling.back() => Event::Spool,
            chunk = next_typed(typed.as_mut()), if may_forward => Event::Typed(chunk),
            kind = process.output_ready(), if may_read => Event::Output(kind),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        // While a console has not taken all, that is what is waited for: patience that has passed would be waited for without end.
        let (teed, front_by) = (self.tee.as_ref().is_none_or(Tee::is_empty), self.front_by());
        let leaves_at = self.leaves_at().filter(|_| teed && front_by.is_none());
        let frame_at = self.viewers.front.as_ref().and_then(Front::deadline);
        [
            frame_at,
            front_by,
            self.process.deadline(self.hold()),
            self.uplink.deadline(),
            self.spool_deadline(),
            leaves_at,
            self.abandoned_at(),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

/// Cancel-safe: it takes nothing.
async fn readable(control: &AsyncFd<std::os::fd::OwnedFd>) {
    if let Ok(mut guard) = control.readable().await {
        guard.retain_ready();
    }
}

/// Cancel-safe, as [`Tee::moved`] is.
async fn teed(tee: Option<&Tee>) {
    match tee {
        Some(tee) => tee.moved().await,
        None => std::future::pending().await,
    }
}

/// Cancel-safe, as [`Model::back`] is.
async fn screen_fades(fading: Option<&Model>) {
    match fading {
        Some(model) => model.back().await,
        None => std::future::pending().await,
    }
}

/// Cancel-safe, as [`Front::ready`] is.
async fn fronted(front: Option<&Front>, may_type: bool) -> bool {
    match front {
        Some(front) => front.ready(may_type).await,
        None => std::future::pending().await,
    }
}

/// Cancel-safe, as [`Typed::next`] is.
async fn next_typed(typed: Option<&mut Typed>) -> Option<Bytes> {
    match typed {
        Some(typed) if !typed.has_ended() => typed.next().await,
        Some(_) | None => std::future::pending().await,
    }
}
