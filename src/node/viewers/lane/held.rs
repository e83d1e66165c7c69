//! Records of a lane that wait, and what became of those that do not any more.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// What a record costs beside its payload, in bytes: its place in the lane, and headers in a buffer that its payload keeps alive.
pub(super) const RECORD_BYTES: usize = 128;
/// Records that wait are sent on together, in so many bytes and records at most; a single one is never copied.
const JOINED_BYTES: usize = 64 << 10;
pub(super) const JOINED_RECORDS: usize = 64;

/// Records in order.
#[derive(Debug, Default)]
pub(super) struct Held {
    records: VecDeque<(u64, Bytes)>,
    cost_bytes: usize,
    left: u64,
    skipped_bytes: u64,
}

impl Held {
    /// The next record.
    pub(super) fn push(&mut self, seq: u64, payload: Bytes) {
        self.cost_bytes += payload.len() + RECORD_BYTES;
        self.records.push_back((seq, payload));
    }

    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// What those that wait cost, in bytes.
    pub(super) fn cost_bytes(&self) -> usize {
        self.cost_bytes
    }

    /// The newest record that does not wait any more, sent or not.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// A record that is not sent. `count`: as the client was too slow for it.
    pub(super) fn pass_over(&mut self, seq: u64, bytes: usize, count: bool) {
        self.left = self.left.max(seq);
        if count {
            self.skipped_bytes = self.skipped_bytes.saturating_add(bytes as u64);
        }
    }

    /// Passes over those that wait, up to a record.
    pub(super) fn skip_to(&mut self, seq: u64, count: bool) {
        while self.records.front().is_some_and(|(held, _)| *held <= seq)
            && let Some((held, payload)) = self.pop()
        {
            self.pass_over(held, payload.len(), count);
        }
    }

    /// Passes over all that wait.
    pub(super) fn skip(&mut self, count: bool) {
        self.skip_to(u64::MAX, count);
    }

    /// Bytes counted as not sent since this was last asked.
    pub(super) fn take_skipped_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.skipped_bytes)
    }

    /// How many bytes go out next.
    pub(super) fn next_bytes(&self) -> usize {
        self.joined().1
    }

    /// What goes out next: one record, or several small ones in one.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        let (records, bytes) = self.joined();
        if records <= 1 {
            return self.release();
        }
        let mut whole = BytesMut::with_capacity(bytes);
        for _ in 0..records {
            whole.extend(self.release());
        }
        Some(whole.freeze())
    }

    fn release(&mut self) -> Option<Bytes> {
        let (seq, payload) = self.pop()?;
        self.left = self.left.max(seq);
        Some(payload)
    }

    fn pop(&mut self) -> Option<(u64, Bytes)> {
        let (seq, payload) = self.records.pop_front()?;
        self.cost_bytes = self.cost_bytes.saturating_sub(payload.len() + RECORD_BYTES);
        Some((seq, payload))
    }

    /// How many records go out together, and their bytes.
    fn joined(&self) -> (usize, usize) {
        let (mut records, mut bytes) = (0, 0);
        for (_, payload) in self.records.iter().take(JOINED_RECORDS) {
            if records > 0 && bytes + payload.len() > JOINED_BYTES {
                break;
            }
            (records, bytes) = (records + 1, bytes + payload.len());
        }
        (records, bytes)
    }
}
