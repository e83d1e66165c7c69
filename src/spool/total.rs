//! The total of a user: what all watchers of one user, whatever their endpoints, may keep on one file system.
//!
//! ```text
//! STATE/zerovisor/places/DEVICE-MACHINE/lock                held while room is taken
//! STATE/zerovisor/places/DEVICE-MACHINE/CHECKSUM -> PLACE   each place on that file system with a spool in it
//! PLACE/ID/claim                                a hole, as long as the spool may become before its watcher asks again
//! ```
//! Room is taken before it is written, and counts from then on; so the total holds however many take some at once, and costs one look at each
//! spool. The number of a device is that of one machine: others may share the directory. Without a directory for
//! the state of its user a watcher counts its own place only.

use std::fs::{self, File, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::statvfs::statvfs;
use zerovisor_core::units::Bytes;

use super::error::SpoolError;
use super::{CLAIM, LOCK, place, private};
use crate::host;

/// All spools of a user take at most this share of a file system.
const FILE_SYSTEM_SHARE: u64 = 10;

/// The total, as one spool sees it.
#[derive(Debug)]
pub(super) struct Total {
    place: PathBuf,
    /// What this spool may still write of what it has taken, in bytes.
    claimed: u64,
    /// What was taken and is not written yet, in bytes.
    unwritten: u64,
    claim: PathBuf,
}

impl Total {
    /// Of a spool in this directory; it has taken nothing yet.
    pub(super) fn new(place: &Path, dir: &Path) -> Total {
        Total { place: place.to_path_buf(), claimed: 0, unwritten: 0, claim: dir.join(CLAIM) }
    }

    /// Takes room for so many bytes, and while at it for some `ahead`, in a spool that holds so many.
    ///
    /// # Errors
    /// [`SpoolError::Full`]; the disk fails.
    pub(super) fn take(&mut self, bytes: u64, ahead: u64, holds: u64) -> Result<(), SpoolError> {
        if bytes > self.claimed {
            self.claim(bytes, ahead, holds)?;
        }
        (self.claimed, self.unwritten) = (self.claimed - bytes, self.unwritten + bytes);
        Ok(())
    }

    /// What was taken is on the disk, or will not be.
    pub(super) fn written(&mut self) {
        self.unwritten = 0;
    }

    /// Something was removed, and the spool holds so much: the rest is given to whoever asks next.
    pub(super) fn give_back(&mut self, holds: u64) {
        self.claimed = 0;
        // One that stays larger counts for more than there is.
        let _ = self.write_claim(holds.saturating_add(self.unwritten));
    }

    /// Its spool has this directory now.
    pub(super) fn moved(&mut self, dir: &Path) {
        self.claim = dir.join(CLAIM);
    }

    fn claim(&mut self, bytes: u64, ahead: u64, holds: u64) -> Result<(), SpoolError> {
        let system =
            statvfs(&self.place).map_err(|errno| SpoolError::io("ask the size of", &self.place)(errno.into()))?;
        let limit = system.blocks().saturating_mul(system.fragment_size()) / FILE_SYSTEM_SHARE;
        let register = Register::of(&self.place);
        let _lock = register.as_ref().and_then(Register::lock);
        // What is left of the old claim was not written, but for this.
        let own = holds.saturating_add(self.unwritten);
        self.write_claim(own)?;
        let mut places = register.map(|register| register.places(&self.place)).unwrap_or_default();
        if !places.contains(&self.place) {
            places.push(self.place.clone());
        }
        let kept = places.iter().map(|place| claimed_in(place)).fold(0, u64::saturating_add);
        let Some(granted) = granted(bytes, ahead, limit.saturating_sub(kept)) else {
            self.claimed = 0;
            let why = "a tenth of its file system, for all spools of a user,";
            return Err(SpoolError::Full { dir: self.place.clone(), why, limit: Bytes(limit) });
        };
        self.write_claim(own.saturating_add(granted))?;
        self.claimed = granted;
        Ok(())
    }

    fn write_claim(&self, bytes: u64) -> Result<(), SpoolError> {
        let mut options = OpenOptions::new();
        let Some(file) = private::open(&self.claim, options.write(true).create(true).truncate(false))? else {
            return Ok(());
        };
        // A hole: it takes no room itself.
        file.set_len(bytes).map_err(SpoolError::io("write", &self.claim))
    }
}

/// How much is granted of this room to one that needs so many bytes and would like some ahead; none: less than it needs is there.
fn granted(bytes: u64, ahead: u64, room: u64) -> Option<u64> {
    (bytes <= room).then(|| ahead.max(bytes).min(room))
}

/// What the spools of a place may become together, in bytes.
fn claimed_in(place: &Path) -> u64 {
    let spools = fs::read_dir(place).into_iter().flatten().flatten().map(|entry| entry.path());
    // One whose watcher never came to claim anything counts as it is.
    let claim = |spool: &Path| fs::symlink_metadata(spool.join(CLAIM)).map(|meta| meta.len());
    spools.map(|spool| claim(&spool).unwrap_or_else(|_| private::bytes_below(&spool))).fold(0, u64::saturating_add)
}

/// Where the places of a user on one file system are known.
struct Register {
    dir: PathBuf,
    device: u64,
}

impl Register {
    /// None: there is nowhere to keep one.
    fn of(place: &Path) -> Option<Register> {
        let device = fs::metadata(place).ok()?.dev();
        let dir = place::state_dir()?
            .join("places")
            .join(format!("{device:x}-{:08x}", crc32c::crc32c(host::machine().as_bytes())));
        private::make_dir(&dir).ok()?;
        Some(Register { dir, device })
    }

    /// Whoever holds it has it for some system calls on the file system whose room is asked for.
    fn lock(&self) -> Option<Flock<File>> {
        let mut options = OpenOptions::new();
        let file = private::open(&self.dir.join(LOCK), options.write(true).create(true).truncate(false)).ok()??;
        Flock::lock(file, FlockArg::LockExclusive).ok()
    }

    /// Every place with a spool in it, this one included. Those that are gone are forgotten.
    fn places(&self, own: &Path) -> Vec<PathBuf> {
        let link = self.dir.join(format!("{:08x}", crc32c::crc32c(own.as_os_str().as_bytes())));
        // There is one already, as a rule; one that cannot be made is tried again with the next claim.
        let _ = symlink(own, &link);
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        entries.filter_map(|entry| self.place_at(&entry.path())).collect()
    }

    fn place_at(&self, link: &Path) -> Option<PathBuf> {
        let place = fs::read_link(link).ok()?;
        if fs::symlink_metadata(&place).is_ok_and(|meta| meta.is_dir() && meta.dev() == self.device) {
            return Some(place);
        }
        // Whoever makes it again says so again.
        let _ = fs::remove_file(link);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_is_granted_to_the_last_byte_of_the_room() {
        assert_eq!(granted(10, 100, 1000), Some(100), "with some ahead");
        assert_eq!(granted(200, 100, 1000), Some(200));
        assert_eq!(granted(10, 100, 60), Some(60), "as much ahead as there is");
        assert_eq!(granted(10, 100, 10), Some(10));
        assert_eq!(granted(10, 100, 9), None);
    }
}
