//! `zvctl stop`

use zerovisor_core::address::Selection;
use zerovisor_core::id::Id;
use zerovisor_core::wire::{Deed, Outcome, Until};

use super::Asker;
use super::deed::{Fate, Words, await_state, linked, perform, tell};
use crate::ctl::cli::Stop;
use crate::ctl::error::CtlError;

/// Ends processes and waits until they have.
///
/// # Errors
/// The worst of what became of them.
pub async fn run(asker: &Asker, args: &Stop) -> Result<(), CtlError> {
    let mut client = linked(asker, &args.targets).await?;
    let (mut fates, mut nodes) = perform(&mut client, &args.targets, &Deed::Stop { kill: args.kill }).await?;
    if !args.no_wait {
        let told = |fate: &Fate| if fate.outcome == Ok(Outcome::Done) { fate.id } else { None };
        let ids: Vec<Id> = fates.iter().filter_map(told).collect();
        let one = |id: &Id| Selection { addresses: vec![(*id).into()], labels: Vec::new() };
        let each: Vec<Selection> = ids.iter().map(one).collect();
        let (ends, answered) = await_state(asker, &mut client, &each, Until::Ended).await?;
        nodes.merge(answered);
        for (id, end) in ids.into_iter().zip(ends) {
            for fate in fates.iter_mut().filter(|fate| fate.id == Some(id)) {
                fate.reached = end.reached;
                if let Err(failure) = &end.outcome {
                    fate.outcome = Err(failure.clone());
                }
            }
        }
    }
    let done = if args.no_wait { "told to stop" } else { "stopped" };
    tell(asker, &fates, &nodes, Words { to_do: "stop", done, already: "had ended already" })
}
