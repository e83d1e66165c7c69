//! `zvctl rm`

use zerovisor_core::wire::Deed;

use super::Asker;
use super::deed::{Words, linked, perform, tell};
use crate::ctl::cli::Rm;
use crate::ctl::error::CtlError;

/// Removes processes and their journals.
///
/// # Errors
/// The worst of what became of them.
pub async fn run(asker: &Asker, args: &Rm) -> Result<(), CtlError> {
    let mut client = linked(asker, &args.targets).await?;
    let (fates, nodes) = perform(&mut client, &args.targets, &Deed::Remove { force: args.force }).await?;
    tell(asker, &fates, &nodes, Words { to_do: "remove", done: "removed", already: "removed" })
}
