//! The last byte, and no byte waited for after it.

use super::*;
use crate::DRAIN_MAX_BYTES;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What `seq 1 last` writes to a terminal.
fn lines(last: u32) -> String {
    (1..=last).map(|n| format!("{n}\r\n")).collect()
}

#[tokio::test]
async fn output_written_just_before_exit_is_whole() {
    let expected = lines(18_000);
    assert!(expected.len() > 100_000);
    for round in 0..40 {
        let Some((mut terminal, mut child)) = run("exec seq 1 18000") else { return };
        let status = soon("the end", terminal.finish(&mut child)).await;
        assert!(status.success());
        assert!(terminal.text() == expected, "round {round}: {} of {} bytes", terminal.output.len(), expected.len());
    }
}

#[tokio::test]
async fn output_that_nobody_read_until_the_tree_was_gone_is_whole() {
    // What fits into the terminal, so that the program can end.
    let expected = lines(1_200);
    for round in 0..100 {
        let Some((mut terminal, mut child)) = run("exec seq 1 1200") else { return };
        assert!(child.wait().unwrap().success());
        let mut end = End::default();
        let mut next = end.on_tree_gone();
        while next == Next::Drain {
            next = end.on_read(terminal.read());
        }
        assert!(terminal.text() == expected, "round {round}: {} of {} bytes", terminal.output.len(), expected.len());
    }
}

#[tokio::test]
async fn a_terminal_holds_less_than_is_drained() {
    let pieces =
        [1, 7, 100, 4096, 65_536].map(|bytes| vec![b'x'; bytes]).into_iter().chain([vec![b'\n'], vec![b'\n'; 4096]]);
    for piece in pieces {
        let (mut terminal, slave) = terminal();
        let slave = OwnedFd::from(slave);
        fcntl(&slave, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        while nix::unistd::write(&slave, &piece).is_ok() {}
        drop(slave);
        terminal.until(Read::Vacant).await;
        println!("in writes of {} a terminal held {}", piece.len(), terminal.output.len());
        assert!((1..DRAIN_MAX_BYTES / 2).contains(&terminal.output.len()), "{}", terminal.output.len());
    }
}

#[tokio::test]
async fn a_dead_leader_is_not_the_end_while_its_tree_holds_the_terminal() {
    let script = "trap '' HUP; (read go; echo late) < $GO & echo early; exit 0";
    let dir = tempfile::tempdir().unwrap();
    let go = dir.path().join("go");
    nix::unistd::mkfifo(&go, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let Some((mut terminal, mut leader)) = run(&script.replace("$GO", &go.display().to_string())) else { return };
    terminal.shows("early").await;
    assert!(soon("the leader's end", ended(&mut leader)).await.success());
    // Nothing is there, and the grandchild, which ignored the hang-up, still has it open.
    terminal.until(Read::Empty).await;
    std::fs::write(&go, "go\n").unwrap();
    terminal.shows("late").await;
    terminal.until(Read::Vacant).await;
}

#[tokio::test]
async fn whoever_holds_the_terminal_from_outside_is_not_waited_for() {
    let Some((mut terminal, mut leader)) = run("trap '' HUP; yes outside & echo pid=$!; exec seq 1 2000") else {
        return;
    };
    let drained = soon("the end", terminal.finish(&mut leader)).await;
    assert!(drained.success());
    let pid = terminal.text().lines().find_map(|line| line.strip_prefix("pid=")?.trim().parse().ok()).unwrap();
    // It has the terminal and goes on writing: more comes after the end was declared.
    let before = terminal.output.len();
    let more = async {
        while terminal.output.len() < before + 2 * DRAIN_MAX_BYTES {
            terminal.reader.readable().await.unwrap();
            terminal.reader.try_read(&mut terminal.output, CHUNK_BYTES).unwrap();
        }
    };
    soon("more of it", more).await;
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    let kept: Vec<_> = terminal.text().lines().filter(|line| !line.contains("out")).map(str::to_owned).collect();
    assert!(kept.iter().any(|line| line.ends_with("2000")), "the leader's own last line is there");
}

#[tokio::test]
async fn only_our_own_slave_would_hide_that_nobody_has_the_terminal() {
    let (mut terminal, slave) = terminal();
    let Some(mut child) = lead(&["echo", "bye"], &slave) else { return };
    assert!(child.wait().unwrap().success());
    terminal.shows("bye").await;
    // Held by us alone: no hang-up, but the rule does not need one.
    assert_eq!(terminal.read(), Read::Empty);
    let mut end = End::default();
    end.on_tree_gone();
    assert_eq!(end.on_read(terminal.read()), Next::Ended);
    drop(slave);
    assert_eq!(terminal.read(), Read::Vacant);
}
