//! Where runs are put has to be known before the first hello, which declares it.

use super::Session;
use crate::watcher::guard::OWN_FAILURE;
use crate::watcher::placement::{NotPlaced, Placed};

impl Session {
    /// Takes in where runs are put; the exit status if none may begin.
    pub(super) fn place(&mut self, placed: Result<Placed, NotPlaced>) -> Option<u8> {
        match placed {
            Ok(placed) => {
                self.uplink.set_placement(placed.placement.clone());
                self.process.place(placed);
                None
            }
            Err(why) => {
                self.process.report_failed(OWN_FAILURE, &why.to_string());
                Some(OWN_FAILURE)
            }
        }
    }
}
