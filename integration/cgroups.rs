//! A run and all it starts is held by its cgroup, where there is one: limited, ended, and gone without a trace.

use std::fs;
use std::path::PathBuf;

use crate::harness::{Farm, Program, SOON, alive, cgroups_of, live_with_argument, until};

/// Whether the line of a refusal means that this machine has nothing to hold the limit with.
fn cannot_limit(line: &str) -> bool {
    line.contains("cannot be limited") || line.contains("no writable cgroup")
}

/// A tree that leaves sessions and parents, and says that all three of it are up.
fn escaping(farm: &Farm, name: &str) -> (String, String) {
    let mark = format!("mark-{name}-{}", farm.dir().file_name().unwrap().to_string_lossy());
    farm.script("loiter", "trap '' TERM HUP INT\necho $1 >> up\nwhile :; do sleep 1000; done\n");
    let script = format!("(setsid sh -c 'sh loiter {mark} & exit' &)\nsetsid sh loiter {mark} &\nsh loiter {mark}\n");
    farm.script("escape", &script);
    farm.watched(&["--name", name, "--stop-timeout", "200ms", "-d", "sh", "escape"]).ok();
    until("all three run", SOON, || (farm.text("up").lines().filter(|line| *line == mark).count() == 3).then_some(()));
    let row = farm.reaches(name, "RUNNING");
    (row["id"].as_str().unwrap().to_owned(), mark)
}

fn nothing_is_left(id: &str, mark: &str) {
    until("no process and no cgroup is left", SOON, || {
        (live_with_argument(mark).is_empty() && cgroups_of(id).is_empty()).then_some(())
    });
}

#[test]
fn a_stopped_run_leaves_no_process_and_a_removed_one_no_cgroup_on_any_rung() {
    let farm = Farm::new();
    let (id, mark) = escaping(&farm, "held");
    farm.ctl(&["stop", "held"]).ok();
    assert!(live_with_argument(&mark).is_empty());
    farm.ctl(&["rm", "held"]).ok();
    nothing_is_left(&id, &mark);
}

#[test]
fn a_watcher_that_ends_leaves_no_cgroup_on_any_rung() {
    let farm = Farm::new();
    assert_eq!(farm.watched(&["--name", "short", "sh", "-c", "exit 3"]).code(), 3);
    let id = farm.reaches("short", "EXITED")["id"].as_str().unwrap().to_owned();
    assert_eq!(cgroups_of(&id), Vec::<PathBuf>::new());
}

/// One who was put into the cgroup from outside is nobody's child there, so that no end of a child tells of its end.
#[test]
fn a_stranger_in_the_cgroup_is_waited_for_and_its_end_is_seen_on_any_rung() {
    let farm = Farm::new();
    farm.watched(&["--name", "host", "--leftovers", "wait", "-d", "sh", "-c", "read line"]).ok();
    let id = farm.reaches("host", "RUNNING")["id"].as_str().unwrap().to_owned();
    let groups = cgroups_of(&id);
    if groups.is_empty() {
        skip!("without a cgroup nobody can be put into one");
    }
    let mut stranger = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    for group in groups {
        fs::write(group.join("run-1/cgroup.procs"), stranger.id().to_string()).unwrap();
    }
    farm.ctl(&["send", "host", "go\n"]).ok();
    let main = i32::try_from(farm.row("host")["pid"].as_i64().unwrap()).unwrap();
    until("the main process has ended", SOON, || (!alive(main)).then_some(()));
    assert_eq!(farm.row("host")["state"], "RUNNING", "the run goes on without it");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    farm.reaches("host", "EXITED");
    // Its watcher has to say goodbye first.
    until("no cgroup is left", SOON, || cgroups_of(&id).is_empty().then_some(()));
}

/// Wherever a start runs out of descriptors.
#[test]
fn a_watcher_that_fails_to_start_leaves_no_cgroup_on_any_rung() {
    let farm = Farm::new();
    let name = format!("poor-{}", std::process::id());
    let mut failed = 0;
    for files in 12..=20 {
        let script = format!("ulimit -n {files}; exec \"$@\"");
        let mut command = Program::command("sh", farm.dir());
        command.args([
            "-c",
            &script,
            "sh",
            env!("CARGO_BIN_EXE_zvwatch"),
            "--name",
            &name,
            "--cgroup",
            "require",
            "true",
        ]);
        failed += usize::from(Program::start(&mut command).end(SOON).code() != 0);
        assert_eq!(cgroups_of(&name), Vec::<PathBuf>::new(), "{files} files");
    }
    assert!(failed > 0, "so few descriptors were enough");
}

#[test]
fn a_fork_bomb_is_held_by_its_limit_and_ends_with_a_stop_on_any_rung() {
    let farm = Farm::new();
    let mark = format!("bomb-{}", farm.dir().file_name().unwrap().to_string_lossy());
    // Each one that cannot fork ends; those before it go on.
    farm.script("bomb", "trap '' TERM HUP\nwhile :; do sh bomb $1 & sleep 0.05; done\n");
    farm.script("begin", &format!("(setsid sh bomb {mark} >/dev/null 2>&1 &)\nexec sleep 1000\n"));
    let started = farm.watched(&["--name", "bomb", "--pids", "40", "--stop-timeout", "200ms", "-d", "sh", "begin"]);
    if cannot_limit(&started.err()) {
        started.refused(125, &["pids"]);
        skip!("{}", started.err().trim_end());
    }
    started.ok();
    let most = until("the bomb grows", SOON, || Some(live_with_argument(&mark).len()).filter(|count| *count >= 10));
    assert!(most <= 40, "{most}");
    farm.ctl(&["stop", "bomb"]).ok();
    assert_eq!(live_with_argument(&mark), Vec::<i32>::new());
}

#[test]
fn the_kernels_kill_for_want_of_memory_is_told_from_any_other_on_any_rung() {
    let farm = Farm::new();
    let hungry =
        farm.watched(&["--name", "hungry", "--memory", "32M", "dd", "if=/dev/zero", "of=/dev/null", "bs=200M"]);
    if cannot_limit(&hungry.err()) {
        hungry.refused(125, &["memory"]);
        skip!("{}", hungry.err().trim_end());
    }
    assert_eq!(hungry.code(), 137, "{}", hungry.err());
    let exit = farm.reaches("hungry", "EXITED")["exit"].clone();
    assert_eq!((&exit["signal"], &exit["oom"]), (&9.into(), &true.into()), "{exit}");
    assert!(farm.ctl(&["inspect", "hungry"]).ok().out().to_lowercase().contains("memory"));
    assert_eq!(farm.watched(&["--name", "shot", "sh", "-c", "kill -9 $$"]).code(), 137);
    let exit = farm.reaches("shot", "EXITED")["exit"].clone();
    assert_eq!((&exit["signal"], &exit["oom"]), (&9.into(), &false.into()), "{exit}");
}

#[test]
fn limits_that_nothing_holds_are_refused_on_any_rung() {
    let farm = Farm::new();
    for limit in [["--memory", "64M"], ["--cpus", "0.5"], ["--pids", "10"]] {
        farm.watched(&["--cgroup", "off", limit[0], limit[1], "true"]).refused(125, &[limit[0], "--cgroup off"]);
    }
    for (wrong, word) in [(["--memory", "banana"], "512M"), (["--memory", "1"], "at least"), (["--cpus", "0"], "0.01")]
    {
        farm.watched(&[wrong[0], wrong[1], "true"]).refused(125, &[wrong[1], word]);
    }
    assert!(farm.rows("true").is_empty(), "nothing was declared");
    farm.watched(&["--cgroup", "off", "true"]).ok();
}

/// In a mount namespace that shows no cgroup at all.
#[test]
fn where_no_cgroup_can_be_had_a_required_one_or_a_limit_is_refused_and_else_it_runs() {
    let farm = Farm::new();
    let blind = |args: &[&str]| {
        let script = "umount -l -a -t cgroup,cgroup2 || exit 99; exec \"$@\"";
        let mut command = Program::command("unshare", farm.dir());
        command.args(["-m", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_zvwatch")]).args(args);
        Program::start(&mut command).end(SOON)
    };
    let plain = blind(&["--name", "plain", "sh", "-c", "exit 7"]);
    if plain.code() != 7 {
        skip!("no mount namespace can be had here: {}", plain.err().trim_end());
    }
    blind(&["--cgroup", "require", "true"]).refused(125, &["cgroup", "--cgroup require"]);
    blind(&["--memory", "64M", "true"]).refused(125, &["memory", "cgroup"]);
    // A detached start tells it through its front, likewise in one line.
    blind(&["-d", "--cgroup", "require", "true"]).refused(125, &["--cgroup require"]);
    assert!(farm.rows("true").is_empty(), "nothing was declared");
}
