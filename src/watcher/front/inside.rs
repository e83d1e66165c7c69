//! The watcher's end of the front: what the user types, and what the user sees.
//!
//! ```text
//!          too much unsent                 all sent               picture made
//!  LIVE -------------------> BEHIND ------------------> LOOKING --------------> LIVE
//! ```
//! BEHIND skips what the program writes, LOOKING holds it back until the picture is there: a slow terminal never slows the program, and
//! shows at the end what the program's shows. While the user's terminal has another size than the program's, pictures follow each other.
//! Without a screen (`--screen off`) there are no pictures: it is LIVE at any size, and what it skips is not made up for.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::Interest;
use tokio::net::UnixStream;
use zerovisor_core::size::Size;

use super::{BODY_MAX_BYTES, Garbled, ToFront, ToWatcher, next_frame};
use crate::tty::{LEAVE, LEAVE_IN_PLACE};

/// What the user's terminal may lag behind by, in bytes; past this it is behind, and gets a picture once it has caught up.
const LAG_BYTES: usize = 1 << 20;
/// Read from the front at most at once, in bytes.
const READ_BYTES: usize = 16 << 10;
/// Frames follow each other so soon, at most.
const FRAME_EVERY: Duration = Duration::from_millis(50);

/// How the user's terminal follows the program's.
#[derive(Debug)]
enum Course {
    Live,
    Behind,
    /// A picture was asked for; what came since.
    Looking {
        since: Vec<Bytes>,
        bytes: usize,
    },
    /// By pictures, as the sizes differ: when the next is due, if something changed since the last.
    Frames {
        due: Option<Instant>,
        last: Option<Instant>,
    },
}

/// The watcher's end.
#[derive(Debug)]
pub(in crate::watcher) struct Front {
    stream: UnixStream,
    inbox: BytesMut,
    outbox: VecDeque<Bytes>,
    unsent: usize,
    course: Course,
    size: Size,
    /// Whether there is a screen to make pictures of.
    pictures: bool,
    said: Said,
}

/// What the user has been told of the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    /// They may leave, and the program stays.
    Parted,
    /// The process has ended.
    Ended(Instant),
}

/// What the user does.
#[derive(Debug)]
pub(in crate::watcher) enum Doing {
    /// Types.
    Typed(Bytes),
    /// Has a terminal of another size.
    Resized(Size),
    /// Leaves.
    Detach,
    /// Is gone, without having left.
    Gone,
}

impl Front {
    /// Takes over the watcher's end of the socket pair; the user's terminal has this size. `pictures`: whether the program's is kept.
    pub(in crate::watcher) fn new(socket: OwnedFd, size: Size, pictures: bool) -> io::Result<Front> {
        let stream = std::os::unix::net::UnixStream::from(socket);
        stream.set_nonblocking(true)?;
        Ok(Front {
            stream: UnixStream::from_std(stream)?,
            inbox: BytesMut::new(),
            outbox: VecDeque::new(),
            unsent: 0,
            course: Course::Live,
            size,
            pictures,
            said: Said::Nothing,
        })
    }

    /// The size of the user's terminal.
    pub(in crate::watcher) fn size(&self) -> Size {
        self.size
    }

    /// Waits until something can be done: what is typed is read if it may be, what is unsent is sent. True if it can be read, which one
    /// that is gone always can: there is no more of it than the socket holds. Cancel-safe: it does nothing yet.
    pub(in crate::watcher) async fn ready(&self, may_type: bool) -> bool {
        // Urgent data, which no unix socket has, stands for the end of the other side alone.
        let reading = match self.said {
            Said::Nothing | Said::Parted => Some(if may_type { Interest::READABLE } else { Interest::PRIORITY }),
            Said::Ended(_) => None,
        };
        let writing = (!self.outbox.is_empty()).then_some(Interest::WRITABLE);
        let interest = match (reading, writing) {
            (Some(reading), Some(writing)) => reading | writing,
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => return std::future::pending().await,
        };
        // An error is told by the read.
        self.stream.ready(interest).await.is_ok_and(|ready| reading.is_some() && (may_type || ready.is_read_closed()))
    }

    /// Sends what goes, and reads what the user does, if it may be read.
    pub(in crate::watcher) fn turn(&mut self, may_read: bool) -> Vec<Doing> {
        self.flush();
        let mut doings = Vec::new();
        if may_read && self.read(&mut doings).is_err() {
            doings.push(Doing::Gone);
        }
        doings
    }

    fn read(&mut self, doings: &mut Vec<Doing>) -> Result<(), Garbled> {
        self.inbox.reserve(READ_BYTES);
        match self.stream.try_read_buf(&mut self.inbox) {
            Ok(0) => return Err(Garbled),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(_) => return Err(Garbled),
        }
        while let Some((what, body)) = next_frame(&mut self.inbox)? {
            doings.push(match ToWatcher::decode(what, body)? {
                ToWatcher::Typed(bytes) => Doing::Typed(bytes),
                ToWatcher::Resized(size) => {
                    self.size = size;
                    Doing::Resized(size)
                }
                ToWatcher::Detach => Doing::Detach,
            });
        }
        if self.inbox.is_empty() {
            self.inbox = BytesMut::new();
        }
        Ok(())
    }

    /// The program wrote this to its terminal, which has this size.
    pub(in crate::watcher) fn show(&mut self, bytes: &Bytes, terminal: Size, now: Instant) {
        if self.said != Said::Nothing {
            return;
        }
        self.follow(terminal, now);
        match &mut self.course {
            Course::Live => {
                self.push_output(bytes.clone());
                if self.unsent > LAG_BYTES {
                    self.drop_unsent();
                    self.course = Course::Behind;
                }
            }
            Course::Behind => {}
            Course::Looking { since, bytes: held } => {
                *held += bytes.len();
                if *held > LAG_BYTES {
                    // The picture that comes is old already: another follows it.
                    since.clear();
                } else {
                    since.push(bytes.clone());
                }
            }
            Course::Frames { due, last } => {
                due.get_or_insert_with(|| last.map_or(now, |last| now.max(last + FRAME_EVERY)));
            }
        }
        self.flush();
    }

    /// The program's terminal has this size now: whether it can be followed byte by byte.
    pub(in crate::watcher) fn follow(&mut self, terminal: Size, now: Instant) {
        let framed = matches!(self.course, Course::Frames { .. });
        if terminal != self.size && !framed && self.pictures {
            self.course = Course::Frames { due: Some(now), last: None };
        } else if terminal == self.size && framed {
            self.course = Course::Behind;
        }
    }

    /// When the next frame is due.
    pub(in crate::watcher) fn deadline(&self) -> Option<Instant> {
        match self.course {
            Course::Frames { due, .. } if self.outbox.is_empty() && self.said == Said::Nothing => due,
            Course::Live | Course::Behind | Course::Looking { .. } | Course::Frames { .. } => None,
        }
    }

    /// Whether a picture is to be made now; true once for each.
    pub(in crate::watcher) fn wants_picture(&mut self, now: Instant) -> bool {
        if !self.outbox.is_empty() || self.said != Said::Nothing {
            return false;
        }
        match &mut self.course {
            Course::Behind => {
                self.course = Course::Looking { since: Vec::new(), bytes: 0 };
                true
            }
            Course::Frames { due, last } if due.is_some_and(|due| now >= due) => {
                (*due, *last) = (None, Some(now));
                true
            }
            Course::Live | Course::Looking { .. } | Course::Frames { .. } => false,
        }
    }

    /// The picture that was asked for.
    pub(in crate::watcher) fn on_picture(&mut self, picture: Bytes) {
        if self.said != Said::Nothing {
            return;
        }
        self.push(&ToFront::Picture);
        self.push_output(picture);
        if let Course::Looking { since, bytes } = &mut self.course {
            let (since, held) = (std::mem::take(since), *bytes);
            self.course = if held > LAG_BYTES { Course::Behind } else { Course::Live };
            since.into_iter().for_each(|bytes| self.push_output(bytes));
        }
        self.flush();
    }

    /// Another run begins. What the one before set up in the terminal is undone, and a picture of it does not come any more.
    pub(in crate::watcher) fn on_another_run(&mut self, alternate: bool) {
        if self.said != Said::Nothing {
            return;
        }
        if matches!(self.course, Course::Looking { .. }) {
            self.course = Course::Behind;
        }
        self.push_output(Bytes::from_static(if alternate { LEAVE } else { LEAVE_IN_PLACE }));
        self.flush();
    }

    /// There is nothing more to come: the status to end with, whether the alternate screen was left shown, and what else the user should
    /// know. Said once.
    pub(in crate::watcher) fn end(&mut self, status: u8, alternate: bool, line: &str, now: Instant) {
        if self.said == Said::Nothing {
            self.said = Said::Ended(now);
            self.push(&ToFront::Ended { status, alternate, line: line.to_owned() });
            self.flush();
        }
    }

    /// The user may leave. Said once.
    pub(in crate::watcher) fn part(&mut self, alternate: bool, name: &str) {
        if self.said == Said::Nothing {
            self.said = Said::Parted;
            self.push(&ToFront::Detached { alternate, name: name.to_owned() });
            self.flush();
        }
    }

    /// Whether the user knows of the end: since when.
    pub(in crate::watcher) fn ended_at(&self) -> Option<Instant> {
        match self.said {
            Said::Ended(at) => Some(at),
            Said::Nothing | Said::Parted => None,
        }
    }

    /// Whether all was sent.
    pub(in crate::watcher) fn is_sent(&self) -> bool {
        self.outbox.is_empty()
    }

    /// Whether the user's terminal was sent all there is to be seen.
    pub(in crate::watcher) fn has_caught_up(&self) -> bool {
        let current = match self.course {
            Course::Live => true,
            Course::Behind | Course::Looking { .. } => false,
            Course::Frames { due, .. } => due.is_none(),
        };
        self.is_sent() && (current || self.said != Said::Nothing)
    }

    fn push(&mut self, news: &ToFront) {
        let frame = news.encode();
        self.unsent += frame.len();
        self.outbox.push_back(frame);
    }

    fn push_output(&mut self, mut bytes: Bytes) {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(BODY_MAX_BYTES));
            self.push(&ToFront::Output(piece));
        }
    }

    /// All but the first, of which a part may have gone.
    fn drop_unsent(&mut self) {
        self.outbox.truncate(1);
        self.unsent = self.outbox.front().map_or(0, Bytes::len);
    }

    fn flush(&mut self) {
        while let Some(first) = self.outbox.front_mut() {
            match self.stream.try_write(first) {
                Ok(sent) => {
                    first.advance(sent);
                    self.unsent -= sent;
                    if first.is_empty() {
                        self.outbox.pop_front();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // A front that is gone is told by the read.
                Err(_) => {
                    self.outbox.clear();
                    self.unsent = 0;
                }
            }
        }
    }
}
