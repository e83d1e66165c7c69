//! What listens where a zerovisor should, and says what none would: every connection is handed to the story as bytes.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use zerovisor_core::name::ProcessName;
use zerovisor_core::wire::{ToNode, ToPeer, VERSIONS, WatcherWelcome, Welcome};

use super::peer::Peer;

/// What it does to whoever connects.
pub(crate) type Trick = Arc<dyn Fn(Peer) + Send + Sync>;

/// Listens at the default endpoint of a directory until the story ends; each who connects meets the trick on a thread of its own.
pub(crate) fn impostor(dir: &Path, trick: impl Fn(Peer) + Send + Sync + 'static) {
    let door = UnixListener::bind(dir.join("zerovisor.sock")).unwrap();
    let trick: Trick = Arc::new(trick);
    // The thread sleeps in accept(2) when the test program ends, and costs nothing until then.
    std::thread::spawn(move || {
        for stream in door.incoming().flatten() {
            let trick = Arc::clone(&trick);
            std::thread::spawn(move || Peer::on_unix(stream).map(|peer| trick(peer)));
        }
    });
}

/// The same on a tcp port, which is returned.
pub(crate) fn impostor_on_tcp(trick: impl Fn(Peer) + Send + Sync + 'static) -> u16 {
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = door.local_addr().unwrap().port();
    let trick: Trick = Arc::new(trick);
    std::thread::spawn(move || {
        for stream in door.incoming().flatten() {
            let trick = Arc::clone(&trick);
            std::thread::spawn(move || Peer::on_tcp(stream).map(|peer| trick(peer)));
        }
    });
    port
}

/// The welcome of a client.
pub(crate) fn client_welcome() -> ToPeer {
    let node = "n1".parse().unwrap();
    ToPeer::Welcome(Welcome { version: VERSIONS.newest, node, program: "impostor".into(), watcher: None })
}

/// The welcome of a watcher whose journal ends there.
pub(crate) fn watcher_welcome(name: &ProcessName, journal_end: u64, window_bytes: u64) -> ToPeer {
    let watcher = WatcherWelcome { name: name.clone(), journal_end, window_bytes };
    let node = "n1".parse().unwrap();
    ToPeer::Welcome(Welcome { version: VERSIONS.newest, node, program: "impostor".into(), watcher: Some(watcher) })
}

impl Peer {
    /// Shakes hands and reads the hello. None: whoever connected has gone.
    pub(crate) fn hello(&mut self) -> Option<ToNode> {
        self.greets_back().ok()?;
        self.hears().map(|(hello, _)| hello)
    }

    /// Lets a client in and reads what it asks first; the number of its request. None: it has gone.
    pub(crate) fn asked(&mut self) -> Option<u64> {
        self.hello()?;
        self.say(&client_welcome(), None);
        self.next_request()
    }

    /// What is asked next. None: whoever asked has gone.
    pub(crate) fn next_request(&mut self) -> Option<u64> {
        loop {
            match self.hears::<ToNode>()?.0 {
                ToNode::Request(request) => return Some(request.request),
                ToNode::Hello(_)
                | ToNode::Ping { .. }
                | ToNode::Goodbye
                | ToNode::Record(_)
                | ToNode::Obeyed { .. }
                | ToNode::Grant { .. }
                | ToNode::Cancel { .. }
                | ToNode::Sampled(_)
                | ToNode::ToViewer { .. }
                | ToNode::Typed { .. }
                | ToNode::Resized { .. } => {}
            }
        }
    }
}
