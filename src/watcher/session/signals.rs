//! What the guard passes on: signals to the family, and its own end.

use tokio::io::Interest;
use zerovisor_core::fact::Cause;
use zerovisor_core::lifecycle::{Order, Verdict};
use zerovisor_core::signal::Signal;

use super::Session;
use super::leaving::GIVES_UP;
use crate::watcher::guard::{Control, OWN_FAILURE};

impl Session {
    /// What the guard has to say: signals to the family.
    pub(super) fn on_control(&mut self) -> Option<u8> {
        loop {
            let side = self.process.side();
            let control = self.control.try_io(Interest::READABLE, |_| side.control());
            match control {
                Ok(Control::Signal(number)) => {
                    if let Some(status) = self.on_signal(number) {
                        return Some(status);
                    }
                }
                Ok(Control::GuardDead) if !self.guard_died => {
                    if !self.begun {
                        return Some(OWN_FAILURE);
                    }
                    self.guard_died = true;
                    self.process.on_guard_died();
                }
                Ok(Control::GuardDead) | Err(_) => return None,
            }
        }
    }

    /// INT, TERM and HUP end the run and the watcher, a second one kills. QUIT, by which Go and Java show where they are, goes to the
    /// program like USR1 and USR2; WINCH and CONT do too, and are no news.
    fn on_signal(&mut self, number: i32) -> Option<u8> {
        let signal = Signal::try_from(number).ok()?;
        match number {
            libc::SIGINT | libc::SIGTERM | libc::SIGHUP => self.interrupt(signal),
            libc::SIGWINCH | libc::SIGCONT => {
                self.process.signal_main(signal);
                None
            }
            _ => match self.process.on_order(Order::Signal(signal)) {
                Verdict::Denied(_) if number == libc::SIGQUIT => self.interrupt(signal),
                Verdict::Accepted | Verdict::Already | Verdict::Denied(_) => None,
            },
        }
    }

    pub(super) fn interrupt(&mut self, signal: Signal) -> Option<u8> {
        self.interrupted += 1;
        if self.left_at.is_some() {
            // There is nothing left to stop but the waiting for a zerovisor.
            self.interrupted = GIVES_UP;
        }
        if !self.begun {
            let status = u8::try_from(128 + signal.number()).unwrap_or(OWN_FAILURE);
            if self.process.side().has_front() {
                self.process.report_failed(status, &format!("ended by {signal} before it started"));
            }
            return Some(status);
        }
        let cause = Cause::Console(signal);
        self.process.on_order(if self.interrupted > 1 { Order::Kill(cause) } else { Order::Stop(cause) });
        None
    }
}
