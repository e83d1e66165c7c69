//! zerovisor's shell: collects from watchers, keeps the journal, answers clients.
//!
//! ```text
//!  links (session, client) ----> hub      the task that owns the registry: who exists, who is meant
//!       |                          ^
//!       | records                  | facts, once written
//!       v                          |
//!     scribe (a thread) ----> journal      one writer; segment logs below
//!       |        \----> syncer (a thread) waits for the disk
//!       \----> textlog (a thread) renders zerovisor.log from the journal
//!
//!  spools that watchers left ----> adopt   plays each to hub and scribe, as a link would
//! ```
//! One byte of output: `session` takes its frame from the link, `scribe` writes it and gives the receipt, `session` acknowledges;
//! `logs` and `textlog` read it back by cursors of their own; `viewers` hands what goes to a terminal on at once. One command: `client` asks `hub` who is meant and hands the order to that
//! process's link.

mod adopt;
mod boot;
mod calls;
mod catchup;
mod cli;
mod client;
mod events;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod gaps;
mod hub;
mod in_flight;
mod lobby;
mod logs;
mod machine;
mod registry;
mod removed;
mod retention;
mod runs;
mod samples;
mod scribe;
mod session;
mod store;
mod syncer;
mod sys;
pub mod textlog;
mod viewers;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use zerovisor_core::credit::Pool;
use zerovisor_core::name::NodeName;
use zerovisor_core::units::Timestamp;
use zerovisor_core::view::Happening;

use crate::journal::{DataDirLock, LockError, LogReader, lock_data_dir};
use adopt::Adoption;
use catchup::Past;
pub use cli::{Cli, DEFAULT_ENDPOINT, command};
use hub::HubTask;
use lobby::Lobby;
use machine::Machine;
use retention::Retention;
use scribe::{Tools, now_us};
use session::Node;
use store::{Store, StoreError};
use textlog::{Target, TextConfig, TextLog, TextLogError};
use viewers::Numbers;

use crate::PROGRAM_VERSION;
use crate::net::{Acceptor, Admission, BindError, Endpoint, Telling};

/// How often it is looked whether the journal's thread lives.
const SCRIBE_LOOK: std::time::Duration = std::time::Duration::from_secs(1);

/// Why a zerovisor does not start, or cannot go on. Each is one line.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A tcp endpoint without a key.
    #[error(
        "cannot listen on {0}: tcp links are not encrypted yet, so anybody who reaches it could read and command everything; add --insecure to allow that"
    )]
    Insecure(Endpoint),
    /// The data directory.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// An endpoint.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The journal.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The text log.
    #[error(transparent)]
    TextLog(#[from] TextLogError),
    /// The runtime, or signals.
    #[error("cannot start: {0}")]
    Start(std::io::Error),
    /// The thread that writes the journal is gone.
    #[error(
        "the journal's thread ended unexpectedly: nothing can be recorded; start the zerovisor again, watchers will resume"
    )]
    ScribeDied,
    /// Accepting connections.
    #[error("cannot accept connections on {0}: {1}")]
    Accept(Endpoint, std::io::Error),
}

/// Runs a zerovisor until it is told to stop.
///
/// # Errors
/// It cannot start, or cannot go on.
pub fn run(cli: &Cli) -> Result<(), NodeError> {
    if let Some(open) = cli.endpoints.iter().find(|endpoint| endpoint.is_tcp() && !cli.insecure) {
        return Err(NodeError::Insecure(open.clone()));
    }
    sys::keep_freed_memory();
    raise_open_files();
    // The lock first: only its holder may touch a socket in this directory.
    let lock = lock_data_dir(&cli.data)?;
    let bind = |endpoint| Acceptor::bind(endpoint, Admission::default());
    let acceptors = cli.endpoints.iter().map(bind).collect::<Result<Vec<_>, _>>()?;
    let parts = Parts::start(cli, lock)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build();
    let runtime = runtime.map_err(NodeError::Start)?;
    let served = runtime.block_on(serve(&parts, acceptors, &cli.spools));
    // Links end with the runtime; whatever of theirs is journaled by then is acknowledged or asked for again.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    parts.stop();
    served
}

/// A watcher costs some five descriptors here; the default soft limit of 1024 is for programs that use select(2).
fn raise_open_files() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Everything that is not a task.
struct Parts {
    node: Node,
    hub: Mutex<Option<HubTask>>,
    text: TextLog,
    threads: Vec<JoinHandle<()>>,
}

impl Parts {
    fn start(cli: &Cli, lock: DataDirLock) -> Result<Parts, NodeError> {
        let retention = Retention {
            size: cli.retain_size.0,
            total: cli.retain_total.map_or_else(|| Retention::default_total(&cli.data), |bytes| bytes.0),
            age: cli.retain_age.map(|span| span.0),
        };
        let store = Store::open(&cli.data, retention.log_config())?;
        store.refuse_newer()?;
        store.sweep();
        let name = cli.name.clone().unwrap_or_else(host_name);
        let (text, text_thread) = start_text(cli, &store)?;
        let (hub, inbox) = hub::channel();
        let tools = Tools {
            store: store.clone(),
            node: name.clone(),
            hub: hub.clone(),
            text: text.clone(),
            sync: cli.sync,
            retention,
        };
        let (scribe, scribe_thread, known) = scribe::start(tools, lock)?;
        render_the_rest(&text, &store, &known);
        let task = HubTask::new(inbox, name.clone(), &store, scribe.clone(), known);
        let (pool, machine) = (Arc::new(Mutex::new(Pool::default())), Arc::new(Machine::default()));
        let (started_at, began) = (Timestamp(now_us()), Instant::now());
        let viewers = Numbers::since(started_at);
        let telling = Telling::default();
        let node = Node { name, hub, scribe, pool, viewers, telling, machine, started_at, began };
        let threads = std::iter::once(scribe_thread).chain(text_thread).collect();
        Ok(Parts { node, hub: Mutex::new(Some(task)), text, threads })
    }

    /// Without its only writer a zerovisor would take records and acknowledge none, for ever: better it ends and is started again.
    async fn scribe_died(&self) {
        let mut look = tokio::time::interval(SCRIBE_LOOK);
        while !self.threads.first().is_none_or(JoinHandle::is_finished) {
            look.tick().await;
        }
    }

    fn stop(self) {
        self.node.scribe.note(Timestamp(now_us()), None, Happening::NodeStopping);
        self.node.scribe.stop();
        let mut threads = self.threads.into_iter();
        // The scribe first: what it still writes is still rendered. A panic in a thread was reported already.
        let _ = threads.next().map(JoinHandle::join);
        self.text.stop();
        for thread in threads {
            let _ = thread.join();
        }
    }
}

fn start_text(cli: &Cli, store: &Store) -> Result<(TextLog, Option<JoinHandle<()>>), NodeError> {
    let target = match cli.log.as_os_str().as_encoded_bytes() {
        b"none" => return Ok((TextLog::none(), None)),
        b"-" => Target::Stdout,
        _ => Target::File(cli.log.clone()),
    };
    let config = TextConfig {
        rotate_bytes: cli.log_size.0,
        keep: cli.log_keep,
        ..TextConfig::new(target, store.text_cursor_path())
    };
    let (text, thread) = TextLog::start(config)?;
    Ok((text, Some(thread)))
}

/// What a zerovisor that was killed had journaled and not yet rendered: the last lines of processes that may never come back.
fn render_the_rest(text: &TextLog, store: &Store, known: &[Past]) {
    if !text.continues() {
        return;
    }
    for Past { meta, last_seq, .. } in known {
        if text.rendered_before(meta.id).is_none_or(|rendered| rendered < *last_seq)
            && let Ok((reader, _)) = LogReader::open(&store.log_dir(meta.id))
        {
            text.opened(meta.id, meta.name.clone(), reader);
            text.closed(meta.id);
        }
    }
}

fn host_name() -> NodeName {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    NodeName::nearest(name.as_deref().unwrap_or("localhost"))
}

async fn serve(parts: &Parts, acceptors: Vec<Acceptor>, spools: &[PathBuf]) -> Result<(), NodeError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(NodeError::Start)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(NodeError::Start)?;
    // A terminal that goes away does not take the farm's journal with it.
    let mut _hangup = signal(SignalKind::hangup()).map_err(NodeError::Start)?;
    let hub = parts.hub.lock().ok().and_then(|mut hub| hub.take());
    let known = hub.as_ref().map_or((0, 0), HubTask::counts);
    let mut tasks = tokio::task::JoinSet::new();
    if let Some(hub) = hub {
        tokio::spawn(hub.run());
    }
    let endpoints: Vec<Endpoint> = acceptors.iter().map(|acceptor| acceptor.endpoint().clone()).collect();
    for acceptor in acceptors {
        tracing::info!(endpoint = %acceptor.endpoint(), node = %parts.node.name, "listening");
        tasks.spawn(accept(acceptor, parts.node.clone()));
    }
    let started = Happening::NodeStarted { version: PROGRAM_VERSION.into() };
    parts.node.scribe.note(Timestamp(now_us()), None, started);
    let adoption = Adoption::new(parts.node.clone(), &endpoints, spools);
    let adoption = tokio::spawn(adoption.run());
    tracing::info!(processes = known.0, unreached = known.1, "serving");
    // All are cancel-safe: a signal stays pending, a finished task in its set, a thread ended.
    tokio::select! {
        () = parts.scribe_died() => return Err(NodeError::ScribeDied),
        _ = terminate.recv() => tracing::info!("stopping on SIGTERM"),
        _ = interrupt.recv() => tracing::info!("stopping on SIGINT"),
        Some(Ok(Err(error))) = tasks.join_next() => return Err(error),
    }
    adoption.abort();
    // Dropped with their tasks, the acceptors remove their sockets.
    tasks.shutdown().await;
    Ok(())
}

async fn accept(mut acceptor: Acceptor, node: Node) -> Result<(), NodeError> {
    let mut lobby = Lobby::default();
    loop {
        match acceptor.accept().await {
            Ok(link) => lobby.admit(&node, link),
            Err(error) => return Err(NodeError::Accept(acceptor.endpoint().clone(), error)),
        }
    }
}
