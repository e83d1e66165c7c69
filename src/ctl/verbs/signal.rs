//! `zvctl signal`

use zerovisor_core::wire::Deed;

use super::Asker;
use super::deed::{Words, linked, perform, tell};
use crate::ctl::cli::SignalArgs;
use crate::ctl::error::CtlError;

/// Sends a signal to the main process of each.
///
/// # Errors
/// The worst of what became of them.
pub async fn run(asker: &Asker, args: &SignalArgs) -> Result<(), CtlError> {
    let mut client = linked(asker, &args.targets).await?;
    let (fates, nodes) = perform(&mut client, &args.targets, &Deed::Signal(args.signal)).await?;
    tell(asker, &fates, &nodes, Words { to_do: "signal", done: "signalled", already: "signalled" })
}
