//! Files and directories that are ours alone: made so, and refused where they are not.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::unistd::geteuid;

use super::error::SpoolError;

/// Makes a directory, 0700, with its parents; one that is there already must be ours.
pub(super) fn make_dir(dir: &Path) -> Result<(), SpoolError> {
    if let Some(parent) = dir.parent()
        && !parent.exists()
    {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(parent);
        made.map_err(SpoolError::io("create the directory", parent))?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => check_dir(dir).map(drop),
        made => made.map_err(SpoolError::io("create the directory", dir)),
    }
}

/// Whether this is a directory that only we, or root, can have made and can change; false: there is none.
pub(super) fn check_dir(dir: &Path) -> Result<bool, SpoolError> {
    let flags = (OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits();
    match OpenOptions::new().read(true).custom_flags(flags).open(dir).and_then(|opened| opened.metadata()) {
        Ok(meta) => check(dir, &meta).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) if fs::symlink_metadata(dir).is_ok_and(|meta| !meta.is_dir()) => {
            let why = if error.kind() == io::ErrorKind::NotADirectory { "it is no directory" } else { "it is a link" };
            Err(SpoolError::NotOurs { path: dir.to_path_buf(), why })
        }
        Err(error) => Err(SpoolError::io("open", dir)(error)),
    }
}

fn check(path: &Path, meta: &Metadata) -> Result<(), SpoolError> {
    let ours = meta.uid() == geteuid().as_raw() || meta.uid() == 0;
    let why = match (ours, meta.mode() & 0o022) {
        (false, _) => "it belongs to another user",
        (true, 0) => return Ok(()),
        (true, _) => "others may write it",
    };
    Err(SpoolError::NotOurs { path: path.to_path_buf(), why })
}

/// Opens a file of ours; none if there is none.
pub(super) fn open(path: &Path, options: &mut OpenOptions) -> Result<Option<File>, SpoolError> {
    // Not blocking: a pipe put in its place must not hold us.
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let file = match options.mode(0o600).custom_flags(flags).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(SpoolError::io("open", path))?,
    };
    let meta = file.metadata().map_err(SpoolError::io("stat", path))?;
    if !meta.is_file() {
        return Err(SpoolError::NotOurs { path: path.to_path_buf(), why: "it is no file" });
    }
    check(path, &meta).map(|()| Some(file))
}

/// The lock that a file of ours is; none: there is none, somebody holds it, or it was removed or replaced while we came.
pub(super) fn lock(path: &Path, options: &mut OpenOptions) -> Result<Option<Flock<File>>, SpoolError> {
    let Some(file) = open(path, options)? else { return Ok(None) };
    let inode = file.metadata().map_err(SpoolError::io("stat", path))?.ino();
    let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => lock,
        Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
        Err((_, errno)) => return Err(SpoolError::io("lock", path)(errno.into())),
    };
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.ino() == inode => Ok(Some(lock)),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SpoolError::io("stat", path)(error)),
    }
}

/// What a file of ours holds, at most `max_bytes`; none if there is none.
pub(super) fn read(path: &Path, max_bytes: u64) -> Result<Option<Vec<u8>>, SpoolError> {
    let Some(file) = open(path, OpenOptions::new().read(true))? else { return Ok(None) };
    let mut bytes = Vec::new();
    file.take(max_bytes + 1).read_to_end(&mut bytes).map_err(SpoolError::io("read", path))?;
    if bytes.len() as u64 > max_bytes {
        return Err(SpoolError::bad(path, format!("it has more than {max_bytes} bytes")));
    }
    Ok(Some(bytes))
}

/// Puts a file in the place of another, whole or not at all, and brings it to the disk.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), SpoolError> {
    let new = path.with_extension("new");
    let write = || {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600).custom_flags(OFlag::O_NOFOLLOW.bits());
        let mut file = options.open(&new)?;
        file.write_all(bytes)?;
        // Before the rename: a power cut must not leave the name with nothing behind it.
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().map_err(|error| {
        // Half a file takes room that may be what is missing.
        let _ = fs::remove_file(&new);
        SpoolError::io("write", path)(error)
    })?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Brings the names in a directory to the disk.
pub(super) fn sync_dir(dir: &Path) -> Result<(), SpoolError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(SpoolError::io("sync", dir))
}

/// Bytes of all files below a directory of ours, as far as they can be seen.
pub(super) fn bytes_below(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| Some((entry.path(), fs::symlink_metadata(entry.path()).ok()?)));
    let size = |(path, meta): (PathBuf, Metadata)| if meta.is_dir() { bytes_below(&path) } else { meta.len() };
    sizes.map(size).fold(0, u64::saturating_add)
}
