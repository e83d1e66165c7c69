//! Raw mode, and every way out of it.
//!
//! The way back is taken once, by whoever comes first: [`RawMode::leave`], the drop of the guard (an error, a signal that became an event,
//! unwinding), or the panic hook, which runs before the message is printed, in whatever thread. SIGKILL and a crash leave no way: `reset`
//! does it by hand then.
//!
//! **Typed ahead.** What was typed before raw mode began stays in the kernel's queue and is read as the program's input. What was typed
//! while the terminal was the program's and has not been read when it is given back is thrown away: half an answer to a program, or the
//! report of a mouse, must not become a command of the shell. (ssh leaves it, tmux throws it away.) What came before the detach keys has been
//! read by then and reaches the program.
//!
//! **No waiting.** TCSADRAIN and TCSAFLUSH wait for output to drain, for ever on a line that is held. A terminal processes output as it is
//! written, so the modes may change at once; what is written on the way out is given [`PATIENCE`] to be taken, and where output was stuck
//! already, what the terminal has not taken of it is thrown away first.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, TryLockError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{FlushArg, InputFlags, SetArg, Termios, cfmakeraw, tcflush, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp, write};

use super::leave::ABORT;
use super::terminal::UserTerminal;

/// How long a terminal may take to accept the bytes of the way out.
const PATIENCE: Duration = Duration::from_millis(500);

/// The guard: while it lives the terminal is raw.
#[derive(Debug)]
pub struct RawMode {
    shared: Arc<Mutex<Option<Saved>>>,
}

/// What the way back needs.
#[derive(Debug)]
struct Saved {
    tty: Arc<OwnedFd>,
    before: Termios,
    raw: Termios,
    leave: &'static [u8],
    /// Output was cut off: a sequence may be half written.
    cut: bool,
}

impl RawMode {
    /// Makes the terminal raw: every byte is passed on as it is typed and written, no key is a signal, nothing is echoed, no flow control.
    /// `leave` is what undoes whatever a program may have set up in it.
    ///
    /// # Errors
    /// The terminal refuses: it has hung up.
    pub fn enter(terminal: &UserTerminal, leave: &'static [u8]) -> io::Result<RawMode> {
        let tty = terminal.tty();
        let before = tcgetattr(&tty)?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        raw.input_flags -= InputFlags::IXOFF | InputFlags::IXANY;
        tcsetattr(&tty, SetArg::TCSANOW, &raw)?;
        let shared = Arc::new(Mutex::new(Some(Saved { tty, before, raw, leave, cut: false })));
        chain_hook(Arc::clone(&shared));
        Ok(RawMode { shared })
    }

    /// Raw again, after a stop in which the shell had the terminal.
    pub(super) fn again(&self) {
        with(&self.shared, |saved| {
            if let Some(saved) = saved
                && is_ours(&saved.tty)
            {
                // Refused by a terminal that has hung up, which reading it tells.
                let _ = tcsetattr(&saved.tty, SetArg::TCSANOW, &saved.raw);
            }
        });
    }

    /// The last output was cut off, perhaps within a sequence.
    pub(super) fn output_is_cut(&self, cut: bool) {
        with(&self.shared, |saved| {
            if let Some(saved) = saved {
                saved.cut = cut;
            }
        });
    }

    /// Another way to undo what the program set up.
    pub(super) fn leave_by(&self, leave: &'static [u8]) {
        with(&self.shared, |saved| {
            if let Some(saved) = saved {
                saved.leave = leave;
            }
        });
    }

    /// Gives the terminal back; so does the drop.
    pub fn leave(self) {}
}

impl Drop for RawMode {
    fn drop(&mut self) {
        give_back(&self.shared);
    }
}

/// A panic's message is printed on a terminal that is itself again.
fn chain_hook(shared: Arc<Mutex<Option<Saved>>>) {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        give_back(&shared);
        before(panic);
    }));
}

/// Does something with what is saved; not if a panic within such a thing asks for it again.
fn with(shared: &Mutex<Option<Saved>>, act: impl FnOnce(&mut Option<Saved>)) {
    match shared.try_lock() {
        Ok(mut saved) => act(&mut saved),
        Err(TryLockError::Poisoned(saved)) => act(&mut saved.into_inner()),
        Err(TryLockError::WouldBlock) => {}
    }
}

/// Once; whoever comes later finds nothing to do. Failures have nobody to be told to: the terminal is gone.
fn give_back(shared: &Mutex<Option<Saved>>) {
    with(shared, |saved| {
        let Some(saved) = saved.take() else { return };
        let ours = is_ours(&saved.tty);
        if saved.cut && ours {
            // What a stuck terminal has not taken stands in the way of the way out.
            let _ = tcflush(&saved.tty, FlushArg::TCOFLUSH);
        }
        let abort: &[u8] = if saved.cut { ABORT } else { b"" };
        write_within(&saved.tty, &[abort, saved.leave].concat(), PATIENCE);
        if ours {
            let _ = tcflush(&saved.tty, FlushArg::TCIFLUSH);
            let _ = tcsetattr(&saved.tty, SetArg::TCSANOW, &saved.before);
        }
    });
}

/// Whether the terminal is for us to set: another job has it, for example the shell that was told of our stop, else. A terminal without
/// job control is everybody's.
fn is_ours(tty: &OwnedFd) -> bool {
    match tcgetpgrp(tty) {
        Ok(foreground) => foreground == getpgrp(),
        Err(Errno::ENOTTY) => true,
        Err(_) => false,
    }
}

fn write_within(tty: &OwnedFd, mut bytes: &[u8], patience: Duration) {
    let deadline = Instant::now() + patience;
    while !bytes.is_empty() {
        match write(tty, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                let left = deadline.saturating_duration_since(Instant::now());
                let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
                let mut wait = [PollFd::new(tty.as_fd(), PollFlags::POLLOUT)];
                match poll(&mut wait, left) {
                    Ok(0) => return,
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(_) => return,
                }
            }
            Err(_) => return,
        }
    }
}
