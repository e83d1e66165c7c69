//! A watcher and a client that do exactly what a story says, over peers written by hand.

use zerovisor_core::fact::Fact;
use zerovisor_core::id::Id;
use zerovisor_core::record::{Head, Kind};
use zerovisor_core::size::Size;
use zerovisor_core::stats::Sample;
use zerovisor_core::units::Timestamp;
use zerovisor_core::wire::{
    self, Answer, Ask, AttachAsk, Failure, Request, Role, ToNode, ToPeer, View, ViewerAct, ViewerNews, WatcherHello,
};

use super::farm::Farm;
use super::peer::{Door, Peer, hello, watcher_hello};

/// A watcher of one process on a terminal.
pub(crate) struct Watcher {
    pub(crate) peer: Peer,
    /// The last record it made.
    pub(crate) seq: u64,
    written: u64,
}

impl Watcher {
    /// One of a process on a terminal of the default size, whose first run has begun.
    pub(crate) fn on_terminal(farm: &Farm, name: &str) -> Watcher {
        let mut hello = watcher_hello(Id::from_random([9; 16]), 1, name);
        hello.spec.terminal = Some(Size::DEFAULT);
        let mut watcher = Watcher::saying(farm, hello);
        watcher.fact(&Fact::Started { run: 1, pid: 1 });
        watcher.fact(&Fact::Steady { run: 1 });
        farm.reaches(name, "RUNNING");
        watcher
    }

    /// One that has said this hello and is welcome.
    pub(crate) fn saying(farm: &Farm, of: WatcherHello) -> Watcher {
        let mut peer = Peer::greeted(&Door::Ipc(farm.path("zerovisor.sock")));
        peer.say(&hello(Role::Watcher(Box::new(of))), None);
        assert!(matches!(peer.hear(), Some((ToPeer::Welcome(_), _))));
        Watcher { peer, seq: 0, written: 0 }
    }

    fn record(&mut self, kind: Kind, offset: u64, payload: &[u8]) {
        self.seq += 1;
        let head = Head { seq: self.seq, at: Timestamp(self.seq), run: 1, kind, offset };
        self.peer.say(&ToNode::Record(head), Some(payload));
    }

    /// The program writes to its terminal.
    pub(crate) fn writes(&mut self, bytes: &[u8]) {
        self.record(Kind::Terminal, self.written, bytes);
        self.written += bytes.len() as u64;
    }

    pub(crate) fn fact(&mut self, fact: &Fact) {
        let payload = wire::encode_fact(fact).unwrap();
        self.record(Kind::Fact, 0, &payload);
    }

    pub(crate) fn sampled(&mut self, sample: &Sample) {
        self.peer.say(&ToNode::Sampled(Box::new(sample.clone())), None);
    }

    pub(crate) fn tells(&mut self, viewer: u64, news: ViewerNews, payload: &[u8]) {
        self.peer.say(&ToNode::ToViewer { viewer, news }, Some(payload));
    }

    /// Tells a viewer that it is attached.
    pub(crate) fn attaches(&mut self, viewer: u64) {
        self.tells(viewer, ViewerNews::Attached { run: 1 }, b"");
    }

    /// Draws a viewer a picture in one part.
    pub(crate) fn draws(&mut self, viewer: u64, seq: u64, size: Size, picture: &[u8]) {
        self.tells(viewer, ViewerNews::Picture { seq, size, last: true }, picture);
    }

    /// What a viewer does next; acknowledgements are passed over.
    pub(crate) fn asked(&mut self) -> (u64, ViewerAct, Vec<u8>) {
        loop {
            match self.peer.hear() {
                Some((ToPeer::FromViewer { viewer, act }, payload)) => return (viewer, act, payload),
                Some((ToPeer::Ack { .. } | ToPeer::Pong { .. }, _)) => self.peer.ping(),
                other => panic!("{other:?}"),
            }
        }
    }

    /// A viewer attaches and is sent an empty picture: it has the stream from here on.
    pub(crate) fn welcomes(&mut self) -> u64 {
        let (viewer, act, _) = self.asked();
        assert!(matches!(act, ViewerAct::Attach { .. }), "{act:?}");
        self.attaches(viewer);
        let seq = self.seq;
        self.draws(viewer, seq, Size::DEFAULT, b"");
        viewer
    }

    /// Waits until its last record is acknowledged.
    pub(crate) fn is_journaled(&mut self) {
        loop {
            match self.peer.hear() {
                Some((ToPeer::Ack { seq, .. }, _)) if seq == self.seq => return,
                Some((ToPeer::Ack { .. } | ToPeer::FromViewer { .. } | ToPeer::Pong { .. }, _)) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

/// What a client hears about a request.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) answer: Answer,
    pub(crate) payload: Vec<u8>,
}

/// A client; it grants what it is sent only when told to.
pub(crate) struct Client {
    pub(crate) peer: Peer,
    /// The number of its last request; answers to earlier ones are passed over.
    pub(crate) request: u64,
}

impl Client {
    pub(crate) fn of(farm: &Farm) -> Client {
        Client::at(&Door::Ipc(farm.path("zerovisor.sock")))
    }

    /// One that came in there.
    pub(crate) fn at(door: &Door) -> Client {
        let mut peer = Peer::greeted(door);
        peer.say(&hello(Role::Client), None);
        assert!(matches!(peer.hear(), Some((ToPeer::Welcome(_), _))));
        Client { peer, request: 0 }
    }

    pub(crate) fn asks(&mut self, ask: Ask) {
        self.request += 1;
        self.peer.say(&ToNode::Request(Request { request: self.request, deadline_ms: 0, ask }), None);
    }

    /// Asks to be attached, with a terminal of this size.
    pub(crate) fn attach(&mut self, name: &str, size: Option<Size>) {
        let ask = AttachAsk { address: name.parse().unwrap(), size, read_only: false, steal: false };
        self.asks(Ask::Attach(ask));
    }

    /// One that has attached, while the watcher welcomed it; and its number there.
    pub(crate) fn attached(farm: &Farm, watcher: &mut Watcher, name: &str) -> (Client, u64) {
        let mut client = Client::of(farm);
        client.attach(name, Some(Size::DEFAULT));
        let viewer = watcher.welcomes();
        assert!(matches!(client.view().0, View::Attached { run: 1, .. }));
        assert!(matches!(client.view().0, View::Picture { last: true, skipped_bytes: 0, .. }));
        (client, viewer)
    }

    /// What comes next.
    pub(crate) fn hears(&mut self) -> Heard {
        loop {
            match self.peer.hear() {
                Some((ToPeer::Answer { request, answer }, payload)) if request == self.request => {
                    return Heard { answer, payload };
                }
                Some((ToPeer::Answer { .. } | ToPeer::Pong { .. }, _)) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next view, which is what comes next.
    pub(crate) fn view(&mut self) -> (View, Vec<u8>) {
        match self.hears() {
            Heard { answer: Answer::View(view), payload } => (view, payload),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn failure(&mut self) -> Failure {
        let heard = self.hears();
        let Answer::Failed(failure) = heard.answer else { panic!("{heard:?}") };
        failure
    }

    /// The next so many bytes of the stream.
    pub(crate) fn reads(&mut self, bytes: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < bytes {
            let (view, payload) = self.view();
            assert_eq!(view, View::Terminal);
            all.extend(payload);
        }
        assert_eq!(all.len(), bytes);
        all
    }

    pub(crate) fn grants(&mut self, bytes: u64) {
        self.peer.say(&ToNode::Grant { request: self.request, bytes }, None);
    }

    pub(crate) fn types(&mut self, bytes: &[u8]) {
        self.peer.say(&ToNode::Typed { request: self.request }, Some(bytes));
    }
}
