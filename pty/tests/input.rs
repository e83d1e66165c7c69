//! What is typed and pasted.

use super::*;
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};

/// The largest paste: what a watcher keeps for a child that does not read yet.
const PASTE_BYTES: usize = 1 << 20;

pub(super) fn make_raw(slave: &Slave) {
    let mut termios = tcgetattr(slave.as_fd()).unwrap();
    cfmakeraw(&mut termios);
    tcsetattr(slave.as_fd(), SetArg::TCSANOW, &termios).unwrap();
}

/// Writes all of it, waiting for room.
pub(super) async fn paste(writer: &mut Writer, bytes: &[u8]) {
    let mut written = 0;
    while written < bytes.len() {
        match writer.try_write(&bytes[written..]) {
            Ok(taken) => written += taken,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                writer.writable().await.unwrap();
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Bytes that show when some are missing, doubled or out of order.
fn pattern() -> Vec<u8> {
    (0_u32..).flat_map(u32::to_le_bytes).take(PASTE_BYTES).collect()
}

#[tokio::test]
async fn a_terminal_that_nobody_reads_fills_up_and_has_room_again() {
    let (mut terminal, slave) = terminal();
    make_raw(&slave);
    let mut written = 0;
    let error = loop {
        match terminal.writer.try_write(&[b'x'; 1000]) {
            Ok(taken) => written += taken,
            Err(error) => break error,
        }
        assert!(written < PASTE_BYTES, "it never fills up");
    };
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    let waited = tokio::time::timeout(Duration::from_millis(50), terminal.writer.writable()).await;
    assert!(waited.is_err(), "there is no room yet");
    // All of it is read from another thread, so that the room comes while we wait.
    let reader = std::thread::spawn(move || {
        let slave = OwnedFd::from(slave);
        let (mut read, mut buffer) = (0, [0; 4096]);
        while read < written {
            read += nix::unistd::read(&slave, &mut buffer).unwrap();
        }
        slave
    });
    soon("room", terminal.writer.writable()).await.unwrap();
    assert!(terminal.writer.try_write(b"y").is_ok());
    reader.join().unwrap();
}

#[tokio::test]
async fn a_large_paste_arrives_whole_at_a_raw_mode_reader() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pasted");
    let script = format!("stty raw -echo; echo ready; head -c {PASTE_BYTES} > {}; echo done", file.display());
    let Some((mut terminal, mut child)) = run(&script) else { return };
    terminal.shows("ready").await;
    let pasted = pattern();
    soon("room for all of it", paste(&mut terminal.writer, &pasted)).await;
    soon("the end", terminal.finish(&mut child)).await;
    assert!(std::fs::read(&file).unwrap() == pasted, "what arrived is not what was pasted");
}

#[tokio::test]
async fn lines_pasted_at_an_echoing_terminal_arrive_whole() {
    // Both directions at once: who pastes must read, or the echo fills up and nothing moves.
    let Some((mut terminal, mut child)) = run("echo ready; exec wc -c") else { return };
    terminal.shows("ready").await;
    let line = b"0123456789012345678901234567890123456789012345678\n";
    let pasted: Vec<u8> = line.iter().copied().cycle().take(4000 * line.len()).chain([4]).collect();
    let both = async {
        let reading = read_to_the_end(&mut terminal.reader, &mut terminal.output, &mut child);
        tokio::join!(paste(&mut terminal.writer, &pasted), reading)
    };
    let ((), status) = soon("the end", both).await;
    assert!(status.success());
    assert!(terminal.text().ends_with("200000\r\n"), "{:?}", terminal.text().lines().last());
}

/// In canonical mode the kernel throws away what goes beyond its line buffer, and must not leave us waiting for room that it has made so.
#[tokio::test]
async fn an_endless_line_is_swallowed_rather_than_waited_for() {
    let (mut terminal, slave) = terminal();
    soon("room for all of it", paste(&mut terminal.writer, &[b'x'; PASTE_BYTES])).await;
    drop(slave);
}

#[tokio::test]
async fn no_paste_waits_for_room_that_is_there() {
    let pasted = pattern();
    for piece in [1000, 4096, 63, 129, 8192, 4095] {
        let (mut terminal, slave) = terminal();
        make_raw(&slave);
        let reading = std::thread::spawn(move || {
            let slave = OwnedFd::from(slave);
            let (mut all, mut buffer) = (Vec::new(), vec![0; piece]);
            while all.len() < PASTE_BYTES {
                let read = nix::unistd::read(&slave, &mut buffer).unwrap();
                all.extend_from_slice(&buffer[..read]);
            }
            all
        });
        soon("room for all of it", paste(&mut terminal.writer, &pasted)).await;
        assert!(reading.join().unwrap() == pasted, "in reads of {piece}");
    }
}
