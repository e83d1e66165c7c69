//! Disks of a farm: small ones that fill up, promise more than they have, become read-only or go away, and what is left of one when the
//! power is cut.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::farm::Farm;

/// A file system mounted in a farm's directory, unmounted at the end. Declare it behind the farm: it is to go first.
pub(crate) struct Disk {
    pub(crate) at: PathBuf,
    below: Option<(PathBuf, String)>,
}

fn run(program: &str, args: &[&str], path: &Path) -> Option<String> {
    let done = Command::new(program).args(args).arg(path).output().ok()?;
    done.status.success().then(|| String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

impl Disk {
    /// A tmpfs of so many KiB. None where we may not mount.
    pub(crate) fn small(farm: &Farm, name: &str, kib: u32) -> Option<Disk> {
        let at = farm.path(name);
        std::fs::create_dir_all(&at).unwrap();
        run("mount", &["-t", "tmpfs", "-o", &format!("size={kib}k"), "zvtest"], &at)?;
        Some(Disk { at, below: None })
    }

    /// An ext4 that promises 256 MiB and has so many KiB: writes go well, syncs fail. None where there are no loop devices.
    pub(crate) fn thin(farm: &Farm, name: &str, kib: u32) -> Option<Disk> {
        let below = Disk::small(farm, &format!("{name}.below"), kib)?;
        let image = below.at.join("image");
        std::fs::File::create(&image).unwrap().set_len(256 << 20).unwrap();
        // Without a journal of its own, whose failure would end all writing for good.
        run("mkfs.ext4", &["-q", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard"], &image)?;
        Disk::on(farm, name, below, &image, "defaults")
    }

    /// An ext4 of 64 MiB that writes nothing by itself for ten minutes, with room for copies below. None where there are no loop devices.
    pub(crate) fn lazy(farm: &Farm, name: &str) -> Option<Disk> {
        let below = Disk::small(farm, &format!("{name}.below"), 1 << 20)?;
        let image = below.at.join("image");
        std::fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        run("mkfs.ext4", &["-q", "-E", "lazy_itable_init=1,nodiscard"], &image)?;
        Disk::on(farm, name, below, &image, "commit=600")
    }

    /// What a disk has when the power is cut now: all that was synced, and what else the kernel happens to have written.
    pub(crate) fn cut(&self, farm: &Farm, name: &str) -> Disk {
        let (whole, _) = self.below.as_ref().expect("a disk that stands on another");
        let below = Disk::small(farm, &format!("{name}.below"), 1 << 20).unwrap();
        let image = below.at.join("image");
        std::fs::copy(whole.join("image"), &image).unwrap();
        Disk::on(farm, name, below, &image, "commit=600").unwrap()
    }

    fn on(farm: &Farm, name: &str, below: Disk, image: &Path, options: &str) -> Option<Disk> {
        let device = run("losetup", &["-f", "--show"], image)?;
        let at = farm.path(name);
        std::fs::create_dir_all(&at).unwrap();
        let mounted = run("mount", &["-o", options, &device], &at);
        let disk = Disk { at, below: Some((below.at.clone(), device)) };
        std::mem::forget(below);
        mounted.map(|_| disk)
    }

    /// Changes how it, or what is below it, is mounted.
    pub(crate) fn remount(&self, options: &str) {
        let what = self.below.as_ref().map_or(&self.at, |(below, _)| below);
        run("mount", &["-o", &format!("remount,{options}")], what).expect("it can be mounted again");
    }

    /// Takes it away while it is in use, as a disk that is unmounted lazily.
    pub(crate) fn detach(&self) {
        run("umount", &["-l"], &self.at).expect("it can be unmounted");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", &["-l"], &self.at);
        if let Some((below, device)) = &self.below {
            run("losetup", &["-d"], Path::new(device));
            run("umount", &["-l"], below);
        }
    }
}
