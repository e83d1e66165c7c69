//! What a watcher says on its link; without one it is said to nobody.

use std::time::{Duration, Instant};

use bytes::Bytes;
use zerovisor_core::stats::Sample;
use zerovisor_core::window::Window;
use zerovisor_core::wire::{Outcome, ToNode, ViewerNews};

use super::lost::Lost;
use super::{Stage, Uplink};
use crate::net::LinkError;

/// How long a goodbye may go unanswered.
const FAREWELL_WITHIN: Duration = Duration::from_secs(1);

impl Uplink {
    /// Sends what the window lets go.
    pub(in crate::watcher) async fn send_records(&mut self, window: &mut Window) {
        let Stage::Linked(linked) = &mut self.stage else { return };
        if let Err(lost) = linked.send_records(window).await {
            self.lose(&lost, window);
        }
    }

    /// Sends a sample, if there is a zerovisor to send it to; else it is of no interest any more.
    pub(in crate::watcher) async fn send_sample(&mut self, sample: Sample, window: &mut Window) {
        let Stage::Linked(linked) = &mut self.stage else { return };
        if linked.farewell_by.is_none()
            && let Err(lost) = linked.send(&ToNode::Sampled(Box::new(sample)), None).await
        {
            self.lose(&lost, window);
        }
    }

    /// Answers an order. A zerovisor that is gone by now asks again, or not.
    pub(in crate::watcher) async fn obeyed(&mut self, order: u64, outcome: Outcome, window: &mut Window) {
        let Stage::Linked(linked) = &mut self.stage else { return };
        if let Err(lost) = linked.send(&ToNode::Obeyed { order, outcome }, None).await {
            self.lose(&lost, window);
        }
    }

    /// Tells a viewer something. One whose link has gone is gone with it. False: too much is on its way already, and this is not; the link
    /// is none the worse for that.
    pub(in crate::watcher) async fn tell_viewer(
        &mut self,
        viewer: u64,
        news: ViewerNews,
        payload: Option<Bytes>,
        window: &mut Window,
    ) -> bool {
        let Stage::Linked(linked) = &mut self.stage else { return true };
        if payload.is_some() && linked.is_busy() {
            return false;
        }
        match linked.send(&ToNode::ToViewer { viewer, news }, payload).await {
            Ok(()) => true,
            Err(Lost::Link(LinkError::Stalled { .. } | LinkError::TooLarge { .. })) => false,
            Err(lost) => {
                self.lose(&lost, window);
                true
            }
        }
    }

    /// Says that nothing follows. False if there is nobody to say it to, or it was said already.
    pub(in crate::watcher) async fn goodbye(&mut self, window: &mut Window) -> bool {
        let Stage::Linked(linked) = &mut self.stage else { return false };
        if linked.farewell_by.is_some() {
            return false;
        }
        linked.farewell_by = Some(Instant::now() + FAREWELL_WITHIN);
        match linked.send(&ToNode::Goodbye, None).await {
            Ok(()) => true,
            Err(lost) => {
                self.lose(&lost, window);
                false
            }
        }
    }
}
