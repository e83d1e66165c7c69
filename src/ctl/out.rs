//! Standard output and standard error: what they are, and writing to them so that a reader who left is no failure.

use std::io::{self, IsTerminal, Write};
use std::thread::JoinHandle;

use tokio::sync::mpsc;
use zerovisor_core::escape::escaped;

use super::error::CtlError;

/// Output is handed to the writing thread in pieces of about this many bytes.
pub const PIECE_BYTES: usize = 64 << 10;

/// What standard output is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Look {
    /// Columns of the terminal; none where it is no terminal.
    pub width: Option<usize>,
    /// Whether colours are wanted.
    pub colour: bool,
}

impl Look {
    /// That of this process: colours on a terminal unless NO_COLOR says otherwise or the terminal cannot.
    pub fn of_stdout() -> Look {
        if !io::stdout().is_terminal() {
            return Look::default();
        }
        let size = terminal_size::terminal_size_of(io::stdout());
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Look { width: Some(size.map_or(80, |(width, _)| usize::from(width.0))), colour: !unwanted && !dumb }
    }

    /// Whether it is a terminal.
    pub fn is_terminal(self) -> bool {
        self.width.is_some()
    }
}

fn outcome(written: io::Result<()>) -> Result<(), CtlError> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(CtlError::ReaderGone),
        Err(error) => Err(CtlError::io("write to standard output", error)),
        Ok(()) => Ok(()),
    }
}

/// Writes all of it to standard output now.
///
/// # Errors
/// [`CtlError::ReaderGone`] or what the system said.
pub fn print(bytes: impl AsRef<[u8]>) -> Result<(), CtlError> {
    let mut stdout = io::stdout().lock();
    outcome(stdout.write_all(bytes.as_ref()).and_then(|()| stdout.flush()))
}

/// Writes a line to standard output now.
///
/// # Errors
/// As [`print()`].
pub fn print_line(line: impl Into<String>) -> Result<(), CtlError> {
    print(line.into() + "\n")
}

/// One line about a failure, or about something that is worth knowing, on standard error. There is nowhere to complain when that
/// fails.
pub fn note(line: &str) {
    let _ = io::stderr().write_all(format!("zvctl: {}\n", escaped(line)).as_bytes());
}

/// What the writing thread writes.
enum Piece {
    Out(Vec<u8>),
    Note(String),
}

/// A thread that writes, so that a reader who takes his time (a pager, a stopped terminal) never costs the link: the verb goes on
/// pinging. What waits here is bounded by what was granted to the zerovisor, which is granted again only once it is written.
pub struct Paper {
    pieces: Option<std::sync::mpsc::Sender<(Piece, u64)>>,
    written: mpsc::UnboundedReceiver<Result<u64, CtlError>>,
    writer: Option<JoinHandle<()>>,
}

impl Paper {
    /// Begins the thread that writes to standard output.
    pub fn begin() -> Paper {
        Paper::onto(io::stdout())
    }

    /// Begins a thread that writes to this.
    pub fn onto(mut to: impl Write + Send + 'static) -> Paper {
        let (pieces, todo) = std::sync::mpsc::channel::<(Piece, u64)>();
        let (done, written) = mpsc::unbounded_channel();
        let writer = std::thread::spawn(move || {
            for (piece, ticket) in todo {
                let result = match piece {
                    Piece::Out(bytes) => outcome(to.write_all(&bytes).and_then(|()| to.flush())),
                    Piece::Note(line) => {
                        note(&line);
                        Ok(())
                    }
                };
                let failed = result.is_err();
                if done.send(result.map(|()| ticket)).is_err() || failed {
                    return;
                }
            }
        });
        Paper { pieces: Some(pieces), written, writer: Some(writer) }
    }

    /// Has these bytes written; `ticket` comes back from [`Paper::written`] once they are.
    pub fn write(&self, bytes: Vec<u8>, ticket: u64) {
        self.push(Piece::Out(bytes), ticket);
    }

    /// Has a line written to standard error, in its place between the bytes.
    pub fn note(&self, line: String) {
        self.push(Piece::Note(line), 0);
    }

    fn push(&self, piece: Piece, ticket: u64) {
        if let Some(pieces) = &self.pieces {
            // The thread ends early only after a failure, which `written` tells.
            let _ = pieces.send((piece, ticket));
        }
    }

    /// The next ticket whose bytes are written. Cancel-safe.
    ///
    /// # Errors
    /// Why writing failed.
    pub async fn written(&mut self) -> Result<u64, CtlError> {
        self.written.recv().await.unwrap_or(Err(CtlError::ReaderGone))
    }

    /// Waits until everything is written.
    ///
    /// # Errors
    /// Why writing failed.
    pub fn finish(mut self) -> Result<(), CtlError> {
        self.end();
        while let Ok(result) = self.written.try_recv() {
            result?;
        }
        Ok(())
    }
    fn end(&mut self) {
        drop(self.pieces.take());
        if let Some(writer) = self.writer.take() {
            // It ends by itself once there is nothing more to write; a panic in it has been reported by then.
            let _ = writer.join();
        }
    }
}

impl Drop for Paper {
    /// Whatever ended a verb early, what came before it is written first.
    fn drop(&mut self) {
        self.end();
    }
}
