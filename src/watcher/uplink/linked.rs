//! A link that a zerovisor has welcomed: what is sent on it, and whether the other side lives.

use std::time::{Duration, Instant};

use bytes::Bytes;
use zerovisor_core::window::{Body, Window};
use zerovisor_core::wire::{self, ToNode};

use super::lost::Lost;
use crate::net::{Frames, HEARTBEAT, HEARTBEATS_MISSED, Heartbeat, Link, UNSENT_MAX_BYTES};
use crate::watcher::clock;

/// How long a zerovisor may take to answer the hello; the child's start waits for the first answer.
pub(super) const WELCOME_WITHIN: Duration = Duration::from_secs(2);
/// So many heartbeats after the last word of a zerovisor it is asked for one; meanwhile ours are enough.
const PING_AFTER: u32 = 3;
/// A zerovisor that is silent for so many has missed three since it was asked.
pub(super) const SILENT_AFTER: u32 = PING_AFTER + HEARTBEATS_MISSED;
/// Of what a zerovisor has not taken yet, in bytes, past which no more pictures are sent: half of what a link holds, so that records and all
/// else still have room.
const PICTURES_UNSENT_BYTES: u64 = UNSENT_MAX_BYTES / 2;

/// A link that is made and welcomed.
pub(super) struct Linked {
    pub(super) link: Link,
    pub(super) tick_at: Instant,
    pub(super) beat: Heartbeat,
    pub(super) pings: u64,
    pub(super) linked_at: Instant,
    pub(super) sent_at: Instant,
    pub(super) farewell_by: Option<Instant>,
}

impl Linked {
    /// Of a link that was just welcomed.
    pub(super) fn new(link: Link, now: Instant) -> Linked {
        let (tick_at, beat) = (clock::next_whole(now, HEARTBEAT), Heartbeat::new(now));
        Linked { link, tick_at, beat, pings: 0, linked_at: now, sent_at: now, farewell_by: None }
    }

    /// Sends a message.
    pub(super) async fn send(&mut self, message: &ToNode, payload: Option<Bytes>) -> Result<(), Lost> {
        self.sent_at = Instant::now();
        send(&mut self.link, message, payload).await
    }

    /// Whether more pictures for viewers are to wait.
    pub(super) fn is_busy(&self) -> bool {
        self.link.tx.unsent_bytes() > PICTURES_UNSENT_BYTES
    }

    /// Sends what the window lets go.
    pub(super) async fn send_records(&mut self, window: &mut Window) -> Result<(), Lost> {
        while let Some((head, body)) = window.next_to_send() {
            let payload = match body {
                Body::Output(bytes) => bytes,
                Body::Fact(fact) => wire::encode_fact(&fact)?,
            };
            self.send(&ToNode::Record(head), Some(payload)).await?;
        }
        Ok(())
    }

    /// A heartbeat: counts silence, and pings unless something was sent just now and something heard not long ago.
    pub(super) async fn tick(&mut self, now: Instant) -> Result<(), Lost> {
        self.tick_at = clock::next_whole(now, HEARTBEAT);
        if !self.beat.is_alive_within(now, SILENT_AFTER) {
            return Err(Lost::Silent);
        }
        let unsaid = now.saturating_duration_since(self.sent_at);
        let unheard = now.saturating_duration_since(self.beat.heard_at());
        if unsaid > HEARTBEAT / 2 || unheard > HEARTBEAT * PING_AFTER - HEARTBEAT / 2 {
            self.pings += 1;
            self.send(&ToNode::Ping { nonce: self.pings }, None).await?;
        }
        Ok(())
    }
}

/// Sends a message on a link.
pub(super) async fn send(link: &mut Link, message: &ToNode, payload: Option<Bytes>) -> Result<(), Lost> {
    Ok(link.tx.send(Frames { header: wire::encode_header(message)?, payload }).await?)
}
