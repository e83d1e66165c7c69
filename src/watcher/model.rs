//! The screen of a run's terminal, kept off the way of its output.
//!
//! ```text
//!   output, resizes, requests --> jobs --> Screen, here or on a thread for as long as much waits --> answers, pictures, texts
//! ```
//! What is little is done at once, after the record was sent: an echo costs about a microsecond. What is much goes to a thread, which
//! ends with it, while the output runs on. Jobs are done in their order, so a picture shows exactly what was written before it was asked
//! for.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{Notify, oneshot};
use zerovisor_core::keys::KeyModes;
use zerovisor_core::size::Size;
use zerovisor_core::wire::ScreenShown;
use zerovisor_pty::screen::Screen;

use super::thread::{Bell, on_a_thread};

/// Output that waits for the screen, in bytes; then the terminal is not read, and the program waits in write(2).
const BACKLOG_BYTES: usize = 256 << 10;
/// So much is done at once, in bytes: some 50 µs of work.
const AT_ONCE_BYTES: usize = 4 << 10;
/// The stack of the thread, in bytes: the terminal library does not recurse.
const STACK_BYTES: usize = 256 << 10;
/// The most that wait to see the screen; one more is refused. More than there can be viewers, each of whom waits for one picture.
const LOOKS_MAX: usize = 512;

/// Who wants to see the screen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Look {
    /// A picture for a terminal of this size, from whatever it shows.
    Picture(Size),
    /// Another frame over the picture before, of the same size.
    Frame(Size),
    /// The rows as text, or with colours.
    Text {
        /// With colours.
        ansi: bool,
    },
}

impl Look {
    fn is_text(self) -> bool {
        match self {
            Look::Picture(_) | Look::Frame(_) => false,
            Look::Text { .. } => true,
        }
    }
}

/// What a [`Look`] gave.
#[derive(Debug)]
pub(super) struct Seen {
    /// Who asked.
    pub(super) viewer: u64,
    /// The last record the screen had taken in.
    pub(super) seq: u64,
    /// Escape bytes, or the rows.
    pub(super) bytes: Bytes,
    /// What the bytes do not say.
    pub(super) shown: ScreenShown,
    /// Whether it is text.
    pub(super) text: bool,
}

#[derive(Debug)]
enum Job {
    Feed(Bytes),
    Resize(Size),
    Look { viewer: u64, seq: u64, look: Look },
}

/// Where the screen is.
#[derive(Debug)]
enum Place {
    Here(Box<Screen>),
    Away { back: oneshot::Receiver<(Box<Screen>, Vec<u8>)>, done: Arc<Notify> },
}

/// The screen and what it has still to do.
#[derive(Debug)]
pub(super) struct Model {
    place: Place,
    /// By the last resize.
    size: Size,
    jobs: VecDeque<Job>,
    backlog: usize,
    /// How many of the jobs are looks.
    looks: usize,
    answers: Vec<u8>,
    seen: Vec<Seen>,
    modes: KeyModes,
    alternate: bool,
}

impl Model {
    /// An empty screen.
    pub(super) fn new(size: Size) -> Model {
        Model {
            place: Place::Here(empty(size)),
            size,
            jobs: VecDeque::new(),
            backlog: 0,
            looks: 0,
            answers: Vec::new(),
            seen: Vec::new(),
            modes: KeyModes::default(),
            alternate: false,
        }
    }

    /// Bytes of output that may be fed now.
    pub(super) fn room(&self) -> usize {
        BACKLOG_BYTES.saturating_sub(self.backlog)
    }

    /// The program wrote this.
    pub(super) fn feed(&mut self, bytes: Bytes) {
        self.backlog += bytes.len();
        self.jobs.push_back(Job::Feed(bytes));
    }

    /// The terminal has another size from here on.
    pub(super) fn resize(&mut self, size: Size) {
        self.size = size;
        // Of several in a row only the last matters.
        if let Some(Job::Resize(last)) = self.jobs.back_mut() {
            *last = size;
        } else {
            self.jobs.push_back(Job::Resize(size));
        }
    }

    /// Somebody looks at what was written so far, up to record `seq`. Who waits for a picture already gets one, this one. False: too many
    /// look.
    pub(super) fn look(&mut self, viewer: u64, seq: u64, look: Look) -> bool {
        let waits = |job: &Job| matches!(job, Job::Look { viewer: who, look: before, .. } if *who == viewer && before.is_text() == look.is_text());
        let mut look = look;
        if let Some(at) = self.jobs.iter().position(waits) {
            // A frame goes over the picture that would have come.
            if let (Some(Job::Look { look: Look::Picture(_), .. }), Look::Frame(size)) = (self.jobs.remove(at), look) {
                look = Look::Picture(size);
            }
        } else if self.looks >= LOOKS_MAX {
            return false;
        } else {
            self.looks += 1;
        }
        self.jobs.push_back(Job::Look { viewer, seq, look });
        true
    }

    /// Only those who are `wanted` still wait to see the screen: another may have the number of one that is gone.
    pub(super) fn retain_looks(&mut self, wanted: impl Fn(u64) -> bool) {
        self.jobs.retain(|job| match job {
            Job::Look { viewer, .. } => wanted(*viewer),
            Job::Feed(_) | Job::Resize(_) => true,
        });
        self.looks = self.jobs.iter().filter(|job| matches!(job, Job::Look { .. })).count();
        self.seen.retain(|seen| wanted(seen.viewer));
    }

    /// Whether all was done.
    pub(super) fn is_idle(&self) -> bool {
        self.jobs.is_empty() && matches!(self.place, Place::Here(_))
    }

    /// How keys are to be sent, by all that was done so far.
    pub(super) fn key_modes(&self) -> KeyModes {
        self.modes
    }

    /// Whether the alternate screen is shown, by all that was done so far.
    pub(super) fn is_alternate(&self) -> bool {
        self.alternate
    }

    /// What the terminal answers the program with.
    pub(super) fn answers(&mut self) -> Bytes {
        std::mem::take(&mut self.answers).into()
    }

    /// What was seen since this was last asked.
    pub(super) fn seen(&mut self) -> Vec<Seen> {
        std::mem::take(&mut self.seen)
    }

    /// Waits until the thread is done, if one is at work; else for ever. Cancel-safe: it takes nothing, [`Model::work`] does.
    pub(super) async fn back(&self) {
        match &self.place {
            Place::Away { done, .. } => done.notified().await,
            Place::Here(_) => std::future::pending().await,
        }
    }

    fn take_back(&mut self) {
        let Place::Away { back, .. } = &mut self.place else { return };
        self.place = match back.try_recv() {
            Ok((screen, answers)) => {
                self.answers.extend_from_slice(&answers);
                Place::Here(screen)
            }
            Err(TryRecvError::Empty) => return,
            // Its thread is gone with it, which no output explains: a program that runs on is shown from here on.
            Err(TryRecvError::Closed) => Place::Here(empty(self.size)),
        };
    }

    /// Does what there is to do: little here, much on a thread.
    pub(super) fn work(&mut self) {
        self.take_back();
        while let Place::Here(screen) = &mut self.place {
            let Some(job) = self.jobs.pop_front() else { break };
            match job {
                Job::Feed(bytes) if self.backlog > AT_ONCE_BYTES => return self.send_away(bytes),
                Job::Feed(bytes) => {
                    self.backlog -= bytes.len();
                    screen.feed(&bytes, &mut self.answers);
                }
                Job::Resize(size) => screen.resize(size.cols(), size.rows()),
                Job::Look { viewer, seq, look } => {
                    self.looks -= 1;
                    let seen = see(screen, viewer, seq, look);
                    self.seen.push(seen);
                }
            }
        }
        if let Place::Here(screen) = &self.place {
            self.alternate = screen.is_alternate();
            let modes = screen.key_modes();
            self.modes =
                KeyModes { application_cursor: modes.application_cursor, application_keypad: modes.application_keypad };
        }
    }

    /// All output up to the next other job goes to a thread with the screen, or is done here where the system has no thread to give.
    fn send_away(&mut self, first: Bytes) {
        let (give_back, back) = oneshot::channel();
        let done = Arc::new(Notify::new());
        let away = Place::Away { back, done: Arc::clone(&done) };
        let Place::Here(screen) = std::mem::replace(&mut self.place, away) else { return };
        let mut pieces = vec![first];
        while let Some(Job::Feed(_)) = self.jobs.front() {
            if let Some(Job::Feed(bytes)) = self.jobs.pop_front() {
                pieces.push(bytes);
            }
        }
        self.backlog -= pieces.iter().map(Bytes::len).sum::<usize>();
        let work = Work { screen, pieces, give_back, bell: Bell(done) };
        if let Err(work) = on_a_thread("screen", STACK_BYTES, work, Work::run) {
            work.run();
        }
    }
}

/// Output that a screen is to take in.
struct Work {
    screen: Box<Screen>,
    pieces: Vec<Bytes>,
    give_back: oneshot::Sender<(Box<Screen>, Vec<u8>)>,
    bell: Bell,
}

impl Work {
    fn run(self) {
        let Work { mut screen, pieces, give_back, bell } = self;
        let mut answers = Vec::new();
        for bytes in pieces {
            screen.feed(&bytes, &mut answers);
        }
        // A model that nobody has any more needs no screen.
        let _unwanted = give_back.send((screen, answers));
        drop(bell);
    }
}

fn empty(size: Size) -> Box<Screen> {
    Box::new(Screen::new(size.cols(), size.rows()))
}

fn see(screen: &mut Screen, viewer: u64, seq: u64, look: Look) -> Seen {
    let (cols, rows) = screen.size();
    let size = Size::nearest(cols, rows);
    let bytes = match look {
        Look::Picture(_) | Look::Frame(_) if screen.is_pristine() => Vec::new(),
        Look::Picture(wanted) if wanted == size => screen.picture(),
        Look::Picture(wanted) => screen.picture_for(wanted.cols(), wanted.rows()),
        Look::Frame(wanted) if wanted == size => screen.picture(),
        Look::Frame(wanted) => screen.frame_for(wanted.cols(), wanted.rows()),
        Look::Text { ansi } => {
            let rows = if ansi { screen.rows_ansi() } else { screen.rows_text() };
            rows.into_iter().flat_map(|row| [row, "\n".to_owned()]).collect::<String>().into_bytes()
        }
    };
    let cursor = screen.cursor();
    let shown = ScreenShown {
        size,
        cursor: cursor.visible.then_some((cursor.col, cursor.row)),
        title: screen.title().map(str::to_owned),
        alternate: screen.is_alternate(),
    };
    Seen { viewer, seq, bytes: bytes.into(), shown, text: look.is_text() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(model: &mut Model) -> Vec<Seen> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            model.work();
            while !model.is_idle() {
                model.back().await;
                model.work();
            }
        });
        model.seen()
    }

    #[test]
    fn who_waits_for_a_picture_gets_one_and_too_many_are_refused() {
        let mut model = Model::new(Size::DEFAULT);
        let picture = Look::Picture(Size::DEFAULT);
        model.feed(Bytes::from_static(b"x"));
        assert!(model.look(0, 1, picture) && model.look(0, 2, Look::Frame(Size::DEFAULT)));
        assert!(model.look(0, 3, Look::Text { ansi: false }));
        for viewer in 1..=LOOKS_MAX as u64 - 2 {
            assert!(model.look(viewer, 4, picture), "{viewer}");
        }
        assert!(!model.look(u64::MAX, 5, picture), "the bound");
        assert!(model.look(1, 6, picture), "one that is waited for already is no more");
        let seen = done(&mut model);
        assert_eq!(seen.len(), LOOKS_MAX);
        assert_eq!((seen[0].viewer, seen[0].seq, seen[0].text), (0, 2, false));
        assert!(model.look(u64::MAX, 7, picture), "there is room again");
    }

    #[test]
    fn much_is_drawn_elsewhere_and_in_order() {
        let mut model = Model::new(Size::DEFAULT);
        let line: Vec<u8> = b"0123456789".repeat(800);
        for _ in 0..40 {
            model.feed(Bytes::from(line.clone()));
        }
        assert_eq!(model.room(), 0, "the program waits");
        model.feed(Bytes::from_static(b"\x1b[2J\x1b[Hlast\x1b[5n"));
        model.resize(Size::new(100, 30).unwrap());
        model.resize(Size::new(40, 5).unwrap());
        model.look(1, 9, Look::Text { ansi: false });
        let seen = done(&mut model);
        assert_eq!(seen[0].bytes, "last\n\n\n\n\n");
        assert_eq!((seen[0].shown.size, model.answers()), (Size::new(40, 5).unwrap(), Bytes::from_static(b"\x1b[0n")));
        assert_eq!(model.room(), BACKLOG_BYTES);
    }
    #[test]
    fn who_is_gone_waits_for_nothing() {
        let mut model = Model::new(Size::DEFAULT);
        model.feed(Bytes::from_static(b"x"));
        for viewer in 1..=3 {
            assert!(model.look(viewer, 1, Look::Picture(Size::DEFAULT)));
        }
        model.retain_looks(|viewer| viewer != 2);
        model.work();
        model.retain_looks(|viewer| viewer != 3);
        let seen: Vec<u64> = done(&mut model).iter().map(|seen| seen.viewer).collect();
        assert_eq!((seen, model.looks), (vec![1], 0));
    }

    #[test]
    fn without_a_thread_the_work_comes_back_and_is_done_here() {
        let (give_back, mut back) = oneshot::channel();
        let pieces = vec![Bytes::from_static(b"drawn\x1b[5n")];
        let work = Work { screen: empty(Size::DEFAULT), pieces, give_back, bell: Bell(Arc::new(Notify::new())) };
        // No kernel has room for such a stack.
        let Err(work) = on_a_thread("screen", 1 << 46, work, Work::run) else {
            panic!("a thread with a stack of 64 TiB")
        };
        work.run();
        let (screen, answers) = back.try_recv().unwrap();
        assert_eq!((screen.rows_text()[0].as_str(), &answers[..]), ("drawn", &b"\x1b[0n"[..]));
    }
}
