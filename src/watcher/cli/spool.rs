//! The options about what becomes of output that no zerovisor takes.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use zerovisor_core::units::{Bytes, Span, UnitError};

use crate::net::Endpoint;
use crate::spool::{Limit, Place};
use crate::watcher::spooling::{Keep, Offline};

/// The least a spool may hold, in bytes: some segments.
const SPOOL_MIN_BYTES: u64 = 1 << 20;

/// What becomes of output that no zerovisor takes.
#[derive(Args, Debug)]
#[command(next_help_heading = "Without a zerovisor")]
pub(super) struct SpoolArgs {
    /// Where its output is kept on disk: a directory, or none for memory only [default: beside the socket; for tcp in the user's state]
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,
    /// How much of it, at most
    #[arg(long, value_name = "SIZE", default_value = "256M")]
    spool_max: SpoolMax,
    /// How long the command waits when no more can be kept; then its oldest output is dropped, and that is recorded
    #[arg(long, value_name = "SPAN", default_value = "30s")]
    offline_wait: Span,
}

/// `--spool-max`.
#[derive(Clone, Copy, Debug)]
struct SpoolMax(u64);

/// A text that is no size of a spool.
#[derive(Debug, thiserror::Error)]
enum NotASpoolSize {
    #[error("{0}")]
    Size(#[from] UnitError),
    #[error("'{0}' is too little: write {least} or more, or --spool none", least = Bytes(SPOOL_MIN_BYTES))]
    Little(Bytes),
}

impl FromStr for SpoolMax {
    type Err = NotASpoolSize;

    fn from_str(text: &str) -> Result<SpoolMax, NotASpoolSize> {
        match text.parse::<Bytes>()? {
            little @ Bytes(..SPOOL_MIN_BYTES) => Err(NotASpoolSize::Little(little)),
            Bytes(bytes) => Ok(SpoolMax(bytes)),
        }
    }
}

impl SpoolArgs {
    /// What is to be done for a zerovisor at this endpoint. Paths are made absolute here: the working directory may change later.
    pub(super) fn offline(&self, endpoint: &Endpoint) -> Offline {
        let keep = match &self.spool {
            Some(none) if none.as_os_str() == "none" => Keep::InMemory,
            given => match Place::of(endpoint, given.as_deref()) {
                Ok(place) => Keep::At(place),
                Err(error) => Keep::Nowhere(error.to_string()),
            },
        };
        Offline { keep, limit: Limit { bytes: self.spool_max.0 }, wait: self.offline_wait.0 }
    }
}
