//! Archives the kernel unpacks as its first file system: the "newc" format of cpio(5).
//!
//! See `Documentation/driver-api/early-userspace/buffer-format.rst` of the Linux sources. Everything in one belongs to root.

use std::collections::BTreeSet;
use std::path::{Component, Path};

const DIRECTORY: u32 = 0o040_755;
const EXECUTABLE: u32 = 0o100_755;
const PLAIN: u32 = 0o100_644;
const SYMLINK: u32 = 0o120_777;

/// Whether a file may be executed.
#[derive(Clone, Copy)]
pub(super) enum Mode {
    Plain,
    Executable,
}

/// An archive being written.
#[derive(Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    names: BTreeSet<String>,
}

impl Archive {
    /// Adds a directory, and those above it.
    pub(super) fn directory(&mut self, path: impl AsRef<Path>) {
        let mut so_far = String::new();
        for name in names(path.as_ref()) {
            so_far.push_str(&name);
            self.entry(&so_far, DIRECTORY, &[]);
            so_far.push('/');
        }
    }

    /// Adds a file, and the directories above it; the first of a name stays.
    pub(super) fn file(&mut self, path: impl AsRef<Path>, mode: Mode, content: &[u8]) {
        let mode = match mode {
            Mode::Plain => PLAIN,
            Mode::Executable => EXECUTABLE,
        };
        self.leaf(path.as_ref(), mode, content);
    }

    /// Adds a symbolic link, and the directories above it.
    pub(super) fn symlink(&mut self, path: impl AsRef<Path>, target: impl AsRef<Path>) {
        self.leaf(path.as_ref(), SYMLINK, target.as_ref().as_os_str().as_encoded_bytes());
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn leaf(&mut self, path: &Path, mode: u32, content: &[u8]) {
        if let Some(parent) = path.parent() {
            self.directory(parent);
        }
        self.entry(&names(path).join("/"), mode, content);
    }

    /// A header of 6 and 13 times 8 hexadecimal digits, the name with its nul, the content; each of the two padded to 4 bytes.
    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        if !self.names.insert(name.to_owned()) {
            return;
        }
        let field = |length: usize| u32::try_from(length).expect("a file fits the format: below 4 GiB");
        let (inode, size, name_size) = (field(self.names.len()), field(content.len()), field(name.len() + 1));
        // inode, mode, uid, gid, links, mtime, size, device's two, special file's two, length of the name, checksum
        let fields = [inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for value in fields {
            self.bytes.extend_from_slice(format!("{value:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// The names a path is made of, without the root.
fn names(path: &Path) -> Vec<String> {
    let name = |part| match part {
        Component::Normal(name) => Some(name.to_str().expect("a path in UTF-8").to_owned()),
        Component::RootDir | Component::CurDir | Component::ParentDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::process::{Command, Stdio};

    use super::*;

    /// What another implementation of the format takes out of an archive is what was put in, odd lengths and all.
    #[test]
    fn an_archive_unpacks_to_what_was_put_in() {
        let Some(busybox) = super::super::host::program("busybox") else {
            skip!("no busybox to unpack with: run scripts/tools");
        };
        let mut archive = Archive::default();
        for length in 0..9 {
            archive.file(format!("/deep/er/{length}"), Mode::Plain, &b"12345678"[..length]);
        }
        archive.file("run", Mode::Executable, b"#!/bin/sh\n");
        archive.file("run", Mode::Plain, b"only the first of a name");
        archive.symlink("/link", "deep/er/3");
        archive.directory("/empty");

        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("archive"), archive.finish()).unwrap();
        let unpack = Command::new(busybox)
            .args(["cpio", "-i", "-d"])
            .current_dir(dir.path())
            .stdin(fs::File::open(dir.path().join("archive")).unwrap())
            .stderr(Stdio::null())
            .status();
        assert!(unpack.unwrap().success());

        for length in 0..9 {
            assert_eq!(fs::read(dir.path().join(format!("deep/er/{length}"))).unwrap(), &b"12345678"[..length]);
        }
        assert_eq!(fs::read_link(dir.path().join("link")).unwrap(), Path::new("deep/er/3"));
        assert_eq!(fs::read(dir.path().join("run")).unwrap(), b"#!/bin/sh\n");
        assert_eq!(fs::metadata(dir.path().join("run")).unwrap().permissions().mode() & 0o777, 0o755);
        assert!(dir.path().join("empty").is_dir());
    }
}
