//! The declaration of a process, as a file.
//!
//! `ZVMETA2\n`, crc32c of the rest (u32, little-endian), then the declaration as a page. Version 1 had no checksum and is still read.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zerovisor_core::id::Id;
use zerovisor_core::name::ProcessName;
use zerovisor_core::spec::Spec;
use zerovisor_core::stats::{Placement, Rung};
use zerovisor_core::units::Timestamp;
use zerovisor_core::wire::{self, HostProof};

use super::{StoreError, io_error};

/// Begins every meta file, before the digit of its version.
const MAGIC: &[u8; 6] = b"ZVMETA";
/// The version written, and the newest one read.
const VERSION: u8 = 2;
/// Bytes before a checksum: magic, digit, newline.
const HEAD: usize = 8;

/// The secret of a process whose declaration is lost: whoever comes with its id next is taken for its watcher.
const NOBODYS: [u8; 32] = [0; 32];

/// What is known of a process before any of its records.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(in crate::node) struct Meta {
    /// Its id.
    pub id: Id,
    /// What whoever writes its journal must have.
    pub secret: [u8; 32],
    /// The name it is known by here.
    pub name: ProcessName,
    /// What its watcher declared.
    pub spec: Spec,
    /// When the watcher began.
    pub created_at: Timestamp,
    /// Where the watcher is.
    pub host: HostProof,
    /// Whether it came over a unix socket, so that it is of this host.
    pub local: bool,
    /// On which rung of the cgroup ladder its runs stand.
    pub placement: Placement,
}

impl Meta {
    /// What is left to say of a process whose declaration cannot be read.
    pub(in crate::node) fn unknown(id: Id) -> Meta {
        let name = ProcessName::nearest("unknown");
        Meta {
            id,
            secret: NOBODYS,
            spec: Spec::new(name.clone(), Vec::new()),
            name,
            created_at: Timestamp(0),
            host: HostProof::default(),
            local: false,
            placement: Placement { rung: Rung::None, why: "its declaration is lost".into() },
        }
    }

    /// Whether nobody knows whose it is.
    pub(in crate::node) fn is_unknown(&self) -> bool {
        self.secret == NOBODYS
    }
}

/// Where it stands in the directory of a process.
pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join("meta")
}

/// Reads one.
///
/// # Errors
/// It is missing, damaged or of another version.
pub(super) fn read(path: &Path) -> Result<Meta, StoreError> {
    let bytes = fs::read(path).map_err(io_error("read", path))?;
    parse(path, &bytes)
}

/// What the bytes of this file say.
///
/// # Errors
/// They are damaged or of another version.
pub(in crate::node) fn parse(path: &Path, bytes: &[u8]) -> Result<Meta, StoreError> {
    let bad = |why: String| StoreError::BadMeta { path: path.to_path_buf(), why };
    let body = match version(bytes) {
        Some(1) => &bytes[HEAD..],
        Some(VERSION) => sound(&bytes[HEAD..]).ok_or_else(|| bad("it fails its checksum".into()))?,
        Some(found) if found > VERSION => {
            return Err(StoreError::NewerMeta { path: path.to_path_buf(), found, known: VERSION });
        }
        Some(_) | None => return Err(bad("it does not begin with ZVMETA".into())),
    };
    wire::decode_page(body).map_err(|error| bad(error.to_string()))
}

fn version(bytes: &[u8]) -> Option<u8> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let digit = rest.first()?.checked_sub(b'0').filter(|digit| *digit <= 9)?;
    (rest.get(1) == Some(&b'\n')).then_some(digit)
}

fn sound(rest: &[u8]) -> Option<&[u8]> {
    let (crc, body) = rest.split_first_chunk::<4>()?;
    (crc32c::crc32c(body) == u32::from_le_bytes(*crc)).then_some(body)
}

/// Refuses a file of a newer program; what else is wrong with it is for whoever reads it.
///
/// # Errors
/// [`StoreError::NewerMeta`].
pub(super) fn refuse_newer(path: &Path) -> Result<(), StoreError> {
    match read(path) {
        Err(newer @ StoreError::NewerMeta { .. }) => Err(newer),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The bytes of its file, in the newest version.
///
/// # Errors
/// It is larger than any page.
pub(in crate::node) fn bytes(meta: &Meta) -> Result<Vec<u8>, StoreError> {
    let body = wire::encode_page(meta)?;
    let crc = crc32c::crc32c(&body).to_le_bytes();
    Ok([&MAGIC[..], &[b'0' + VERSION, b'\n'], &crc, &body].concat())
}

/// Writes one, whole or not at all. Where it replaces another it waits for the disk: a power cut must not leave an empty file in the place
/// of a good one.
///
/// # Errors
/// It cannot be written.
pub(super) fn write(path: &Path, meta: &Meta) -> Result<(), StoreError> {
    let bytes = bytes(meta)?;
    let new = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&bytes)?;
        if path.exists() {
            file.sync_data()?;
        }
        fs::rename(&new, path)
    };
    write().map_err(io_error("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a program of November 2026 wrote, in format 1 and in format 2.
    const GOLDEN: [&str; 2] = [
        "5a564d455441310a070707070707070707070707070707070909090909090909090909090909090909090909090909090909\
     09090909090906676f6c64656e06676f6c64656e000002046563686f026869012f00000100010000fc00e1f5053c001e0a00\
     00000000000000fd00e025dafe5b0600000000000103096e6f206367726f7570",
        "5a564d455441320ad605cb940707070707070707070707070707070709090909090909090909090909090909090909090909\
     0909090909090909090906676f6c64656e06676f6c64656e000002046563686f026869012f00000100010000fc00e1f5053c\
     001e0a0000000000000000fd00e025dafe5b0600000000000103096e6f206367726f7570",
    ];

    fn declared() -> Meta {
        Meta {
            id: Id::from_random([7; 16]),
            secret: [9; 32],
            name: "golden".parse().unwrap(),
            spec: Spec::new("golden".parse().unwrap(), vec!["echo".into(), "hi".into()]),
            created_at: Timestamp(1_790_000_000_000_000),
            host: HostProof::default(),
            local: true,
            placement: Placement { rung: Rung::None, why: "no cgroup".into() },
        }
    }

    #[test]
    fn declarations_of_both_formats_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(dir.path());
        for hex in GOLDEN {
            let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
            let bytes: Vec<u8> = bytes.collect();
            fs::write(&path, &bytes).unwrap();
            assert_eq!(read(&path).unwrap(), declared());
        }
        write(&path, &declared()).unwrap();
        assert_eq!(read(&path).unwrap(), declared());
    }

    #[test]
    fn a_flipped_bit_anywhere_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(dir.path());
        write(&path, &declared()).unwrap();
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).filter(|at| *at != 6) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            assert!(matches!(read(&path), Err(StoreError::BadMeta { .. })), "byte {at}");
        }
    }
}
