//! What only an attached client says.

use std::time::Duration;

use bytes::Bytes;
use zerovisor_core::size::Size;
use zerovisor_core::wire::{ToNode, ToPeer, decode_header};

use super::Client;
use crate::ctl::error::CtlError;

impl Client {
    /// Types.
    ///
    /// # Errors
    /// The link is lost.
    pub async fn typed(&mut self, request: u64, keys: Bytes) -> Result<(), CtlError> {
        self.send(&ToNode::Typed { request }, Some(keys)).await
    }

    /// Our terminal has this size now.
    ///
    /// # Errors
    /// The link is lost.
    pub async fn resized(&mut self, request: u64, size: Size) -> Result<(), CtlError> {
        self.send(&ToNode::Resized { request, size }, None).await
    }

    /// Nothing more of this answer is wanted.
    ///
    /// # Errors
    /// The link is lost.
    pub async fn cancel(&mut self, request: u64) -> Result<(), CtlError> {
        self.send(&ToNode::Cancel { request }, None).await
    }

    /// Says goodbye and waits, for so long at most, until everything said before has been heard: the end of a process takes with it what
    /// is still queued.
    pub async fn goodbye(mut self, within: Duration) {
        let heard = async {
            self.send(&ToNode::Goodbye, None).await?;
            while let Ok(frames) = self.link.rx.recv().await {
                if matches!(decode_header(&frames.header), Ok(ToPeer::Farewell)) {
                    break;
                }
            }
            Ok::<(), CtlError>(())
        };
        // Whoever does not answer has lost the link, which ends the view just as well.
        let _ = tokio::time::timeout(within, heard).await;
    }
}
