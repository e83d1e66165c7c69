//! Reading a log backwards, a block of some hundred KiB at a time: how "the last 100 lines" are
//! found by reading little more than them.

use std::fs::File;
use std::io;
use std::sync::Arc;

use super::error::JournalError;
use super::index::{self, Point};
use super::scan::scan;
use super::segment::{Record, SEGMENT_HEADER_BYTES};
use super::shared::{SegmentInfo, Shared};
use super::walk::{Item, Walk};

/// A stretch of whole records between two index points.
#[derive(Debug, Clone)]
pub struct Block {
    /// Its first record.
    pub first_seq: u64,
    /// Time of its first record, µs since 1970.
    pub at_us: u64,
    file: Arc<File>,
    shared: Arc<Shared>,
    segment: u64,
    salt: u32,
    start: u64,
    end: u64,
    /// The first record of the segment behind.
    next_segment: u64,
}

impl Block {
    /// Bytes it takes on disk: what reading it reads.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.end - self.start
    }

    /// Its records, oldest first, also when retention has removed the segment meanwhile. Damage is
    /// stepped over: a [`LogReader`](super::LogReader) that comes by will name it.
    ///
    /// # Errors
    /// I/O errors.
    pub fn read(&self) -> Result<Vec<Record>, JournalError> {
        let whole = usize::try_from(self.bytes()).unwrap_or(usize::MAX);
        let mut walk = Walk::new(&self.file, self.salt, self.start, self.end).chunk(whole);
        let mut records = Vec::new();
        loop {
            let item = walk.next();
            match item.map_err(|e| JournalError::io("read", &self.shared.segment_path(self.segment), e))? {
                // A crash inside a mend leaves those behind here once more: see mend.rs.
                Item::Record(record, _) if record.meta.seq >= self.next_segment => return Ok(records),
                Item::Record(record, _) => records.push(record),
                Item::Damage { .. } => {}
                Item::End => return Ok(records),
            }
        }
    }
}

/// Blocks from the end of a log, as it was when this was made, towards its beginning. Ends where
/// the log does, or where retention has come to meanwhile.
#[derive(Debug)]
pub struct BlocksBack {
    shared: Arc<Shared>,
    /// Segments still to come, oldest first.
    segments: Vec<SegmentInfo>,
    /// First record of the segment seen last: none before it reaches that far.
    next_segment: u64,
    /// Blocks of the present segment still to come, oldest first.
    blocks: Vec<Block>,
}

impl BlocksBack {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let segments = shared.segments().clone();
        Self { shared, segments, next_segment: u64::MAX, blocks: Vec::new() }
    }

    /// The blocks of a segment, of which one without room for a record has none; none of them at all if its file is gone.
    fn blocks_of(&self, info: &SegmentInfo) -> Result<Option<Vec<Block>>, JournalError> {
        let path = self.shared.segment_path(info.first_seq);
        let file = match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => Arc::new(file.map_err(|e| JournalError::io("open", &path, e))?),
        };
        if info.end <= SEGMENT_HEADER_BYTES {
            return Ok(Some(Vec::new()));
        }
        let points = self.points_of(&file, info).map_err(|e| JournalError::io("read", &path, e))?;
        let ends = points.iter().skip(1).map(|p| p.offset).chain([info.end]);
        let block = |(point, end): (&Point, u64)| Block {
            first_seq: point.seq,
            at_us: point.at_us,
            file: Arc::clone(&file),
            shared: Arc::clone(&self.shared),
            segment: info.first_seq,
            salt: info.salt,
            start: point.offset,
            end,
            next_segment: self.next_segment,
        };
        Ok(Some(points.iter().zip(ends).map(block).filter(|block| block.first_seq < self.next_segment).collect()))
    }

    /// Where the blocks of a segment begin. What its index does not cover is scanned, so that no
    /// block is ever much larger than the others.
    fn points_of(&self, file: &File, info: &SegmentInfo) -> io::Result<Vec<Point>> {
        let first = Point { seq: info.first_seq, at_us: info.first_at_us, offset: SEGMENT_HEADER_BYTES };
        let index = index::load(&self.shared.index_path(info.first_seq), info.first_seq, info.salt);
        let mut points = vec![first];
        points.extend(index.points.into_iter().filter(|p| p.offset > first.offset && p.offset < info.end));
        let from = points.last().map_or(first.offset, |p| p.offset);
        let every = self.shared.index_every;
        if info.end - from > every.saturating_mul(2) + (2 << 20) {
            points = scan(file, info.first_seq, info.salt, from, info.end, every, points)?.points;
        }
        Ok(points)
    }
}

impl Iterator for BlocksBack {
    type Item = Result<Block, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.blocks.is_empty() {
            let info = self.segments.pop()?;
            match self.blocks_of(&info) {
                // Gone: so is everything before it.
                Ok(None) => self.segments.clear(),
                Ok(Some(blocks)) => self.blocks = blocks,
                Err(e) => return Some(Err(e)),
            }
            self.next_segment = info.first_seq;
        }
        self.blocks.pop().map(Ok)
    }
}
