//! The file system of the machine: this machine's own tools and libraries, what is to be run, and the /init that runs it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cpio::{Archive, Mode};
use super::host;

/// Programs of this machine that stories may use: the real ones, since those of busybox differ in what counts here.
const TOOLS: &str = "awk bash cat chmod chown cp cut date dd echo env expr false find grep head hostname id kill ln ls mkdir mkfifo \
    mktemp mount mv nice nohup od pgrep pkill printf prlimit ps pwd readlink rm rmdir script sed seq setpriv setsid sh sleep sort stat \
    stdbuf stty sync tail taskset tee test timeout touch tr true truncate tty umount uname uniq unshare wc xargs yes";
/// Files of this machine that its tools read, where they exist.
const FILES: [&str; 3] = ["/etc/ld.so.cache", "/etc/localtime", "/etc/nsswitch.conf"];
/// Directories that are links wherever /usr holds all programs.
const MERGED: [&str; 4] = ["/bin", "/sbin", "/lib", "/lib64"];
/// Where /init looks for what to run, in the order of the names.
const PROGRAMS: &str = "/vm/programs";

/// A file system in the making.
pub(super) struct Image {
    archive: Archive,
    programs: usize,
}

impl Image {
    /// One that boots, runs nothing and powers off.
    pub(super) fn bootable() -> Image {
        let mut image = Image::without_init();
        image.archive.file("/init", Mode::Executable, include_bytes!("init"));
        image
    }

    /// One that does not boot.
    pub(super) fn without_init() -> Image {
        let mut archive = Archive::default();
        for link in MERGED {
            if let Ok(target) = fs::read_link(link) {
                archive.symlink(link, target);
            }
        }
        for dir in ["/dev", "/home", "/proc", "/run", "/sys", "/tmp", PROGRAMS] {
            archive.directory(dir);
        }
        for path in FILES {
            if let Ok(content) = fs::read(path) {
                archive.file(path, Mode::Plain, &content);
            }
        }
        archive.file("/etc/hosts", Mode::Plain, b"127.0.0.1 localhost\n");
        archive.file("/etc/group", Mode::Plain, b"root:x:0:\ntty:x:5:\nuser:x:1000:\nnogroup:x:65534:\n");
        let users =
            "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n";
        archive.file("/etc/passwd", Mode::Plain, users.as_bytes());
        let mut image = Image { archive, programs: 0 };
        let tools: Vec<PathBuf> = TOOLS
            .split_whitespace()
            .map(|name| host::program(name).unwrap_or_else(|| panic!("no {name} to take along: run scripts/tools")))
            .collect();
        image.take_along(&tools);
        image
    }

    /// Adds programs of this machine and the libraries they need, each where it stands here.
    fn take_along(&mut self, programs: &[PathBuf]) {
        for path in programs.iter().chain(&host::libraries(programs)) {
            let content = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            self.archive.file(host::real_place(path), Mode::Executable, &content);
        }
        let busybox = host::program("busybox").expect("looked for before");
        self.archive.file(host::real_place(Path::new("/bin/busybox")), Mode::Executable, &fs::read(busybox).unwrap());
    }

    /// Adds programs as cargo has built them, without what only a debugger reads, where tests look for them: at the paths they have here.
    pub(super) fn built(&mut self, programs: &[PathBuf]) {
        let dir = tempfile::tempdir().unwrap();
        let stripped = dir.path().join("stripped");
        for path in programs {
            let strip = Command::new("strip").arg("-o").arg(&stripped).arg(path).status().expect("strip runs");
            assert!(strip.success(), "{}", path.display());
            self.archive.file(path, Mode::Executable, &fs::read(&stripped).unwrap());
        }
        for path in host::libraries(programs) {
            self.archive.file(host::real_place(&path), Mode::Executable, &fs::read(&path).unwrap());
        }
    }

    /// Has a shell script run, once as root and once as an ordinary user, after those added before.
    pub(super) fn run(&mut self, name: &str, script: &str) {
        self.programs += 1;
        let path = format!("{PROGRAMS}/{:02} {name}", self.programs);
        self.archive.file(path, Mode::Plain, script.as_bytes());
    }

    /// The archive, for the kernel.
    pub(super) fn finish(self) -> Vec<u8> {
        self.archive.finish()
    }
}
