//! Stories that need cgroup v2 with all its controllers, told in a virtual machine: containers and CI machines have them rarely, and never
//! both as root and as an ordinary user.

mod built;
mod console;
mod cpio;
mod host;
mod image;
mod machine;

use std::path::Path;
use std::time::Duration;

use crate::harness::tell;
use console::Report;
use image::Image;
use machine::Machine;

/// What runs inside: test programs, by their crate, what their tests' names contain (all tests, where nothing is named), and what they run in.
const TOLD_INSIDE: [(&str, &[&str], &str); 2] =
    [("zerovisor_cgroup", &[], ""), ("integration", &["on_any_rung"], SCOPES)];
/// Makes room for a cgroup apart for each zvwatch: the tests move to a leaf beside those.
const SCOPES: &str = "\
export ZV_TEST_SCOPES=/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)
mkdir $ZV_TEST_SCOPES/tests && echo 0 > $ZV_TEST_SCOPES/tests/cgroup.procs
echo '+cpu +memory +pids +io' > $ZV_TEST_SCOPES/cgroup.subtree_control
";

/// For all that runs inside, on a processor some ten times slower than ours and busy with other tests.
const TESTS_WITHIN: Duration = Duration::from_secs(600);
/// For a machine that has next to nothing to do.
const PROBE_WITHIN: Duration = Duration::from_secs(120);

macro_rules! machine_or_skip {
    () => {
        match Machine::find() {
            Ok(machine) => machine,
            Err(why) => skip!("cgroup v2 in a virtual machine: {why}"),
        }
    };
}

/// What is tested inside counts like what is tested here: sums and skipped tests are told as they stand.
#[test]
fn what_needs_cgroup_v2_holds_where_it_is() {
    let machine = machine_or_skip!();
    let built = built::all();
    let mut image = Image::bootable();
    image.built(&built.iter().filter(|built| !built.is_test).map(|built| built.path.clone()).collect::<Vec<_>>());
    for (crate_name, names, before) in TOLD_INSIDE {
        let test = built.iter().find(|built| built.is_test && built.crate_name == crate_name);
        let path = &test.unwrap_or_else(|| panic!("no tests of {crate_name}")).path;
        image.built(std::slice::from_ref(path));
        image.run(crate_name, &(before.to_owned() + &command(path, names)));
    }
    let reports = machine.boot(image, TESTS_WITHIN).unwrap_or_else(|why| panic!("{why}"));
    for report in &reports {
        told(report);
    }
    assert_eq!(reports.len(), 2 * TOLD_INSIDE.len(), "each as root and as a user");
    let failed: Vec<_> = reports.iter().filter(|report| report.status != 0).collect();
    assert!(
        failed.is_empty(),
        "failed in the machine: {}",
        failed.iter().map(|report| shown(report)).collect::<String>()
    );
    for who in ["as root", "as a user"] {
        let ran =
            reports.iter().filter(|report| report.name.ends_with(who)).flat_map(|report| report.lines_with("test "));
        assert!(ran.filter(|line| line.ends_with(" ... ok")).count() > 0, "nothing was tested {who}: {reports:?}");
    }
}

#[test]
fn the_machine_delegates_every_controller_to_root_and_to_a_user() {
    let machine = machine_or_skip!();
    let mut image = Image::bootable();
    image.run("probe", include_str!("vm/probe"));
    let reports = machine.boot(image, PROBE_WITHIN).unwrap_or_else(|why| panic!("{why}"));
    let names: Vec<&str> = reports.iter().map(|report| report.name.as_str()).collect();
    assert_eq!(names, ["probe as root", "probe as a user"]);
    for (report, user) in reports.iter().zip([0, 1000]) {
        assert_eq!(report.status, 0, "{}", shown(report));
        let expected = [
            format!("user {user}"),
            "controllers cpuset cpu io memory pids".into(),
            "delegates cpuset".into(),
            "delegates cpu".into(),
            "delegates io".into(),
            "delegates memory".into(),
            "delegates pids".into(),
            "ended 137".into(),
            "oom_kill 1".into(),
            "peak 16 MiB".into(),
            "alive 3".into(),
            "killed".into(),
        ];
        let said: Vec<&String> =
            report.said.iter().filter(|line| !line.is_empty() && !line.contains("Killed")).collect();
        assert_eq!(said, expected.iter().collect::<Vec<_>>(), "{}", shown(report));
    }
}

/// Nothing that goes wrong in the machine is taken for a success outside.
#[test]
fn what_fails_in_the_machine_is_told_outside() {
    let machine = machine_or_skip!();
    let mut image = Image::bootable();
    image.run("wrong", "echo what went wrong; exit 3");
    image.run("crash", "kill -SEGV $$");
    image.run("missing", "exec /no/such/program");
    let reports = machine.boot(image, PROBE_WITHIN).unwrap_or_else(|why| panic!("{why}"));
    let statuses: Vec<i32> = reports.iter().map(|report| report.status).collect();
    assert_eq!(statuses, [3, 3, 139, 139, 127, 127], "{reports:?}");
    assert!(shown(&reports[0]).contains("wrong as root (status 3):\nwhat went wrong"), "{}", shown(&reports[0]));
}

#[test]
fn a_machine_that_does_not_come_to_its_end_is_told_with_its_last_words() {
    let machine = machine_or_skip!();
    let why = machine.boot(Image::without_init(), PROBE_WITHIN).unwrap_err();
    assert!(why.contains("stopped before it was done") && why.contains("Kernel panic"), "{why}");

    let mut image = Image::bootable();
    image.run("endless", "exec sleep 1d");
    let why = machine.boot(image, Duration::from_secs(1)).unwrap_err();
    assert!(why.contains("not done within 1s; no program was running"), "{why}");
}

fn command(path: &Path, names: &[&str]) -> String {
    let words = std::iter::once(path.to_str().expect("a path in UTF-8")).chain(names.iter().copied());
    let quoted: Vec<String> = words.map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect();
    format!("exec {}", quoted.join(" "))
}

/// Passes on what is counted of a report: its sums and its skipped tests.
fn told(report: &Report) {
    for line in report.lines_with("test result: ") {
        tell(&format!("{} in a virtual machine:\n{line}", report.name));
    }
    for line in report.lines_with("SKIPPED ") {
        tell(&format!("SKIPPED vm, {}: {}", report.name, line.trim_start_matches("SKIPPED ")));
    }
}

fn shown(report: &Report) -> String {
    format!("\n--- {} (status {}):\n{}\n", report.name, report.status, report.said.join("\n"))
}
