//! What the zerovisor wants done.

use bytes::Bytes;
use zerovisor_core::fact::{Cause, Fact};
use zerovisor_core::lifecycle::{Denial, Order, Verdict};
use zerovisor_core::spec::shown_command;
use zerovisor_core::wire::{Deed, Outcome};

use super::Session;
use crate::watcher::guard::OWN_FAILURE;
use crate::watcher::input::InputDenial;
use crate::watcher::uplink::Word;

/// Facts that nobody has acknowledged, in memory and in the spool, past which nothing is done that would make more of them: facts are never
/// dropped, so a zerovisor that orders and never acknowledges would make its watcher grow, or fill its disk. Some 3 MiB of memory.
const FACTS_MAX: usize = 8192;

impl Session {
    pub(super) async fn on_word(&mut self, word: Word) -> Option<u8> {
        match word {
            Word::Order { order, deed, payload } => {
                let starts = matches!(deed, Deed::Start { .. } | Deed::Restart);
                let mut outcome =
                    if self.is_overfull() && !ends(&deed) { overfull() } else { self.obey(deed, payload) };
                // What it leads to is done first: whoever asks right after this answer sees it.
                self.advance();
                if let (true, Outcome::Done, Some(why)) = (starts, &outcome, self.process.not_begun()) {
                    outcome = Outcome::Denied(why.to_owned());
                }
                self.uplink.obeyed(order, outcome, &mut self.window).await;
                None
            }
            Word::Viewer { viewer, act, payload } => {
                self.on_view(viewer, act, payload).await;
                None
            }
            Word::NameTaken(message) => {
                self.process.report_failed(OWN_FAILURE, &message);
                Some(OWN_FAILURE)
            }
            Word::Removed => {
                self.removed = true;
                self.process.on_order(Order::Remove { force: true });
                self.advance();
                None
            }
            Word::Parted => Some(self.process.life().shell_status()),
        }
    }

    /// Facts are always taken into the window, and only a zerovisor and its viewers make many of them at will.
    pub(super) fn is_overfull(&self) -> bool {
        self.window.unacknowledged_facts() > FACTS_MAX
    }

    fn obey(&mut self, deed: Deed, payload: Bytes) -> Outcome {
        let order = match deed {
            Deed::Start { command: None } => Order::Start { with_command: false },
            Deed::Start { command: Some(argv) } => return self.start_with(argv),
            Deed::Stop { kill: false } => Order::Stop(Cause::Operator),
            Deed::Stop { kill: true } => Order::Kill(Cause::Operator),
            Deed::Restart => Order::Restart,
            Deed::Signal(signal) => Order::Signal(signal),
            Deed::Input { eof } => return self.send_input(payload, eof),
            Deed::Keys { keys } => return self.send_keys(&payload, &keys),
            Deed::Remove { force } => Order::Remove { force },
        };
        outcome(self.process.on_order(order))
    }

    fn start_with(&mut self, argv: Vec<Vec<u8>>) -> Outcome {
        if argv.first().is_none_or(Vec::is_empty) {
            return Outcome::Denied("the command is empty: give one after --".into());
        }
        let verdict = self.process.on_order(Order::Start { with_command: true });
        if verdict == Verdict::Accepted {
            let command = shown_command(argv.iter().map(Vec::as_slice));
            self.uplink.set_command(command.clone());
            self.process.set_command(argv);
            self.process.record(Fact::Commanded { command }, &mut self.window);
        }
        outcome(verdict)
    }

    pub(super) fn send_input(&mut self, bytes: Bytes, eof: bool) -> Outcome {
        let Some(streams) = self.process.streams() else { return Outcome::NotRunning(Denial::NotRunning.to_string()) };
        match streams.offer(bytes, eof) {
            Ok(()) => {
                self.write_input();
                Outcome::Done
            }
            Err(denial @ InputDenial::Full(_)) => Outcome::Busy(denial.to_string()),
            Err(denial @ (InputDenial::Closed | InputDenial::Window)) => Outcome::Denied(denial.to_string()),
        }
    }
}

/// What must be possible whatever is acknowledged; and it makes no record a second time.
fn ends(deed: &Deed) -> bool {
    match deed {
        Deed::Stop { .. } | Deed::Remove { .. } => true,
        Deed::Start { .. } | Deed::Restart | Deed::Signal(_) | Deed::Input { .. } | Deed::Keys { .. } => false,
    }
}

fn overfull() -> Outcome {
    Outcome::Busy(
        "its zerovisor has not acknowledged what its watcher told: nothing that is to be recorded is done before"
            .into(),
    )
}

fn outcome(verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::Accepted => Outcome::Done,
        Verdict::Already => Outcome::Already,
        Verdict::Denied(denial @ (Denial::NotRunning | Denial::Ending)) => Outcome::NotRunning(denial.to_string()),
        Verdict::Denied(denial) => Outcome::Denied(denial.to_string()),
    }
}
