//! Disks that can be full: one of the zerovisor's own, and one for spools.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The size of the zerovisor's in MiB: room for what all processes of a round write, and filled within a moment.
pub(super) const OF_NODE_MIB: usize = 160;
/// Of that for spools, which take a tenth of it.
pub(super) const OF_SPOOLS_MIB: usize = 24;
/// What fills it.
const BALLAST: &str = "ballast";

/// A file system of memory, gone with this.
pub(super) struct Disk {
    dir: PathBuf,
}

impl Disk {
    /// Mounts one of so many MiB; none where that is not allowed.
    pub(super) fn mount(dir: &Path, mib: usize) -> Option<Disk> {
        fs::create_dir(dir).unwrap();
        let mut mount = Command::new("mount");
        let size = format!("size={mib}m,mode=0700");
        mount.args(["-t", "tmpfs", "-o", &size, "zerovisor-soak"]).arg(dir).stderr(Stdio::null());
        let mounted = mount.status().is_ok_and(|status| status.success());
        mounted.then(|| Disk { dir: dir.to_owned() })
    }

    /// Takes all its room, to the last byte, or gives it back.
    pub(super) fn fill(&self, full: bool) {
        if !full {
            return fs::remove_file(self.dir.join(BALLAST)).unwrap();
        }
        let mut ballast = fs::OpenOptions::new().append(true).create(true).open(self.dir.join(BALLAST)).unwrap();
        for size in [1 << 20, 4096, 1] {
            let zeros = vec![0; size];
            loop {
                match ballast.write(&zeros) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => panic!("the disk cannot be filled: {error}"),
                }
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // What is on it would be gone.
            let kept = self.dir.with_extension("kept");
            let _ = Command::new("cp").arg("-a").arg(&self.dir).arg(kept).status();
        }
        let _ = Command::new("umount").arg("-l").arg(&self.dir).status();
    }
}
