//! zvctl: asks one zerovisor, and shows what it says.
//!
//! ```text
//! cli error            the command line; what can go wrong, with exit status and line
//! filter when lines    --where and --sort; points in time; records to lines
//! json render why      what answers look like: JSON, tables, sentences
//! out client           standard output and standard error; the link to the zerovisor
//! attached             the terminal of a process on the user's own
//! page reading         output of processes: how it looks; reading, joining, following it
//! verbs                one file each
//! ```

pub mod attached;
pub mod cli;
pub mod client;
pub mod error;
pub mod filter;
pub mod json;
pub mod lines;
pub mod out;
pub mod page;
pub mod reading;
pub mod render;
pub mod verbs;
pub mod when;
pub mod why;

use std::ffi::OsString;

use cli::{Cli, Verb};
use error::CtlError;
use verbs::{
    Asker, attach, completion, events, inspect, logs, ping, ps, rm, screen, send, signal, start, stop, top, wait,
};

/// Does what the command line says; the exit status.
pub fn run(words: impl IntoIterator<Item = OsString>, others: fn() -> Vec<clap::Command>) -> u8 {
    let begin = || tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = cli::parse(words).and_then(|cli| {
        begin().map_err(|error| CtlError::io("begin", error)).and_then(|runtime| runtime.block_on(verb(&cli, others)))
    });
    match done {
        Ok(()) => 0,
        Err(error) => {
            if !error.is_silent() {
                out::note(&error.to_string());
            }
            error.status()
        }
    }
}

/// This program's command line and those of the others.
fn programs(others: fn() -> Vec<clap::Command>) -> Vec<clap::Command> {
    std::iter::once(cli::command()).chain(others()).collect()
}

async fn verb(cli: &Cli, others: fn() -> Vec<clap::Command>) -> Result<(), CtlError> {
    let asker = || Asker::new(&cli.common);
    match &cli.verb {
        Verb::Ps(args) => ps::run(&asker()?, args).await,
        Verb::Top(args) => top::run(&asker()?, args).await,
        Verb::Logs(args) => logs::run(&asker()?, args).await,
        Verb::Attach(args) => attach::run(&asker()?, args).await,
        Verb::Screen(args) => screen::run(&asker()?, args).await,
        Verb::Send(args) => send::run(&asker()?, args).await,
        Verb::Signal(args) => signal::run(&asker()?, args).await,
        Verb::Stop(args) => stop::run(&asker()?, args).await,
        Verb::Start(args) => start::start(&asker()?, args).await,
        Verb::Restart(targets) => start::restart(&asker()?, targets).await,
        Verb::Wait(args) => wait::run(&asker()?, args).await,
        Verb::Inspect(args) => inspect::inspect(&asker()?, args).await,
        Verb::Events(args) => events::run(&asker()?, args).await,
        Verb::Why(args) => inspect::why(&asker()?, args).await,
        Verb::Ping => ping::run(&asker()?).await,
        Verb::Rm(args) => rm::run(&asker()?, args).await,
        Verb::Completion(args) => completion::completion(args, programs(others)),
        Verb::Man(args) => completion::man(args, programs(others)),
    }
}
