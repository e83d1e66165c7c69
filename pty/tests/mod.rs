//! The promises of the crate, told with real terminals and the programs people run in them.
//!
//! A child gets its controlling terminal from setsid(1). Whatever is waited for is a fact with a deadline; time alone is spent only where
//! the promise is that nothing happens.

mod ending;
mod input;
mod settings;
mod vacancy;

use super::{Control, End, Master, Next, Read, Reader, Size, Slave, Writer, open};
use bytes::BytesMut;
use std::future::Future;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A test that waits longer than this for a fact has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a child is asked whether it has ended.
const LOOK: Duration = Duration::from_millis(1);
/// What a reader takes at once, in bytes.
const CHUNK_BYTES: usize = 64 << 10;

/// The tests of one process run side by side, and `openpty` makes its ends close-on-exec only after it has made them: a program started
/// in between would hold another test's terminal.
pub(crate) static OPENING: Mutex<()> = Mutex::new(());

/// A terminal and what has come out of it.
struct Terminal {
    reader: Reader,
    writer: Writer,
    control: Control,
    output: BytesMut,
}

fn sized(size: Size) -> (Master, Slave) {
    let _alone = OPENING.lock();
    open(size).unwrap()
}

/// A terminal of 80 by 24, and its other end.
fn terminal() -> (Terminal, Slave) {
    let (master, slave) = sized(Size::default());
    let (reader, writer, control) = master.split().unwrap();
    (Terminal { reader, writer, control, output: BytesMut::new() }, slave)
}

/// Runs `script` in a new terminal as the leader of its session. `None`, after saying so, where setsid(1) is missing.
fn run(script: &str) -> Option<(Terminal, Child)> {
    let (terminal, slave) = terminal();
    let child = lead(&["sh", "-c", script], &slave)?;
    Some((terminal, child))
}

fn lead(command: &[&str], slave: &Slave) -> Option<Child> {
    let end = || Stdio::from(slave.as_fd().try_clone_to_owned().unwrap());
    let mut setsid = Command::new("setsid");
    setsid.arg("--ctty").args(command).stdin(end()).stdout(end()).stderr(end());
    let _alone = OPENING.lock();
    match setsid.spawn() {
        Ok(child) => Some(child),
        Err(error) => {
            writeln!(std::io::stderr(), "SKIPPED programs in a terminal: cannot start setsid: {error}").unwrap();
            None
        }
    }
}

/// Fails if the fact does not come.
async fn soon<T>(what: &str, fact: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, fact).await {
        Ok(fact) => fact,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

async fn ended(child: &mut Child) -> ExitStatus {
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        tokio::time::sleep(LOOK).await;
    }
}

impl Terminal {
    fn read(&mut self) -> Read {
        self.reader.try_read(&mut self.output, CHUNK_BYTES).unwrap()
    }

    /// Reads until the last read said `what`, waiting for it.
    async fn until(&mut self, what: Read) {
        let told = async {
            while self.read() != what {
                self.reader.readable().await.unwrap();
            }
        };
        soon("what the read should say", told).await;
    }

    /// Reads until the output holds `text`.
    async fn shows(&mut self, text: &str) {
        let begun = Instant::now();
        while !self.text().contains(text) {
            assert!(begun.elapsed() < PATIENCE, "{text:?} is not in {:?}", self.text());
            let _ = tokio::time::timeout(PATIENCE, self.reader.readable()).await;
            self.read();
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }

    async fn finish(&mut self, child: &mut Child) -> ExitStatus {
        read_to_the_end(&mut self.reader, &mut self.output, child).await
    }
}

/// Reads as [`End`] says, with `child` as the whole tree, and returns how it ended.
async fn read_to_the_end(reader: &mut Reader, output: &mut BytesMut, child: &mut Child) -> ExitStatus {
    let mut end = End::default();
    let mut status = None;
    loop {
        match end.next() {
            Next::Wait | Next::WaitVacant => {
                tokio::select! {
                    ready = reader.readable() => ready.unwrap(),
                    exit = ended(child) => status = Some(exit),
                }
                match status {
                    Some(_) => end.on_tree_gone(),
                    None => end.on_read(reader.try_read(output, CHUNK_BYTES).unwrap()),
                };
            }
            Next::Drain => {
                end.on_read(reader.try_read(output, CHUNK_BYTES).unwrap());
            }
            Next::Ended => return status.unwrap(),
        }
    }
}
