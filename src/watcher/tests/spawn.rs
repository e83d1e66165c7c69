//! What a child finds when it starts, and what is said when it does not.

use super::super::spawn::{Cause, Class, OpenFiles, SpawnError, Stage, Surroundings, prepare};
use super::super::sys;
use super::*;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use zerovisor_cgroup::{Group, Leaf, Limits, Owner, ProcessCgroup, Site};

fn refusal(program: &Program) -> SpawnError {
    launch(program).map(|(child, _)| child).expect_err("started")
}

fn script(directory: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    path
}

fn status_field(status: &str, field: &str) -> String {
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_once(':').unwrap().1.trim().to_owned()
}

#[test]
fn a_child_has_default_signals_and_an_empty_mask_whatever_its_parent_has() {
    isolated(|| {
        for signal in [libc::SIGPIPE, libc::SIGINT, libc::SIGHUP, libc::SIGRTMAX()] {
            sys::ignore(signal).unwrap();
        }
        sys::Signals::of(&[libc::SIGTERM, libc::SIGCHLD, libc::SIGUSR1]).block().unwrap();
        let (status, ended) = output(&program(&["cat", "/proc/self/status"]));
        assert_eq!(ended, Ended::Exited(0));
        for field in ["SigBlk", "SigIgn", "SigPnd", "ShdPnd"] {
            assert_eq!(status_field(&status, field), "0000000000000000", "{field}");
        }
    });
}

#[test]
fn the_parents_mask_is_as_before() {
    isolated(|| {
        sys::Signals::of(&[libc::SIGUSR2]).block().unwrap();
        output(&program(&["true"]));
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        assert_eq!(status_field(&status, "SigBlk"), "0000000000000800");
    });
}

#[test]
fn a_child_leads_a_session_of_its_own() {
    let (child, ends) = launch(&program(&["cat", "/proc/self/stat"])).unwrap();
    let stat = read_all(ends.stdout);
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let pid = child.pid.to_string();
    assert_eq!(fields[2..4], [pid.as_str(), pid.as_str()], "process group and session");
    assert_eq!(ended(child.pid), Ended::Exited(0));
}

#[test]
fn a_child_has_descriptors_0_1_2_and_no_other() {
    isolated(|| {
        // One that is not close-on-exec, as a shell's 7< leaves it, above and below others.
        let null = File::open("/dev/null").unwrap();
        for place in [7, 50, 300] {
            sys::child::dup_to(null.as_fd(), place).unwrap();
        }
        // 3 is ls's own.
        assert_eq!(output(&program(&["ls", "/proc/self/fd"])).0, "0\n1\n2\n3\n");
    });
}

#[test]
fn streams_reach_their_places_even_when_they_come_as_0_1_2() {
    isolated(|| {
        // 0 and 1 are free, so that pipes come to stand there.
        sys::child::close_range(0, 1, 2).unwrap();
        let (stdin, mut feed) = io::pipe().unwrap();
        assert_eq!((stdin.as_raw_fd(), feed.as_raw_fd()), (0, 1));
        feed.write_all(b"in").unwrap();
        drop(feed);
        let (read, write) = io::pipe().unwrap();
        assert_eq!(read.as_raw_fd(), 1);
        let stdio = Stdio { stdin: stdin.into(), stdout: write.try_clone().unwrap().into(), stderr: write.into() };
        let prepared = prepare(&sh("cat; echo out; echo err >&2")).unwrap();
        let child = start(&prepared, stdio, &Surroundings::default()).unwrap();
        assert_eq!(read_all(read), "inout\nerr\n");
        assert_eq!(ended(child.pid), Ended::Exited(0));
    });
}

#[test]
fn a_child_has_exactly_the_environment_and_directory_given() {
    let directory = tempfile::tempdir().unwrap();
    let mut env = program(&["env"]);
    env.env.push(("ODD".into(), "a=b\nc".into()));
    assert_eq!(output(&env).0, "PATH=/usr/local/bin:/usr/bin:/bin\nODD=a=b\nc\n");
    let mut pwd = program(&["readlink", "/proc/self/cwd"]);
    pwd.cwd = Some(directory.path().to_owned());
    let real = directory.path().canonicalize().unwrap();
    assert_eq!(output(&pwd).0, format!("{}\n", real.display()));
}

#[test]
fn a_command_is_looked_up_in_the_childs_path_and_directory() {
    let directory = tempfile::tempdir().unwrap();
    script(directory.path(), "here", "#!/bin/sh\necho here\n", 0o755);
    let mut relative = program(&["./here"]);
    relative.cwd = Some(directory.path().to_owned());
    assert_eq!(output(&relative).0, "here\n");
    let mut empty_element = program(&["here"]);
    empty_element.cwd.clone_from(&relative.cwd);
    empty_element.env = vec![("PATH".into(), "/nonexistent:".into())];
    assert_eq!(output(&empty_element).0, "here\n");
    let mut in_path = program(&["here"]);
    in_path.env = vec![("PATH".into(), directory.path().into())];
    assert_eq!(output(&in_path).0, "here\n");
    let mut without_path = program(&["true"]);
    without_path.env.clear();
    assert_eq!(output(&without_path).1, Ended::Exited(0));
}

#[test]
fn a_file_that_may_not_be_executed_is_passed_over_for_a_later_one_and_told_if_there_is_none() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let denied = script(first.path(), "tool", "#!/bin/sh\n", 0o644);
    let mut tool = program(&["tool"]);
    tool.env = vec![("PATH".into(), std::env::join_paths([first.path(), second.path()]).unwrap())];
    let error = refusal(&tool);
    assert_eq!((error.class(), &error.cause, &error.path), (Class::NotExecutable, &Cause::Denied, &denied));
    script(second.path(), "tool", "#!/bin/sh\nexit 9\n", 0o755);
    assert_eq!(output(&tool).1, Ended::Exited(9));
}

#[test]
fn an_exit_status_of_125_to_127_is_the_programs_own() {
    for code in 125..=127 {
        assert_eq!(output(&sh(&format!("exit {code}"))).1, Ended::Exited(code));
    }
}

#[test]
fn each_failed_exec_has_its_class_and_cause() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let missing = PathBuf::from("/nonexistent/interpreter");
    let cases = [
        (PathBuf::from("zv-no-such-command"), 127, Cause::NotInPath("/usr/local/bin:/usr/bin:/bin".into())),
        (PathBuf::from(""), 127, Cause::NotInPath("/usr/local/bin:/usr/bin:/bin".into())),
        (at.join("absent"), 127, Cause::Missing),
        (script(at, "file", "", 0o644).join("below"), 127, Cause::Missing),
        (at.to_owned(), 126, Cause::Directory),
        (script(at, "plain", "#!/bin/sh\n", 0o644), 126, Cause::Denied),
        (script(at, "orphan", "#! /nonexistent/interpreter -x\n", 0o755), 126, Cause::BadInterpreter(missing)),
        (script(at, "dir", "#!/usr\n", 0o755), 126, Cause::BadInterpreter("/usr".into())),
        (script(at, "empty", "", 0o755), 126, Cause::NoFormat),
        (script(at, "text", "echo hello\n", 0o755), 126, Cause::NoFormat),
        (PathBuf::from("x".repeat(300)), 126, Cause::Errno),
    ];
    for (command, code, cause) in cases {
        let error = refusal(&program(&[command.to_str().unwrap()]));
        assert_eq!((error.class().exit_code(), &error.cause), (code, &cause), "{error}");
        assert_eq!(error.stage, Stage::Exec);
        assert_eq!(error.to_string().lines().count(), 1, "{error}");
    }
}

#[test]
fn our_own_failures_are_125_and_name_what_failed() {
    let mut lost = program(&["true"]);
    lost.cwd = Some("/nonexistent/directory".into());
    let error = refusal(&lost);
    assert_eq!((error.class(), error.stage, error.errno), (Class::Own, Stage::Chdir, libc::ENOENT));
    assert!(error.to_string().contains("\"/nonexistent/directory\""), "{error}");
    let error = refusal(&program(&["true", "a\0b"]));
    assert_eq!((error.class(), error.cause), (Class::Own, Cause::Nul("an argument")));
    let error = refusal(&program(&["tr\0ue"]));
    assert_eq!((error.class(), error.cause), (Class::Own, Cause::Nul("the command")));
    assert_eq!(refusal(&program(&[])).cause, Cause::Empty);
}

#[test]
fn arguments_too_long_are_told_as_such() {
    let error = refusal(&program(&["true", &"x".repeat(1 << 20)]));
    assert_eq!((error.class(), error.errno), (Class::NotExecutable, libc::E2BIG));
    assert!(error.to_string().contains("shorten the arguments"), "{error}");
}

#[test]
fn a_failed_start_leaves_no_zombie() {
    isolated(|| {
        refusal(&program(&["/nonexistent"]));
        assert_eq!(nix::sys::wait::wait(), Err(nix::errno::Errno::ECHILD));
    });
}

#[test]
fn a_failed_fork_is_our_own_failure() {
    isolated(|| {
        sys::refuse(&[libc::SYS_clone3, libc::SYS_clone]);
        let error = refusal(&program(&["true"]));
        assert_eq!((error.class(), error.stage), (Class::Own, Stage::Clone));
    });
}

#[test]
fn it_starts_where_clone3_and_close_range_are_refused() {
    isolated(|| {
        sys::refuse(&[libc::SYS_clone3, libc::SYS_close_range]);
        sys::child::dup_to(File::open("/dev/null").unwrap().as_fd(), 60).unwrap();
        let (child, ends) = launch(&program(&["ls", "/proc/self/fd"])).unwrap();
        assert_eq!(read_all(ends.stdout), "0\n1\n2\n3\n");
        assert!(readable(child.pidfd.as_fd()), "the pidfd tells the end");
        assert_eq!(ended(child.pid), Ended::Exited(0));
    });
}

#[test]
fn a_child_gets_the_limit_of_open_files_from_before_it_was_raised() {
    isolated(|| {
        use nix::sys::resource::{Resource, getrlimit, setrlimit};
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 64, hard).unwrap();
        let before = OpenFiles::raise().unwrap();
        assert_eq!((before, getrlimit(Resource::RLIMIT_NOFILE).unwrap().0), (OpenFiles { soft: 64, hard }, hard));
        let (stdio, ends) = pipes::stdio(Stdin::Null).unwrap();
        let surroundings = Surroundings { open_files: Some(before), ..Surroundings::default() };
        let child = start(&prepare(&sh("ulimit -Sn; ulimit -Hn")).unwrap(), stdio, &surroundings).unwrap();
        assert_eq!(read_all(ends.stdout), format!("64\n{hard}\n"));
        assert_eq!(ended(child.pid), Ended::Exited(0));
    });
}

#[test]
fn a_child_dies_with_its_parent() {
    isolated(|| {
        let (read, write) = io::pipe().unwrap();
        let parent = fork(|| {
            launch_onto(&program(&["sleep", "1000"]), write.try_clone().unwrap());
            kill(Pid::this(), Signal::SIGKILL).unwrap();
            0
        });
        drop(write);
        outlast(parent);
        // Held open by the child alone.
        assert_eq!(read_all(read), "");
    });
}

#[test]
fn pipes_are_what_they_say() {
    let (stdio, ends) = pipes::stdio(Stdin::Pipe).unwrap();
    let flags = |fd: BorrowedFd<'_>| nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_GETFL).unwrap();
    for fd in [ends.stdin.as_ref().unwrap(), &ends.stdout, &ends.stderr] {
        assert_ne!(flags(fd.as_fd()) & libc::O_NONBLOCK, 0);
    }
    for fd in [&stdio.stdin, &stdio.stdout, &stdio.stderr] {
        assert_eq!(flags(fd.as_fd()) & libc::O_NONBLOCK, 0, "a program expects its streams to block");
    }
    let grown = pipes::grow(ends.stdout.as_fd()).unwrap();
    assert!(grown == pipes::GROWN_BYTES || grown < 1 << 17, "{grown}");
}

/// A cgroup to be born in; none where this machine lets us make none.
fn leaf(number: u8) -> Option<(Group, Leaf)> {
    let site = Site::find();
    let owner = Owner { pid: Pid::this().as_raw(), start_ticks: 1, pid_namespace: 1 };
    match site.create(&ProcessCgroup { name: "born", id: [number; 16], owner }) {
        Ok(group) => {
            let leaf = group.run(1, &Limits::default()).unwrap();
            Some((group, leaf))
        }
        Err(error) => {
            let _ = nix::unistd::write(io::stderr(), format!("SKIPPED birth in a cgroup: {error}\n").as_bytes());
            None
        }
    }
}

/// The first thing it does is to tell where it is; a grandchild does so from a session of its own.
fn births(leaf: &Leaf) -> String {
    let (stdio, ends) = pipes::stdio(Stdin::Null).unwrap();
    let entrance = leaf.entrance().unwrap();
    let surroundings = Surroundings { cgroup: Some(&entrance), ..Surroundings::default() };
    let script = "(setsid cat /proc/self/cgroup &); exec cat /proc/self/cgroup";
    let child = start(&prepare(&sh(script)).unwrap(), stdio, &surroundings).unwrap();
    let text = read_all(ends.stdout);
    assert_eq!(ended(child.pid), Ended::Exited(0));
    text
}

#[test]
fn a_child_is_born_in_its_cgroup_on_any_rung() {
    isolated(|| {
        let Some((group, leaf)) = leaf(1) else { return };
        let inside = format!("{}/run-1", group.name());
        let count = |text: &str| text.lines().filter(|line| line.ends_with(&inside)).count();
        let told = births(&leaf);
        assert!(count(&told) >= 2 && count(&told) % 2 == 0, "child and grandchild: {told}");
        // As under a filter that knows no clone3: then the child enters by itself.
        sys::refuse(&[libc::SYS_clone3]);
        assert_eq!(count(&births(&leaf)), count(&told));
        Tree::adopt().unwrap().kill_until_empty(Instant::now() + Duration::from_secs(10), |_| {}).unwrap();
        leaf.remove().unwrap();
        group.remove().unwrap();
    });
}

#[test]
fn a_cgroup_that_is_gone_is_our_own_failure_and_named() {
    isolated(|| {
        let Some((group, leaf)) = leaf(2) else { return };
        let entrance = leaf.entrance().unwrap();
        leaf.remove().unwrap();
        group.remove().unwrap();
        let (stdio, _ends) = pipes::stdio(Stdin::Null).unwrap();
        let surroundings = Surroundings { cgroup: Some(&entrance), ..Surroundings::default() };
        let error = start(&prepare(&program(&["true"])).unwrap(), stdio, &surroundings).expect_err("started");
        assert_eq!((error.class(), error.stage), (Class::Own, Stage::Cgroup), "{error}");
        assert!(error.to_string().contains("cgroup"), "{error}");
    });
}
