//! One zerovisor per data directory.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// More than a lock file ever holds; the rest of a foreign one is not read.
const LOCK_FILE_BYTES: u64 = 256;

/// Why a data directory could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{} is in use by {}: stop it, or choose another directory with --data", dir.display(), holder(*pid))]
    Held {
        /// The data directory.
        dir: PathBuf,
        /// The holder, where its lock file says so and is of this boot.
        pid: Option<u32>,
    },
    /// The file system failed.
    #[error("cannot {op} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        op: &'static str,
        /// The file or directory it was tried on.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// The data directory is ours while this lives. The kernel gives it back however we end; a child
/// does not inherit it past exec.
#[derive(Debug)]
pub struct DataDirLock {
    file: Flock<File>,
    dir: PathBuf,
}

impl DataDirLock {
    /// Whether the file that is locked still stands in its directory: nobody has removed it, or mounted something over it, or unmounted it.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        let id = |meta: Metadata| (meta.dev(), meta.ino());
        let (held, found) = (self.file.metadata().map(id), fs::metadata(self.dir.join("lock")).map(id));
        matches!((held, found), (Ok(held), Ok(found)) if held == found)
    }

    /// Whether a journal may be begun again where this one has gone: the directory is missing, or still on the same file system, or
    /// holds a journal. An empty one on another file system is a mount point whose disk is away.
    #[must_use]
    pub fn may_begin_again(&self) -> bool {
        match (fs::metadata(&self.dir), self.file.metadata()) {
            (Ok(there), Ok(held)) => there.dev() == held.dev() || self.dir.join("processes").is_dir(),
            (Err(error), _) => error.kind() == io::ErrorKind::NotFound,
            (Ok(_), Err(_)) => false,
        }
    }
}

/// Creates `dir` (0700) if missing and takes it: an exclusive flock on the file `lock` in it, which
/// then names our pid and boot for people and for the error of who comes second.
///
/// # Errors
/// [`LockError::Held`] at once, without waiting, if another process has it.
pub fn lock_data_dir(dir: &Path) -> Result<DataDirLock, LockError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|e| fail("create", dir, e))?;
    let path = dir.join("lock");
    let mut options = OpenOptions::new();
    // Not truncated: until the lock is ours the file speaks of its holder.
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(&path).map_err(|e| fail("open", &path, e))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut file) => {
            sign(&mut file).map_err(|e| fail("write", &path, e))?;
            Ok(DataDirLock { file, dir: dir.to_path_buf() })
        }
        Err((file, Errno::EWOULDBLOCK)) => Err(LockError::Held { dir: dir.to_path_buf(), pid: signed_by(&file) }),
        Err((_, errno)) => Err(fail("lock", &path, errno.into())),
    }
}

fn sign(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    let text = format!("pid {}\nboot {}\n", std::process::id(), boot_id());
    file.write_all(text.as_bytes())
}

/// The pid in the lock file, unless it is of an earlier boot: then the holder has not signed yet.
fn signed_by(file: &File) -> Option<u32> {
    let mut text = String::new();
    file.take(LOCK_FILE_BYTES).read_to_string(&mut text).ok()?;
    let mut lines = text.lines();
    let pid = lines.next()?.strip_prefix("pid ")?.parse().ok()?;
    let boot = lines.next()?.strip_prefix("boot ")?;
    (boot == boot_id()).then_some(pid)
}

/// The kernel's name for this boot; empty where /proc does not tell.
fn boot_id() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    text.map(|t| t.trim().to_owned()).unwrap_or_default()
}

fn fail(op: &'static str, path: &Path, source: io::Error) -> LockError {
    LockError::Io { op, path: path.to_path_buf(), source }
}
