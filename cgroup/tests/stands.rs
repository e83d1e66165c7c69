//! The stories again where this test makes a lower rung, and the rungs themselves.

use super::*;

/// Set in the process that runs in surroundings made for it: the rung it must find, or `any`.
const STAND: &str = "ZV_TEST_STAND";

#[test]
fn the_rung_is_the_one_that_was_made() {
    let site = site();
    assert_eq!(site.rung() == Rung::None, site.why().starts_with("no writable cgroup: "), "{}", site.why());
    if let Some(expected) = std::env::var(STAND).ok().filter(|expected| expected != "any") {
        assert_eq!(format!("{:?}", site.rung()), expected, "{}", site.why());
    }
}

/// Runs every story in this process's own binary again, after `setup` in a mount namespace of its own. `None` if that cannot be had.
fn again(setup: &str, stand: &str) -> Option<String> {
    if std::env::var_os(STAND).is_some() {
        return None;
    }
    let script = format!("({setup}) >/dev/null || exit 99; exec \"$0\" \"$@\"");
    let own = std::env::current_exe().unwrap();
    let mut unshare = Command::new("unshare");
    unshare.args(["-m", "--propagation", "private", "sh", "-c", &script]).arg(own).args(ARGUMENTS).env(STAND, stand);
    finished(unshare)
}

/// The output of the binary if all its stories passed.
fn finished(mut command: Command) -> Option<String> {
    // Settled before a child of ours stands there too: a cgroup that is shared cannot be divided.
    let _settled = site();
    let output = match command.stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(e) => {
            skip(format!("{:?}: {e}", command.get_program()));
            return None;
        }
    };
    let erred = String::from_utf8_lossy(&output.stderr);
    if output.stdout.is_empty() {
        skip(format!("no such surroundings can be made here: {}", erred.trim()));
        return None;
    }
    let told = format!("{}\n{erred}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success() && told.contains("test result: ok"), "{told}");
    // Here they were told; only there they could not be.
    told.lines().filter(|line| line.starts_with("SKIPPED")).for_each(|line| println!("there: {line}"));
    Some(told)
}

/// The mount points of cgroup file systems of that type, as a list for the shell.
fn mounts(kind: &str) -> String {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let of_kind = mountinfo.lines().filter(|line| line.contains(&format!(" - {kind} ")));
    of_kind.filter_map(|line| line.split(' ').nth(4)).collect::<Vec<_>>().join(" ")
}

#[test]
fn again_on_v1_alone() {
    if site().rung() != Rung::Hybrid {
        return skip("only a hybrid can be taken down to v1");
    }
    again(&format!("for mount in {}; do umount $mount || exit; done", mounts("cgroup2")), "V1");
}

#[test]
fn again_on_v2_without_v1() {
    if site().rung() != Rung::Hybrid {
        return skip("only a hybrid can be taken down to v2 without controllers");
    }
    again(&format!("for mount in {}; do umount $mount || exit; done", mounts("cgroup")), "V2");
}

#[test]
fn again_with_everything_mounted_read_only() {
    let all = [mounts("cgroup2"), mounts("cgroup")].join(" ");
    let told = again(&format!("for mount in {all}; do mount -o remount,bind,ro $mount || exit; done"), "None");
    if let Some(told) = told {
        assert!(told.contains("rung None: no writable cgroup: /") && told.contains("is mounted read-only"), "{told}");
    }
}

#[test]
fn again_as_somebody_without_rights() {
    let user = nobody();
    if let Some(told) = user.and_then(finished) {
        assert!(told.contains("rung None: no writable cgroup: ") && told.contains("belongs to another user"), "{told}");
    }
}

#[test]
fn again_in_a_subtree_of_v2_delegated_to_somebody() {
    let Some(mut command) = nobody() else { return };
    let Some(home) = site().homes().v2() else { return skip(site().why()) };
    let apart = Apart::make(home, "delegated");
    let delegated = &apart.0;
    for file in ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
        std::os::unix::fs::chown(delegated.path(file), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let procs = fs::File::options().write(true).open(delegated.path("cgroup.procs")).unwrap();
    sys::enter_through(&mut command, procs.into());
    command.env(STAND, "V2");
    if let Some(told) = finished(command) {
        assert!(told.contains(&format!("rung V2: cgroup v2 at {}: ", delegated.dir.display())), "{told}");
        let enabled = crate::enable::enabled(home);
        let promised = enabled.iter().all(|controller| told.contains(controller.name(home.version)));
        assert!(promised, "{enabled:?}\n{told}");
    }
}

#[test]
fn again_in_a_cgroup_shared_with_others() {
    if std::env::var_os(STAND).is_some() {
        return;
    }
    let Some(home) = site().homes().v2() else { return skip(site().why()) };
    let shared = Apart::make(home, "shared");
    let enter = |command: &mut Command| {
        let procs = fs::File::options().write(true).open(shared.0.path("cgroup.procs")).unwrap();
        sys::enter_through(command, procs.into());
    };
    let (mut other, mut stories) = (Command::new("sleep"), Command::new(std::env::current_exe().unwrap()));
    enter(other.arg("1000"));
    enter(stories.args(ARGUMENTS).env(STAND, "any"));
    let mut other = match other.spawn() {
        Ok(other) => other,
        Err(e) => return skip(format!("no process may enter a new cgroup of ours: {e}")),
    };
    let told = finished(stories);
    let listed = shared.0.read("cgroup.subtree_control").unwrap();
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(listed, b"\n".get(..listed.len()).unwrap(), "a shared cgroup was changed");
    if let Some(told) = told.filter(|_| !crate::enable::enabled(home).is_empty()) {
        assert!(told.contains(&format!("rung V2: cgroup v2 at {}: no controllers", shared.0.dir.display())), "{told}");
        assert!(told.contains("memory cannot be controlled: other processes share "), "{told}");
    }
}

/// A cgroup in home for such surroundings, not of the form that is swept; removed with all that a failed run left below it.
struct Apart(crate::place::Place);

impl Apart {
    fn make(home: &crate::place::Place, name: &str) -> Apart {
        let apart = Apart(home.below(&format!("zv-test-{name}-{}", own_pid())));
        apart.0.make().unwrap();
        apart
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        let places = crate::place::Places { all: vec![self.0.clone()], refused: [].into() };
        let emptied = self.0.write("cgroup.kill", "1");
        let removed = crate::kill::remove(&places);
        assert!(removed.is_ok() || std::thread::panicking(), "{emptied:?} {removed:?}");
    }
}

/// What makes this binary tell every story but those that run it again.
const ARGUMENTS: [&str; 4] = ["--skip", "stands::again_", "--nocapture", "tests::"];

/// The user that owns nothing, on every Linux.
const NOBODY: u32 = 65534;

/// This binary with every story, as the user nobody.
fn nobody() -> Option<Command> {
    if std::env::var_os(STAND).is_some() {
        return None;
    }
    if !nix::unistd::geteuid().is_root() {
        skip("only root can become somebody else");
        return None;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(ARGUMENTS).uid(NOBODY).gid(NOBODY).env(STAND, "None");
    Some(command)
}
