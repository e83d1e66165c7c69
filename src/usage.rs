//! What clap says of a wrong command line, in the one line that every error of ours is.

/// Clap's paragraph, with its tip if it has one, in a line without `error: ` and usage.
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
