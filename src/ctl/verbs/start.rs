//! `zvctl start` and `zvctl restart`

use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use zerovisor_core::limits::{CgroupMode, CpuLimit};
use zerovisor_core::restart::RestartPolicy;
use zerovisor_core::signal::Signal;
use zerovisor_core::size::Size;
use zerovisor_core::spec::{ExitCodes, Leftovers, Spec, quoted_command};
use zerovisor_core::units::Span;
use zerovisor_core::view::Nodes;
use zerovisor_core::wire::{Ask, Deed, Failure};

use super::Asker;
use super::deed::{Fate, Words, linked, perform, tell};
use super::inspect::detail;
use crate::ctl::cli::{Start, Targets};
use crate::ctl::client::Client;
use crate::ctl::error::CtlError;

/// Begins a run of each.
///
/// # Errors
/// The worst of what became of them.
pub async fn start(asker: &Asker, args: &Start) -> Result<(), CtlError> {
    let words: Vec<Vec<u8>> = args.command.iter().map(|word| word.clone().into_vec()).collect();
    let deed = Deed::Start { command: Some(words).filter(|words| !words.is_empty()) };
    run(asker, &args.targets, &deed, Words { to_do: "start", done: "started", already: "is running already" }).await
}

/// Ends the run of each, if any, and begins another.
///
/// # Errors
/// The worst of what became of them.
pub async fn restart(asker: &Asker, targets: &Targets) -> Result<(), CtlError> {
    run(asker, targets, &Deed::Restart, Words { to_do: "restart", done: "restarted", already: "restarted" }).await
}

async fn run(asker: &Asker, targets: &Targets, deed: &Deed, words: Words) -> Result<(), CtlError> {
    let mut client = linked(asker, targets).await?;
    let (mut fates, nodes): (Vec<Fate>, Nodes) = perform(&mut client, targets, deed).await?;
    for fate in &mut fates {
        if let Err(Failure::NotRunning(why)) = &fate.outcome
            && let Some(command) = command_to_type(&mut client, fate).await?
        {
            fate.outcome = Err(Failure::NotRunning(format!("{why}: type: {command}")));
        }
    }
    tell(asker, &fates, &nodes, words)
}

/// The command that makes the process anew; none where its spec cannot be had.
async fn command_to_type(client: &mut Client, fate: &Fate) -> Result<Option<String>, CtlError> {
    let address = fate.id.map(Into::into).or_else(|| fate.name.parse().ok());
    let Some(address) = address else { return Ok(None) };
    match client.answer(Ask::Inspect(address)).await {
        Ok(reply) => Ok(detail(client, &reply)?.map(|detail| zvwatch_line(&detail.spec))),
        Err(CtlError::Failed(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// `zvwatch -d ... -- COMMAND` for a spec, with what differs from the defaults. Values of environment variables do not travel: their
/// names stand there to be filled in.
pub fn zvwatch_line(spec: &Spec) -> String {
    let mut words: Vec<String> = vec!["zvwatch".into(), "-d".into(), "--name".into(), spec.name.to_string()];
    let mut option = |name: &str, value: String| words.extend([name.to_owned(), value]);
    for (key, value) in spec.labels.iter() {
        option("-l", format!("{key}={value}"));
    }
    option("--cwd", spec.cwd.clone());
    for name in &spec.env_names {
        option("--env", format!("{name}=..."));
    }
    if spec.restart != RestartPolicy::No {
        option("--restart", spec.restart.to_string());
        option("--backoff", spec.backoff.to_string());
    }
    if spec.start_secs != Duration::from_secs(1) {
        option("--start-secs", Span(spec.start_secs).to_string());
    }
    if spec.exit_codes != ExitCodes::default() {
        option("--exit-codes", spec.exit_codes.to_string());
    }
    if spec.stop_signal != Signal::TERM {
        option("--stop-signal", spec.stop_signal.to_string());
    }
    if spec.stop_timeout != Duration::from_secs(10) {
        option("--stop-timeout", Span(spec.stop_timeout).to_string());
    }
    if spec.leftovers == Leftovers::Wait {
        option("--leftovers", "wait".into());
    }
    confined(spec, &mut option);
    if let Some(size) = spec.terminal {
        words.push("--pty".into());
        if size != Size::DEFAULT {
            words.extend(["--size".into(), size.to_string()]);
        }
    }
    if !spec.command.is_empty() {
        words.push("--".into());
        words.extend(spec.command.iter().cloned());
    }
    typed(&words)
}

/// The options of limits and cgroups.
fn confined(spec: &Spec, option: &mut impl FnMut(&str, String)) {
    let limits = &spec.limits;
    if let Some(bytes) = limits.memory_bytes {
        option("--memory", bytes.to_string());
    }
    if let Some(millis) = limits.cpu_millis {
        option("--cpus", CpuLimit(millis).to_string());
    }
    if let Some(pids) = limits.pids {
        option("--pids", pids.to_string());
    }
    match spec.cgroup {
        CgroupMode::Auto => {}
        CgroupMode::Require => option("--cgroup", "require".into()),
        CgroupMode::Off => option("--cgroup", "off".into()),
    }
}

/// Words as they are typed into a shell; control characters in them as `$'...'`, so that they survive being shown and copied.
fn typed(words: &[String]) -> String {
    let quoted = |word: &String| {
        if word.chars().any(char::is_control) {
            format!("$'{}'", word.chars().map(ansi_c).collect::<String>())
        } else {
            quoted_command(std::slice::from_ref(word))
        }
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// A character between `$'` and `'`.
fn ansi_c(c: char) -> String {
    match c {
        '\n' => r"\n".into(),
        '\t' => r"\t".into(),
        '\r' => r"\r".into(),
        '\\' | '\'' => format!("\\{c}"),
        c if c.is_control() => c.to_string().bytes().map(|byte| format!("\\{byte:03o}")).collect(),
        c => c.into(),
    }
}

#[cfg(test)]
mod tests {
    use zerovisor_core::fact::State;

    use super::*;

    #[test]
    fn the_command_to_type_makes_the_same_process_anew() {
        let mut spec = crate::ctl::why::tests::detail(State::Exited).spec;
        assert_eq!(zvwatch_line(&spec), "zvwatch -d --name web -l app=web --cwd / -- sleep 1d");
        spec.restart = RestartPolicy::OnFailure(5);
        spec.exit_codes = "0,3".parse().unwrap();
        spec.stop_signal = Signal::INT;
        spec.command = vec!["sh".into(), "-c".into(), "a && b".into()];
        assert_eq!(
            zvwatch_line(&spec),
            "zvwatch -d --name web -l app=web --cwd / --restart on-failure:5 --backoff 100ms..1m00s \
             --exit-codes 0,3 --stop-signal SIGINT -- sh -c 'a && b'"
        );
        let mut spec = crate::ctl::why::tests::detail(State::Exited).spec;
        spec.terminal = Some("100x30".parse().unwrap());
        spec.limits.memory_bytes = Some(1 << 20);
        (spec.limits.cpu_millis, spec.limits.pids, spec.cgroup) = (Some(500), Some(9), CgroupMode::Require);
        assert_eq!(
            zvwatch_line(&spec),
            "zvwatch -d --name web -l app=web --cwd / --memory 1048576 --cpus 0.5 --pids 9 --cgroup require \
             --pty --size 100x30 -- sleep 1d"
        );
        let line = typed(&["a b".into(), "it's\n\x1b1\\".into()]);
        assert_eq!(line, r"'a b' $'it\'s\n\0331\\'");
    }
}
