//! What only an attached client says.

use std::time::Duration;

use bytes::Bytes;
use zerovisor_core::address::Selection;
use zerovisor_core::fact::State;
use zerovisor_core::id::Id;
use zerovisor_core::size::Size;
use zerovisor_core::view::ProcessRow;
use zerovisor_core::wire::{Ask, ToNode, ToPeer, decode_header};

use super::Client;
use crate::ctl::error::CtlError;

/// How long what follows the end of a run may take to be known; the user waits for the prompt meanwhile.
const FOLLOWS_WITHIN: Duration = Duration::from_millis(500);
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

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

    /// Whether another run follows the one of this number without anybody asking, as far as that is known soon.
    pub async fn starts_again(&mut self, process: Id, run: u32) -> bool {
        let known = async {
            loop {
                if let Some(again) = self.follows(process, run).await? {
                    return Ok::<bool, CtlError>(again);
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        matches!(tokio::time::timeout(FOLLOWS_WITHIN, known).await, Ok(Ok(true)))
    }

    /// None while the row still tells of this run: what follows its end is on its way to the journal.
    async fn follows(&mut self, process: Id, run: u32) -> Result<Option<bool>, CtlError> {
        let select = Selection { addresses: vec![process.into()], labels: Vec::new() };
        let reply = self.answer(Ask::List { select, ended: true }).await?;
        let rows: Vec<ProcessRow> = self.pages(&reply)?;
        let Some(row) = rows.first() else { return Ok(Some(false)) };
        Ok(match row.state {
            State::Backoff => Some(true),
            State::Starting | State::Running | State::Stopping => (row.run > run).then_some(true),
            State::Waiting | State::Stopped | State::Exited | State::Fatal | State::Lost | State::Unreachable => {
                Some(false)
            }
        })
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
