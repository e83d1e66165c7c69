//! Where runs are put has to be known before the first hello, which declares it.

use super::Session;
use crate::watcher::guard::OWN_FAILURE;

impl Session {
    /// Takes in where runs are put, once; the exit status if none may begin.
    pub(super) async fn placed(&mut self) -> Option<u8> {
        let placing = self.placing.take()?;
        match placing.placed().await {
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
