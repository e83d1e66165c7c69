//! What a process is, as its watcher declares it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits::{CgroupMode, Limits};
use crate::name::{Labels, ProcessName};
use crate::restart::RestartPolicy;
use crate::signal::Signal;
use crate::size::Size;
use crate::units::SpanRange;

/// Longest command line that travels and is shown, in bytes; the watcher runs the whole one.
pub const COMMAND_SHOWN_BYTES: usize = 4096;
/// Most names of environment variables that travel.
pub const ENV_NAMES_MAX: usize = 256;

/// What happens to the rest of a run's tree once its main process has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Leftovers {
    /// It is stopped: signal, grace, kill.
    #[default]
    Stop,
    /// The run goes on until all of it has ended by itself.
    Wait,
}

/// Exit codes that count as success, from `--exit-codes`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ExitCodes(Vec<u8>);

impl ExitCodes {
    /// Whether a run that ended with this code succeeded.
    pub fn has(&self, code: i32) -> bool {
        self.0.iter().any(|ok| i32::from(*ok) == code)
    }
}

impl Default for ExitCodes {
    fn default() -> ExitCodes {
        ExitCodes(vec![0])
    }
}

impl fmt::Display for ExitCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(u8::to_string).collect::<Vec<_>>().join(","))
    }
}

/// A text that is no list of exit codes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a list of exit codes: write numbers from 0 to 255 separated by commas, such as 0,2")]
pub struct NotExitCodes(String);

impl FromStr for ExitCodes {
    type Err = NotExitCodes;

    fn from_str(text: &str) -> Result<ExitCodes, NotExitCodes> {
        let codes: Result<Vec<u8>, _> = text.split(',').map(|code| code.trim().parse()).collect();
        codes.map(ExitCodes).map_err(|_| NotExitCodes(text.chars().take(40).collect()))
    }
}

/// How a process is run, restarted and stopped. Everything in it travels and may be shown; values of environment variables are not
/// in it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// The name asked for, or the default one.
    pub name: ProcessName,
    /// Whether the name was asked for with `--name`, so that a clash is an error and not a reason for another name.
    pub name_given: bool,
    /// `key=value` pairs of the user's.
    pub labels: Labels,
    /// The command line for people, cut to [`COMMAND_SHOWN_BYTES`]; empty while it waits for one.
    pub command: Vec<String>,
    /// The directory runs start in.
    pub cwd: String,
    /// Names of the variables given with `--env` and `--env-file`.
    pub env_names: Vec<String>,
    /// When a new run follows an ended one.
    pub restart: RestartPolicy,
    /// How long a run must live to count as RUNNING.
    pub start_secs: Duration,
    /// Codes that count as success.
    pub exit_codes: ExitCodes,
    /// Delays between restarts.
    pub backoff: SpanRange,
    /// What asks a run to end.
    pub stop_signal: Signal,
    /// How long it may take before it is killed.
    pub stop_timeout: Duration,
    /// What becomes of the rest of the tree.
    pub leftovers: Leftovers,
    /// Whether the watcher stays when its process is STOPPED or FATAL (`-d`).
    pub detached: bool,
    /// The size its terminal begins with; none: it runs on pipes.
    pub terminal: Option<Size>,
    /// How much of a cgroup was asked for.
    pub cgroup: CgroupMode,
    /// What each run may use.
    pub limits: Limits,
}

impl Spec {
    /// A program as `zvwatch COMMAND...` runs it when nothing else is said.
    pub fn new(name: ProcessName, command: Vec<String>) -> Spec {
        Spec {
            name,
            name_given: false,
            labels: Labels::default(),
            command,
            cwd: "/".to_owned(),
            env_names: Vec::new(),
            restart: RestartPolicy::No,
            start_secs: Duration::from_secs(1),
            exit_codes: ExitCodes::default(),
            backoff: SpanRange { min: Duration::from_millis(100), max: Duration::from_secs(60) },
            stop_signal: Signal::TERM,
            stop_timeout: Duration::from_secs(10),
            leftovers: Leftovers::Stop,
            detached: false,
            terminal: None,
            cgroup: CgroupMode::Auto,
            limits: Limits::default(),
        }
    }
}

/// The printable form of a command line: lossy UTF-8, at most [`COMMAND_SHOWN_BYTES`], the cut marked with an ellipsis.
pub fn shown_command<'a>(argv: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
    let (mut shown, mut left) = (Vec::new(), COMMAND_SHOWN_BYTES);
    for argument in argv {
        let whole = String::from_utf8_lossy(argument);
        if whole.len() + 1 > left {
            let cut: String = whole
                .chars()
                .scan(0, |at, c| {
                    (*at < left).then(|| {
                        *at += c.len_utf8();
                        c
                    })
                })
                .collect();
            shown.push(cut + "…");
            break;
        }
        left -= whole.len() + 1;
        shown.push(whole.into_owned());
    }
    shown
}

/// The command line as one would type it: words with anything unusual in them in single quotes.
pub fn quoted_command(command: &[String]) -> String {
    let plain = |word: &str| {
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-./:=@%+,".contains(&b) || b >= 0x80)
    };
    let quote = |word: &String| if plain(word) { word.clone() } else { format!("'{}'", word.replace('\'', r"'\''")) };
    command.iter().map(quote).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_a_list_of_bytes() {
        assert!("0, 2".parse::<ExitCodes>().is_ok_and(|codes| codes.has(2) && !codes.has(1) && !codes.has(-1)));
        assert_eq!("2, 0".parse::<ExitCodes>().map(|codes| codes.to_string()), Ok("2,0".into()));
        assert!("".parse::<ExitCodes>().is_err());
        assert!("256".parse::<ExitCodes>().is_err());
    }

    #[test]
    fn a_shown_command_is_bounded_and_reads_as_typed() {
        let long = vec![b'x'; 10_000];
        let shown = shown_command([&b"sh"[..], &long, b"never"]);
        assert_eq!(shown.len(), 2);
        assert!(shown.iter().map(String::len).sum::<usize>() <= COMMAND_SHOWN_BYTES + 4);
        let typed = ["sh", "-c", "echo it's", ""].map(String::from);
        assert_eq!(quoted_command(&typed), r"sh -c 'echo it'\''s' ''");
    }
}
