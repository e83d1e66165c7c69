//! The command line of zvctl.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use zerovisor_core::address::{Address, Selection};
use zerovisor_core::name::Label;
use zerovisor_core::record::Kind;
use zerovisor_core::signal::Signal;
use zerovisor_core::units::Span;

use crate::ctl::error::CtlError;
use crate::ctl::out;
use crate::net::Endpoint;
use crate::usage;

mod listing;
mod terminal;

pub use listing::{Ps, Top};
pub use terminal::{Attach, Screen, Send};

/// Where a zerovisor is expected when nothing else is said.
pub const DEFAULT_ENDPOINT: &str = "ipc://zerovisor.sock";

const AFTER_HELP: &str = "\
A process is meant by its name, the first 8 or more characters of its id, node/name, or a label with -l key=value.

Exit status: 0 done; 1 error; 2 usage; 3 not running; 4 no such process; 5 partial answer: some node did not answer; \
255 no zerovisor at the endpoint, or the link to it is lost. Of several processes the worst one counts.

JSON (-o json) is one object: the verb's noun and 'nodes' with 'asked', 'answered' and 'missing'; -o jsonl is a row a line. \
Sizes are bytes, spans are seconds, times are RFC 3339 in UTC; what is not measured is null.";

/// Asks a zerovisor about processes, and tells it what to do with them.
#[derive(Parser, Debug)]
#[command(name = "zvctl", version, after_help = AFTER_HELP, max_term_width = 120)]
pub struct Cli {
    /// What every verb takes.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Options before or after the verb.
#[derive(Args, Debug)]
pub struct Common {
    /// The zerovisor to ask: ipc://PATH or tcp://HOST:PORT
    #[arg(short, long, global = true, env = crate::usage::endpoint_variable(), default_value = DEFAULT_ENDPOINT, value_name = "ENDPOINT")]
    pub endpoint: Endpoint,
    /// Talk to a tcp:// endpoint without encryption or proof of who answers
    #[arg(long, global = true)]
    pub insecure: bool,
    /// How to show the answer [default: table; of events in a pipe or with -f: jsonl]
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT")]
    pub output: Option<Format>,
    /// How long an answer may take, such as 500ms or 10s [default: 5s]; for wait and stop: how long the process may take [default: any time]
    #[arg(long, global = true, value_name = "SPAN")]
    pub timeout: Option<Span>,
    /// Ask this zerovisor about its own processes only, not the others it knows
    #[arg(long, global = true)]
    pub local: bool,
}

/// How an answer is shown.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// For people.
    Table,
    /// For people with wide screens.
    Wide,
    /// One object.
    Json,
    /// One object a line.
    Jsonl,
}

/// The verbs.
#[derive(Subcommand, Debug)]
pub enum Verb {
    /// List processes
    Ps(Ps),
    /// Watch processes and what they use, redrawn every second
    Top(Top),
    /// Show what processes wrote
    Logs(Logs),
    /// Step into a process's terminal, and out again with Ctrl-] three times
    Attach(Attach),
    /// Print what a process's terminal shows now
    Screen(Screen),
    /// Type into a process's terminal, or write to its standard input
    Send(Send),
    /// Send a signal to the main process
    Signal(SignalArgs),
    /// End processes and wait until they have
    Stop(Stop),
    /// Begin a run of a process that has none
    Start(Start),
    /// End the run, if any, and begin another
    Restart(Targets),
    /// Wait until processes run or have ended
    Wait(Wait),
    /// Show everything known about a process
    Inspect(Inspect),
    /// Show what happened: starts, ends, restarts, lost watchers; in a pipe and with -f as JSON lines
    Events(Events),
    /// Say in a sentence or two why a process is in the state it is in
    Why(Inspect),
    /// Ask whether the zerovisor is there, and how long it takes to answer
    Ping,
    /// Remove ended processes and what they wrote
    Rm(Rm),
    /// Print a completion script for a shell
    Completion(Completion),
    /// Write the man pages of the three programs
    #[command(hide = true)]
    Man(Man),
}

/// Which processes.
#[derive(Args, Debug, Clone, Default)]
pub struct Targets {
    /// Processes: NAME, ID or NODE/NAME
    #[arg(value_name = "NAME")]
    pub names: Vec<Address>,
    /// All processes that carry this label; given several times, all that carry every one
    #[arg(short = 'l', long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<Label>,
}

impl Targets {
    /// Everything meant, in one selection.
    pub fn selection(&self) -> Selection {
        Selection { addresses: self.names.clone(), labels: self.labels.clone() }
    }

    /// One selection a name, so that each has its own answer, and one for the labels.
    pub fn each(&self) -> Vec<Selection> {
        let one = |address: &Address| Selection { addresses: vec![address.clone()], labels: Vec::new() };
        let mut each: Vec<Selection> = self.names.iter().map(one).collect();
        if !self.labels.is_empty() {
            each.push(Selection { addresses: Vec::new(), labels: self.labels.clone() });
        }
        each
    }
}

/// `zvctl logs`
#[derive(Args, Debug)]
#[command(after_help = LOGS_HELP)]
pub struct Logs {
    /// Whose.
    #[command(flatten)]
    pub targets: Targets,
    /// Go on with what is written later, across restarts of the process and of the zerovisor
    #[arg(short, long)]
    pub follow: bool,
    /// Only the last N lines of each process
    #[arg(short = 'n', long, value_name = "N", value_parser = number::<u64>)]
    pub tail: Option<u64>,
    /// Nothing before: RFC 3339, DATE, DATE TIME, HH:MM, HH:MM:SS (local time; of yesterday where today's is still to come), or a span ago such as 10m
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Nothing from then on; written as for --since
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Begin each line with the time its first byte was read
    #[arg(short = 't', long, conflicts_with = "raw")]
    pub timestamps: bool,
    /// Only stdout, stderr or terminal
    #[arg(long, value_name = "STREAM")]
    pub stream: Option<Kind>,
    /// Only the run before the last
    #[arg(long, conflicts_with = "run")]
    pub previous: bool,
    /// Only this run
    #[arg(long, value_name = "N", value_parser = number::<u32>)]
    pub run: Option<u32>,
    /// Only lines that match a regular expression; -n counts these
    #[arg(long, value_name = "REGEX", conflicts_with = "raw")]
    pub grep: Option<regex::Regex>,
    /// Begin each line with the process's name; so it is when several are asked for
    #[arg(long, conflicts_with = "raw")]
    pub prefix: bool,
    /// Exactly the bytes that were written, escape sequences and all
    #[arg(long, conflicts_with = "output")]
    pub raw: bool,
}

const LOGS_HELP: &str = "\
Lines of stdout and stderr alike go to standard output; of several processes they are merged by time. \
Control characters are written out as \\x1b, so that no output can command your terminal; colours stay on a terminal and are left \
out of a pipe, so that what is searched is text. --raw gives the bytes themselves. \
What is missing is said on standard error, and in JSON also as {\"missing\": ...} with 'reason' and, where known, 'bytes', 'lines', \
'since' and 'until'. Of a LOST process what its watcher had not handed over is missing at the end (reason watcher_died). \
-f ends when every process has ended for good; when the zerovisor goes away it waits for it and goes on where it was.";

/// `zvctl signal`
#[derive(Args, Debug)]
pub struct SignalArgs {
    /// The signal: a name such as TERM, SIGUSR1 or RTMIN+1, or a number
    pub signal: Signal,
    /// To which.
    #[command(flatten)]
    pub targets: Targets,
}

/// `zvctl stop`
#[derive(Args, Debug)]
pub struct Stop {
    /// Which.
    #[command(flatten)]
    pub targets: Targets,
    /// Return once they are told
    #[arg(long)]
    pub no_wait: bool,
    /// Without grace: kill all of it at once
    #[arg(long)]
    pub kill: bool,
}

/// `zvctl start`
#[derive(Args, Debug)]
pub struct Start {
    /// Which.
    #[command(flatten)]
    pub targets: Targets,
    /// The command for a process that waits for one
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// `zvctl wait`
#[derive(Args, Debug)]
#[command(after_help = WAIT_HELP)]
pub struct Wait {
    /// Which.
    #[command(flatten)]
    pub targets: Targets,
    /// Until its screen shows text that matches, or, without a terminal, until its present run or a later one has written a line that does
    #[arg(long, value_name = "REGEX", conflicts_with = "until")]
    pub text: Option<regex::Regex>,
    /// For what
    #[arg(long = "for", value_enum, default_value_t = WaitFor::Ended, value_name = "STATE")]
    pub until: WaitFor,
}

const WAIT_HELP: &str = "\
--text looks at one process. What is there already matches at once: behind a zvctl send, wait for text that only the answer has, \
such as the prompt with what comes before it. The screen's rows are joined by line feeds, so that ^ and $ mean rows with (?m). \
Ends with 0 once it matches, with 1 after --timeout, and with 3 when the run ends without.";

/// What `zvctl wait` waits for.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitFor {
    /// A run has lived for its --start-secs.
    Running,
    /// No run lives and none will follow by itself.
    Ended,
}

/// `zvctl inspect` and `zvctl why`
#[derive(Args, Debug)]
pub struct Inspect {
    /// Processes: NAME, ID or NODE/NAME
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<Address>,
}

/// `zvctl events`
#[derive(Args, Debug)]
pub struct Events {
    /// About which; nothing means everything on the node.
    #[command(flatten)]
    pub targets: Targets,
    /// Go on with what happens later, as JSON lines unless -o table is given
    #[arg(short, long)]
    pub follow: bool,
    /// Only events behind this number
    #[arg(long, value_name = "SEQ", value_parser = number::<u64>)]
    pub since_seq: Option<u64>,
    /// Only the last N
    #[arg(short = 'n', long, value_name = "N", value_parser = number::<u64>)]
    pub tail: Option<u64>,
}

/// `zvctl rm`
#[derive(Args, Debug)]
pub struct Rm {
    /// Which.
    #[command(flatten)]
    pub targets: Targets,
    /// Live ones too: they are killed
    #[arg(short, long)]
    pub force: bool,
}

/// `zvctl completion`
#[derive(Args, Debug)]
pub struct Completion {
    /// The shell
    pub shell: clap_complete::Shell,
    /// The program to complete
    #[arg(long = "for", value_name = "PROGRAM", default_value = "zvctl")]
    pub program: String,
}

/// `zvctl man`
#[derive(Args, Debug)]
pub struct Man {
    /// The directory to write to
    pub dir: PathBuf,
}

/// A count, said for people where it is none.
fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "write a whole number such as 10".to_owned())
}

/// Reads a command line.
///
/// # Errors
/// A usage error in one line, or the help that was asked for, printed already.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Cli, CtlError> {
    let error = match Cli::try_parse_from(words) {
        Ok(cli) => return Ok(cli),
        Err(error) => error,
    };
    let text = error.render().to_string();
    if error.use_stderr() {
        return Err(CtlError::Usage(one_line(&text)));
    }
    out::print(text)?;
    Err(CtlError::Silent(0))
}

/// The mistake in one line.
fn one_line(text: &str) -> String {
    if text.starts_with("error: ") { usage::one_line(text) } else { "which verb? zvctl --help lists them".into() }
}

/// The command line as clap knows it.
pub fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn common_options_stand_before_or_after_the_verb() {
        let before = Cli::try_parse_from(["zvctl", "-e", "ipc://x", "-o", "json", "--timeout", "1s", "ps"]).unwrap();
        let after = Cli::try_parse_from(["zvctl", "ps", "-e", "ipc://x", "-o", "json", "--timeout", "1s"]).unwrap();
        for cli in [before, after] {
            assert_eq!((cli.common.endpoint.to_string().as_str(), cli.common.output), ("ipc://x", Some(Format::Json)));
            assert_eq!(cli.common.timeout.map(|span| span.0.as_secs()), Some(1));
        }
    }

    #[test]
    fn a_command_follows_two_dashes() {
        let cli = Cli::try_parse_from(["zvctl", "start", "a", "b", "--", "sleep", "-x"]).unwrap();
        let Verb::Start(start) = cli.verb else { panic!() };
        assert_eq!((start.targets.names.len(), start.command.len()), (2, 2));
        let cli = Cli::try_parse_from(["zvctl", "send", "repl", "-n", "--", "-1", "+", "2"]).unwrap();
        let Verb::Send(send) = cli.verb else { panic!() };
        assert_eq!((send.text.join(" "), send.no_newline), ("-1 + 2".into(), true));
    }

    #[test]
    fn what_cannot_be_is_a_usage_error() {
        for (bad, said) in [
            (&["ps", "--where", "cpu >"][..], "at character 6: expected a value"),
            (&["logs", "--raw", "-t", "x"], "cannot be used with"),
            (&["signal", "NOPE", "x"], "'NOPE' is not a signal"),
            (&["logs", "-n", "abc", "x"], "write a whole number"),
            (&["inspect"], "not provided: <NAME>..."),
            (&["pss"], "tip: a similar subcommand exists: 'ps'"),
            (&["ps", "--sorted"], "unexpected argument '--sorted'"),
            (&[], "which verb?"),
        ] {
            let error = parse([&["zvctl"], bad].concat().into_iter().map(OsString::from)).unwrap_err();
            let line = error.to_string();
            assert_eq!((error.status(), line.contains('\n'), line.contains(said)), (2, false, true), "{line}");
        }
    }
}
