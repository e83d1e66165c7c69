//! What expressions mean, and what is said of those that mean nothing.

use std::time::Duration;

use zerovisor_core::fact::State;

use super::*;
use crate::ctl::json::tests::row;

fn holds(expression: &str) -> bool {
    let mut row = row("web-1", State::Running);
    row.cpu_percent = Some(62.5);
    row.memory_bytes = Some(64 << 20);
    row.uptime = Some(Duration::from_secs(90));
    row.command = vec!["python3".into(), "serve.py".into()];
    expression.parse::<Filter>().unwrap_or_else(|e| panic!("{expression}: {e}")).holds(&row)
}

#[test]
fn expressions_are_true_of_the_rows_they_describe() {
    for yes in [
        r#"cpu > 50 && name ~ "web""#,
        "cpu>=62.5&&cpu<=62.5",
        "memory == 64M",
        "uptime > 1m && uptime < 2m",
        "state == running",
        "state == RUNNING || cpu > 1000",
        "!(name == db) && name !~ '^db'",
        "command ~ 'python3 serve'",
        "labels.app == web",
        "labels.app",
        "!labels.none",
        "labels.none == null && peak == null",
        "exit.code == null && exit.oom != true",
        "restarts == 0 && !restarts",
        "cpu > 50 || cpu > 900 && name == nothing",
    ] {
        assert!(holds(yes), "{yes}");
    }
    for no in ["cpu > 70", "peak > 0", "peak <= 0", "name == web", "exit.signal == KILL", "silent > 1s", "rung ~ ."] {
        assert!(!holds(no), "{no}");
    }
}

#[test]
fn an_expression_that_does_not_parse_says_where() {
    for (bad, message) in [
        ("", "at character 1: expected a field such as cpu or name"),
        ("cpu >", "at character 6: expected a value"),
        ("cpu > fast", "at character 7: 'fast' is not a number"),
        ("memory > 5x", "at character 10: '5x' is not a size such as 64M"),
        ("bogus == 1", "at character 1: 'bogus' is not a field; zvctl ps --help lists them"),
        ("(cpu > 1", "at character 9: expected )"),
        ("name = x", "at character 6: a single '=': write =="),
        ("name ~ 'a", "at character 8: a ' without its second"),
        ("cpu ~ 5", "at character 5: ~ is for text: compare a quantity with == < >"),
        ("cpu > 1 name", "at character 9: expected && or ||"),
        ("cpu > 1 or mem > 5M", "at character 9: write || for or"),
        ("(cpu > 1 AND mem > 5M)", "at character 10: write && for and"),
        ("not (cpu > 1)", "at character 1: write ! for not"),
        ("cpu < null", "at character 7: null compares with == and != only"),
    ] {
        assert_eq!(bad.parse::<Filter>().unwrap_err().to_string(), message, "{bad}");
    }
    let regex = "name ~ '('".parse::<Filter>().unwrap_err().to_string();
    assert!(regex.contains("at character 8") && !regex.contains('\n'), "{regex}");
    assert!("(".repeat(5000).parse::<Filter>().is_err());
}

#[test]
fn rows_are_ordered_with_the_unknown_last() {
    let with = |name: &str, cpu: Option<f64>| {
        let mut row = row(name, State::Running);
        row.cpu_percent = cpu;
        row
    };
    let order = |key: &str| {
        let mut rows = vec![with("b", None), with("a", Some(1.0)), with("c", Some(9.0))];
        key.parse::<SortKey>().unwrap().sort(&mut rows);
        rows.iter().map(|row| row.name.to_string()).collect::<String>()
    };
    assert_eq!((order("cpu"), order("-cpu")), ("cab".into(), "acb".into()));
    assert_eq!((order("NAME"), order("-name")), ("abc".into(), "cba".into()));
    assert!("nothing".parse::<SortKey>().is_err());
}
