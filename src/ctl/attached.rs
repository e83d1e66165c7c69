//! The terminal of a process on the terminal of the user: what is typed one way, pictures and output the other.
//!
//! ```text
//! Console --Typed--> window of TYPED_WINDOW_BYTES --> Typed ... Took gives it back
//! Console <--show--- Picture, Terminal;  what is really written is granted again
//! link lost: a new link, a new picture, for RELINK_MAX; the detach keys work all the while
//! ```

use std::time::Duration;

use tokio::time::Instant;
use zerovisor_core::address::Address;
use zerovisor_core::id::Id;
use zerovisor_core::size::Size;
use zerovisor_core::units::Span;
use zerovisor_core::wire::{Answer, Ask, AttachAsk, Failure, STREAM_WINDOW_BYTES, TYPED_WINDOW_BYTES, View};

use super::client::{Client, Part, Wake};
use super::error::CtlError;
use super::verbs::{Asker, backoff};
use crate::tty::{Console, ConsoleEvent, Ended};

/// How long a lost link is tried again.
pub const RELINK_MAX: Duration = Duration::from_secs(10);
/// Kept free of the window for typed bytes: detach keys that were held back and turned out to be none come on top of what is read.
const HELD_KEYS_BYTES: u64 = 64;
/// Shown bytes are granted again once they are this many, well below the window that they keep open ...
const GRANT_BYTES: u64 = 64 << 10;
/// ... or this old: an echo must not wait for a grant, nor the zerovisor for ever to learn that everything was taken.
const GRANT_LATEST: Duration = Duration::from_millis(50);
/// How long the last output may take to be written when the program has ended.
const LAST_OUTPUT: Duration = Duration::from_secs(2);

/// How a view ended.
#[derive(Debug)]
pub enum End {
    /// By the detach keys.
    Detached,
    /// The run ended.
    RunEnded {
        /// Its status.
        status: u8,
        /// How, in one line.
        what: String,
        /// Another run follows by itself.
        again: bool,
    },
    /// The view was ended by somebody else: why.
    SentAway(String),
    /// The user's terminal or a signal ended it.
    Console(Ended),
    /// There is no link any more.
    Lost(CtlError),
}

/// What a client may type, and what it has to grant: counted in bytes.
#[derive(Debug, Default)]
struct Credit {
    typed: u64,
    took: u64,
    shown: u64,
}

impl Credit {
    /// Bytes that may be read from the terminal.
    fn room(&self) -> usize {
        let room = TYPED_WINDOW_BYTES.saturating_sub(self.typed.saturating_sub(self.took) + HELD_KEYS_BYTES);
        usize::try_from(room).unwrap_or(usize::MAX)
    }

    /// Of what was shown, that which has been written and not been granted; taken. Small amounts only when it is `due`.
    fn grant(&mut self, pending: usize, due: bool) -> Option<u64> {
        let written = self.shown.saturating_sub(pending as u64);
        let enough = written >= GRANT_BYTES || (due && written > 0);
        enough.then(|| {
            self.shown -= written;
            written
        })
    }
}

/// A view on one link.
#[derive(Debug)]
pub struct Linked {
    client: Client,
    request: u64,
    credit: Credit,
    /// The size the zerovisor was told last.
    size: Size,
    /// What it is called, and its own address, which a later process of the same name does not have.
    name: String,
    id: Id,
    process: Address,
    run: u32,
}

/// A view over all its links.
pub struct Attached<'a> {
    asker: &'a Asker,
    read_only: bool,
    console: Console,
    linked: Linked,
    skipped_bytes: u64,
    picture_begun: bool,
    grant_at: Option<Instant>,
}

enum Next {
    Console(ConsoleEvent),
    Link(Wake),
    GrantDue,
}

impl Linked {
    /// Links and attaches.
    ///
    /// # Errors
    /// There is no such process or no terminal; no zerovisor, or none that answers in time.
    pub async fn attach(asker: &Asker, ask: AttachAsk, size: Size) -> Result<Linked, CtlError> {
        let mut client = asker.client().await?;
        let request = client.ask(Ask::Attach(ask), None, None).await?;
        loop {
            let part = client.part(Some(asker.door.timeout)).await?;
            if part.request != request {
                continue;
            }
            if let Answer::Failed(failure) = part.answer {
                return Err(CtlError::Failed(failure));
            }
            let Answer::View(View::Attached { id, name, run, .. }) = part.answer else {
                return Err(client.unexpected(&part.answer));
            };
            let (name, process) = (name.to_string(), id.into());
            return Ok(Linked { client, request, credit: Credit::default(), size, name, id, process, run });
        }
    }

    /// Whether it is the process of this id, written out.
    pub fn is(&self, id: &str) -> bool {
        self.id.to_string() == id
    }

    /// What the process is called.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<'a> Attached<'a> {
    /// A view that begins on this link.
    pub fn new(asker: &'a Asker, linked: Linked, console: Console, read_only: bool) -> Attached<'a> {
        Attached { asker, read_only, console, linked, skipped_bytes: 0, picture_begun: false, grant_at: None }
    }

    /// Views until the end. The bytes that were never shown come with it; the terminal is given back before it returns.
    pub async fn run(mut self) -> (End, u64) {
        let mut begun = false;
        let mut end = loop {
            let stepped = if begun { self.step().await } else { self.begin().await };
            begun = true;
            match stepped {
                Ok(None) => {}
                Ok(Some(end)) => break end,
                Err(error) if may_come_back(&error) => match self.relink(error).await {
                    None => begun = false,
                    Some(end) => break end,
                },
                Err(error) => break End::Lost(error),
            }
        };
        if matches!(end, End::RunEnded { .. }) {
            self.console.drain(LAST_OUTPUT).await;
        }
        drop(self.console);
        if let End::RunEnded { again, .. } = &mut end {
            *again = self.linked.client.starts_again(self.linked.id, self.linked.run).await;
        } else if matches!(end, End::Detached | End::Console(_)) {
            // That the view is over need not be heard; what was typed before the detach keys must be.
            let _ = self.linked.client.cancel(self.linked.request).await;
            self.linked.client.goodbye(self.asker.door.timeout.min(Duration::from_millis(500))).await;
        }
        (end, self.skipped_bytes)
    }

    /// The size may have changed while the link was made.
    async fn begin(&mut self) -> Result<Option<End>, CtlError> {
        let size = self.console.size();
        if size != self.linked.size {
            self.resized(size).await?;
        }
        Ok(None)
    }

    async fn step(&mut self) -> Result<Option<End>, CtlError> {
        self.console.set_room(if self.read_only { usize::MAX } else { self.linked.credit.room() });
        let grant_at = self.grant_at;
        let next = tokio::select! {
            biased;
            event = self.console.next() => Next::Console(event),
            wake = self.linked.client.wake() => Next::Link(wake),
            () = tokio::time::sleep_until(grant_at.unwrap_or_else(Instant::now)), if grant_at.is_some() => Next::GrantDue,
        };
        let due = matches!(next, Next::GrantDue);
        let end = match next {
            Next::Console(event) => self.on_console(event).await?,
            Next::Link(wake) => match self.linked.client.on(wake).await? {
                Some(part) => self.on_part(part)?,
                None => None,
            },
            Next::GrantDue => None,
        };
        self.grant(due).await?;
        Ok(end)
    }

    async fn on_console(&mut self, event: ConsoleEvent) -> Result<Option<End>, CtlError> {
        match event {
            ConsoleEvent::Typed(keys) => {
                if !self.read_only {
                    self.linked.credit.typed += keys.len() as u64;
                    self.linked.client.typed(self.linked.request, keys).await?;
                }
                Ok(None)
            }
            ConsoleEvent::Resized(size) => self.resized(size).await.map(|()| None),
            ConsoleEvent::Written => Ok(None),
            ConsoleEvent::Detach => Ok(Some(End::Detached)),
            ConsoleEvent::Ended(why) => Ok(Some(End::Console(why))),
        }
    }

    async fn resized(&mut self, size: Size) -> Result<(), CtlError> {
        self.linked.size = size;
        self.linked.client.resized(self.linked.request, size).await
    }

    fn on_part(&mut self, part: Part) -> Result<Option<End>, CtlError> {
        if part.request != self.linked.request {
            return Ok(None);
        }
        self.linked.credit.shown += part.payload.len() as u64;
        if self.linked.credit.shown > STREAM_WINDOW_BYTES {
            return Err(self.linked.client.beyond("it sends more of the terminal than was granted"));
        }
        let view = match part.answer {
            Answer::View(view) => view,
            Answer::End(_) => return Ok(None),
            Answer::Failed(failure) => return Err(CtlError::Failed(failure)),
            other @ (Answer::Here { .. }
            | Answer::Rows
            | Answer::Detail
            | Answer::Sources
            | Answer::Log { .. }
            | Answer::Missing { .. }
            | Answer::Gap { .. }
            | Answer::Events
            | Answer::Done { .. }
            | Answer::Reached { .. }
            | Answer::Screen { .. }
            | Answer::NodeRows) => return Err(self.linked.client.unexpected(&other)),
        };
        Ok(self.on_view(view, &part.payload))
    }

    fn on_view(&mut self, view: View, payload: &[u8]) -> Option<End> {
        match view {
            View::Attached { .. } => {}
            View::Picture { skipped_bytes, last, .. } => {
                if !self.picture_begun && !payload.is_empty() {
                    self.console.begin_picture();
                }
                self.picture_begun = !last;
                self.skipped_bytes = self.skipped_bytes.saturating_add(if last { skipped_bytes } else { 0 });
                self.console.show(payload);
            }
            View::Terminal => self.console.show(payload),
            View::Took { bytes } => self.linked.credit.took = self.linked.credit.took.max(bytes),
            View::RunEnded { status, what } => return Some(End::RunEnded { status, what, again: false }),
            View::SentAway(why) => return Some(End::SentAway(why)),
        }
        None
    }

    async fn grant(&mut self, due: bool) -> Result<(), CtlError> {
        if let Some(bytes) = self.linked.credit.grant(self.console.pending(), due) {
            self.linked.client.grant(self.linked.request, bytes).await?;
            self.grant_at = None;
        } else if due {
            self.grant_at = None;
        }
        if self.linked.credit.shown > 0 && self.console.pending() == 0 && self.grant_at.is_none() {
            self.grant_at = Some(Instant::now() + GRANT_LATEST);
        }
        Ok(())
    }

    /// Tries again until the view goes on, somebody ends it, or the time is over.
    async fn relink(&mut self, error: CtlError) -> Option<End> {
        self.say(&format!("the link is lost: trying again for {}; the detach keys leave", Span(RELINK_MAX)));
        let deadline = Instant::now() + RELINK_MAX;
        let size = self.console.size();
        let address = self.linked.process.clone();
        let ask = AttachAsk { address, size: Some(size), read_only: self.read_only, steal: false };
        let again = attach_again(self.asker, ask, size);
        tokio::pin!(again);
        loop {
            self.console.set_room(usize::MAX);
            let event = tokio::select! {
                event = self.console.next() => event,
                linked = &mut again => match linked {
                    Ok(linked) => {
                        self.linked = linked;
                        (self.picture_begun, self.grant_at) = (false, None);
                        return None;
                    }
                    Err(error) => return Some(End::Lost(error)),
                },
                () = tokio::time::sleep_until(deadline) => return Some(End::Lost(lasting(error))),
            };
            match event {
                // Nobody could take it; typed blindly, it is better lost than sent later.
                ConsoleEvent::Typed(_) | ConsoleEvent::Resized(_) | ConsoleEvent::Written => {}
                ConsoleEvent::Detach => return Some(End::Detached),
                ConsoleEvent::Ended(why) => return Some(End::Console(why)),
            }
        }
    }

    /// Says something in the last line of the terminal, until the next picture.
    fn say(&mut self, line: &str) {
        let size = self.console.size();
        let line = super::render::cut(&zerovisor_core::escape::escaped(line), usize::from(size.cols()));
        self.console.begin_picture();
        self.console.show(format!("\x1b7\x1b[{};1H\x1b[0;7m{line}\x1b[0K\x1b[0m\x1b8", size.rows()).as_bytes());
    }
}

/// Whether a view may go on later: the link is lost, or the zerovisor has lost the watcher.
fn may_come_back(error: &CtlError) -> bool {
    error.is_transient() || matches!(error, CtlError::Failed(Failure::Other(_)))
}

/// Attaches, as often as it takes. A zerovisor that came back does not know its watchers at first.
async fn attach_again(asker: &Asker, ask: AttachAsk, size: Size) -> Result<Linked, CtlError> {
    let mut waits = backoff();
    loop {
        tokio::time::sleep(waits.next()).await;
        match Linked::attach(asker, ask.clone(), size).await {
            Err(CtlError::Failed(failure)) if !matches!(failure, Failure::NotRunning(_)) => {}
            Err(error) if error.is_transient() => {}
            linked => return linked,
        }
    }
}

/// Whatever was the matter, it is a lost view by now.
fn lasting(error: CtlError) -> CtlError {
    match error {
        CtlError::Failed(failure) => {
            CtlError::Told { line: failure.to_string(), status: super::error::status::TRANSPORT }
        }
        CtlError::Usage(_)
        | CtlError::Dial(_)
        | CtlError::Refused { .. }
        | CtlError::LinkLost { .. }
        | CtlError::NoAnswer { .. }
        | CtlError::Violation { .. }
        | CtlError::Told { .. }
        | CtlError::Silent(_)
        | CtlError::ReaderGone
        | CtlError::Io { .. } => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_stays_within_its_window() {
        let mut credit = Credit::default();
        let begin = credit.room();
        assert_eq!(begin as u64, TYPED_WINDOW_BYTES - HELD_KEYS_BYTES);
        credit.typed = TYPED_WINDOW_BYTES;
        assert_eq!(credit.room(), 0);
        credit.took = 1000;
        assert_eq!(credit.room() as u64, 1000 - HELD_KEYS_BYTES);
        credit.took = TYPED_WINDOW_BYTES + 5;
        assert_eq!(credit.room(), begin, "more taken than typed gives no more than the window");
    }

    #[test]
    fn only_what_is_written_is_granted_and_all_of_it_in_the_end() {
        let mut credit = Credit { shown: 3 * GRANT_BYTES, ..Credit::default() };
        let pending = usize::try_from(GRANT_BYTES).unwrap();
        assert_eq!(credit.grant(pending, false), Some(2 * GRANT_BYTES));
        assert_eq!(credit.grant(pending, true), None);
        assert_eq!(credit.grant(10, false), None, "little is granted when it is due");
        assert_eq!(credit.grant(10, true), Some(GRANT_BYTES - 10));
        assert_eq!((credit.grant(0, true), credit.shown), (Some(10), 0));
    }
}
