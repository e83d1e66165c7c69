//! Waiting on the master of a terminal, whose hang-ups are not final.
//!
//! The runtime takes a hang-up for the end of a descriptor and reports it ready ever after. A terminal that its program has closed and
//! will open again would so be read in a loop at full speed; and registering it anew only reports the hang-up anew. So the master stands
//! in an epoll instance of its own, edge-triggered, and the runtime watches that: it becomes readable once for each thing that happens
//! to the terminal (bytes, the last close, bytes after a new open) and never hangs up itself.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use tokio::io::unix::AsyncFd;

use super::sys;

/// One direction of a master, and whether trying it is worth while.
#[derive(Debug)]
pub(crate) struct Watch {
    /// The epoll instance.
    edges: AsyncFd<OwnedFd>,
    wanted: EpollFlags,
    /// All that the last event brought is used up: only another one makes a difference.
    spent: AtomicBool,
    /// Open for as long as it is watched.
    _master: Arc<OwnedFd>,
}

impl Watch {
    /// Watches for any of `wanted`. What is so already counts as the first event.
    ///
    /// The kernel adds hang-ups unasked. They matter only where they are among `wanted`: while a terminal is both full and vacant, each
    /// attempt to write is an event, since it gives up the lock for writing, and would with the hang-up seem to change something.
    pub(crate) fn new(master: Arc<OwnedFd>, wanted: EpollFlags) -> io::Result<Watch> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&*master, EpollEvent::new(wanted | EpollFlags::EPOLLET, 0))?;
        Ok(Watch { edges: sys::watch_readable(epoll.0)?, wanted, spent: AtomicBool::new(false), _master: master })
    }

    /// The kernel has just said that there is nothing more: no bytes, no room, nobody there.
    pub(crate) fn spend(&mut self) {
        *self.spent.get_mut() = true;
    }

    /// Returns at once unless [`Watch::spend`] was called, else waits for something to happen. Cancel-safe: what has not been returned is
    /// still to come.
    ///
    /// An event is taken before whatever the caller does about it, so one that happens meanwhile is seen the next time.
    pub(crate) async fn ready(&self) -> io::Result<()> {
        while self.spent.load(Ordering::Relaxed) {
            let mut guard = self.edges.readable().await?;
            if sys::take_event(guard.get_inner().as_fd())?.intersects(self.wanted) {
                self.spent.store(false, Ordering::Relaxed);
            }
            guard.clear_ready();
        }
        Ok(())
    }
}
