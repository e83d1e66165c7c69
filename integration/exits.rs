//! The exit status of a foreground zvwatch is the child's own, and tells our failures from it.

use std::os::unix::fs::PermissionsExt;

use crate::harness::Farm;

#[test]
fn the_exit_status_is_the_childs_own() {
    let farm = Farm::new();
    for code in [0, 1, 2, 42, 100, 125, 126, 127, 128, 137, 254, 255] {
        let name = format!("exit-{code}");
        assert_eq!(farm.watched(&["--name", &name, "sh", "-c", &format!("exit {code}")]).code(), code);
        assert_eq!(farm.row(&name)["exit"]["code"], code);
    }
}

#[test]
fn a_child_ended_by_a_signal_gives_128_and_its_number() {
    let farm = Farm::new();
    for (signal, number) in [("KILL", 9), ("TERM", 15), ("SEGV", 11), ("USR1", 10)] {
        let script = format!("kill -{signal} $$; while :; do :; done");
        assert_eq!(farm.watched(&["--name", signal, "sh", "-c", &script]).code(), 128 + number);
        let row = farm.row(signal);
        assert_eq!((&row["exit"]["signal"], &row["exit"]["code"]), (&number.into(), &serde_json::Value::Null), "{row}");
        assert!(farm.ctl(&["why", signal]).ok().out().contains(signal));
    }
}

#[test]
fn what_is_not_found_gives_127() {
    let farm = Farm::new();
    farm.watched(&["no-such-program"]).refused(127, &["no-such-program"]);
    farm.watched(&["--name", "path", "./no/such"]).refused(127, &["./no/such"]);
    let row = farm.row("path");
    assert_eq!(row["state"], "FATAL", "{row}");
    assert!(farm.ctl(&["why", "path"]).ok().out().contains("./no/such"));
}

#[test]
fn what_cannot_be_executed_gives_126() {
    let farm = Farm::new();
    std::fs::write(farm.path("plain"), "echo no").unwrap();
    std::fs::create_dir(farm.path("directory")).unwrap();
    std::fs::write(farm.path("orphan"), "#!/no/such/interpreter\n").unwrap();
    std::fs::set_permissions(farm.path("orphan"), PermissionsExt::from_mode(0o755)).unwrap();
    farm.watched(&["./plain"]).refused(126, &["plain"]);
    farm.watched(&["./directory"]).refused(126, &["directory"]);
    farm.watched(&["./orphan"]).refused(126, &["orphan", "/no/such/interpreter"]);
}

#[test]
fn our_own_failure_before_the_start_gives_125() {
    let farm = Farm::new();
    farm.watched(&["--cwd", "no-such-directory", "true"]).refused(125, &["no-such-directory"]);
    farm.watched(&["--env-file", "no-such-file", "true"]).refused(125, &["no-such-file"]);
    farm.watched(&["--name", "held", "-d", "sleep", "1d"]).ok();
    let line = farm.watched(&["--name", "held", "true"]).refused(125, &["held"]);
    let id = farm.reaches("held", "RUNNING")["id"].as_str().unwrap()[..8].to_owned();
    assert!(line.contains(&id), "it says who holds the name: {line}");
    assert_eq!(farm.row("held")["state"], "RUNNING", "whoever had the name keeps it");
}

#[test]
fn a_default_name_that_is_taken_gets_the_id_behind_it() {
    let farm = Farm::new();
    farm.watched(&["-d", "sleep", "1d"]).ok();
    farm.watched(&["-d", "sleep", "2d"]).ok();
    let all = farm.json(&["ps"]);
    let mut names: Vec<&str> =
        all["processes"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names[0] == "sleep" && names[1].starts_with("sleep~"), "{names:?}");
}

#[test]
fn a_detached_start_tells_whether_it_started() {
    let farm = Farm::new();
    farm.watched(&["-d", "no-such-program"]).refused(127, &["no-such-program"]);
    std::fs::write(farm.path("plain"), "").unwrap();
    farm.watched(&["-d", "./plain"]).refused(126, &["plain"]);
    farm.watched(&["-d", "--cwd", "gone", "true"]).refused(125, &["gone"]);
    farm.watched(&["-d", "sleep", "1d"]).ok();
}

#[test]
fn the_environment_and_directory_are_as_asked() {
    let farm = Farm::new();
    std::fs::create_dir(farm.path("there")).unwrap();
    std::fs::write(farm.path("vars"), "# a comment\nFROM_FILE=1\nBOTH=file\n").unwrap();
    let print = "pwd; echo $FROM_FILE $BOTH ${HOME-none} $ZV_NAME $ZV_RUN ${ZV_SECRET-no} ${#ZV_ID}";
    let options = ["--name", "env", "--cwd", "there", "--env-file", "vars", "--env", "BOTH=arg", "--clear-env"];
    farm.watched(&[&options[..], &["/bin/sh", "-c", print]].concat()).ok();
    let shown = farm.ctl(&["logs", "env"]).ok().out();
    let there = farm.path("there").canonicalize().unwrap();
    assert_eq!(shown, format!("{}\n1 arg none env 1 no 32\n", there.display()));
    let inspected = farm.ctl(&["inspect", "env", "-o", "json"]).ok().out();
    assert!(inspected.contains("FROM_FILE") && !inspected.contains("\"arg\""), "names, never values: {inspected}");
}
