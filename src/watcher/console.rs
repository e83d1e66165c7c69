//! The console of a foreground watcher: what is typed there (`-i`), and a copy of the output (`-t`).
//!
//! Descriptors 0 to 2 share their flags with the shell, so they stay blocking and are served by threads of their own.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc as blocking;
use std::thread;

use bytes::Bytes;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::{Notify, mpsc};
use zerovisor_core::record::Kind;

/// Read from the console at most at once, in bytes.
const TYPED_MAX_BYTES: usize = 64 << 10;
/// Chunks of the console's that wait for the child; then it is not read.
const TYPED_CHUNKS: usize = 1;
/// Output that waits for the console, in bytes; then the child's is not read, and it waits in write(2) as before `tee`.
const TEE_QUEUE_BYTES: usize = 1 << 20;
/// The stack of such a thread, in bytes.
const STACK_BYTES: usize = 64 << 10;

/// What is typed.
#[derive(Debug)]
pub(super) struct Typed {
    chunks: mpsc::Receiver<Bytes>,
    ended: bool,
}

impl Typed {
    /// Begins to read descriptor 0.
    pub(super) fn start() -> io::Result<Typed> {
        let mut stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let (chunks, receiver) = mpsc::channel(TYPED_CHUNKS);
        thread::Builder::new().name("stdin".into()).stack_size(STACK_BYTES).spawn(move || {
            let mut buffer = vec![0; TYPED_MAX_BYTES];
            loop {
                match stdin.read(&mut buffer) {
                    Ok(0) => return,
                    Ok(bytes) => {
                        if chunks.blocking_send(Bytes::copy_from_slice(&buffer[..bytes])).is_err() {
                            return;
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => until(stdin.as_fd(), PollFlags::POLLIN),
                    // As on a console that has hung up.
                    Err(_) => return,
                }
            }
        })?;
        Ok(Typed { chunks: receiver, ended: false })
    }

    /// Whether its end was reached.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Waits for what is typed; none: its end. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        let chunk = self.chunks.recv().await;
        self.ended = chunk.is_none();
        chunk
    }
}

/// A descriptor that somebody made non-blocking; an error is told by the next read or write.
fn until(fd: BorrowedFd<'_>, ready: PollFlags) {
    let _told_later = poll(&mut [PollFd::new(fd, ready)], PollTimeout::NONE);
}

/// The copy of the output.
#[derive(Debug)]
pub(super) struct Tee {
    queue: blocking::Sender<(Kind, Bytes)>,
    waiting: Arc<AtomicUsize>,
    moved: Arc<Notify>,
}

impl Tee {
    /// Begins to write to descriptors 1 and 2.
    pub(super) fn start() -> io::Result<Tee> {
        let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        let (queue, chunks) = blocking::channel::<(Kind, Bytes)>();
        let waiting = Arc::new(AtomicUsize::new(0));
        let moved = Arc::new(Notify::new());
        let (left, taken) = (Arc::clone(&waiting), Arc::clone(&moved));
        thread::Builder::new().name("tee".into()).stack_size(STACK_BYTES).spawn(move || {
            let (mut stdout, mut stderr) = (Some(stdout), Some(stderr));
            for (kind, bytes) in chunks {
                let to = if kind == Kind::Stderr { &mut stderr } else { &mut stdout };
                // A reader that has gone ends this copy, quietly, as it ends tee's.
                if to.as_mut().is_some_and(|file| write_all(file, &bytes).is_err()) {
                    *to = None;
                }
                left.fetch_sub(bytes.len(), Ordering::AcqRel);
                taken.notify_one();
            }
        })?;
        Ok(Tee { queue, waiting, moved })
    }

    /// How many more bytes may be put.
    pub(super) fn room(&self) -> usize {
        TEE_QUEUE_BYTES.saturating_sub(self.waiting.load(Ordering::Acquire))
    }

    /// Whether the console has all of it.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::Acquire) == 0
    }

    /// Queues output.
    pub(super) fn put(&self, kind: Kind, bytes: Bytes) {
        let len = bytes.len();
        self.waiting.fetch_add(len, Ordering::AcqRel);
        if self.queue.send((kind, bytes)).is_err() {
            self.waiting.fetch_sub(len, Ordering::AcqRel);
        }
    }

    /// Waits until the console has taken something since the last wait. Cancel-safe.
    pub(super) async fn moved(&self) {
        self.moved.notified().await;
    }
}

fn write_all(file: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => until(file.as_fd(), PollFlags::POLLOUT),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
