//! What stories are told with: a farm of real programs, and ways to wait for what they do.

mod counting;
mod disk;
mod farm;
mod groups;
mod impostor;
mod kept;
mod node;
mod peer;
mod procs;
mod records;
mod run;
mod scripted;
mod stage;
mod terminal;
mod tmux;
mod wait;
mod weight;

pub(crate) use counting::{assert_counted, count, enough};
pub(crate) use disk::Disk;
pub(crate) use farm::Farm;
pub(crate) use groups::cgroups_of;
pub(crate) use impostor::{client_welcome, impostor, impostor_on_tcp, watcher_welcome};
pub(crate) use kept::{Kept, started_and_taken, until_taken};
pub(crate) use peer::{Door, Peer, READY, frame, greeting, hello, watcher_hello};
pub(crate) use procs::{alive, children_of, live_with_argument, parent_of, ticks_of};
pub(crate) use records::{Missing, Told, assert_accounted, facts, journaled, kept, left_in, spools};
pub(crate) use run::{Ended, Program};
pub(crate) use scripted::{Client, Watcher};
pub(crate) use stage::Stage;
pub(crate) use terminal::Terminal;
pub(crate) use tmux::Tmux;
pub(crate) use wait::{LONG, SOON, until};
pub(crate) use weight::{bytes_below, descriptors, resident_kib};

/// Ends a test that cannot be made here, loudly: the line is counted by `make test` and never taken for a success.
///
/// It goes past libtest's capture, which keeps what passing tests print, to the real standard error.
macro_rules! skip {
    ($($reason:tt)+) => {{
        $crate::harness::told_skipped(&format!($($reason)+));
        return;
    }};
}

/// Writes the line of a skipped test where nothing captures it.
pub(crate) fn told_skipped(reason: &str) {
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    tell(&format!("SKIPPED {name}: {reason}"));
}

/// Writes a line where nothing captures it.
pub(crate) fn tell(line: &str) {
    use std::io::Write;
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}
