//! The messages behind the hello: records, orders, requests and their answers.

use serde::{Deserialize, Serialize};

use super::hello::{Hello, Refused, Welcome};
use crate::address::{Address, Candidate, Selection};
use crate::fact::{Gap, State};
use crate::id::Id;
use crate::keys::Key;
use crate::name::{NodeName, ProcessName};
use crate::record::{Head, Kind};
use crate::signal::Signal;
use crate::size::Size;
use crate::stats::Sample;
use crate::units::Timestamp;
use crate::view::Nodes;

/// The most input one request carries, in bytes.
pub const INPUT_MAX_BYTES: usize = super::PAGE_MAX_BYTES;
/// The most bytes of one stream of answers in flight to a client, in bytes.
pub const STREAM_WINDOW_BYTES: u64 = 2 << 20;
/// The most heads in one [`Answer::Log`], so that they fit the header frame.
pub const LOG_HEADS_MAX: usize = 1500;

/// From whoever dialled to a node.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum ToNode {
    /// Always the first.
    Hello(Hello),
    /// Are you there? Sent when nothing else was for a heartbeat.
    Ping {
        /// Comes back in the pong.
        nonce: u64,
    },
    /// Nothing follows; the link can be closed once this is answered.
    Goodbye,
    /// A watcher's next record; the payload frame has its bytes.
    Record(Head),
    /// A watcher's answer to a [`ToPeer::Order`].
    Obeyed {
        /// The number of the order.
        order: u64,
        /// What became of it.
        outcome: Outcome,
    },
    /// A client's question; the payload frame has input where the request sends some.
    Request(Request),
    /// A client can take this many more bytes of the answer to a request.
    Grant {
        /// The number of the request.
        request: u64,
        /// Payload bytes beyond those granted so far.
        bytes: u64,
    },
    /// A client is no longer interested.
    Cancel {
        /// The number of the request.
        request: u64,
    },
    /// A watcher's latest sample, and its heartbeat; may be lost.
    Sampled(Box<Sample>),
    /// A watcher to one viewer of its terminal; payload as the variant says.
    ToViewer {
        /// The viewer's number on this link.
        viewer: u64,
        /// What.
        news: ViewerNews,
    },
    /// Typed by an attached client: the payload frame has the bytes, at most what [`TYPED_WINDOW_BYTES`] lets go. Never sent twice.
    Typed {
        /// The number of its [`Ask::Attach`].
        request: u64,
    },
    /// An attached client's terminal has another size.
    Resized {
        /// The number of its [`Ask::Attach`].
        request: u64,
        /// The size.
        size: Size,
    },
}

/// From a node to whoever dialled it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum ToPeer {
    /// The hello is accepted.
    Welcome(Welcome),
    /// It is not; the link ends.
    Refused(Refused),
    /// The answer to a ping.
    Pong {
        /// From the ping.
        nonce: u64,
    },
    /// The answer to a goodbye.
    Farewell,
    /// To a watcher: every record up to this one is in the journal.
    Ack {
        /// The last of them.
        seq: u64,
        /// Bytes that may be in flight from now on.
        window_bytes: u64,
    },
    /// To a watcher: do this; the payload frame has input where it sends some.
    Order {
        /// Comes back in [`ToNode::Obeyed`].
        order: u64,
        /// What.
        deed: Deed,
    },
    /// To a client: part of the answer to a request; the payload frame is as the variant says.
    Answer {
        /// The number of the request.
        request: u64,
        /// The part.
        answer: Answer,
    },
    /// To a watcher, from one viewer of its terminal; the payload frame has what was typed, where something was.
    FromViewer {
        /// The viewer's number, chosen by the node, unique on this link.
        viewer: u64,
        /// What.
        act: ViewerAct,
    },
}

/// The most bytes typed by one viewer that the program's terminal has not taken; behind them the viewer waits.
pub const TYPED_WINDOW_BYTES: u64 = 64 << 10;
/// The largest part of a picture or of a screen's text, in bytes.
pub const PICTURE_PART_BYTES: usize = 256 << 10;

/// What a viewer does to a terminal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ViewerAct {
    /// Looks at it from now on. Answered by [`ViewerNews::Attached`] and a picture, or by [`ViewerNews::Denied`].
    Attach {
        /// The size of the viewer's own terminal; none: it has no wish.
        size: Option<Size>,
        /// Never types, never changes the size.
        read_only: bool,
        /// All other viewers are sent away.
        steal: bool,
    },
    /// Wants another picture, as the last one is behind or was made for another size.
    Picture,
    /// Types the payload frame.
    Type,
    /// Its terminal has another size.
    Resize(Size),
    /// Leaves.
    Detach,
    /// Wants the text of the present screen, without attaching. Answered by [`ViewerNews::Screen`] or [`ViewerNews::Denied`].
    Read {
        /// With colours and attributes, as SGR sequences.
        ansi: bool,
    },
}

/// What a viewer of a terminal is told by its watcher.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ViewerNews {
    /// It is attached.
    Attached {
        /// The present run.
        run: u32,
    },
    /// It is not, or not any more: why, in one line.
    Denied(String),
    /// Another viewer took the terminal for itself.
    Stolen,
    /// Payload: the next part of a picture, at most [`PICTURE_PART_BYTES`]: bytes that bring a terminal of the viewer's size from whatever
    /// it shows to what the program's terminal shows. An empty picture changes nothing.
    Picture {
        /// The last terminal record the picture contains; the stream goes on behind it.
        seq: u64,
        /// The size of the program's terminal.
        size: Size,
        /// No part follows.
        last: bool,
    },
    /// Of what it typed so many bytes have been taken by the terminal since it attached. Told when a quarter of its window was taken since it
    /// was told last, not for each key.
    Took {
        /// Bytes.
        bytes: u64,
    },
    /// Payload: the next part of the screen's rows as UTF-8 text, each row ended by a line feed.
    Screen {
        /// Columns and rows.
        shown: ScreenShown,
        /// No part follows.
        last: bool,
    },
}

/// What a screen's text does not say.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ScreenShown {
    /// Columns and rows.
    pub size: Size,
    /// Column and row of the cursor, from 0; none where it is hidden.
    pub cursor: Option<(u16, u16)>,
    /// The title the program gave its terminal.
    pub title: Option<String>,
    /// Whether the alternate screen is shown, as by an editor.
    pub alternate: bool,
}

/// What can be done to a process.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Deed {
    /// Begin a run, with this command if it waits for one. Arguments are bytes.
    Start {
        /// The command and its arguments; none: the one it has.
        command: Option<Vec<Vec<u8>>>,
    },
    /// End the run and do not restart it.
    Stop {
        /// Without grace.
        kill: bool,
    },
    /// End the run, if any, and begin another.
    Restart,
    /// Send a signal to the main process.
    Signal(Signal),
    /// Write the payload frame to its standard input.
    Input {
        /// Close it then.
        eof: bool,
    },
    /// End the watcher and remove the journal.
    Remove {
        /// Even if it is live: its run is killed.
        force: bool,
    },
    /// Type the payload frame, which is UTF-8 text, and then these keys; outcomes as of [`Deed::Input`]. The watcher knows the modes of its
    /// terminal and encodes the keys for them; on pipes they are what a terminal would send, Enter a line feed.
    Keys {
        /// In this order.
        keys: Vec<Key>,
    },
}

/// What became of a deed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// It is done, or begun.
    Done,
    /// It was so already.
    Already,
    /// It cannot be: why, in one line.
    Denied(String),
    /// It cannot be, because nothing runs, or nobody is there to do it: why, in one line.
    NotRunning(String),
    /// Not now, and nothing was done or taken: why, in one line. The same may be asked again.
    Busy(String),
}

/// A question of a client.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the client, unique on its link.
    pub request: u64,
    /// How long the client will wait for the whole answer, in milliseconds; 0: as long as it takes.
    pub deadline_ms: u64,
    /// What is asked.
    pub ask: Ask,
}

/// What can be asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Ask {
    /// Are you there, and who are you? Answered by [`Answer::Here`].
    Ping,
    /// Rows: those selected, or all. Answered by [`Answer::Rows`].
    List {
        /// Which; empty: every process.
        select: Selection,
        /// Ended ones too.
        ended: bool,
    },
    /// Everything about one process. Answered by [`Answer::Detail`].
    Inspect(Address),
    /// Output. Answered by [`Answer::Sources`], then [`Answer::Log`], [`Answer::Gap`] and [`Answer::Missing`].
    Logs(LogsAsk),
    /// What happened on the node. Answered by [`Answer::Events`].
    Events(EventsAsk),
    /// Do something. Answered by [`Answer::Done`], once for each process.
    Do {
        /// To which.
        select: Selection,
        /// What.
        deed: Deed,
    },
    /// Wait until every selected process is in a state. Answered by [`Answer::Reached`], once for each.
    Wait {
        /// Which.
        select: Selection,
        /// For what.
        until: Until,
    },
    /// View a terminal and type into it. Answered by [`Answer::View`]s: [`View::Attached`], then [`View::Picture`] and
    /// [`View::Terminal`] as they come, and at the end of the run [`View::RunEnded`].
    Attach(AttachAsk),
    /// The text of a terminal's present screen. Answered by [`Answer::Screen`].
    Screen {
        /// Whose.
        address: Address,
        /// With colours and attributes, as SGR sequences.
        ansi: bool,
    },
    /// The nodes, and what they and their machines use. Answered by [`Answer::NodeRows`].
    NodeRows,
}

/// How a terminal is to be viewed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AttachAsk {
    /// Whose.
    pub address: Address,
    /// The size of the client's terminal; none: it has no wish.
    pub size: Option<Size>,
    /// Never types, never changes the size.
    pub read_only: bool,
    /// All other viewers are sent away.
    pub steal: bool,
}

/// What [`Ask::Wait`] waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Until {
    /// A run has lived for its `--start-secs`.
    Running,
    /// No run lives and none will follow by itself.
    Ended,
}

/// Which output is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogsAsk {
    /// Of which processes.
    pub select: Selection,
    /// Go on with what is written later.
    pub follow: bool,
    /// Only the last so many lines.
    pub tail: Option<u64>,
    /// Nothing before this.
    pub since: Option<Timestamp>,
    /// Nothing from this on.
    pub until: Option<Timestamp>,
    /// Only this kind of output.
    pub kind: Option<Kind>,
    /// Which runs.
    pub runs: Runs,
    /// Continue behind this record; for a single process whose follower lost its link.
    pub after_seq: Option<u64>,
}

/// Which runs of a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Runs {
    /// All of them.
    All,
    /// The one before the last.
    Previous,
    /// This one.
    Number(u32),
}

/// Which events are asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EventsAsk {
    /// About which processes; empty: everything.
    pub select: Selection,
    /// Only events behind this number.
    pub after_seq: Option<u64>,
    /// Only the last so many, before following.
    pub tail: Option<u64>,
    /// Go on with what happens later.
    pub follow: bool,
}

/// Part of the answer to a request. Each answer ends with [`Answer::End`] or [`Answer::Failed`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// To a ping.
    Here {
        /// Who.
        node: NodeName,
        /// Program and version.
        program: String,
        /// Its pid.
        pid: i32,
        /// When it began.
        started_at: Timestamp,
    },
    /// Payload: a page of `Vec<ProcessRow>`.
    Rows,
    /// Payload: a page of one `Detail`.
    Detail,
    /// Payload: a page of `Vec<Source>`. May come again when processes appear later.
    Sources,
    /// Records of one source; payload: theirs, one after the other.
    Log {
        /// Index into the sources.
        source: u32,
        /// Each record and the length of its payload.
        heads: Vec<(Head, u32)>,
    },
    /// Part of a source cannot be read. Also what is worth knowing of an answer to [`Ask::Events`].
    Missing {
        /// Index into the sources.
        source: u32,
        /// For people.
        what: String,
    },
    /// Payload: a page of `Vec<Event>`.
    Events,
    /// What became of a deed on one process.
    Done {
        /// Which.
        id: Id,
        /// Its name.
        name: ProcessName,
        /// What.
        outcome: Outcome,
    },
    /// A process reached what was waited for.
    Reached {
        /// Which.
        id: Id,
        /// Its name.
        name: ProcessName,
        /// In which state.
        state: State,
        /// The status a shell would show for its last run, if one ended.
        status: Option<u8>,
    },
    /// That was all.
    End(Nodes),
    /// There is no answer.
    Failed(Failure),
    /// To an attached client.
    View(View),
    /// Payload: the next part of the screen's rows as UTF-8 text, each row ended by a line feed.
    Screen {
        /// Columns and rows.
        shown: ScreenShown,
        /// No part follows.
        last: bool,
    },
    /// Payload: a page of `Vec<NodeRow>`.
    NodeRows,
    /// A stretch of a source is missing here.
    Gap {
        /// Index into the sources.
        source: u32,
        /// The last record that is missing, behind which the source goes on; one less than the gap's first where the end is not known.
        last_seq: u64,
        /// What is missing, and why.
        gap: Gap,
    },
}

/// What an attached client is told, as it comes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum View {
    /// It is attached.
    Attached {
        /// To which process.
        id: Id,
        /// Its name.
        name: ProcessName,
        /// Its node.
        node: NodeName,
        /// The present run.
        run: u32,
    },
    /// Payload: the next part of a picture, as in [`ViewerNews::Picture`]; counts as part of the stream.
    Picture {
        /// The size of the program's terminal.
        size: Size,
        /// Bytes of output that were not shown since the picture before, because the client did not take them in time.
        skipped_bytes: u64,
        /// No part follows.
        last: bool,
    },
    /// Payload: what the program wrote next to its terminal; part of the stream.
    Terminal,
    /// Of what the client typed so many bytes have been taken by the terminal since it attached.
    Took {
        /// Bytes.
        bytes: u64,
    },
    /// The run ended, and the view with it.
    RunEnded {
        /// The status a shell would show for it.
        status: u8,
        /// How, in one line.
        what: String,
    },
    /// The view ended though the run goes on: why, in one line.
    SentAway(String),
}

/// Where log records come from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Source {
    /// The process.
    pub id: Id,
    /// Its name.
    pub name: ProcessName,
    /// Its node.
    pub node: NodeName,
}

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum Failure {
    /// No such process.
    #[error("no process '{0}': zvctl ps -a lists them all")]
    Unknown(String),
    /// Several processes are meant.
    #[error("{0}")]
    Ambiguous(String, Vec<Candidate>),
    /// The process is there and cannot do it now.
    #[error("{0}")]
    NotRunning(String),
    /// It took too long.
    #[error("no answer within {0} ms")]
    TimedOut(u64),
    /// Too many requests at once.
    #[error("too many requests at once on one link: at most {0}")]
    TooMany(usize),
    /// Anything else, in one line.
    #[error("{0}")]
    Other(String),
}
