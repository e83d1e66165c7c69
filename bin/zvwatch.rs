//! `zvwatch`: runs one command and forwards its output, states and exit to a zerovisor.

use std::io;
use std::process::ExitCode;

use zerovisor::watcher::cli::{self, Settings};
use zerovisor::watcher::front::outside;
use zerovisor::watcher::guard::{self, OWN_FAILURE, Role, WatcherSide};
use zerovisor::watcher::say::say;
use zerovisor::watcher::session;

fn main() -> ExitCode {
    let settings = match cli::parse(std::env::args_os()) {
        Ok(settings) => settings,
        Err(error) => return error.tell().into(),
    };
    // In the background it would have nobody to say that to once it matters.
    if settings.spec.detached
        && let Some(why) = settings.offline.unable()
    {
        say(format_args!("without a zerovisor its output would be kept in memory only ({why})"));
    }
    // Before any thread, file or runtime exists: from here on this is up to three processes.
    match guard::start(settings.family()) {
        Ok(Role::Guard(guard)) => {
            drop(settings);
            guard.run().into()
        }
        Ok(Role::Front(mut front)) => match settings.console {
            Some(keys) => outside::run(&mut front, keys).unwrap_or_else(|error| failed(&error)).into(),
            None => front.run().into(),
        },
        Ok(Role::Watcher(side)) => watch(settings, side).unwrap_or_else(|error| failed(&error)).into(),
        Err(error) => failed(&error).into(),
    }
}

/// On the main thread, which lives as long as the run: the run's parent-death signal follows it.
fn watch(settings: Settings, side: WatcherSide) -> io::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let status = runtime.block_on(session::run(settings, side));
    // A name that is still being looked up is no reason to stay.
    runtime.shutdown_background();
    status
}

fn failed(error: &io::Error) -> u8 {
    say(format_args!("cannot watch anything: {error}"));
    OWN_FAILURE
}
