//! A spool whose watcher is gone, as it is read by whoever takes it in.

use std::fs::{self, File, OpenOptions};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use zerovisor_core::id::Id;
use zerovisor_core::record::Record;

use super::error::SpoolError;
use super::meta::Meta;
use super::place::Place;
use super::record::read;
use super::{LOCK, LOG, front, private, writer};
use crate::journal::LogReader;

/// A spool that nobody else holds: its lock is held by this.
#[derive(Debug)]
pub struct Left {
    place: PathBuf,
    dir: PathBuf,
    _lock: Flock<File>,
    meta: Meta,
    front: Vec<Record>,
    log: LogReader,
}

impl Left {
    /// The processes of which there are spools in a place, in order; none where there is no place.
    ///
    /// # Errors
    /// It cannot be read, or is not ours.
    pub fn ids(place: &Place) -> Result<Vec<Id>, SpoolError> {
        let dir = place.dir();
        if !private::check_dir(dir)? {
            return Ok(Vec::new());
        }
        let entries = fs::read_dir(dir).map_err(SpoolError::io("read the directory", dir))?;
        let mut ids: Vec<Id> = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
        ids.sort();
        Ok(ids)
    }

    /// Takes the spool of a process; none if its watcher lives, somebody else has taken it, or it is gone.
    ///
    /// # Errors
    /// It cannot be read, or is not ours.
    pub fn take(place: &Place, id: Id) -> Result<Option<Left>, SpoolError> {
        let dir = place.dir().join(id.to_string());
        if !private::check_dir(&dir)? {
            return Ok(None);
        }
        let path = dir.join(LOCK);
        let file = private::open(&path, OpenOptions::new().read(true).write(true))?;
        let lock = match file.map(|file| Flock::lock(file, FlockArg::LockExclusiveNonblock)) {
            Some(Ok(lock)) => lock,
            Some(Err((_, Errno::EWOULDBLOCK))) | None => return Ok(None),
            Some(Err((_, errno))) => return Err(SpoolError::io("lock", &path)(errno.into())),
        };
        // Whoever had it may have removed it just before.
        let Some(meta) = Meta::read(&dir)? else { return Ok(None) };
        let front = front::read(&dir)?;
        let (log, _) = LogReader::open(&dir.join(LOG))?;
        Ok(Some(Left { place: place.dir().to_path_buf(), dir, _lock: lock, meta, front, log }))
    }

    /// What its watcher declared.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The next records behind `after`, about `max_bytes` of them, in order; none at the end. What is damaged is left out.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn next_batch(&mut self, after: u64, max_bytes: usize) -> Result<Vec<Record>, SpoolError> {
        let behind = self.front.partition_point(|record| record.head.seq <= after);
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for record in &self.front[behind..] {
            bytes += record.payload.len();
            if bytes > max_bytes && !batch.is_empty() {
                break;
            }
            batch.push(record.clone());
        }
        if !batch.is_empty() {
            return Ok(batch);
        }
        let next = after.saturating_add(1);
        if self.log.next_seq() != next {
            self.log.seek_seq(next);
        }
        read(&mut self.log, max_bytes)
    }

    /// Nobody wants it any more: nothing of it stays, nor its place, if it is empty.
    ///
    /// # Errors
    /// Something cannot be removed; it is tried again by whoever takes it next.
    pub fn remove(self) -> Result<(), SpoolError> {
        writer::remove(&self.place, &self.dir)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use bytes::Bytes;
    use zerovisor_core::fact::State;
    use zerovisor_core::record::{Head, Kind};
    use zerovisor_core::spec::Spec;
    use zerovisor_core::stats::{Placement, Rung};
    use zerovisor_core::units::Timestamp;
    use zerovisor_core::wire::{HostProof, WatcherHello};

    use super::*;
    use crate::net::Endpoint;
    use crate::spool::Spool;

    fn meta(id: Id) -> Meta {
        let hello = WatcherHello {
            id,
            secret: [1; 32],
            welcomed_before: true,
            spec: Spec::new("p".parse().unwrap(), vec!["p".into()]),
            created_at: Timestamp(1),
            host: HostProof::default(),
            first_seq: 1,
            next_seq: 1,
            state: State::Running,
            placement: Placement { rung: Rung::None, why: "no cgroup".into() },
        };
        Meta { endpoint: "ipc://zerovisor.sock".into(), hello }
    }

    fn record(seq: u64) -> Record {
        let head = Head { seq, at: Timestamp(seq), run: 1, kind: Kind::Stdout, offset: seq * 100_000 };
        Record { head, payload: Bytes::from(vec![b'x'; 100_000]) }
    }

    fn all(left: &mut Left) -> Vec<u64> {
        let mut seqs: Vec<u64> = Vec::new();
        loop {
            let batch = left.next_batch(seqs.last().copied().unwrap_or(0), 256 << 10).unwrap();
            if batch.is_empty() {
                return seqs;
            }
            seqs.extend(batch.iter().map(|record| record.head.seq));
        }
    }

    #[test]
    fn a_spool_is_taken_by_one_alone_and_once_its_watcher_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::of(&Endpoint::Ipc(dir.path().join("zv.sock")), None).unwrap();
        let id = Id::from_random([7; 16]);
        assert_eq!(Left::ids(&place).unwrap(), []);
        let mut spool = Spool::create(&place, &meta(id)).unwrap();
        let records: Vec<Record> = (1..=60).map(record).collect();
        spool.append(&records).unwrap();
        assert_eq!((Left::ids(&place).unwrap(), Left::take(&place, id).unwrap().is_none()), (vec![id], true));
        drop(spool);
        let mut left = Left::take(&place, id).unwrap().unwrap();
        assert!(Left::take(&place, id).unwrap().is_none(), "another has it");
        assert_eq!(left.meta(), &meta(id));
        assert_eq!(all(&mut left), (1..=60).collect::<Vec<_>>());
        left.remove().unwrap();
        assert!(!place.dir().exists() && Left::take(&place, id).unwrap().is_none());
    }

    #[test]
    fn what_stands_for_dropped_records_comes_before_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::of(&Endpoint::Ipc(dir.path().join("zv.sock")), None).unwrap();
        let id = Id::from_random([7; 16]);
        let mut spool = Spool::create(&place, &meta(id)).unwrap();
        spool.append(&(1..=90).map(record).collect::<Vec<_>>()).unwrap();
        let dropped = spool.oldest().unwrap().last().unwrap().head.seq;
        assert!(dropped < 90);
        spool.drop_oldest(&[record(2), record(dropped)]).unwrap();
        drop(spool);
        let mut left = Left::take(&place, id).unwrap().unwrap();
        let expected: Vec<u64> = [2, dropped].into_iter().chain(dropped + 1..=90).collect();
        assert_eq!(all(&mut left), expected);
    }

    #[test]
    fn links_and_directories_that_others_may_write_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::of(&Endpoint::Ipc(dir.path().join("zv.sock")), None).unwrap();
        let (id, other) = (Id::from_random([7; 16]), Id::from_random([8; 16]));
        drop(Spool::create(&place, &meta(id)).unwrap());
        symlink(place.dir().join(id.to_string()), place.dir().join(other.to_string())).unwrap();
        assert!(matches!(Left::take(&place, other), Err(SpoolError::NotOurs { .. })));
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(place.dir().join(id.to_string()), open).unwrap();
        assert!(matches!(Left::take(&place, id), Err(SpoolError::NotOurs { .. })));
    }
}
