//! `zvctl wait`

use zerovisor_core::fact::State;
use zerovisor_core::wire::{Failure, Until};

use super::deed::{Words, await_state, selections, tell};
use super::{Asker, wait_text};
use crate::ctl::cli::{Wait, WaitFor};
use crate::ctl::error::CtlError;

/// Waits until all of them run or have ended.
///
/// # Errors
/// The worst of what became of them: one that ended instead of running is not running.
pub async fn run(asker: &Asker, args: &Wait) -> Result<(), CtlError> {
    if let Some(regex) = &args.text {
        return wait_text::run(asker, &args.targets, regex).await;
    }
    let each = selections(&args.targets)?;
    let mut client = asker.client().await?;
    let (until, words) = match args.until {
        WaitFor::Running => (Until::Running, Words { to_do: "wait for", done: "is running", already: "is running" }),
        WaitFor::Ended => (Until::Ended, Words { to_do: "wait for", done: "has ended", already: "has ended" }),
    };
    let (mut fates, nodes) = await_state(asker, &mut client, &each, until).await?;
    for fate in &mut fates {
        match fate.reached {
            Some((state, _)) if until == Until::Running && state != State::Running => {
                fate.outcome = Err(Failure::NotRunning(format!("it is {state}: zvctl why {} says more", fate.name)));
            }
            Some(_) | None => {}
        }
    }
    tell(asker, &fates, &nodes, words)
}
