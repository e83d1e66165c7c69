//! The command line of `zvwatch`, parsed once into what the rest works with.

mod resources;
mod spool;
mod terminal;

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};
use zerovisor_core::detach::DetachKeys;
use zerovisor_core::name::{Label, Labels, NameError, ProcessName};
use zerovisor_core::restart::RestartPolicy;
use zerovisor_core::signal::Signal;
use zerovisor_core::size::Size;
use zerovisor_core::spec::{ExitCodes, Leftovers, Spec, shown_command};
use zerovisor_core::units::{Span, SpanRange};
use zerovisor_core::viewers::SizePolicy;

use terminal::{Switch, TerminalArgs};

use resources::{Contradiction, ResourceArgs};
use spool::SpoolArgs;

use super::env::{EnvError, Environment, Variable, read_file};
use super::guard::{Family, OWN_FAILURE};
use super::say::say;
use super::spooling::Offline;
use super::sys;
use crate::net::Endpoint;
use crate::tty::UserTerminal;

/// Longest working directory that travels, in bytes: as long as a path can be.
const CWD_SHOWN_BYTES: usize = 4096;

/// Run a command under the eyes of a zerovisor: its output, states and exit go there, and it does not know.
#[derive(Parser, Debug)]
#[command(
    name = "zvwatch",
    version,
    after_help = "INT, TERM or HUP to zvwatch stop the command, a second one kills it; QUIT, USR1, USR2, WINCH and CONT are passed on.\n\
        Exit status: the command's own; 128+n on signal n; 127 not found; 126 not executable; 125 zvwatch's own failure before the start."
)]
pub struct Cli {
    /// Where the zerovisor is: ipc://PATH or tcp://HOST:PORT
    #[arg(short, long, env = crate::usage::endpoint_variable(), default_value = "ipc://zerovisor.sock")]
    endpoint: Endpoint,
    /// Allow tcp without encryption and authentication
    #[arg(long)]
    insecure: bool,
    /// The name of the process [default: that of the command]
    #[arg(long)]
    name: Option<ProcessName>,
    /// A label to select the process by; repeatable
    #[arg(short, long = "label", value_name = "KEY=VALUE")]
    labels: Vec<Label>,
    /// Show its output on this console too
    #[arg(short, long)]
    tee: bool,
    /// Forward this console's standard input to it
    #[arg(short = 'i', long)]
    stdin: bool,
    /// Go to the background once it has started
    #[arg(short, long, conflicts_with_all = ["tee", "stdin"])]
    detach: bool,
    /// Its working directory
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// A variable of its environment, NAME=VALUE, or NAME to pass on the present value under --clear-env; repeatable
    #[arg(long, value_name = "VARIABLE", value_parser = OsStringValueParser::new().try_map(|text| Variable::parse(&text)))]
    env: Vec<Variable>,
    /// A file of such variables, one a line, # for comments; repeatable, --env wins
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Give it no variables but those named here
    #[arg(long)]
    clear_env: bool,
    /// When to run it again: no, on-failure, on-failure:N or always
    #[arg(long, default_value = "no", value_name = "POLICY")]
    restart: RestartPolicy,
    /// How long a run must live to count as RUNNING
    #[arg(long, default_value = "1", value_name = "SPAN")]
    start_secs: Span,
    /// Exit codes that count as success, separated by commas
    #[arg(long, default_value = "0", value_name = "CODES")]
    exit_codes: ExitCodes,
    /// Delays between restarts: from MIN, doubled each time, up to MAX; MIN again after ten minutes of life
    #[arg(long, default_value = "100ms..1m", value_name = "MIN..MAX")]
    backoff: SpanRange,
    /// What asks it to end
    #[arg(long, default_value = "TERM", value_name = "SIGNAL")]
    stop_signal: Signal,
    /// How long it may take to end before it is killed
    #[arg(long, default_value = "10s", value_name = "SPAN")]
    stop_timeout: Span,
    /// What becomes of other processes it leaves when it ends
    #[arg(long, default_value = "stop", value_name = "WHAT")]
    leftovers: LeftoversArg,
    #[command(flatten)]
    terminal: TerminalArgs,
    #[command(flatten)]
    resources: ResourceArgs,
    #[command(flatten)]
    spool: SpoolArgs,
    /// The command and its arguments; without one, zvwatch waits for `zvctl start NAME -- CMD`
    #[arg(trailing_var_arg = true, value_name = "CMD")]
    command: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LeftoversArg {
    /// They are stopped: signal, grace, kill
    Stop,
    /// The run goes on until all of them have ended
    Wait,
}

/// The command line as clap knows it, for manuals and completions.
pub fn command() -> clap::Command {
    Cli::command()
}

/// What a watcher is to do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the zerovisor is.
    pub endpoint: Endpoint,
    /// What the process is, as it is declared.
    pub spec: Spec,
    /// The command, whole and as bytes; empty: wait for one.
    pub argv: Vec<OsString>,
    /// Its environment.
    pub env: Environment,
    /// Its working directory, if not ours.
    pub cwd: Option<PathBuf>,
    /// Show its output here too.
    pub tee: bool,
    /// Forward our standard input.
    pub stdin: bool,
    /// The user's terminal is given to it, until these keys are typed.
    pub console: Option<DetachKeys>,
    /// Whether it is kept what its terminal shows.
    pub screen: bool,
    /// Whose size its terminal takes.
    pub size_policy: SizePolicy,
    /// How often what it uses is measured, if at all.
    pub stats_every: Option<Duration>,
    /// What becomes of its output while no zerovisor takes it.
    pub offline: Offline,
}

/// Why a command line is not carried out.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// What clap has to say: a mistake, or a help text that was asked for.
    #[error("{}; see zvwatch --help", first_paragraph(.0))]
    Clap(clap::Error),
    /// The environment.
    #[error("{0}")]
    Env(#[from] EnvError),
    /// The labels.
    #[error("{0}")]
    Labels(#[from] NameError),
    /// tcp without `--insecure`.
    #[error("{0} would be neither encrypted nor authenticated: use ipc://, or say --insecure")]
    Insecure(Endpoint),
    /// A limit without anything to hold it.
    #[error("{0}")]
    Contradiction(#[from] Contradiction),
    /// A command that is the empty word.
    #[error("an empty command cannot be run: give one, or none to wait for one")]
    EmptyCommand,
}

fn first_paragraph(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = paragraph.trim_start_matches("error: ").split_whitespace().collect();
    words.join(" ")
}

impl Settings {
    /// Which processes it takes.
    pub fn family(&self) -> Family {
        match (&self.console, self.spec.detached) {
            (Some(_), _) => Family::Console,
            (None, true) => Family::Detached,
            (None, false) => Family::Foreground,
        }
    }
}

impl CliError {
    /// Tells it where it belongs; returns the exit status.
    pub fn tell(&self) -> u8 {
        if let CliError::Clap(asked) = self
            && matches!(asked.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion)
        {
            let _nobody_reads = asked.print().and_then(|()| std::io::stdout().flush());
            return 0;
        }
        say(self);
        OWN_FAILURE
    }
}

/// Parses a command line, the program's own name first. Leaves no file open.
///
/// # Errors
/// See [`CliError`]; nothing has been done.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Settings, CliError> {
    let settings = Cli::try_parse_from(args).map_err(CliError::Clap)?.settings();
    // Before the family forks: neither guard nor watcher carries for life what clap used.
    sys::trim_heap();
    sys::trim_stack();
    settings
}

impl Cli {
    fn settings(self) -> Result<Settings, CliError> {
        match &self.endpoint {
            Endpoint::Tcp { .. } if !self.insecure => return Err(CliError::Insecure(self.endpoint)),
            Endpoint::Tcp { .. } | Endpoint::Ipc(_) => {}
        }
        if self.command.first().is_some_and(|word| word.is_empty()) {
            return Err(CliError::EmptyCommand);
        }
        self.resources.check()?;
        let mut variables = Vec::new();
        for path in &self.env_file {
            variables.extend(read_file(path)?);
        }
        variables.extend(self.env);
        let env = Environment::new(self.clear_env, variables);
        // With -it on a terminal that one is given to the command; the size is all that is wanted of it here.
        let interactive = self.terminal.pty && self.tee && self.stdin;
        let user = interactive.then(UserTerminal::open).and_then(Result::ok).map(|terminal| terminal.size());
        let first = self.command.first().map(|word| word.to_string_lossy());
        let spec = Spec {
            name_given: self.name.is_some(),
            name: self.name.unwrap_or_else(|| ProcessName::of_command(&first.unwrap_or_default())),
            labels: Labels::new(self.labels)?,
            command: shown_command(self.command.iter().map(|word| word.as_bytes())),
            cwd: shown_cwd(self.cwd.clone()),
            env_names: env.names(),
            restart: self.restart,
            start_secs: self.start_secs.0,
            exit_codes: self.exit_codes,
            backoff: self.backoff,
            stop_signal: self.stop_signal,
            stop_timeout: self.stop_timeout.0,
            leftovers: match self.leftovers {
                LeftoversArg::Stop => Leftovers::Stop,
                LeftoversArg::Wait => Leftovers::Wait,
            },
            detached: self.detach,
            terminal: self.terminal.pty.then(|| self.terminal.size.or(user).unwrap_or(Size::DEFAULT)),
            cgroup: self.resources.mode(),
            limits: self.resources.limits(),
        };
        let (stats_every, offline) = (self.resources.stats_every(), self.spool.offline(&self.endpoint));
        let Cli { endpoint, tee, stdin, command: argv, cwd, terminal, .. } = self;
        let TerminalArgs { size, screen, size_policy, detach_keys, .. } = terminal;
        let default = if user.is_some() && size.is_some() { SizePolicy::Fixed } else { SizePolicy::Latest };
        let size_policy = size_policy.unwrap_or(default);
        let (console, screen) = (user.map(|_| detach_keys), screen == Switch::On);
        Ok(Settings { endpoint, spec, argv, env, cwd, tee, stdin, console, screen, size_policy, stats_every, offline })
    }
}

/// The directory runs start in, absolute; what cannot be found out is told when the run starts.
fn shown_cwd(cwd: Option<PathBuf>) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let mut shown = cwd.map_or_else(|| here.clone(), |cwd| here.join(cwd)).to_string_lossy().into_owned();
    while shown.len() > CWD_SHOWN_BYTES {
        shown.pop();
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watcher::spooling::Keep;

    fn read(line: &str) -> Result<Settings, CliError> {
        parse(line.split(' ').map(OsString::from))
    }

    fn error(line: &str) -> String {
        let error = read(line).unwrap_err();
        let text = error.to_string();
        assert!(!text.contains('\n') && !text.starts_with("error"), "{text}");
        text
    }

    #[test]
    fn the_definition_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn options_after_the_command_belong_to_the_command() {
        let settings = read("zvwatch --name web -l a=b ls -l --name x").unwrap();
        assert_eq!(settings.argv, ["ls", "-l", "--name", "x"]);
        assert_eq!(settings.spec.name.as_str(), "web");
        assert!(settings.spec.name_given);
        let settings = read("zvwatch -- /usr/bin/env -d").unwrap();
        assert_eq!((settings.spec.name.as_str(), settings.spec.name_given), ("env", false));
        assert!(!settings.spec.detached);
    }

    #[test]
    fn defaults_are_as_documented() {
        let settings = read("zvwatch").unwrap();
        assert_eq!(settings.spec.backoff.to_string(), "100ms..1m00s");
        assert_eq!(settings.spec.stop_timeout.as_secs(), 10);
        assert_eq!(settings.spec.restart, RestartPolicy::No);
        assert!(settings.argv.is_empty() && settings.spec.command.is_empty());
        let Offline { keep: Keep::At(place), limit, wait } = settings.offline else { panic!("a place for a spool") };
        assert!(place.dir().is_absolute() && place.dir().ends_with("zerovisor.spool"), "{place:?}");
        assert_eq!((limit.bytes, wait.as_secs()), (256 << 20, 30));
        assert!(matches!(read("zvwatch --spool none x").unwrap().offline.keep, Keep::InMemory));
    }

    #[test]
    fn mistakes_are_told_in_one_line_with_status_125() {
        assert!(error("zvwatch --restart never x").contains("not a restart policy"));
        assert!(error("zvwatch --bogus x").contains("--bogus"));
        assert!(error("zvwatch -d -t x").contains("--tee"));
        assert!(error("zvwatch -e tcp://h:1 x").contains("--insecure"));
        assert!(error("zvwatch --env =1 x").contains("NAME=VALUE"));
        assert!(error("zvwatch --env-file /nonexistent x").contains("/nonexistent"));
        assert!(error("zvwatch --leftovers x y").contains("stop"));
        assert!(error("zvwatch --memory banana x").contains("512M"));
        assert!(
            error("zvwatch --memory 1 x").contains("1.00 MiB at least")
                || error("zvwatch --memory 1 x").contains("at least")
        );
        assert!(error("zvwatch --cpus 0 x").contains("0.01 at least"));
        assert!(error("zvwatch --pids 0 x").contains("1 to"));
        assert!(error("zvwatch --cgroup maybe x").contains("require"));
        assert!(error("zvwatch --stats-interval 1ms x").contains("100ms"));
        assert!(error("zvwatch --cgroup off --memory 64M x").contains("--memory"));
        assert!(error("zvwatch --spool-max 1K x").contains("1.0 MiB or more"));
        assert!(error("zvwatch --offline-wait never x").contains("never"));
        assert!(read("zvwatch --insecure -e tcp://h:1 x").is_ok());
        assert_eq!(read("zvwatch -l =1 x").unwrap_err().tell(), OWN_FAILURE);
    }
}
