//! A terminal that nobody has open just now.

use super::*;
use crate::sys;
use portable_pty::{NativePtySystem, PtySize, PtySystem};
use std::pin::pin;
use std::task::Poll;

/// Long enough for a loop to be seen: one that spun would go round some hundred thousand times.
const QUIET: Duration = Duration::from_millis(300);

/// What a sleeper may be polled within [`QUIET`]: at first, for what was under way, and by the deadline.
const FEW_POLLS: u32 = 5;

/// How often `waiting`, which never ends, is polled within [`QUIET`].
async fn polls(waiting: impl Future<Output = ()>) -> u32 {
    let mut waiting = pin!(waiting);
    let mut count = 0;
    let counted = std::future::poll_fn(|context| {
        count += 1;
        waiting.as_mut().poll(context)
    });
    let ended = tokio::time::timeout(QUIET, counted).await;
    assert!(ended.is_err(), "it has ended");
    count
}

/// The CPU time of the calling thread, which is all a test's runtime has.
fn thread_cpu() -> Duration {
    let spent = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    Duration::from(spent)
}

#[tokio::test]
async fn a_reader_of_a_vacant_terminal_sleeps_until_somebody_opens_it_and_writes() {
    let dir = tempfile::tempdir().unwrap();
    let go = dir.path().join("go");
    nix::unistd::mkfifo(&go, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let script = "tty=$(tty); echo one; exec < $GO > /dev/null 2>&1; read go; exec > $tty; echo two; read go";
    let Some((mut terminal, mut child)) = run(&script.replace("$GO", &go.display().to_string())) else { return };
    terminal.shows("one").await;
    let mut to_child = std::fs::OpenOptions::new().write(true).open(&go).unwrap();
    terminal.until(Read::Vacant).await;

    let before = thread_cpu();
    let waiting = async {
        loop {
            terminal.reader.readable().await.unwrap();
            assert_eq!(terminal.reader.try_read(&mut terminal.output, CHUNK_BYTES).unwrap(), Read::Vacant);
        }
    };
    // The close itself may still wake it, after a read that already knew.
    let polled = polls(waiting).await;
    assert!(polled <= FEW_POLLS, "polled {polled} times");
    assert!(thread_cpu() - before < QUIET / 10, "{:?}", thread_cpu() - before);

    to_child.write_all(b"go\n").unwrap();
    soon("the second open", terminal.reader.readable()).await.unwrap();
    terminal.shows("two").await;
    assert_eq!(terminal.text(), "one\r\ntwo\r\n");
    assert_eq!(terminal.read(), Read::Empty, "the child has it open again");
    drop(to_child);
    assert!(soon("the end", terminal.finish(&mut child)).await.code().is_some());
    assert_eq!(terminal.text(), "one\r\ntwo\r\n");
}

#[tokio::test]
async fn every_vacancy_and_every_return_is_told() {
    let (mut terminal, slave) = terminal();
    let path = terminal.control.path().unwrap();
    drop(slave);
    for round in 0..200 {
        terminal.until(Read::Vacant).await;
        terminal.output.clear();
        let path = path.clone();
        // From another thread, so that it falls anywhere into the wait.
        let writer = std::thread::spawn(move || {
            let mut slave = std::fs::OpenOptions::new().write(true).open(path).unwrap();
            write!(slave, "round {round}").unwrap();
        });
        terminal.shows(&format!("round {round}")).await;
        writer.join().unwrap();
    }
}

/// Why the runtime does not watch the master itself: if this ever fails, `watch` has become needless.
#[tokio::test]
async fn the_runtime_takes_a_hang_up_for_final() {
    let pair = {
        let _alone = OPENING.lock();
        NativePtySystem::default().openpty(PtySize::default()).unwrap()
    };
    let watched = sys::watch_readable(sys::duplicate(pair.master.as_ref()).unwrap()).unwrap();
    drop(pair.slave);
    for _ in 0..100 {
        let waited = tokio::time::timeout(PATIENCE, watched.readable()).await;
        waited.expect("it sleeps on a vacant terminal now").unwrap().clear_ready();
    }
}

#[tokio::test]
async fn an_unfinished_wait_loses_nothing() {
    let (mut terminal, slave) = terminal();
    let slave = OwnedFd::from(slave);
    for round in 0..200 {
        terminal.until(Read::Empty).await;
        // Polled once and dropped, with bytes and without.
        assert!(once(terminal.reader.readable()).await.is_pending());
        nix::unistd::write(&slave, b"x").unwrap();
        let _ = once(terminal.reader.readable()).await;
        soon("a byte", terminal.reader.readable()).await.unwrap();
        assert_eq!(terminal.read(), Read::Bytes(1), "round {round}");
    }
}

async fn once<T>(waiting: impl Future<Output = T>) -> Poll<T> {
    let mut waiting = pin!(waiting);
    std::future::poll_fn(|context| Poll::Ready(waiting.as_mut().poll(context))).await
}

#[tokio::test]
async fn what_is_left_beyond_the_most_taken_needs_no_new_event() {
    let (mut terminal, slave) = terminal();
    nix::unistd::write(slave.as_fd(), b"0123456789").unwrap();
    for (part, unread) in [("0123", 6), ("01234567", 2), ("0123456789", 0)] {
        soon("the rest", terminal.reader.readable()).await.unwrap();
        assert!(matches!(terminal.reader.try_read(&mut terminal.output, 4).unwrap(), Read::Bytes(_)));
        assert_eq!((terminal.text().as_str(), terminal.reader.unread_bytes().unwrap()), (part, unread));
    }
    assert_eq!(terminal.read(), Read::Empty);
}

#[tokio::test]
async fn what_is_typed_at_a_vacant_terminal_waits_for_whoever_opens_it() {
    let (mut terminal, slave) = terminal();
    let path = terminal.control.path().unwrap();
    drop(slave);
    terminal.until(Read::Vacant).await;
    assert_eq!(terminal.writer.try_write(b"early\n").unwrap(), 6);
    // Echoed by the terminal itself.
    terminal.shows("early\r\n").await;
    terminal.until(Read::Vacant).await;
    let slave = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    assert_eq!(terminal.writer.try_write(b"late\n").unwrap(), 5);
    terminal.shows("late\r\n").await;
    let mut line = [0; 16];
    for typed in ["early\n", "late\n"] {
        let read = nix::unistd::read(&slave, &mut line).unwrap();
        assert_eq!(std::str::from_utf8(&line[..read]).unwrap(), typed);
    }
}

#[tokio::test]
async fn a_full_and_vacant_terminal_is_not_tried_in_a_loop() {
    let (mut terminal, slave) = terminal();
    input::make_raw(&slave);
    drop(slave);
    let polled = polls(input::paste(&mut terminal.writer, &[b'x'; 1 << 20])).await;
    assert!(polled <= FEW_POLLS, "polled {polled} times");
}
