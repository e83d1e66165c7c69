//! A disk of the zerovisor's own that can be full.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Its size, as mount(8) has it: room for what all processes of a round write, and filled within a moment.
const SIZE: &str = "size=96m,mode=0700";
/// What fills it.
const BALLAST: &str = "ballast";

/// A file system of memory, gone with this.
pub(super) struct Disk {
    dir: PathBuf,
}

impl Disk {
    /// Mounts it; none where that is not allowed.
    pub(super) fn mount(dir: &Path) -> Option<Disk> {
        fs::create_dir(dir).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", SIZE, "zerovisor-soak"]).arg(dir).stderr(Stdio::null());
        let mounted = mount.status().is_ok_and(|status| status.success());
        mounted.then(|| Disk { dir: dir.to_owned() })
    }

    /// Takes all its room, to the last byte.
    pub(super) fn fill(&self) {
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

    /// Gives the room back.
    pub(super) fn empty(&self) {
        fs::remove_file(self.dir.join(BALLAST)).unwrap();
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
