//! The connection to the zerovisor: made again for ever, each time from where the zerovisor's journal ends.
//!
//! ```text
//!            dial_at            dialed            welcome
//!   Away ------------> Dialing --------> Greeting --------> Linked --goodbye--> farewell
//!    ^                    |                 |                  |
//!    +----- backoff ------+-----------------+------------------+  error, refusal, violation, silence
//! ```
//! A link that fails in any way is dropped and a new one made; nothing else is ever repaired.

use std::future::{Future, pending};
use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use zerovisor_core::fact::State;
use zerovisor_core::name::{NodeName, ProcessName};
use zerovisor_core::stats::{Placement, Sample};
use zerovisor_core::window::{Body, Violation, Window};
use zerovisor_core::wire::{
    self, Deed, Hello, Outcome, Refusal, Role, ToNode, ToPeer, VERSIONS, ViewerAct, ViewerNews, WatcherHello, Welcome,
    WireError,
};

use super::clock;
use super::say::say;
use crate::PROGRAM_VERSION;
use crate::net::reconnect::{RECONNECT_HERE_MAX, RECONNECT_MAX, RECONNECT_MIN};
use crate::net::{
    self, Backoff, DialError, Endpoint, Frames, HEARTBEAT, HEARTBEATS_MISSED, Heartbeat, Link, LinkError,
    UNSENT_MAX_BYTES,
};

/// How long the child's start waits for the first connection.
const DIAL_FIRST: Duration = Duration::from_millis(500);
/// How long later ones may take.
const DIAL_AGAIN: Duration = Duration::from_secs(5);
/// How long a zerovisor may take to answer the hello; the child's start waits for the first answer.
const WELCOME_WITHIN: Duration = Duration::from_secs(2);
/// So many heartbeats after the last word of a zerovisor it is asked for one; meanwhile ours are enough.
const PING_AFTER: u32 = 3;
/// A zerovisor that is silent for so many has missed three since it was asked.
const SILENT_AFTER: u32 = PING_AFTER + HEARTBEATS_MISSED;
/// Of what a zerovisor has not taken yet, in bytes, past which no more pictures are sent: half of what a link holds, so that records and all
/// else still have room.
const PICTURES_UNSENT_BYTES: u64 = UNSENT_MAX_BYTES / 2;
/// How long a goodbye may go unanswered.
const FAREWELL_WITHIN: Duration = Duration::from_secs(1);

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("{0}")]
    Dial(DialError),
    #[error("{0}")]
    Link(#[from] LinkError),
    #[error("{0}")]
    Wire(#[from] WireError),
    #[error("{0}")]
    Window(#[from] Violation),
    #[error("it broke the protocol: {0}")]
    Protocol(&'static str),
    #[error("it did not answer within {} s", WELCOME_WITHIN.as_secs())]
    NoWelcome,
    #[error("nothing was heard of it for {} s", (HEARTBEAT * SILENT_AFTER).as_secs())]
    Silent,
    #[error("{0}")]
    Refused(Refusal),
    #[error("it takes no more records")]
    Stalled,
}

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
}

struct Linked {
    link: Link,
    tick_at: Instant,
    beat: Heartbeat,
    pings: u64,
    linked_at: Instant,
    sent_at: Instant,
    farewell_by: Option<Instant>,
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
            Stage::Away { .. } | Stage::Dialing(_) | Stage::Greeting { .. } => None,
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
            Stage::Away { .. } => pending().await,
            Stage::Dialing(dialing) => Arrival::Dialed(dialing.await),
            Stage::Greeting { link, .. } => Arrival::Frames(link.rx.recv().await),
            Stage::Linked(linked) => Arrival::Frames(linked.link.rx.recv().await),
        }
    }

    /// When [`Uplink::on_timer`] wants to be called.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Away { dial_at } => Some(*dial_at),
            Stage::Dialing(_) => None,
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
            Stage::Away { .. } | Stage::Dialing(_) | Stage::Greeting { .. } | Stage::Linked(_) => {}
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
        self.stage = Stage::Linked(Box::new(Linked {
            link: *link,
            tick_at: clock::next_whole(now, HEARTBEAT),
            beat: Heartbeat::new(now),
            pings: 0,
            linked_at: now,
            sent_at: now,
            farewell_by: None,
        }));
        (self.node, self.name) = (Some(welcome.node), watcher.name);
        (self.settled, self.away_since) = (true, None);
        self.progress_at = now;
        self.hello.welcomed_before = true;
        Ok(())
    }

    /// Sends what the window lets go.
    pub(super) async fn send_records(&mut self, window: &mut Window) {
        let Stage::Linked(linked) = &mut self.stage else { return };
        if let Err(lost) = linked.send_records(window).await {
            self.lose(&lost, window);
        }
    }

    /// Sends a sample, if there is a zerovisor to send it to; else it is of no interest any more.
    pub(super) async fn send_sample(&mut self, sample: Sample, window: &mut Window) {
        let Stage::Linked(linked) = &mut self.stage else { return };
        if linked.farewell_by.is_none()
            && let Err(lost) = linked.send(&ToNode::Sampled(Box::new(sample)), None).await
        {
            self.lose(&lost, window);
        }
    }

    /// Answers an order. A zerovisor that is gone by now asks again, or not.
    pub(super) async fn obeyed(&mut self, order: u64, outcome: Outcome, window: &mut Window) {
        let Stage::Linked(linked) = &mut self.stage else { return };
        if let Err(lost) = linked.send(&ToNode::Obeyed { order, outcome }, None).await {
            self.lose(&lost, window);
        }
    }

    /// Tells a viewer something. One whose link has gone is gone with it. False: too much is on its way already, and this is not; the link
    /// is none the worse for that.
    pub(super) async fn tell_viewer(
        &mut self,
        viewer: u64,
        news: ViewerNews,
        payload: Option<Bytes>,
        window: &mut Window,
    ) -> bool {
        let Stage::Linked(linked) = &mut self.stage else { return true };
        if payload.is_some() && linked.link.tx.unsent_bytes() > PICTURES_UNSENT_BYTES {
            return false;
        }
        match linked.send(&ToNode::ToViewer { viewer, news }, payload).await {
            Ok(()) => true,
            Err(Lost::Link(LinkError::Stalled { .. } | LinkError::TooLarge { .. })) => false,
            Err(lost) => {
                self.lose(&lost, window);
                true
            }
        }
    }

    /// How many links there were that are lost: the viewers of each are gone.
    pub(super) fn links_lost(&self) -> u64 {
        self.links_lost
    }

    /// Says that nothing follows. False if there is nobody to say it to, or it was said already.
    pub(super) async fn goodbye(&mut self, window: &mut Window) -> bool {
        let Stage::Linked(linked) = &mut self.stage else { return false };
        if linked.farewell_by.is_some() {
            return false;
        }
        linked.farewell_by = Some(Instant::now() + FAREWELL_WITHIN);
        match linked.send(&ToNode::Goodbye, None).await {
            Ok(()) => true,
            Err(lost) => {
                self.lose(&lost, window);
                false
            }
        }
    }

    /// The link is of use: records are taken, or it idles. Only that ends an outage; a zerovisor whose disk is full welcomes us each time and
    /// then drops the link, and would be dialled ten times a second and told of as often.
    fn on_use(&mut self) {
        self.backoff.reset();
        (self.told, self.outage_since) = (None, None);
    }

    /// The zerovisor takes nothing, and what it was sent is not to be waited for.
    pub(super) fn give_up_link(&mut self, window: &mut Window) {
        if self.is_linked() {
            self.lose(&Lost::Stalled, window);
        }
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
        let news = match lost {
            Lost::Dial(DialError::NothingThere { endpoint, why }) => format!("no zerovisor at {endpoint} ({why})"),
            Lost::Dial(error) => error.to_string(),
            Lost::Refused(refusal) => format!("the zerovisor at {} refused: {refusal}", self.endpoint),
            Lost::Link(_)
            | Lost::Wire(_)
            | Lost::Window(_)
            | Lost::Protocol(_)
            | Lost::NoWelcome
            | Lost::Silent
            | Lost::Stalled => {
                let what = if had_link { "lost the zerovisor" } else { "no use in what listens" };
                format!("{what} at {} ({lost})", self.endpoint)
            }
        };
        let is_refusal = matches!(lost, Lost::Refused(_));
        if self.told.is_none() || (is_refusal && self.told.as_ref() != Some(&news)) {
            say(format_args!("{news}: running on, its output is kept until one takes it"));
            self.told = Some(news);
        }
    }
}

impl Linked {
    async fn send(&mut self, message: &ToNode, payload: Option<Bytes>) -> Result<(), Lost> {
        self.sent_at = Instant::now();
        send(&mut self.link, message, payload).await
    }

    async fn send_records(&mut self, window: &mut Window) -> Result<(), Lost> {
        while let Some((head, body)) = window.next_to_send() {
            let payload = match body {
                Body::Output(bytes) => bytes,
                Body::Fact(fact) => wire::encode_fact(&fact)?,
            };
            self.send(&ToNode::Record(head), Some(payload)).await?;
        }
        Ok(())
    }

    /// A heartbeat: counts silence, and pings unless something was sent just now and something heard not long ago.
    async fn tick(&mut self, now: Instant) -> Result<(), Lost> {
        self.tick_at = clock::next_whole(now, HEARTBEAT);
        if !self.beat.is_alive_within(now, SILENT_AFTER) {
            return Err(Lost::Silent);
        }
        let unsaid = now.saturating_duration_since(self.sent_at);
        let unheard = now.saturating_duration_since(self.beat.heard_at());
        if unsaid > HEARTBEAT / 2 || unheard > HEARTBEAT * PING_AFTER - HEARTBEAT / 2 {
            self.pings += 1;
            self.send(&ToNode::Ping { nonce: self.pings }, None).await?;
        }
        Ok(())
    }
}

async fn send(link: &mut Link, message: &ToNode, payload: Option<Bytes>) -> Result<(), Lost> {
    Ok(link.tx.send(Frames { header: wire::encode_header(message)?, payload }).await?)
}

fn dialing(endpoint: &Endpoint, within: Duration) -> Dialing {
    let endpoint = endpoint.clone();
    Box::pin(async move { net::dial(&endpoint, within).await })
}
