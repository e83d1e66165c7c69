//! One watcher's spool, while it is written.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, Flock, fallocate};
use zerovisor_core::id::Id;
use zerovisor_core::record::Record;
use zerovisor_core::units::Bytes;

use super::error::SpoolError;
use super::meta::Meta;
use super::place::Place;
use super::read;
use super::total::Total;
use super::{FRONT, GONE, LOCK, LOG, NEW, RESERVE, front, private};
use crate::journal::{Dropped, JournalError, LogConfig, LogReader, SegmentLog, stored};

/// Smallest and largest segment, in bytes: what is acknowledged goes, and what is too much is dropped, in whole ones.
const SEGMENT_BYTES: (u64, u64) = (256 << 10, 4 << 20);
/// Room that is kept for a front, in bytes: on a full disk it is written before anything can be dropped.
const RESERVE_BYTES: i64 = 256 << 10;
/// What a spool takes beside its records, in bytes: a front's room, a declaration, and what files take beyond their length.
const NEW_BYTES: u64 = (256 + 96) << 10;
/// So much of the user's total is taken at once, at first, in bytes; later as much as a quarter of what is there, up to a segment.
const CLAIM_BYTES: u64 = 256 << 10;
/// A neighbour may remove the empty place just when we make ours in it, or have our lock while it looks whether we are dead; so look
/// again, but not for ever: it needs some system calls, and a loaded machine may keep it from them.
const ATTEMPTS: usize = 100;
/// Between two such looks.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(5);

/// How large a spool may become.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// Of one watcher, in bytes.
    pub bytes: u64,
}

impl Default for Limit {
    /// 256 MiB.
    fn default() -> Limit {
        Limit { bytes: 256 << 20 }
    }
}

/// A spool that is written: its process's watcher lives and holds its lock.
#[derive(Debug)]
pub struct Spool {
    place: PathBuf,
    dir: PathBuf,
    _lock: Flock<File>,
    log: SegmentLog,
    reader: LogReader,
    /// Its directory was put away, and the next one could not be made yet.
    log_is_gone: bool,
    limit: Limit,
    segment_bytes: u64,
    total: Total,
    /// What stands for what was dropped.
    front_bytes: u64,
}

impl Spool {
    /// A new, empty one, of at most 256 MiB.
    ///
    /// # Errors
    /// The place cannot be written, or is not ours.
    pub fn create(place: &Place, meta: &Meta) -> Result<Spool, SpoolError> {
        Spool::create_limited(place, meta, Limit::default())
    }

    /// A new, empty one.
    ///
    /// # Errors
    /// As [`Spool::create`].
    pub fn create_limited(place: &Place, meta: &Meta, limit: Limit) -> Result<Spool, SpoolError> {
        let dir = place.dir().join(meta.hello.id.to_string());
        let new = dir.with_extension(NEW);
        let lock = made(place.dir(), &new)?;
        sweep(place.dir());
        if dir.exists() {
            // Our own, which could not be removed before.
            remove(place.dir(), &dir)?;
        }
        let mut total = Total::new(place.dir(), &new);
        let ready = total.take(NEW_BYTES, NEW_BYTES + CLAIM_BYTES, 0);
        let ready = ready.and_then(|()| meta.write(&new)).and_then(|()| reserve(&new));
        let ready = ready.and_then(|()| fs::rename(&new, &dir).map_err(SpoolError::io("create the directory", &dir)));
        if let Err(error) = ready {
            // Swept by the next that is made here, if this fails too.
            let _ = fs::remove_dir_all(&new);
            return Err(error);
        }
        let segment_bytes = (limit.bytes / 8).clamp(SEGMENT_BYTES.0, SEGMENT_BYTES.1);
        let log = open_log(&dir, segment_bytes)?;
        total.moved(&dir);
        total.written();
        let (place, reader) = (place.dir().to_path_buf(), log.reader());
        Ok(Spool {
            place,
            dir,
            _lock: lock,
            log,
            reader,
            log_is_gone: false,
            limit,
            segment_bytes,
            total,
            front_bytes: 0,
        })
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Bytes of all records in it.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        if self.log_is_gone { 0 } else { self.log.bytes() }
    }

    /// What it counts for, in bytes.
    fn holds(&self) -> u64 {
        self.bytes().saturating_add(self.front_bytes).saturating_add(NEW_BYTES)
    }

    /// First and last sequence number in its log; none while that is empty.
    #[must_use]
    pub fn range(&self) -> Option<(u64, u64)> {
        let log = (!self.log_is_gone).then_some(&self.log)?;
        Some((log.first_seq()?, log.last()?.0))
    }

    /// Adds records behind the last one. When it returns they are with the kernel.
    ///
    /// # Errors
    /// [`SpoolError::Full`] and other failures; a prefix may have been added: [`Spool::range`] says up to which record.
    pub fn append(&mut self, records: &[Record]) -> Result<(), SpoolError> {
        self.begin_log()?;
        let mut room = self.limit.bytes.saturating_sub(self.log.bytes());
        let ahead = (self.log.bytes() / 4).clamp(CLAIM_BYTES, self.segment_bytes);
        let holds = self.holds();
        let mut batch = Vec::with_capacity(records.len());
        let mut full = None;
        for record in records.iter().map(stored) {
            let bytes = record.stored_bytes();
            if bytes > room {
                let (dir, limit) = (self.place.clone(), Bytes(self.limit.bytes));
                full = Some(SpoolError::Full { dir, why: "--spool-max", limit });
                break;
            }
            if let Err(error) = self.total.take(bytes, ahead, holds) {
                full = Some(error);
                break;
            }
            room -= bytes;
            batch.push(record);
        }
        let appended = self.log.append(&batch);
        self.total.written();
        appended?;
        full.map_or(Ok(()), Err)
    }

    /// Records from `seq` on, about `max_bytes` of them, in order; none behind the last. What is damaged is left out.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read_from(&mut self, seq: u64, max_bytes: usize) -> Result<Vec<Record>, SpoolError> {
        self.begin_log()?;
        if self.reader.next_seq() != seq {
            self.reader.seek_seq(seq);
        }
        read(&mut self.reader, max_bytes)
    }

    /// The records of the oldest segment, so that gaps and facts can be made to stand for it; none if the log is empty.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn oldest(&mut self) -> Result<Vec<Record>, SpoolError> {
        self.begin_log()?;
        let oldest = self.log.oldest().map(|Dropped { last_seq, .. }| last_seq);
        let Some(last_seq) = oldest.or(self.range().map(|(_, last)| last)) else { return Ok(Vec::new()) };
        let mut reader = self.log.reader();
        let mut records: Vec<Record> = Vec::new();
        while records.last().is_none_or(|record| record.head.seq < last_seq) {
            let batch = read(&mut reader, usize::try_from(SEGMENT_BYTES.0).unwrap_or(usize::MAX))?;
            if batch.is_empty() {
                break;
            }
            records.extend(batch);
        }
        records.retain(|record| record.head.seq <= last_seq);
        Ok(records)
    }

    /// Drops the oldest segment. `front` is every gap and fact that stands for what was dropped so far, this segment included; it is on
    /// the disk before the segment goes.
    ///
    /// # Errors
    /// The front cannot be written, or the segment not removed: it is still there.
    pub fn drop_oldest(&mut self, front: &[Record]) -> Result<(), SpoolError> {
        let (path, bytes) = (self.dir.join(FRONT), front::encode(front)?);
        match private::replace(&path, &bytes) {
            Err(error) if error.is_full() => {
                let reserve = self.dir.join(RESERVE);
                fs::remove_file(&reserve).map_err(SpoolError::io("remove", &reserve))?;
                private::replace(&path, &bytes)?;
            }
            written => written?,
        }
        if self.log_is_gone || self.log.drop_oldest()?.is_none() {
            self.start_over()?;
        }
        self.front_bytes = bytes.len() as u64;
        self.total.give_back(self.holds());
        // One that cannot be had now is asked for with the next drop.
        let _ = reserve(&self.dir);
        Ok(())
    }

    /// Empties the log, whose only segment is not wanted any more: by one rename, so that it is there whole or not at all.
    fn start_over(&mut self) -> Result<(), SpoolError> {
        let log = self.dir.join(LOG);
        let gone = log.with_extension(GONE);
        // One that could not be removed before; the rename says so if it cannot now.
        let _ = fs::remove_dir_all(&gone);
        match fs::rename(&log, &gone) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed.map_err(SpoolError::io("remove", &log))?,
        }
        self.log_is_gone = true;
        let _ = fs::remove_dir_all(&gone);
        // One that cannot be made now is made, or missed, by whoever needs it.
        let _ = self.begin_log();
        Ok(())
    }

    /// Makes a log in the place of one that was put away.
    fn begin_log(&mut self) -> Result<(), SpoolError> {
        if self.log_is_gone {
            self.log = open_log(&self.dir, self.segment_bytes)?;
            self.reader = self.log.reader();
            self.log_is_gone = false;
        }
        Ok(())
    }

    /// Whole segments that are acknowledged go; the newest stays.
    ///
    /// # Errors
    /// One cannot be removed; it stays.
    pub fn trim(&mut self, acknowledged: u64) -> Result<(), SpoolError> {
        while !self.log_is_gone && self.log.oldest().is_some_and(|oldest| oldest.last_seq <= acknowledged) {
            self.log.drop_oldest()?;
            self.total.give_back(self.holds());
        }
        Ok(())
    }

    /// Leaves it for the next zerovisor: everything in it is brought to the disk, and its lock given back.
    ///
    /// # Errors
    /// The last word cannot be written, or the disk fails; what there was is left all the same.
    pub fn close(mut self, meta: &Meta) -> Result<(), SpoolError> {
        meta.write(&self.dir)?;
        if !self.log_is_gone
            && let Some(work) = self.log.dirty()
        {
            work.sync()?;
        }
        private::sync_dir(&self.place)
    }

    /// Nobody wants it any more: nothing of it stays, nor the place, if it is empty.
    ///
    /// # Errors
    /// Something cannot be removed; the next spool that is made here tries again.
    pub fn remove(self) -> Result<(), SpoolError> {
        remove(&self.place, &self.dir)
    }
}

/// Removes the spool in `dir`, whose lock the caller has, and its place, if nothing else is in it.
pub(super) fn remove(place: &Path, dir: &Path) -> Result<(), SpoolError> {
    // Renamed first: a half-removed spool must not be taken in.
    let gone = dir.with_extension(GONE);
    let _ = fs::remove_dir_all(&gone);
    fs::rename(dir, &gone).map_err(SpoolError::io("remove", dir))?;
    match fs::remove_dir_all(&gone) {
        // Swept by a neighbour meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        removed => removed.map_err(SpoolError::io("remove", &gone))?,
    }
    // Others may be in it.
    let _ = fs::remove_dir(place);
    Ok(())
}

/// Makes the directory of a spool and takes its lock.
fn made(place: &Path, new: &Path) -> Result<Flock<File>, SpoolError> {
    let mut attempts = ATTEMPTS;
    loop {
        private::make_dir(place)?;
        attempts -= 1;
        // Whoever has just removed the place, or sweeps it, is done in a moment.
        match private::make_dir(new).and_then(|()| locked(new)) {
            Ok(Some(lock)) => return Ok(lock),
            Err(SpoolError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound && attempts > 0 => {}
            Ok(None) if attempts > 0 => {}
            Ok(None) => return Err(SpoolError::io("lock", new)(Errno::EWOULDBLOCK.into())),
            Err(error) => return Err(error),
        }
        thread::sleep(BETWEEN_ATTEMPTS);
    }
}

/// The lock of a new spool; none: somebody has it, or the directory went while we came.
fn locked(new: &Path) -> Result<Option<Flock<File>>, SpoolError> {
    private::lock(&new.join(LOCK), OpenOptions::new().read(true).write(true).create(true).truncate(false))
}

fn open_log(dir: &Path, segment_bytes: u64) -> Result<SegmentLog, JournalError> {
    let config = LogConfig { segment_bytes, ..LogConfig::default() };
    Ok(SegmentLog::open(&dir.join(LOG), config)?.0)
}

/// Keeps room for a front.
fn reserve(dir: &Path) -> Result<(), SpoolError> {
    let path = dir.join(RESERVE);
    let file = private::open(&path, OpenOptions::new().write(true).create(true).truncate(false))?;
    let Some(file) = file else { return Ok(()) };
    match fallocate(&file, FallocateFlags::empty(), 0, RESERVE_BYTES) {
        // A file system without reservations: then a full disk drops nothing, and the child waits.
        Ok(()) | Err(Errno::EOPNOTSUPP) => Ok(()),
        Err(errno) => Err(SpoolError::io("reserve room in", &path)(errno.into())),
    }
}

/// Removes what spools left half made or half removed when their watchers died.
fn sweep(place: &Path) {
    for path in fs::read_dir(place).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())) {
        let is_id = path.file_stem().and_then(|stem| stem.to_str()).is_some_and(|stem| stem.parse::<Id>().is_ok());
        let leftover = path.extension().is_some_and(|ending| ending == NEW || ending == GONE);
        if is_id && leftover && private::check_dir(&path).is_ok_and(|there| there) {
            sweep_one(&path);
        }
    }
}

/// Removes one of them, unless somebody has its lock. What fails is tried again by the next.
fn sweep_one(dir: &Path) {
    match private::lock(&dir.join(LOCK), OpenOptions::new().read(true).write(true)) {
        // Renamed with the lock in hand: whoever makes it anew meanwhile has another directory, in which nothing is removed.
        Ok(Some(lock)) => {
            let gone = dir.with_extension(GONE);
            if dir == gone || fs::rename(dir, &gone).is_ok() {
                let _ = fs::remove_dir_all(&gone);
            }
            drop(lock);
        }
        // Without a lock: one that is being made has none yet, one that is removed none any more.
        Ok(None) if dir.extension().is_some_and(|ending| ending == GONE) && !dir.join(LOCK).exists() => {
            let _ = fs::remove_dir_all(dir);
        }
        Ok(None) | Err(_) => {}
    }
}
