//! Reading a stretch of a segment to find out what is good in it.

use std::fs::File;
use std::io;

use super::error::Damage;
use super::index::Point;
use super::segment::SEGMENT_HEADER_BYTES;
use super::walk::{Item, Walk};

/// What reading a stretch of a segment found.
pub(super) struct Scan {
    /// Index points, those given and those found.
    pub(super) points: Vec<Point>,
    /// The first record, if it stands exactly where the scan began.
    pub(super) first_seq: Option<u64>,
    pub(super) first_at_us: Option<u64>,
    pub(super) last: Option<(u64, u64)>,
    /// File offset behind the last good record.
    pub(super) good_end: u64,
    pub(super) damaged: Vec<Damage>,
    /// What stands between the last good record and the limit.
    pub(super) tail: Option<Damage>,
}

/// Reads records in `from..limit`, adding to `points` one each `every` bytes.
pub(super) fn scan(
    file: &File,
    segment: u64,
    salt: u32,
    from: u64,
    limit: u64,
    every: u64,
    points: Vec<Point>,
) -> io::Result<Scan> {
    let mut walk = Walk::new(file, salt, from, limit);
    let mut scan = Scan {
        points,
        first_seq: None,
        first_at_us: None,
        last: None,
        good_end: from,
        damaged: Vec::new(),
        tail: None,
    };
    loop {
        match walk.next()? {
            Item::Record(record, at) => scan.good(record.meta.seq, record.meta.at_us, at, from, every, walk.pos()),
            Item::Damage { start, end } => scan.bad(segment, start, end),
            Item::End => return Ok(scan),
        }
    }
}

impl Scan {
    /// File offset at which the first damage begins.
    pub(super) fn first_damage(&self) -> Option<u64> {
        self.damaged.first().or(self.tail.as_ref()).map(|damage| damage.start)
    }

    fn good(&mut self, seq: u64, at_us: u64, at: u64, from: u64, every: u64, end: u64) {
        if at == from {
            self.first_seq = Some(seq);
        }
        self.first_at_us.get_or_insert(at_us);
        if let Some(tail) = self.tail.take() {
            self.damaged.push(Damage { next_seq: Some(seq), ..tail });
        }
        let last_point = self.points.last().map_or(SEGMENT_HEADER_BYTES, |p| p.offset);
        if at >= last_point + every {
            self.points.push(Point { seq, at_us, offset: at });
        }
        // Neither steps back in what our writer wrote; in what it did not, nothing is ever to be appended below either.
        let (last_seq, last_at_us) = self.last.unwrap_or_default();
        self.last = Some((last_seq.max(seq), last_at_us.max(at_us)));
        self.good_end = end;
    }

    fn bad(&mut self, segment: u64, start: u64, end: u64) {
        let after_seq = self.last.map(|(seq, _)| seq);
        let begun = self.tail.map_or(start, |tail| tail.start);
        self.tail = Some(Damage { segment, start: begun, end, after_seq, next_seq: None });
    }
}
