//! What a watcher had said when it was killed is journaled, also what nobody had read by then.

use nix::sys::signal::Signal;

use super::tree::signalled;
use crate::harness::{Farm, Watcher};

/// With a ping behind each some 30 KiB: that is less than a window, and with all that the kernel adds less than a socket takes.
const LINES: usize = 60;

fn line(number: usize) -> String {
    format!("{number:0400}\n")
}

#[test]
fn all_that_a_killed_watcher_had_sent_to_a_held_zerovisor_is_journaled() {
    let farm = Farm::new();
    let mut watcher = Watcher::on_terminal(&farm, "gone");
    watcher.is_journaled();
    let node = [farm.node_pid()];
    signalled(&node, Signal::SIGSTOP);
    for number in 0..LINES {
        watcher.writes(line(number).as_bytes());
        // Each wants an answer that cannot be given any more.
        watcher.peer.ping();
    }
    // As kill -9 leaves it: the socket is closed, and what was written waits in it.
    drop(watcher);
    signalled(&node, Signal::SIGCONT);
    farm.reaches("gone", "UNREACHABLE");
    let written: String = (0..LINES).map(line).collect();
    let kept = String::from_utf8(farm.raw(&["gone"])).unwrap();
    assert!(kept == written, "{} of {LINES} lines are in the journal", kept.lines().count());
}
