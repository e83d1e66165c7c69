//! The verbs, one file each, and what they share.

pub mod attach;
pub mod completion;
pub mod deed;
pub mod events;
pub mod inspect;
pub mod logs;
pub mod ping;
pub mod ps;
pub mod rm;
pub mod screen;
pub mod send;
pub mod signal;
pub mod start;
pub mod stop;
pub mod top;
pub mod wait;
pub mod wait_text;

use std::time::Duration;

use zerovisor_core::view::Nodes;

use super::cli::{Common, Format};
use super::client::{Client, Door};
use super::error::{CtlError, status};
use super::out::{self, Look};
use crate::net::{Backoff, Endpoint};

/// How long an answer may take when nothing else is said.
const TIMEOUT: Duration = Duration::from_secs(5);
/// First and longest wait between attempts to link again.
const RELINK: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Who asks: where, and how the answer is to look.
#[derive(Debug)]
pub struct Asker {
    /// Where.
    pub door: Door,
    /// The form asked for.
    pub format: Option<Format>,
    /// What standard output is.
    pub look: Look,
    /// `--timeout` where it was given.
    pub limit: Option<Duration>,
}

impl Asker {
    /// From the common options.
    ///
    /// # Errors
    /// An endpoint that needs `--insecure`.
    pub fn new(common: &Common) -> Result<Asker, CtlError> {
        let endpoint = common.endpoint.clone();
        if matches!(endpoint, Endpoint::Tcp { .. }) && !common.insecure {
            let line = format!(
                "{endpoint} is neither encrypted nor does it prove who answers: add --insecure to talk to it all the same"
            );
            return Err(CtlError::Usage(line));
        }
        let limit = common.timeout.map(|span| span.0);
        let door = Door { endpoint, timeout: limit.unwrap_or(TIMEOUT) };
        Ok(Asker { door, format: common.output, look: Look::of_stdout(), limit })
    }

    /// The form of the answer: a table when nothing else is said.
    pub fn format(&self) -> Format {
        self.format.unwrap_or(Format::Table)
    }

    /// A link.
    ///
    /// # Errors
    /// There is none.
    pub async fn client(&self) -> Result<Client, CtlError> {
        Client::connect(&self.door).await
    }

    /// Links again after the link was lost, for as long as it takes.
    ///
    /// # Errors
    /// The zerovisor is there and refuses.
    pub async fn relink(&self, backoff: &mut Backoff) -> Result<Client, CtlError> {
        loop {
            tokio::time::sleep(backoff.next()).await;
            match self.client().await {
                Err(error) if error.is_transient() => {}
                linked => return linked,
            }
        }
    }
}

/// The waits between attempts to link again.
pub fn backoff() -> Backoff {
    Backoff::new(RELINK.0, RELINK.1, u64::from(std::process::id()))
}

/// Says which nodes did not answer.
///
/// # Errors
/// Some did not: exit status 5.
pub fn finish(nodes: &Nodes) -> Result<(), CtlError> {
    for (node, why) in &nodes.missing {
        out::note(&format!("node {node} did not answer: {why}: what it knows is missing here"));
    }
    if nodes.is_partial() { Err(CtlError::Silent(status::PARTIAL)) } else { Ok(()) }
}
