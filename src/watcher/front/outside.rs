//! The process the user started: the user's terminal, handed to the program.

use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{Interest, Ready};
use tokio::net::UnixStream;
use zerovisor_core::detach::DetachKeys;
use zerovisor_core::signal::Signal;

use super::{Garbled, ToFront, ToWatcher, next_frame};
use crate::tty::{
    Console, ConsoleEvent, Ended, LEAVE, LEAVE_ALTERNATE, LEAVE_IN_PLACE, TYPED_MAX_BYTES, UserTerminal, notice,
};
use crate::watcher::guard::{FrontSide, OWN_FAILURE, Outcome};

/// Shown and not yet written to the user's terminal, in bytes; then the watcher is not read, and skips.
const UNSHOWN_BYTES: usize = 256 << 10;
/// Read from the watcher at most at once, in bytes.
const READ_BYTES: usize = 64 << 10;
/// How long a slow terminal is given for the last of the output.
const LAST_PATIENCE: Duration = Duration::from_secs(2);

/// How it came to an end.
enum Over {
    /// The program has ended: with this status, and what else there is to be said.
    Ended(u8, String),
    /// The user has left, and comes back by this name.
    Detached(String),
    /// The watcher is gone without a word.
    Gone,
}

/// Gives the user's terminal to the program until one of them is done; the exit status of this process.
///
/// # Errors
/// The terminal cannot be taken. The program is stopped.
pub fn run(front: &mut FrontSide, keys: DetachKeys) -> io::Result<u8> {
    let Some(socket) = front.take_console() else { return Ok(front.run()) };
    match front.wait() {
        Outcome::Started => {}
        failed @ Outcome::Failed { .. } => return Ok(failed.tell()),
    }
    let terminal = UserTerminal::open().map_err(io::Error::other)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let over = runtime.block_on(async {
        let socket = std::os::unix::net::UnixStream::from(socket);
        socket.set_nonblocking(true)?;
        let console = Console::open(terminal, keys, LEAVE)?;
        let mut outside = Outside {
            socket: UnixStream::from_std(socket)?,
            guard: front.guard(),
            console,
            inbox: BytesMut::new(),
            outbox: BytesMut::new(),
            hung_up: false,
            over: None,
        };
        let over = outside.serve().await;
        outside.console.drain(LAST_PATIENCE).await;
        Ok::<Over, io::Error>(over)
    })?;
    match over {
        // What is left of the family waits for the journal, on its own.
        Over::Ended(status, line) => {
            if !line.is_empty() {
                notice(&line);
            }
            Ok(status)
        }
        Over::Detached(name) => {
            notice(&format!("{name} goes on; zvctl attach {name} returns to it"));
            Ok(0)
        }
        Over::Gone => {
            let status = front.wait_for_guard();
            // One that found this terminal too slow for its last words has ended in order.
            if status == OWN_FAILURE {
                notice("zvwatch: the watcher died; nothing of it was left running");
            }
            Ok(status)
        }
    }
}

struct Outside {
    socket: UnixStream,
    guard: i32,
    console: Console,
    inbox: BytesMut,
    outbox: BytesMut,
    /// Whether the guard was told that the terminal has gone.
    hung_up: bool,
    over: Option<Over>,
}

impl Outside {
    async fn serve(&mut self) -> Over {
        self.send(&ToWatcher::Resized(self.console.size()));
        loop {
            if let Some(over) = self.over.take() {
                return over;
            }
            // What the watcher has not taken waits in the user's terminal.
            self.console.set_room(if self.outbox.is_empty() { TYPED_MAX_BYTES } else { 0 });
            let is_full = self.console.pending() >= UNSHOWN_BYTES;
            // Urgent data, which no unix socket has, stands for the end of the other side alone: it is seen also while nothing can be shown.
            let reading = if is_full { Interest::PRIORITY } else { Interest::READABLE };
            let interest = if self.outbox.is_empty() { reading } else { reading | Interest::WRITABLE };
            // Both are cancel-safe: readiness takes nothing, the console keeps what it has.
            tokio::select! {
                biased;
                event = self.console.next() => self.on_console(event),
                ready = self.socket.ready(interest) => {
                    self.flush();
                    // The last words of a watcher that is gone are what the socket holds, and no more.
                    let may_read = !is_full || ready.is_ok_and(Ready::is_read_closed);
                    if may_read && self.read().is_err() {
                        self.over = Some(Over::Gone);
                    }
                }
            }
        }
    }

    fn on_console(&mut self, event: ConsoleEvent) {
        match event {
            ConsoleEvent::Typed(bytes) => self.send(&ToWatcher::Typed(bytes)),
            ConsoleEvent::Resized(size) => self.send(&ToWatcher::Resized(size)),
            ConsoleEvent::Written => {}
            ConsoleEvent::Detach => self.send(&ToWatcher::Detach),
            // As for any zvwatch in the foreground: the guard passes it on, the program is stopped, and its end is waited for.
            ConsoleEvent::Ended(Ended::HungUp | Ended::Failed(_) | Ended::Signal(Signal::HUP)) => self.on_hang_up(),
            ConsoleEvent::Ended(Ended::Signal(signal)) => self.tell_guard(signal.number()),
        }
    }

    /// A terminal that goes says so several times: the device, the kernel to whoever has it, the shell to its jobs. They count as one
    /// interrupt: a second would kill a program that is ending in order.
    fn on_hang_up(&mut self) {
        if !std::mem::replace(&mut self.hung_up, true) {
            self.tell_guard(libc::SIGHUP);
        }
    }

    /// What the program's main screen shows stays, as of any program; an alternate one gives way to the shell's.
    fn leave_in_place(&mut self, alternate: bool, line: &str) {
        if alternate {
            self.console.leave_by(LEAVE_ALTERNATE);
        } else {
            self.console.show(line.as_bytes());
            self.console.leave_by(LEAVE_IN_PLACE);
        }
    }

    fn tell_guard(&mut self, signal: i32) {
        let signal = nix::sys::signal::Signal::try_from(signal).unwrap_or(nix::sys::signal::Signal::SIGTERM);
        if nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.guard), signal).is_err() {
            self.over = Some(Over::Gone);
        }
    }

    fn send(&mut self, news: &ToWatcher) {
        self.outbox.extend_from_slice(&news.encode());
        self.flush();
    }

    fn flush(&mut self) {
        while !self.outbox.is_empty() {
            match self.socket.try_write(&self.outbox) {
                Ok(sent) => self.outbox.advance(sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // A watcher that is gone is told by the read.
                Err(_) => self.outbox.clear(),
            }
        }
    }

    fn read(&mut self) -> Result<(), Garbled> {
        self.inbox.reserve(READ_BYTES);
        match self.socket.try_read_buf(&mut self.inbox) {
            Ok(0) => return Err(Garbled),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(_) => return Err(Garbled),
        }
        // What comes behind the end is not shown any more.
        while self.over.is_none()
            && let Some((what, body)) = next_frame(&mut self.inbox)?
        {
            match ToFront::decode(what, body)? {
                ToFront::Picture => self.console.begin_picture(),
                ToFront::Output(bytes) => self.console.show(&bytes),
                ToFront::Ended { status, alternate, line } => {
                    self.leave_in_place(alternate, "");
                    self.over = Some(Over::Ended(status, line));
                }
                ToFront::Detached { alternate, name } => {
                    self.leave_in_place(alternate, "\r\n");
                    self.over = Some(Over::Detached(name));
                }
            }
        }
        Ok(())
    }
}
