//! What the machine says on its console, line by line.
//!
//! Its /init frames what each program says: `VM BEGIN name`, its output, `VM END name status`, and `VM DONE` after the last one.

/// What came of one program.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) name: String,
    /// As a shell has it: 128 and the number of a signal that ended it.
    pub(super) status: i32,
    pub(super) said: Vec<String>,
}

impl Report {
    /// The lines that begin with this.
    pub(super) fn lines_with<'a>(&'a self, beginning: &'a str) -> impl Iterator<Item = &'a str> {
        self.said.iter().map(String::as_str).filter(move |line| line.starts_with(beginning))
    }
}

/// What has been said so far.
#[derive(Debug, Default)]
pub(super) struct Console {
    pub(super) reports: Vec<Report>,
    /// All programs have run.
    pub(super) done: bool,
    running: Option<(String, Vec<String>)>,
}

impl Console {
    /// Takes the next line.
    pub(super) fn take(&mut self, line: &str) {
        let line = line.trim_end_matches(['\r', '\n']);
        if line == "VM DONE" {
            self.done = true;
        } else if let Some(name) = line.strip_prefix("VM BEGIN ") {
            self.running = Some((name.to_owned(), Vec::new()));
        } else if let Some((name, status)) = line.strip_prefix("VM END ").and_then(|rest| rest.rsplit_once(' ')) {
            // What ends without having begun is kept, so that its status still counts.
            let said = self.running.take().map(|(_, said)| said).unwrap_or_default();
            self.reports.push(Report { name: name.to_owned(), status: status.parse().unwrap_or(-1), said });
        } else if let Some((_, said)) = &mut self.running {
            said.push(line.to_owned());
        }
    }

    /// The program that runs now and what it has said, for a machine that does not come to its end.
    pub(super) fn unfinished(&self) -> String {
        match &self.running {
            Some((name, said)) => format!("{name} was running and had said:\n{}", said.join("\n")),
            None => format!("no program was running, {} had ended", self.reports.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(said: &str) -> Console {
        let mut console = Console::default();
        for line in said.split_inclusive('\n') {
            console.take(line);
        }
        console
    }

    #[test]
    fn each_program_has_its_status_and_its_lines() {
        let said = "VM BEGIN a b as root\r\nSKIPPED one: why\r\n\r\nVM END a b as root 0\r\nVM BEGIN c\r\nVM END c 139\r\nVM DONE\r\n";
        let console = heard(said);
        assert!(console.done);
        let first =
            Report { name: "a b as root".into(), status: 0, said: vec!["SKIPPED one: why".into(), String::new()] };
        let second = Report { name: "c".into(), status: 139, said: vec![] };
        assert_eq!(console.reports, [first, second]);
        assert_eq!(console.reports[0].lines_with("SKIPPED ").collect::<Vec<_>>(), ["SKIPPED one: why"]);
    }

    #[test]
    fn a_machine_that_stops_in_the_middle_is_not_done_and_tells_where() {
        let console = heard("VM BEGIN a\nVM END a 0\nVM BEGIN b\nhalf a li");
        assert!(!console.done);
        assert_eq!(console.reports.len(), 1);
        assert_eq!(console.unfinished(), "b was running and had said:\nhalf a li");
    }

    #[test]
    fn a_status_that_is_no_number_is_a_failure() {
        assert_eq!(heard("VM BEGIN a\nVM END a none\n").reports[0].status, -1);
    }
}
