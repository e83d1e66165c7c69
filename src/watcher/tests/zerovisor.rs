//! A small zerovisor of the test's own at the level of messages, and the zvwatch before it: what stories of the whole watcher are told with.

use super::super::cli;
use super::super::guard::{Role, start as split};
use super::super::session;
use super::*;
use crate::net::listen::Admission;
use crate::net::{Acceptor, Endpoint, Frames, Link};
use bytes::Bytes;
use std::cell::RefCell;
use std::future::Future;
use std::path::PathBuf;
use zerovisor_core::fact::Fact;
use zerovisor_core::record::{Head, Kind};
use zerovisor_core::wire::{
    self, Deed, Hello, Outcome, Role as Speaker, ToNode, ToPeer, ViewerAct, ViewerNews, WatcherHello, WatcherWelcome,
    Welcome,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// How many zvwatches a story may start.
const ZVWATCHES: usize = 2;

/// Tells `story` to a runtime in a process of its own, with a directory for the socket.
pub(super) fn tell<F: Future<Output = ()>>(story: impl FnOnce(Stage) -> F) {
    isolated(|| {
        let dir = tempfile::tempdir().unwrap();
        let ready = (0..ZVWATCHES).map(|_| ready()).collect();
        let stage = Stage { socket: dir.path().join("s"), ready: RefCell::new(ready) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().unwrap();
        runtime.block_on(async { tokio::time::timeout(PATIENCE, story(stage)).await.expect("the story has no end") });
    });
}

pub(super) struct Stage {
    socket: PathBuf,
    ready: RefCell<Vec<(PipeWriter, Zvwatch)>>,
}

/// A zvwatch, as the user's shell has it.
pub(super) struct Zvwatch {
    pub(super) pid: i32,
    pub(super) stderr: PipeReader,
}

/// A process that will be a zvwatch once it is told its command line: forked before the story's runtime, of which it would inherit half.
fn ready() -> (PipeWriter, Zvwatch) {
    let (mut line, write) = io::pipe().unwrap();
    let (stderr, complaints) = io::pipe().unwrap();
    let pid = fork(|| {
        let line = read_line(&mut line);
        sys::replace_stdio(complaints.as_fd(), 2).unwrap();
        // A zvwatch from a shell holds nothing of ours open.
        sys::close_all_but(io::stderr().as_fd()).unwrap();
        let settings = cli::parse(line.trim_end_matches('\n').split('\0').map(OsString::from)).unwrap();
        match split(settings.family()).unwrap() {
            Role::Guard(guard) => sys::exit_now(guard.run()),
            Role::Front(mut front) => sys::exit_now(front.run()),
            Role::Watcher(side) => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().unwrap();
                sys::exit_now(runtime.block_on(session::run(settings, side)).unwrap())
            }
        }
    });
    (write, Zvwatch { pid, stderr })
}

impl Stage {
    pub(super) fn zerovisor(&self) -> Zerovisor {
        let endpoint = Endpoint::Ipc(self.socket.clone());
        let acceptor = Acceptor::bind(&endpoint, Admission::default()).unwrap();
        Zerovisor { acceptor, id: None, journal: Vec::new() }
    }

    /// `options` without program and endpoint, separated by spaces; then the command.
    pub(super) fn zvwatch(&self, options: &str, command: &[&str]) -> Zvwatch {
        let endpoint = format!("ipc://{}", self.socket.display());
        let mut words = vec!["zvwatch", "-e", &endpoint];
        words.extend(options.split(' ').filter(|word| !word.is_empty()));
        words.push("--");
        words.extend(command);
        let (line, zvwatch) = self.ready.borrow_mut().pop().expect("so many zvwatches");
        nix::unistd::write(line, (words.join("\0") + "\n").as_bytes()).unwrap();
        zvwatch
    }
}

impl Zvwatch {
    /// Its exit status, and what it said; the story goes on meanwhile.
    pub(super) async fn end(self) -> (u8, String) {
        let pidfd = sys::watch_readable(sys::pidfd_open(self.pid).unwrap()).unwrap();
        pidfd.readable().await.unwrap().retain_ready();
        let Ended::Exited(status) = ended(self.pid) else { panic!("zvwatch was killed") };
        (status, read_all(self.stderr))
    }
}

/// A zerovisor with a journal, and nothing else.
pub(super) struct Zerovisor {
    acceptor: Acceptor,
    id: Option<(zerovisor_core::id::Id, [u8; 32])>,
    pub(super) journal: Vec<(Head, Bytes)>,
}

pub(super) struct Session {
    link: Link,
}

impl Zerovisor {
    pub(super) async fn hello(&mut self) -> (Session, Box<WatcherHello>) {
        let mut session = Session { link: self.acceptor.accept().await.unwrap() };
        let Some(ToNode::Hello(Hello { role: Speaker::Watcher(hello), .. })) = session.hear().await.map(|(m, _)| m)
        else {
            panic!("no hello of a watcher")
        };
        (session, hello)
    }

    /// Accepts a watcher and welcomes it where the journal ends.
    pub(super) async fn watcher(&mut self, window_bytes: u64) -> Session {
        let (mut session, hello) = self.hello().await;
        assert_eq!(*self.id.get_or_insert((hello.id, hello.secret)), (hello.id, hello.secret));
        assert!(hello.first_seq <= self.end() + 1, "nothing is missing between journal and window");
        let watcher = WatcherWelcome { name: hello.spec.name, journal_end: self.end(), window_bytes };
        let node = "here".parse().unwrap();
        let welcome = Welcome { version: 1, node, program: String::new(), watcher: Some(watcher) };
        session.say(&ToPeer::Welcome(welcome), None).await;
        session
    }

    pub(super) fn end(&self) -> u64 {
        self.journal.last().map_or(0, |(head, _)| head.seq)
    }

    /// Takes one message; the fact if it was one. None at the end.
    pub(super) async fn take(&mut self, session: &mut Session, window_bytes: u64) -> Option<Heard> {
        let (message, payload) = session.hear().await?;
        Some(match message {
            ToNode::Record(head) => {
                // What an earlier link had in flight comes again; never a hole.
                assert_eq!(head.seq, self.end() + 1, "records come once and in order");
                self.journal.push((head, payload.clone()));
                session.say(&ToPeer::Ack { seq: head.seq, window_bytes }, None).await;
                if head.kind == Kind::Fact { Heard::Fact(wire::decode_fact(&payload).unwrap()) } else { Heard::Output }
            }
            ToNode::Obeyed { outcome, .. } => Heard::Obeyed(outcome),
            ToNode::Ping { nonce } => {
                session.say(&ToPeer::Pong { nonce }, None).await;
                Heard::Other
            }
            ToNode::Goodbye => {
                session.say(&ToPeer::Farewell, None).await;
                Heard::Goodbye
            }
            ToNode::ToViewer { viewer, news } => Heard::News(viewer, news, payload),
            ToNode::Sampled(sample) => Heard::Sample(sample),
            ToNode::Hello(_)
            | ToNode::Request(_)
            | ToNode::Grant { .. }
            | ToNode::Cancel { .. }
            | ToNode::Typed { .. }
            | ToNode::Resized { .. } => {
                panic!("not a message of a welcomed watcher: {message:?}")
            }
        })
    }

    /// Takes what comes until `enough`.
    pub(super) async fn take_until(&mut self, session: &mut Session, mut enough: impl FnMut(&Heard) -> bool) -> Heard {
        loop {
            let heard = self.take(session, 1 << 20).await.expect("the link ended early");
            if enough(&heard) {
                return heard;
            }
        }
    }

    pub(super) async fn take_to_goodbye(&mut self, session: &mut Session) {
        self.take_until(session, |heard| matches!(heard, Heard::Goodbye)).await;
    }

    pub(super) async fn take_fact(&mut self, session: &mut Session, wanted: impl Fn(&Fact) -> bool) -> Fact {
        let heard = self.take_until(session, |heard| matches!(heard, Heard::Fact(fact) if wanted(fact))).await;
        let Heard::Fact(fact) = heard else { unreachable!() };
        fact
    }

    pub(super) async fn order(&mut self, session: &mut Session, deed: Deed, payload: &[u8]) -> Outcome {
        session.say(&ToPeer::Order { order: 7, deed }, Some(Bytes::copy_from_slice(payload))).await;
        let Heard::Obeyed(outcome) = self.take_until(session, |heard| matches!(heard, Heard::Obeyed(_))).await else {
            unreachable!()
        };
        outcome
    }

    /// A viewer does something.
    pub(super) async fn view(&self, session: &mut Session, viewer: u64, act: ViewerAct, payload: &[u8]) {
        session.say(&ToPeer::FromViewer { viewer, act }, Some(Bytes::copy_from_slice(payload))).await;
    }

    pub(super) fn facts(&self) -> Vec<Fact> {
        let facts = self.journal.iter().filter(|(head, _)| head.kind == Kind::Fact);
        facts.map(|(_, payload)| wire::decode_fact(payload).unwrap()).collect()
    }

    pub(super) fn output(&self, kind: Kind) -> Vec<u8> {
        let mut all = Vec::new();
        for (head, payload) in self.journal.iter().filter(|(head, _)| head.kind == kind) {
            assert_eq!(head.offset, all.len() as u64, "offsets count the bytes before");
            all.extend_from_slice(payload);
        }
        all
    }
}

#[derive(Debug)]
pub(super) enum Heard {
    Fact(Fact),
    Output,
    Obeyed(Outcome),
    Sample(Box<zerovisor_core::stats::Sample>),
    Goodbye,
    /// To a viewer of this number, with the payload.
    News(u64, ViewerNews, Bytes),
    Other,
}

impl Session {
    pub(super) async fn hear(&mut self) -> Option<(ToNode, Bytes)> {
        let frames = self.link.rx.recv().await.ok()?;
        Some((wire::decode_header(&frames.header).unwrap(), frames.payload.unwrap_or_default()))
    }

    pub(super) async fn say(&mut self, message: &ToPeer, payload: Option<Bytes>) {
        // To a watcher that has gone nothing can be said.
        let _gone = self.link.tx.send(Frames { header: wire::encode_header(message).unwrap(), payload }).await;
    }
}
