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
    let bad = |why: String| StoreError::BadMeta { path: path.to_path_buf(), why };
    let body = match version(&bytes) {
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

/// Writes one, whole or not at all.
///
/// # Errors
/// It cannot be written.
pub(super) fn write(path: &Path, meta: &Meta) -> Result<(), StoreError> {
    let body = wire::encode_page(meta)?;
    let new = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(MAGIC)?;
        file.write_all(&[b'0' + VERSION, b'\n'])?;
        file.write_all(&crc32c::crc32c(&body).to_le_bytes())?;
        file.write_all(&body)?;
        fs::rename(&new, path)
    };
    write().map_err(io_error("write", path))
}
