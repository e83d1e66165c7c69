//! From records to lines: what a program wrote in pieces is put together again, a line at a time, for each stream of its own.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use zerovisor_core::fact::Gap;
use zerovisor_core::record::{Head, Kind};
use zerovisor_core::units::Timestamp;

/// The most of one line that is held, in bytes; a longer one comes in pieces of this size.
pub const LINE_MAX_BYTES: usize = 64 << 10;

/// A line, or a piece of one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// The record its first byte came with.
    pub seq: u64,
    /// When that was.
    pub at: Timestamp,
    /// The run that wrote it.
    pub run: u32,
    /// To which stream.
    pub kind: Kind,
    /// Without its end.
    pub text: Vec<u8>,
    /// Whether it begins a line; otherwise it goes on with the one before of the same stream.
    pub begins: bool,
    /// Whether the line ends with it.
    pub ends: bool,
}

/// The unfinished lines of one process.
#[derive(Debug, Default)]
pub struct Lines {
    open: BTreeMap<Kind, Line>,
}

impl Lines {
    /// Takes a record of output and gives out the lines it completes.
    pub fn push(&mut self, head: &Head, payload: &[u8], out: &mut Vec<Line>) {
        if self.open.get(&head.kind).is_some_and(|line| line.run != head.run) {
            self.end(head.kind, out);
        }
        let mut rest = payload;
        while !rest.is_empty() {
            let line = self.open.entry(head.kind).or_insert_with(|| Line::new(head, true));
            if line.text.is_empty() {
                (line.seq, line.at) = (head.seq, head.at);
            }
            let room = LINE_MAX_BYTES - line.text.len();
            let end = memchr::memchr(b'\n', rest);
            match end.filter(|end| *end <= room) {
                Some(end) => {
                    line.text.extend_from_slice(&rest[..end]);
                    line.ends = true;
                    out.extend(self.open.remove(&head.kind));
                    rest = &rest[end + 1..];
                }
                None => {
                    let taken = room.min(rest.len());
                    line.text.extend_from_slice(&rest[..taken]);
                    if line.text.len() == LINE_MAX_BYTES {
                        out.push(std::mem::replace(line, Line::new(head, false)));
                    }
                    rest = &rest[taken..];
                }
            }
        }
    }

    /// Gives out what has been written of unfinished lines, which go on.
    pub fn flush(&mut self, out: &mut Vec<Line>) {
        for line in self.open.values_mut().filter(|line| !line.text.is_empty()) {
            let rest = Line { text: Vec::new(), begins: false, ..line.clone() };
            out.push(std::mem::replace(line, rest));
        }
    }

    /// What has been written of lines that have no end yet.
    pub fn unfinished(&self) -> impl Iterator<Item = &Line> {
        self.open.values()
    }

    /// Gives out unfinished lines as they are: nothing follows.
    pub fn finish(&mut self, out: &mut Vec<Line>) {
        for kind in [Kind::Stdout, Kind::Stderr, Kind::Terminal] {
            self.end(kind, out);
        }
    }

    fn end(&mut self, kind: Kind, out: &mut Vec<Line>) {
        out.extend(self.open.remove(&kind).filter(|line| !line.text.is_empty()));
    }
}

impl Line {
    fn new(head: &Head, begins: bool) -> Line {
        Line { seq: head.seq, at: head.at, run: head.run, kind: head.kind, text: Vec::new(), begins, ends: false }
    }
}

/// What comes from the feed of one process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Item {
    /// A record and its bytes.
    Record(Head, Bytes),
    /// Something is missing here.
    Missing(Missing),
}

/// What is missing of a source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Missing {
    /// A stretch of which more is known.
    Gap(Gap),
    /// Something else: what and why, in one line.
    Other(String),
}

#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<(Timestamp, Instant, Item)>,
    last_at: Timestamp,
    over: bool,
}

/// Joins the feeds of several processes in the order of their times. An item is held until every other feed has a later one or is
/// over, or, while following, for at most a span: who is silent must not hold the others up.
#[derive(Debug)]
pub struct Merge {
    queues: Vec<Queue>,
    hold: Option<Duration>,
}

impl Merge {
    /// Of so many feeds; without `hold` items are held for as long as it takes.
    pub fn new(feeds: usize, hold: Option<Duration>) -> Merge {
        Merge { queues: (0..feeds).map(|_| Queue::default()).collect(), hold }
    }

    /// The next item of a feed, which came at `now`.
    pub fn push(&mut self, feed: usize, item: Item, now: Instant) {
        if let Some(queue) = self.queues.get_mut(feed) {
            if let Item::Record(head, _) = &item {
                queue.last_at = head.at;
            }
            queue.items.push_back((queue.last_at, now, item));
        }
    }

    /// Nothing more comes from a feed.
    pub fn close(&mut self, feed: usize) {
        if let Some(queue) = self.queues.get_mut(feed) {
            queue.over = true;
        }
    }

    fn first(&self) -> Option<(usize, Instant)> {
        let fronts = self.queues.iter().enumerate().filter_map(|(at, queue)| Some((at, queue.items.front()?)));
        fronts.min_by_key(|(_, (at, ..))| *at).map(|(feed, (_, came, _))| (feed, *came))
    }

    fn all_known(&self) -> bool {
        self.queues.iter().all(|queue| queue.over || !queue.items.is_empty())
    }

    /// The next item in order, once it is certain or was held for long enough.
    pub fn pop(&mut self, now: Instant) -> Option<(usize, Item)> {
        let (feed, came) = self.first()?;
        let held = || self.hold.is_some_and(|hold| now.duration_since(came) >= hold);
        if self.all_known() || held() {
            self.queues[feed].items.pop_front().map(|(_, _, item)| (feed, item))
        } else {
            None
        }
    }

    /// When [`Merge::pop`] will give something though nothing more comes.
    pub fn due(&self) -> Option<Instant> {
        self.first().and_then(|(_, came)| Some(came + self.hold?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(seq: u64, run: u32, kind: Kind) -> Head {
        Head { seq, at: Timestamp(seq * 10), run, kind, offset: 0 }
    }

    fn told(lines: &[Line]) -> Vec<(String, bool)> {
        lines.iter().map(|line| (String::from_utf8_lossy(&line.text).into_owned(), line.ends)).collect()
    }

    #[test]
    fn lines_are_put_together_for_each_stream_and_run() {
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        lines.push(&head(1, 1, Kind::Stdout), b"one\ntw", &mut out);
        lines.push(&head(2, 1, Kind::Stderr), b"err\n", &mut out);
        lines.push(&head(3, 1, Kind::Stdout), b"o\n\nhalf", &mut out);
        assert_eq!(told(&out), [("one", true), ("err", true), ("two", true), ("", true)].map(|(t, e)| (t.into(), e)));
        assert_eq!((out[2].seq, out[3].seq), (1, 3), "a line has the time of its first byte");
        out.clear();
        lines.flush(&mut out);
        lines.push(&head(4, 1, Kind::Stdout), b" more\nx", &mut out);
        assert_eq!(told(&out), [("half".into(), false), (" more".into(), true)]);
        assert!(!out[1].begins);
        out.clear();
        lines.push(&head(5, 2, Kind::Stdout), b"y", &mut out);
        lines.finish(&mut out);
        assert_eq!(told(&out), [("x".into(), false), ("y".into(), false)], "a new run begins a new line");
    }

    #[test]
    fn a_line_without_end_is_bounded() {
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        lines.push(&head(1, 1, Kind::Stdout), &vec![b'x'; 3 * LINE_MAX_BYTES + 5], &mut out);
        lines.push(&head(2, 1, Kind::Stdout), b"\n", &mut out);
        assert_eq!(out.iter().map(|l| l.text.len()).collect::<Vec<_>>(), [65536, 65536, 65536, 5]);
        assert_eq!(out.iter().map(|l| (l.begins, l.ends)).filter(|x| *x == (false, false)).count(), 2);
    }

    proptest! {
        #[test]
        fn no_byte_is_lost_or_added(pieces in proptest::collection::vec("[a-c\n]{0,9}", 0..30)) {
            let (mut lines, mut out) = (Lines::default(), Vec::new());
            for (seq, piece) in pieces.iter().enumerate() {
                lines.push(&head(seq as u64, 1, Kind::Stdout), piece.as_bytes(), &mut out);
                if seq % 3 == 0 {
                    lines.flush(&mut out);
                }
            }
            lines.finish(&mut out);
            let end = |line: &Line| if line.ends { "\n" } else { "" };
            let again: String = out.iter().map(|l| String::from_utf8_lossy(&l.text).into_owned() + end(l)).collect();
            prop_assert_eq!(again, pieces.concat());
        }
    }

    fn record(at: u64) -> Item {
        Item::Record(Head { at: Timestamp(at), ..head(1, 1, Kind::Stdout) }, Bytes::new())
    }

    #[test]
    fn feeds_are_joined_in_order_of_time() {
        let (now, mut merge) = (Instant::now(), Merge::new(2, None));
        merge.push(0, record(5), now);
        merge.push(0, record(9), now);
        assert_eq!(merge.pop(now), None, "the other feed may have something earlier");
        merge.push(1, record(1), now);
        merge.push(1, record(7), now);
        merge.push(1, Item::Missing(Missing::Other("x".into())), now);
        let mut order = Vec::new();
        merge.close(0);
        merge.close(1);
        while let Some((feed, _)) = merge.pop(now) {
            order.push(feed);
        }
        assert_eq!(order, [1, 0, 1, 1, 0]);
    }

    #[test]
    fn a_silent_feed_holds_the_others_up_for_a_moment_only() {
        let (now, hold) = (Instant::now(), Duration::from_millis(100));
        let mut merge = Merge::new(2, Some(hold));
        assert_eq!(merge.due(), None);
        merge.push(0, record(5), now);
        assert_eq!((merge.pop(now), merge.due()), (None, Some(now + hold)));
        assert!(merge.pop(now + hold).is_some());
    }
}
