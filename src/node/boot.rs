//! In which boot of the machine the journal was last served: behind another one its files may be of different moments, as a power cut leaves
//! them.
//!
//! ```text
//! DATA/boot      the kernel's id of that boot
//! ```

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::host;

/// The file, and what it is to say.
#[derive(Debug)]
pub(super) struct Boot {
    path: PathBuf,
    id: String,
}

impl Boot {
    /// The present boot, for this data directory.
    pub(super) fn of(data: &Path) -> Boot {
        Boot { path: data.join("boot"), id: host::boot_id() }
    }

    /// Whether the machine may have been booted since the directory was last served. Yes where nobody knows.
    pub(super) fn is_another(&self) -> bool {
        self.id.is_empty() || fs::read_to_string(&self.path).map_or(true, |known| known.trim() != self.id)
    }

    /// All is as if there had been no power cut. Where this is lost, or cannot be written, the next start looks once more.
    pub(super) fn remember(&self) {
        if let Err(error) = self.write() {
            tracing::debug!(path = %self.path.display(), %error, "the next start looks for a power cut again");
        }
    }

    fn write(&self) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&self.path)?;
        file.write_all(format!("{}\n", self.id).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_is_another_one_until_it_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let boot = Boot::of(dir.path());
        assert!(boot.is_another());
        boot.remember();
        assert!(!boot.is_another());
        fs::write(dir.path().join("boot"), "0123\n").unwrap();
        assert!(boot.is_another());
    }
}
