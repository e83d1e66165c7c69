//! Reading records one after the other out of a stretch of a segment.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use bytes::Bytes;

use super::segment::{RECORD_HEADER_BYTES, Record, RecordHeader, stored_len};

/// Bytes asked of the kernel at a time; a longer record is read whole.
pub(super) const READ_BYTES: usize = 256 << 10;

/// A page costs the kernel no more than a header does.
const LEAST_READ_BYTES: usize = 4096;

/// What stands at a position.
pub(super) enum Item {
    /// A good record and the file offset it begins at.
    Record(Record, u64),
    /// Bytes `start..end` are no record; the next good one, if any, begins at `end`.
    Damage { start: u64, end: u64 },
    /// The limit is reached.
    End,
}

/// A forward pass over bytes `pos..limit` of one segment.
pub(super) struct Walk<'f> {
    file: &'f File,
    salt: u32,
    pos: u64,
    limit: u64,
    chunk: usize,
    window: Bytes,
    window_at: u64,
}

impl<'f> Walk<'f> {
    pub(super) fn new(file: &'f File, salt: u32, pos: u64, limit: u64) -> Self {
        Self { file, salt, pos, limit, chunk: READ_BYTES, window: Bytes::new(), window_at: pos }
    }

    /// Reads `bytes` at a time instead.
    pub(super) fn chunk(mut self, bytes: usize) -> Self {
        self.chunk = bytes.max(LEAST_READ_BYTES);
        self
    }

    /// File offset of what comes next.
    pub(super) fn pos(&self) -> u64 {
        self.pos
    }

    /// Whether the next record seems to be in memory already, so that taking it reads nothing. Its
    /// length is not verified here: this is asked for every record.
    pub(super) fn next_is_loaded(&self) -> bool {
        let head = self.slice(self.pos, RECORD_HEADER_BYTES);
        head.is_some_and(|head| self.slice(self.pos, stored_len(head)).is_some())
    }

    /// The next thing; after damage or a record the walk stands behind it.
    pub(super) fn next(&mut self) -> io::Result<Item> {
        let start = self.pos;
        if start >= self.limit {
            return Ok(Item::End);
        }
        if let Some(header) = self.load_header(start)? {
            let end = start + header.total() as u64;
            if end <= self.limit && self.load(start, header.total())? {
                self.pos = end;
                return Ok(self.judge(&header, start, end));
            }
        }
        if start >= self.limit {
            // The file turned out to end here.
            return Ok(Item::End);
        }
        let end = self.find_header(start + 1)?;
        self.pos = end;
        Ok(Item::Damage { start, end })
    }

    /// Sequence number of the record at the present position, if a header stands there.
    pub(super) fn peek_seq(&mut self) -> io::Result<Option<u64>> {
        Ok(self.load_header(self.pos)?.map(|h| h.meta.seq))
    }

    fn judge(&self, header: &RecordHeader, start: u64, end: u64) -> Item {
        match self.slice(start + RECORD_HEADER_BYTES as u64, header.len) {
            Some(payload) if header.fits(payload) => {
                Item::Record(Record { meta: header.meta, payload: self.window.slice_ref(payload) }, start)
            }
            _ => Item::Damage { start, end },
        }
    }

    /// Offset of the first header at or after `at` whose record ends within the limit; the limit
    /// if there is none. One checksum of 36 bytes for each offset: some ms a MiB.
    fn find_header(&mut self, mut at: u64) -> io::Result<u64> {
        self.chunk = self.chunk.max(READ_BYTES);
        while at < self.limit {
            if let Some(header) = self.load_header(at)?
                && at + header.total() as u64 <= self.limit
            {
                return Ok(at);
            }
            at += 1;
        }
        Ok(self.limit)
    }

    fn load_header(&mut self, at: u64) -> io::Result<Option<RecordHeader>> {
        self.load(at, RECORD_HEADER_BYTES)?;
        Ok(self.header_at(at))
    }

    fn header_at(&self, at: u64) -> Option<RecordHeader> {
        let from = usize::try_from(at.checked_sub(self.window_at)?).ok()?;
        RecordHeader::decode(self.window.get(from..)?.first_chunk()?, self.salt)
    }

    fn slice(&self, at: u64, len: usize) -> Option<&[u8]> {
        let from = usize::try_from(at.checked_sub(self.window_at)?).ok()?;
        self.window.get(from..from.checked_add(len)?)
    }

    /// Brings bytes `at..at + need` into the window; false if they reach beyond the limit.
    fn load(&mut self, at: u64, need: usize) -> io::Result<bool> {
        if at + need as u64 > self.limit {
            return Ok(false);
        }
        let held = self.window_at + self.window.len() as u64;
        if at >= self.window_at && at + need as u64 <= held {
            return Ok(true);
        }
        let want = usize::try_from(self.limit - at).unwrap_or(usize::MAX).min(self.chunk.max(need));
        let mut buf = vec![0; want];
        let got = read_full(self.file, &mut buf, at)?;
        buf.truncate(got);
        self.window = Bytes::from(buf);
        self.window_at = at;
        if got < want {
            // Someone else shortened the file: it ends here for us too.
            self.limit = at + got as u64;
        }
        Ok(got >= need)
    }
}

/// Reads until `buf` is full or the file ends; the count of bytes read.
pub(super) fn read_full(file: &File, buf: &mut [u8], at: u64) -> io::Result<usize> {
    let mut got = 0;
    while got < buf.len() {
        match file.read_at(&mut buf[got..], at + got as u64) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(got)
}
