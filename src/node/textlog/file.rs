//! Where the lines go: a file that is rotated, or standard output.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::line::{first_line, lines_within};
use super::{Target, TextConfig, TextLogError};

/// How often it is looked whether the file still has its name.
const NAME_CHECK_EVERY: Duration = Duration::from_secs(1);
/// After a rotation that failed the next one is tried.
const ROTATE_AGAIN: Duration = Duration::from_secs(60);
/// What a pipe that is said to be ready takes without blocking: `PIPE_BUF`, pipe(7).
const PIPE_BYTES: usize = 4096;
/// How long standard output may keep the thread waiting before it looks at what else there is.
const STDOUT_PATIENCE_MS: u8 = 100;

/// Where the lines go.
#[derive(Debug)]
pub(super) enum Output {
    /// A file of our own.
    File(LogFile),
    /// Whatever standard output is.
    Stdout(File),
}

impl Output {
    /// Opens it.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn open(config: &TextConfig) -> Result<Output, TextLogError> {
        match &config.target {
            Target::File(path) => {
                let file = LogFile::open(path, config.rotate_bytes, config.keep);
                file.map(Output::File).map_err(|source| TextLogError::File { path: path.clone(), source })
            }
            Target::Stdout => {
                let own = io::stdout().as_fd().try_clone_to_owned();
                own.map(|fd| Output::Stdout(File::from(fd))).map_err(TextLogError::Stdout)
            }
        }
    }

    /// Its name in messages.
    pub(super) fn name(&self) -> String {
        match self {
            Output::File(file) => file.path.display().to_string(),
            Output::Stdout(_) => "standard output".into(),
        }
    }

    /// Writes the beginning of `text`, which is whole lines less what was written of them before; how many bytes.
    ///
    /// # Errors
    /// Nothing was written; `WouldBlock`: standard output takes nothing just now.
    pub(super) fn write(&mut self, text: &[u8], now: Instant) -> io::Result<usize> {
        match self {
            Output::File(file) => file.write(text, now),
            Output::Stdout(file) => {
                let mut ready = [PollFd::new(file.as_fd(), PollFlags::POLLOUT)];
                if poll(&mut ready, PollTimeout::from(STDOUT_PATIENCE_MS))? == 0 {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                file.write(&text[..text.len().min(PIPE_BYTES)])
            }
        }
    }
}

/// A log file that begins anew when it is full: `log` becomes `log.1`, that `log.2`, and so on.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    rotate_bytes: u64,
    keep: u32,
    open: Option<Open>,
    rotate_not_before: Option<Instant>,
}

#[derive(Debug)]
struct Open {
    file: File,
    bytes: u64,
    identity: (u64, u64),
    /// Devices and pipes are not rotated.
    regular: bool,
    /// The last write ended within a line.
    within_line: bool,
    checked_at: Option<Instant>,
}

impl Open {
    fn at(path: &Path) -> io::Result<Open> {
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let stat = file.metadata()?;
        let (mut bytes, regular) = (stat.len(), stat.is_file());
        if regular && bytes > 0 && !ends_with_line(path, bytes) {
            // The end of whoever wrote here before came within a line.
            file.write_all(b"\n")?;
            bytes += 1;
        }
        Ok(Open { file, bytes, identity: (stat.dev(), stat.ino()), regular, within_line: false, checked_at: None })
    }
}

/// Whether the last byte of the file is a line feed; one that cannot be read is taken for it.
fn ends_with_line(path: &Path, bytes: u64) -> bool {
    let mut last = [b'\n'];
    // A file that may be written and not read is no reason to fail.
    let _ = File::open(path).and_then(|file| file.read_exact_at(&mut last, bytes - 1));
    last == *b"\n"
}

impl LogFile {
    fn open(path: &Path, rotate_bytes: u64, keep: u32) -> io::Result<LogFile> {
        let open = Some(Open::at(path)?);
        Ok(LogFile { path: path.to_path_buf(), rotate_bytes, keep, open, rotate_not_before: None })
    }

    fn write(&mut self, text: &[u8], now: Instant) -> io::Result<usize> {
        self.follow_name(now);
        let fitting = match self.fitting(text) {
            Some(bytes) => bytes,
            None if self.rotate_not_before.is_some_and(|at| now < at) => text.len(),
            None => {
                self.rotate(now)?;
                self.fitting(text).unwrap_or_else(|| first_line(text))
            }
        };
        let open = match &mut self.open {
            Some(open) => open,
            None => self.open.insert(Open::at(&self.path)?),
        };
        let written = open.file.write(&text[..fitting])?;
        open.bytes += written as u64;
        open.within_line = written > 0 && text[written - 1] != b'\n';
        Ok(written)
    }

    /// How much of `text` goes into the present file; none if it is full.
    fn fitting(&self, text: &[u8]) -> Option<usize> {
        let Some(open) = &self.open else { return Some(text.len()) };
        if open.within_line {
            return Some(first_line(text));
        }
        let room = usize::try_from(self.rotate_bytes.saturating_sub(open.bytes)).unwrap_or(usize::MAX);
        if !open.regular || self.rotate_bytes == 0 || text.len() <= room {
            return Some(text.len());
        }
        // A line that is longer than a whole file stands in one of its own.
        lines_within(text, room).or_else(|| (open.bytes == 0).then(|| first_line(text)))
    }

    /// Somebody else may have moved or removed the file, or cut it: the name is what people read.
    fn follow_name(&mut self, now: Instant) {
        let Some(open) = &mut self.open else { return };
        let fresh = open.checked_at.is_some_and(|at| now.saturating_duration_since(at) < NAME_CHECK_EVERY);
        if fresh || open.within_line {
            return;
        }
        open.checked_at = Some(now);
        match fs::metadata(&self.path) {
            Ok(stat) if (stat.dev(), stat.ino()) == open.identity => open.bytes = stat.len(),
            // Opened again by the write that follows; its error is the one that is told.
            Ok(_) | Err(_) => self.open = None,
        }
    }

    /// Gives every file the next number and begins a new one. A failure is no reason to lose lines: the file grows on.
    fn rotate(&mut self, now: Instant) -> io::Result<()> {
        self.rotate_not_before = None;
        match self.shift() {
            Ok(()) => self.open = Some(Open::at(&self.path)?),
            Err(error) => {
                self.rotate_not_before = Some(now + ROTATE_AGAIN);
                tracing::warn!(path = %self.path.display(), %error, "the text log cannot be rotated: it grows on");
            }
        }
        Ok(())
    }

    fn shift(&mut self) -> io::Result<()> {
        if self.keep == 0 {
            fs::remove_file(&self.path)?;
            self.open = None;
            return Ok(());
        }
        for number in (1..self.keep).rev() {
            match fs::rename(self.numbered(number), self.numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        fs::rename(&self.path, self.numbered(1))?;
        self.open = None;
        Ok(())
    }

    fn numbered(&self, number: u32) -> OsString {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name
    }
}
