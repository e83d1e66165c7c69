//! Waiting on the master of a terminal, whose hang-ups are not final.
//!
//! The runtime takes a hang-up for the end of a descriptor and reports it ready ever after. A terminal that its program has closed and
//! will open again would so be read in a loop at full speed; and registering it anew only reports the hang-up anew. So the master stands
//! in an epoll instance of its own, edge-triggered, and the runtime watches that: it becomes readable once for each thing that happens
//! to the terminal (bytes, the last close, bytes after a new open) and never hangs up itself.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use tokio::io::unix::AsyncFd;

use super::sys;

/// Things that happen to one direction of a master.
#[derive(Debug)]
pub(crate) struct Watch {
    /// The epoll instance.
    edges: AsyncFd<OwnedFd>,
    /// Open for as long as it is watched.
    _master: Arc<OwnedFd>,
}

impl Watch {
    /// Watches for `what`, and for hang-ups. What is so already counts as the first event.
    pub(crate) fn new(master: Arc<OwnedFd>, what: EpollFlags) -> io::Result<Watch> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&*master, EpollEvent::new(what | EpollFlags::EPOLLET, 0))?;
        Ok(Watch { edges: sys::watch_readable(epoll.0)?, _master: master })
    }

    /// Waits until something has happened since this returned last. Cancel-safe: what has not been returned is still to come.
    ///
    /// The event is taken before whatever the caller does about it, so one that happens meanwhile is seen the next time.
    pub(crate) async fn event(&self) -> io::Result<()> {
        loop {
            let mut guard = self.edges.readable().await?;
            let happened = sys::take_event(guard.get_inner().as_fd())?;
            guard.clear_ready();
            if happened {
                return Ok(());
            }
        }
    }
}
