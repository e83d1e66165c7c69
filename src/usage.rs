//! What the command lines of all three programs share.

use clap::builder::{OsStr, Resettable};

/// The variable in the environment that holds the endpoint; none where it is empty, which counts as unset.
pub(crate) fn endpoint_variable() -> Resettable<OsStr> {
    const NAME: &str = "ZV_ENDPOINT";
    if std::env::var_os(NAME).is_some_and(|endpoint| endpoint.is_empty()) {
        return Resettable::Reset;
    }
    Resettable::Value(NAME.into())
}

/// What clap says of a wrong command line, its paragraph and its tip if it has one, in the one line that every error of ours is: without
/// `error: ` and usage.
pub fn one_line(text: &str) -> String {
    let (said, rest) = text.trim_start_matches("error: ").split_once("\n\n").unwrap_or((text, ""));
    let said: Vec<&str> = said.lines().map(str::trim).collect();
    let tip = rest.lines().map(str::trim).find(|line| line.starts_with("tip: "));
    said.join(" ") + &tip.map_or_else(|| "; see --help".into(), |tip| format!("; {tip}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_paragraph_becomes_a_line() {
        let text = "error: a value is required for\n  '--name <NAME>'\n\n  tip: try this\n\nUsage: x\n\nFor more, try '--help'.\n";
        assert_eq!(super::one_line(text), "a value is required for '--name <NAME>'; tip: try this");
        assert_eq!(super::one_line("error: no\n\nUsage: x"), "no; see --help");
    }
}
