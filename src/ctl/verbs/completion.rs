//! `zvctl completion` and `zvctl man`

use crate::ctl::cli::{Completion, Man};
use crate::ctl::error::CtlError;
use crate::ctl::out;

/// Prints a completion script of one of these programs.
///
/// # Errors
/// No such program.
pub fn completion(args: &Completion, mut commands: Vec<clap::Command>) -> Result<(), CtlError> {
    let names: Vec<String> = commands.iter().map(|command| command.get_name().to_owned()).collect();
    let Some(command) = commands.iter_mut().find(|command| command.get_name() == args.program) else {
        return Err(CtlError::Usage(format!("no completions for '{}': write {}", args.program, names.join(" or "))));
    };
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, args.program.clone(), &mut script);
    out::print(script)
}

/// Writes the man pages of each program and of each of its verbs.
///
/// # Errors
/// The directory cannot be written.
pub fn man(args: &Man, commands: Vec<clap::Command>) -> Result<(), CtlError> {
    let failed = |error| CtlError::io(format!("write man pages to {}", args.dir.display()), error);
    std::fs::create_dir_all(&args.dir).map_err(failed)?;
    commands.into_iter().try_for_each(|command| clap_mangen::generate_to(command, &args.dir)).map_err(failed)
}
