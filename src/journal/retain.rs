//! Retention of one log: whole segments, the oldest first.

use std::io;

use super::error::JournalError;
use super::log::{Dropped, Retained, SegmentLog};
use super::shared::SegmentInfo;

impl SegmentLog {
    /// Removes the oldest segments while the log is above its size, or they are past its age; the
    /// newest one stays whatever its age. `now_us` is the wall clock, µs since 1970.
    pub fn retain(&mut self, now_us: u64) -> Retained {
        let mut done = Retained::default();
        while let Some(oldest) = self.expired(now_us) {
            match self.remove(oldest) {
                Ok(dropped) => done.dropped.push(dropped),
                Err(error) => {
                    done.failed = Some(error);
                    break;
                }
            }
        }
        done
    }

    /// Removes the oldest segment whatever its size and age, for a limit over several logs. None if there is only the
    /// newest, which stays.
    ///
    /// # Errors
    /// It cannot be removed; it stays listed.
    pub fn drop_oldest(&mut self) -> Result<Option<Dropped>, JournalError> {
        let oldest = {
            let segments = self.shared.segments();
            segments.first().copied().filter(|_| segments.len() > 1)
        };
        oldest.map(|oldest| self.remove(oldest)).transpose()
    }

    fn remove(&mut self, oldest: SegmentInfo) -> Result<Dropped, JournalError> {
        // Readers hear of it first: one that finds the file missing must find it unlisted.
        self.shared.segments().remove(0);
        let path = self.shared.segment_path(oldest.first_seq);
        if let Err(e) = std::fs::remove_file(&path)
            && e.kind() != io::ErrorKind::NotFound
        {
            self.shared.segments().insert(0, oldest);
            return Err(JournalError::io("remove", &path, e));
        }
        // One that stays behind is removed by the next open.
        let _ = std::fs::remove_file(self.shared.index_path(oldest.first_seq));
        Ok(Dropped {
            first_seq: oldest.first_seq,
            last_seq: oldest.last_seq,
            bytes: oldest.end,
            first_at_us: oldest.first_at_us,
            last_at_us: oldest.last_at_us,
        })
    }

    /// The oldest segment, if it is to go.
    fn expired(&self, now_us: u64) -> Option<SegmentInfo> {
        let segments = self.shared.segments();
        let oldest = *segments.first().filter(|_| segments.len() > 1)?;
        let bytes: u64 = segments.iter().map(|s| s.end).sum();
        let too_large = self.retain_bytes.is_some_and(|max| bytes > max);
        let too_old = self.retain_age_us.is_some_and(|max| oldest.last_at_us.saturating_add(max) < now_us);
        (too_large || too_old).then_some(oldest)
    }
}
