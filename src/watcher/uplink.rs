//! The connection to the zerovisor: made again for ever, each time from where the zerovisor's journal ends.
//!
//! ```text
//!            dial_at            dialed            welcome
//!   Away ------------> Dialing --------> Greeting --------> Linked --goodbye--> farewell
//!    ^                    |                 |                  |
//!    +----- backoff ------+-----------------+------------------+  error, refusal, violation, silence
//!
//!   any ----> Closed, for good: what is not acknowledged was given to somebody else
//! ```
//! A link that fails in any way is dropped and a new one made; nothing else is ever repaired.

mod linked;
mod lost;
mod sending;

use std::future::{Future, pending};
use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use zerovisor_core::fact::State;
use zerovisor_core::name::{NodeName, ProcessName};
use zerovisor_core::stats::Placement;
use zerovisor_core::units::Span;
use zerovisor_core::window::Window;
use zerovisor_core::wire::{
    self, Deed, Hello, Refusal, Role, ToNode, ToPeer, VERSIONS, ViewerAct, WatcherHello, Welcome,
};

use super::clock;
use super::say::say;
use crate::PROGRAM_VERSION;
use crate::net::reconnect::{RECONNECT_HERE_MAX, RECONNECT_MAX, RECONNECT_MIN};
use crate::net::{self, Backoff, DialError, Endpoint, Frames, Link, LinkError};
use linked::{Linked, WELCOME_WITHIN, send};
use lost::Lost;

/// How long the child's start waits for the first connection.
const DIAL_FIRST: Duration = Duration::from_millis(500);
/// How long later ones may take.
const DIAL_AGAIN: Duration = Duration::from_secs(5);

/// What came in.
#[derive(Debug)]
pub(super) enum Arrival {
    /// An attempt to connect is over.
    Dialed(Result<Link, DialError>),
    /// A message, or the end of the link.
    Frames(Result<Frames, LinkError>),
}

/// What is for the session to act on.
#[derive(Debug)]
pub(super) enum Word {
    /// The zerovisor wants something done.
    Order {
        /// Comes back in the answer.
        order: u64,
        /// What.
        deed: Deed,
        /// Input, where it sends some.
        payload: Bytes,
    },
    /// A viewer of the terminal does something.
    Viewer {
        /// Its number on this link.
        viewer: u64,
        /// What.
        act: ViewerAct,
        /// What it types, where it does.
        payload: Bytes,
    },
    /// The name given on the command line is taken, and nothing has begun yet.
    NameTaken(String),
    /// The process was removed while there was no link.
    Removed,
    /// The goodbye was answered, or will not be.
    Parted,
}

type Dialing = Pin<Box<dyn Future<Output = Result<Link, DialError>>>>;

enum Stage {
    Away { dial_at: Instant },
    Dialing(Dialing),
    Greeting { link: Box<Link>, until: Instant },
    Linked(Box<Linked>),
    Closed,
}

/// The watcher's side of the connection.
pub(super) struct Uplink {
    endpoint: Endpoint,
    /// What stays the same in every hello.
    hello: WatcherHello,
    stage: Stage,
    backoff: Backoff,
    node: Option<NodeName>,
    name: ProcessName,
    /// Whether the first attempt has come to an end, good or bad.
    settled: bool,
    /// Since when there has been no zerovisor.
    away_since: Option<Instant>,
    /// Since when no link has been of use.
    outage_since: Option<Instant>,
    /// When a record was last taken, or a link made.
    progress_at: Instant,
    /// When a zerovisor last took a record.
    taken_at: Instant,
    /// What was last said about the present outage.
    told: Option<String>,
    links_lost: u64,
}

impl Uplink {
    /// Dials at once, when first waited for. `hello` is what is declared; where the window and the process stand is filled in.
    pub(super) fn new(endpoint: Endpoint, hello: WatcherHello, seed: u64) -> Uplink {
        let now = Instant::now();
        Uplink {
            stage: Stage::Dialing(dialing(&endpoint, DIAL_FIRST)),
            name: hello.spec.name.clone(),
            endpoint,
            hello,
            backoff: Backoff::new(RECONNECT_MIN, RECONNECT_MAX, seed),
            node: None,
            settled: false,
            away_since: Some(now),
            outage_since: Some(now),
            progress_at: now,
            taken_at: now,
            told: None,
            links_lost: 0,
        }
    }

    /// Where the zerovisor is looked for.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The node's name, once known.
    pub(super) fn node(&self) -> Option<&NodeName> {
        self.node.as_ref()
    }

    /// The name the process is known by.
    pub(super) fn name(&self) -> &ProcessName {
        &self.name
    }

    /// Whether the child's start need not wait any longer.
    pub(super) fn is_settled(&self) -> bool {
        self.settled
    }

    /// Whether a zerovisor takes records.
    pub(super) fn is_linked(&self) -> bool {
        matches!(self.stage, Stage::Linked(_))
    }

    /// Since when there has been no zerovisor; none while there is one.
    pub(super) fn away_since(&self) -> Option<Instant> {
        self.away_since
    }

    /// Since when nobody has taken anything; none while a link is of use. One that is welcomed again and again, and dropped each time, has
    /// an outage all along.
    pub(super) fn outage_since(&self) -> Option<Instant> {
        self.outage_since
    }

    /// When a record was last taken, or a link made.
    pub(super) fn progress_at(&self) -> Instant {
        self.progress_at
    }

    /// When a zerovisor last took a record; one that welcomes again and again and takes none makes no progress.
    pub(super) fn taken_at(&self) -> Instant {
        self.taken_at
    }

    /// When the link was made, while there is one.
    pub(super) fn linked_at(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Away { .. } | Stage::Dialing(_) | Stage::Greeting { .. } | Stage::Closed => None,
            Stage::Linked(linked) => Some(linked.linked_at),
        }
    }

    /// Whether a zerovisor ever took it in.
    pub(super) fn was_welcomed(&self) -> bool {
        self.node.is_some()
    }

    /// A run begins: from now on the process lives under whatever name there is, and a clash is no error any more.
    pub(super) fn on_begun(&mut self) {
        self.hello.welcomed_before = true;
    }

    /// There is not much time left: dials now instead of later.
    pub(super) fn hurry(&mut self) {
        if let Stage::Away { dial_at } = &mut self.stage {
            *dial_at = Instant::now();
            self.backoff.reset();
        }
    }

    /// Where runs are put: what hellos declare.
    pub(super) fn set_placement(&mut self, placement: Placement) {
        self.hello.placement = placement;
    }

    /// The process was given another command: what later hellos declare.
    pub(super) fn set_command(&mut self, shown: Vec<String>) {
        self.hello.spec.command = shown;
    }

    /// Waits for what comes in. Cancel-safe: an attempt goes on where it was, a message stays until it is taken.
    pub(super) async fn wait(&mut self) -> Arrival {
        match &mut self.stage {
            Stage::Away { .. } | Stage::Closed => pending().await,
            Stage::Dialing(dialing) => Arrival::Dialed(dialing.await),
            Stage::Greeting { link, .. } => Arrival::Frames(link.rx.recv().await),
            Stage::Linked(linked) => Arrival::Frames(linked.link.rx.recv().await),
        }
    }

    /// When [`Uplink::on_timer`] wants to be called.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Away { dial_at } => Some(*dial_at),
            Stage::Dialing(_) | Stage::Closed => None,
            Stage::Greeting { until, .. } => Some(*until),
            Stage::Linked(linked) => Some(linked.farewell_by.unwrap_or(linked.tick_at)),
        }
    }

    /// A deadline has passed. True at each heartbeat of a link.
    pub(super) async fn on_timer(&mut self, now: Instant, window: &mut Window) -> (bool, Option<Word>) {
        match &mut self.stage {
            Stage::Away { dial_at } if now >= *dial_at => {
                self.stage = Stage::Dialing(dialing(&self.endpoint, DIAL_AGAIN));
            }
            Stage::Greeting { until, .. } if now >= *until => self.lose(&Lost::NoWelcome, window),
            Stage::Linked(linked) if linked.farewell_by.is_some_and(|by| now >= by) => {
                return (false, Some(Word::Parted));
            }
            Stage::Linked(linked) if now + clock::TOGETHER >= linked.tick_at => {
                if let Err(lost) = linked.tick(now).await {
                    self.lose(&lost, window);
                }
                return (true, None);
            }
            Stage::Away { .. } | Stage::Dialing(_) | Stage::Greeting { .. } | Stage::Linked(_) | Stage::Closed => {}
        }
        (false, None)
    }

    /// Takes in what came, and says hello on a new link.
    pub(super) async fn on_arrival(&mut self, arrival: Arrival, window: &mut Window, state: State) -> Option<Word> {
        let result = match arrival {
            Arrival::Dialed(Ok(link)) => self.greet(link, window, state).await.map(|()| None),
            Arrival::Dialed(Err(error)) => Err(Lost::Dial(error)),
            Arrival::Frames(frames) => match frames {
                Ok(frames) => self.on_frames(frames, window).await,
                Err(error) => Err(Lost::Link(error)),
            },
        };
        match result {
            Ok(word) => word,
            Err(Lost::Refused(refusal @ Refusal::NameTaken { .. })) if !self.hello.welcomed_before => {
                Some(Word::NameTaken(refusal.to_string()))
            }
            // A zerovisor that goes while we say goodbye has all there was.
            Err(_) if self.is_parting() => Some(Word::Parted),
            Err(lost) => {
                self.lose(&lost, window);
                matches!(lost, Lost::Refused(Refusal::Removed)).then_some(Word::Removed)
            }
        }
    }

    /// Whether a goodbye was said.
    pub(super) fn is_parting(&self) -> bool {
        matches!(&self.stage, Stage::Linked(linked) if linked.farewell_by.is_some())
    }

    /// What is said of the process now.
    pub(super) fn declared(&self, window: &Window, state: State) -> WatcherHello {
        WatcherHello { first_seq: window.first_seq(), next_seq: window.next_seq(), state, ..self.hello.clone() }
    }

    async fn greet(&mut self, mut link: Link, window: &Window, state: State) -> Result<(), Lost> {
        let hello = self.declared(window, state);
        let hello = Hello {
            versions: VERSIONS,
            program: format!("zvwatch {PROGRAM_VERSION}"),
            role: Role::Watcher(Box::new(hello)),
        };
        send(&mut link, &ToNode::Hello(hello), None).await?;
        self.stage = Stage::Greeting { link: Box::new(link), until: Instant::now() + WELCOME_WITHIN };
        Ok(())
    }

    async fn on_frames(&mut self, frames: Frames, window: &mut Window) -> Result<Option<Word>, Lost> {
        let now = Instant::now();
        let message = wire::decode_header(&frames.header)?;
        if let Stage::Linked(linked) = &mut self.stage {
            linked.beat.on_heard(now);
        } else {
            return match message {
                ToPeer::Welcome(welcome) => self.on_welcome(welcome, now, window).map(|()| None),
                ToPeer::Refused(refused) => Err(Lost::Refused(refused.reason)),
                ToPeer::Pong { .. }
                | ToPeer::Farewell
                | ToPeer::Ack { .. }
                | ToPeer::Order { .. }
                | ToPeer::Answer { .. }
                | ToPeer::FromViewer { .. } => Err(Lost::Protocol("no welcome came first")),
            };
        }
        match message {
            ToPeer::Ack { seq, window_bytes } => {
                let first = window.first_seq();
                window.on_ack(seq, window_bytes)?;
                // One that acknowledges nothing new is of no use.
                if window.first_seq() > first {
                    (self.progress_at, self.taken_at) = (now, now);
                    self.on_use();
                }
                Ok(None)
            }
            ToPeer::Order { order, deed } => {
                Ok(Some(Word::Order { order, deed, payload: frames.payload.unwrap_or_default() }))
            }
            ToPeer::Pong { .. } => {
                self.on_use();
                Ok(None)
            }
            ToPeer::Farewell if self.is_parting() => Ok(Some(Word::Parted)),
            ToPeer::Farewell => Err(Lost::Protocol("a farewell without a goodbye")),
            // What a zerovisor finds out later, such as a journal that cannot be opened.
            ToPeer::Refused(refused) => Err(Lost::Refused(refused.reason)),
            ToPeer::Welcome(_) => Err(Lost::Protocol("a second welcome")),
            ToPeer::Answer { .. } => Err(Lost::Protocol("an answer to a client")),
            ToPeer::FromViewer { viewer, act } => {
                Ok(Some(Word::Viewer { viewer, act, payload: frames.payload.unwrap_or_default() }))
            }
        }
    }

    fn on_welcome(&mut self, welcome: Welcome, now: Instant, window: &mut Window) -> Result<(), Lost> {
        let Some(watcher) = welcome.watcher else { return Err(Lost::Protocol("a welcome for a client")) };
        window.on_welcome(watcher.journal_end, watcher.window_bytes, clock::timestamp())?;
        let before = std::mem::replace(&mut self.stage, Stage::Away { dial_at: now });
        let Stage::Greeting { link, .. } = before else { return Err(Lost::Protocol("a welcome before the hello")) };
        self.stage = Stage::Linked(Box::new(Linked::new(*link, now)));
        (self.node, self.name) = (Some(welcome.node), watcher.name);
        (self.settled, self.away_since) = (true, None);
        self.progress_at = now;
        self.hello.welcomed_before = true;
        Ok(())
    }

    /// How many links there were that are lost: the viewers of each are gone.
    pub(super) fn links_lost(&self) -> u64 {
        self.links_lost
    }

    /// The link is of use: records are taken, or it idles. Only that ends an outage; a zerovisor whose disk is full welcomes us each time and
    /// then drops the link, and would be dialled ten times a second and told of as often.
    fn on_use(&mut self) {
        self.backoff.reset();
        if let (Some(_), Some(since)) = (self.told.take(), self.outage_since) {
            let away = Span(Duration::from_secs(since.elapsed().as_secs().max(1)));
            say(format_args!("linked to the zerovisor at {}, after {away}", self.endpoint));
        }
        self.outage_since = None;
    }

    /// The zerovisor takes nothing, and what it was sent is not to be waited for.
    pub(super) fn give_up_link(&mut self, window: &mut Window) {
        if self.is_linked() {
            self.lose(&Lost::Stalled, window);
        }
    }

    /// No zerovisor is to take anything any more, nor is one looked for.
    pub(super) fn close(&mut self, window: &mut Window) {
        let now = Instant::now();
        self.links_lost += u64::from(self.is_linked());
        self.stage = Stage::Closed;
        window.on_disconnect();
        self.away_since.get_or_insert(now);
        self.outage_since.get_or_insert(now);
    }

    /// Drops the link, if any, and arranges for the next. Told once an outage; a refusal is told when it is another one.
    fn lose(&mut self, lost: &Lost, window: &mut Window) {
        let now = Instant::now();
        let had_link = self.is_linked();
        self.links_lost += u64::from(had_link);
        let is_vacant = matches!(lost, Lost::Dial(DialError::NothingThere { .. })) && !self.endpoint.is_tcp();
        let wait = if is_vacant { self.backoff.next_within(RECONNECT_HERE_MAX) } else { self.backoff.next() };
        self.stage = Stage::Away { dial_at: now + wait };
        window.on_disconnect();
        self.settled = true;
        self.away_since.get_or_insert(now);
        self.outage_since.get_or_insert(now);
        let news = lost.news(&self.endpoint, had_link);
        let is_refusal = matches!(lost, Lost::Refused(_));
        if self.told.is_none() || (is_refusal && self.told.as_ref() != Some(&news)) {
            say(format_args!("{news}: running on, its output is kept until one takes it"));
            self.told = Some(news);
        }
    }
}

fn dialing(endpoint: &Endpoint, within: Duration) -> Dialing {
    let endpoint = endpoint.clone();
    Box::pin(async move { net::dial(&endpoint, within).await })
}
