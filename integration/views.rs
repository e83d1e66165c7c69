//! What is shown: chosen, ordered, complete, and safe to feed to other programs.

use serde_json::json;

use crate::harness::{Farm, SOON, until};

#[test]
fn json_has_the_promised_fields_and_says_which_nodes_answered() {
    let farm = Farm::empty();
    farm.start_node(&["--name", "n1"]);
    farm.watched(&["--name", "day", "-d", "sleep", "1d"]).ok();
    farm.reaches("day", "RUNNING");
    let all = farm.json(&["ps"]);
    assert_eq!(all["nodes"], json!({"asked": ["n1"], "answered": ["n1"], "missing": []}));
    let row = &all["processes"][0];
    let promised = "id name node state pid run uptime_s cpu_percent memory_bytes memory_peak_bytes restarts exit command labels rung";
    for field in promised.split(' ') {
        assert!(row.get(field).is_some(), "no {field}: {row}");
    }
    assert!(row["uptime_s"].as_f64().is_some_and(|seconds| seconds > 0.5), "{row}");
    assert_eq!(farm.jsonl(&["ps"])[0]["id"], row["id"]);
}

#[test]
fn rows_are_chosen_and_ordered_as_asked() {
    let farm = Farm::new();
    for (name, code) in [("a", "3"), ("b", "0"), ("c", "7")] {
        farm.watched(&["--name", name, "sh", "-c", &format!("exit {code}")]);
    }
    let names = |args: &[&str]| -> String {
        let rows = farm.jsonl(&[&["ps", "-a"], args].concat());
        rows.iter().map(|row| row["name"].as_str().unwrap()).collect()
    };
    assert_eq!(names(&["--sort", "name"]), "abc");
    assert_eq!(names(&["--sort", "-name"]), "cba");
    assert_eq!(names(&["--sort", "name", "--where", "exit.code > 0"]), "ac");
    assert_eq!(names(&["--where", "exit.code > 0 && name ~ \"^c\""]), "c");
    let ids = farm.ctl(&["ps", "-a", "-q"]).ok().out();
    assert!(ids.lines().count() == 3 && ids.lines().all(|id| id.len() == 32), "{ids}");
    assert_eq!(farm.ctl(&["logs", ids.lines().next().unwrap()]).ok().out(), "", "an id is an address");
}

#[test]
fn a_process_is_addressed_by_name_id_and_node() {
    let farm = Farm::empty();
    farm.start_node(&["--name", "n1"]);
    farm.watched(&["--name", "x", "echo", "old"]).ok();
    farm.watched(&["--name", "x", "echo", "new"]).ok();
    let shown = |address: &str| farm.ctl(&["logs", address]).ok().out();
    assert_eq!(shown("x"), "new\n", "the latest of several ended ones");
    assert_eq!(shown("n1/x"), "new\n");
    let of = |text: &str| {
        let ids = farm.rows("x").into_iter().map(|row| row["id"].as_str().unwrap().to_owned());
        ids.into_iter().find(|id| shown(&id[..8]) == text).unwrap()
    };
    assert_ne!(of("old\n"), of("new\n"));
    farm.ctl(&["logs", "n2/x"]).refused(4, &["n2/x"]);
}

#[test]
fn what_retention_removed_reads_as_a_gap_and_is_said() {
    let farm = Farm::empty();
    farm.start_node(&["--retain-size", "1M", "--log", "none"]);
    farm.watched(&["--name", "much", "seq", "1", "2000000"]).ok();
    let read = until("the oldest of it is gone", SOON, || {
        let read = farm.ctl(&["logs", "--raw", "much"]).ok();
        (!read.stdout.starts_with(b"1\n2\n")).then_some(read)
    });
    assert!(read.stdout.ends_with(b"1999999\n2000000\n"), "the newest of it is kept");
    assert!(read.err().contains("retention") && read.err().contains("missing"), "{}", read.err());
    let kept = farm.row("much")["journal_bytes"].as_u64().unwrap();
    assert!(kept <= 2 << 20, "{kept}");
}

#[test]
fn completions_and_man_pages_come_for_all_three_programs() {
    let farm = Farm::empty();
    for program in ["zerovisor", "zvwatch", "zvctl"] {
        for shell in ["bash", "zsh", "fish"] {
            let script = farm.ctl(&["completion", shell, "--for", program]).ok().out();
            assert!(script.contains(program) && script.contains("endpoint"), "{program} {shell}: {script}");
        }
    }
    farm.ctl(&["man", "pages"]).ok();
    for program in ["zerovisor", "zvwatch", "zvctl", "zvctl-logs"] {
        assert!(farm.text(&format!("pages/{program}.1")).contains("endpoint"), "{program}.1");
    }
}

#[test]
fn help_and_version_go_to_standard_output() {
    let farm = Farm::empty();
    for args in [&["--help"][..], &["--version"]] {
        let ends = [farm.zerovisor(args), farm.watched(args), farm.ctl(args)];
        for (program, ended) in ["zerovisor", "zvwatch", "zvctl"].into_iter().zip(ends) {
            let ended = ended.ok();
            assert!(ended.out().contains(program) && ended.err().is_empty(), "{program} {args:?}: {}", ended.err());
        }
    }
}
