//! How a run begins, and how it does not.

use std::ffi::OsString;
use std::path::Path;
use std::time::Instant;

use zerovisor_core::exit::{SpawnFailure, SpawnFault, Usage};

use super::{Command, Process, Run, Whereabouts};
use crate::watcher::cgroup::RunCgroup;
use crate::watcher::clock;
use crate::watcher::sampler::Sampler;
use crate::watcher::say::say;
use crate::watcher::spawn::{Class, Program, SpawnError, Surroundings, prepare, spawn};
use crate::watcher::streams::{Setup, Streams};

/// The longest message that is recorded, in bytes: a PATH in it can be of any length.
const MESSAGE_MAX_BYTES: usize = 1024;

/// The kind of terminal that the screen is a model of, and that most programs know.
const TERM: &str = "xterm-256color";

impl Process {
    pub(super) fn spawn(&mut self, number: u32, here: &Whereabouts) {
        match self.try_spawn(number, here) {
            Ok((run, pid)) => {
                self.side.tree.set_main(pid);
                self.run = Some(run);
                self.began = true;
                self.not_begun = None;
                self.report_started();
                self.life.on_spawned(Instant::now(), clock::timestamp(), pid, &mut self.todo);
            }
            Err(error) => {
                let failure = failure(&error);
                self.report_failed(failure.fault.shell_status(), &error.to_string());
                self.not_begun = Some(failure.message.clone());
                self.life.on_spawn_failed(failure, &mut self.todo);
            }
        }
    }

    pub(super) fn try_spawn(&mut self, number: u32, here: &Whereabouts) -> Result<(Run, i32), SpawnError> {
        let Command { argv, env, cwd, terminal } = &self.command;
        let mut ours =
            vec![("ZV_ID", here.id.to_string()), ("ZV_NAME", here.name.clone()), ("ZV_RUN", number.to_string())];
        ours.extend(here.node.clone().map(|node| ("ZV_NODE", node)));
        let env = env.of_run(std::env::vars_os(), ours, terminal.map(term));
        let program = Program { argv: argv.clone(), env, cwd: cwd.clone() };
        let prepared = prepare(&program)?;
        let (child, streams) = Streams::open(*terminal)?;
        let terminal = terminal.is_some();
        let command = self.command.argv.first().map_or(Path::new(""), Path::new);
        let cgroup = RunCgroup::make(&mut self.placed, number, command)?;
        let spawned = cgroup.entrance(command).and_then(|entrance| {
            let surroundings = Surroundings { cgroup: entrance.as_ref(), terminal, ..Surroundings::default() };
            spawn(&prepared, child, &surroundings)
        });
        let mut usage = Usage::default();
        let child = match spawned {
            Ok(child) => child,
            Err(error) => {
                if !cgroup.finish(&mut usage) {
                    self.placed.remove_later(number, Instant::now());
                }
                return Err(error);
            }
        };
        let sampler = Sampler::new(Instant::now(), self.stats_every, number, child.pid);
        Ok((
            Run { number, pidfd: child.pidfd, main_ended: false, unsettled: None, streams, usage, cgroup, sampler },
            child.pid,
        ))
    }

    /// A front that cannot be told has gone, and its user with it: no reason not to run.
    pub(super) fn report_started(&mut self) {
        let _gone = self.side.started();
    }

    /// Tells whoever typed the command: the front, or the console.
    pub(in crate::watcher) fn report_failed(&mut self, code: u8, message: &str) {
        if self.side.has_front() {
            let _gone = self.side.failed(code, message);
        } else {
            say(message);
        }
    }
}

/// The kind of terminal a program is told it has: with the user's own console that one's.
fn term(setup: Setup) -> OsString {
    let users = if setup.console { std::env::var_os("TERM").filter(|term| !term.is_empty()) } else { None };
    users.unwrap_or_else(|| TERM.into())
}

fn failure(error: &SpawnError) -> SpawnFailure {
    let fault = match error.class() {
        Class::NotFound => SpawnFault::NotFound,
        Class::NotExecutable => SpawnFault::NotExecutable,
        Class::Own => SpawnFault::Own,
    };
    let mut message = error.to_string();
    if message.len() > MESSAGE_MAX_BYTES {
        let end = (0..=MESSAGE_MAX_BYTES).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
        message.truncate(end);
        message.push('…');
    }
    SpawnFailure { fault, message }
}
