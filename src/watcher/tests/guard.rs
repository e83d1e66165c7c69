//! The family: what is passed on, and who kills what when one of it dies.

use super::super::guard::{Control, Family, OWN_FAILURE, Outcome, Role, WatcherSide, start as split};
use super::*;
use std::cell::Cell;
use std::os::unix::process::parent_id;

/// A run that leaves its session, double-forks and ignores what can be ignored; two of it say ready.
const ESCAPING: &str =
    "trap '' TERM HUP INT; (setsid sh -c 'sleep MARK & echo ready; exec sleep MARK' &); echo ready; exec sleep MARK";

/// What a story sees of a family that it started.
struct Started {
    /// The process the user would have started: guard, or front.
    pid: i32,
    stderr: PipeReader,
    /// Written to by watcher and run; ends when none of them, nor the guard, holds it any more.
    stdout: PipeReader,
}

/// Starts a family in a process of its own; `watch` is the life of the watcher proper.
fn family(kind: Family, watch: impl FnOnce(WatcherSide, PipeWriter) -> u8) -> Started {
    let (stdout, write) = io::pipe().unwrap();
    let (stderr, complaints) = io::pipe().unwrap();
    let held = Cell::new(Some((write, complaints)));
    let pid = fork(|| {
        // As a shell gives each job its group.
        nix::unistd::setpgid(Pid::this(), Pid::this()).unwrap();
        let (write, complaints) = held.take().unwrap();
        sys::replace_stdio(complaints.as_fd(), 2).unwrap();
        drop(complaints);
        match split(kind).unwrap() {
            // At once: the guard has closed what this story's values own, and they must not close it again.
            Role::Guard(guard) => sys::exit_now(guard.run()),
            Role::Watcher(side) => watch(side, write),
            Role::Front(mut front) => {
                drop(write);
                front.run()
            }
        }
    });
    drop(held.take());
    Started { pid, stderr, stdout }
}

impl Started {
    fn ready(&mut self) -> i32 {
        let watcher = read_line(&mut self.stdout).trim().parse().unwrap();
        assert_eq!(read_line(&mut self.stdout) + &read_line(&mut self.stdout), "ready\nready\n");
        watcher
    }
}

/// Writes the watcher's pid to `stdout` and lets `ESCAPING` run with it.
fn run_escaping(side: &mut WatcherSide, stdout: PipeWriter, mark: &str) -> Child {
    say(&stdout, &format!("{}\n", Pid::this()));
    let child = launch_onto(&sh(&ESCAPING.replace("MARK", mark)), stdout);
    side.tree.set_main(child.pid);
    child
}

fn say(pipe: &PipeWriter, text: &str) {
    nix::unistd::write(pipe, text.as_bytes()).unwrap();
}

fn control(side: &WatcherSide) -> Control {
    assert!(readable(side.control_fd()), "nothing from the guard");
    side.control().unwrap()
}

fn stop(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

#[test]
fn a_killed_watcher_leaves_nothing_and_the_guard_says_so() {
    isolated(|| {
        let mark = "1000.1101";
        let mut family = family(Family::Foreground, |mut side, stdout| {
            run_escaping(&mut side, stdout, mark);
            control(&side);
            0
        });
        let watcher = family.ready();
        assert!(lives(mark));
        stop(watcher, Signal::SIGKILL);
        assert_eq!(ended(family.pid), Ended::Exited(OWN_FAILURE));
        assert!(!lives(mark), "the guard ends after the tree");
        assert_eq!(read_all(family.stdout), "");
        let said = "zvwatch: the watcher died (killed by SIGKILL); its processes were killed\n";
        assert_eq!(read_all(family.stderr), said);
    });
}

#[test]
fn a_killed_guard_is_noticed_by_the_watcher_which_kills_its_tree() {
    isolated(|| {
        let mark = "1000.1102";
        let mut family = family(Family::Foreground, |mut side, stdout| {
            run_escaping(&mut side, stdout, mark);
            assert_eq!(control(&side), Control::GuardDead);
            side.tree.kill_until_empty(Instant::now() + Duration::from_secs(20), |_| {}).unwrap();
            0
        });
        family.ready();
        stop(family.pid, Signal::SIGKILL);
        assert_eq!(read_all(family.stdout), "");
        assert!(!lives(mark));
        outlast(family.pid);
    });
}

#[test]
fn when_guard_and_watcher_are_killed_at_once_the_main_process_dies() {
    isolated(|| {
        let (mut pids, pids_write) = io::pipe().unwrap();
        let family = family(Family::Foreground, move |mut side, stdout| {
            let child = launch_onto(&program(&["sleep", "1000"]), stdout);
            side.tree.set_main(child.pid);
            say(&pids_write, &format!("{}\n", Pid::this()));
            control(&side);
            0
        });
        let watcher = read_line(&mut pids).trim().parse().unwrap();
        // Frozen, neither can act on the other's end.
        stop(family.pid, Signal::SIGSTOP);
        stop(watcher, Signal::SIGKILL);
        stop(family.pid, Signal::SIGKILL);
        assert_eq!(read_all(family.stdout), "", "only the run held it");
        outlast(family.pid);
    });
}

#[test]
fn the_watchers_exit_status_is_the_familys() {
    isolated(|| {
        let family = family(Family::Foreground, |_, _| 42);
        assert_eq!(ended(family.pid), Ended::Exited(42));
        assert_eq!(read_all(family.stderr), "");
    });
}

#[test]
fn what_a_watcher_leaves_behind_at_its_exit_is_killed_too() {
    isolated(|| {
        let mut family = family(Family::Foreground, |mut side, stdout| {
            run_escaping(&mut side, stdout, "1000.1103");
            control(&side);
            7
        });
        family.ready();
        stop(family.pid, Signal::SIGTERM);
        assert_eq!(ended(family.pid), Ended::Exited(7));
        assert!(!lives("1000.1103"));
    });
}

#[test]
fn a_signal_counts_once_even_if_it_reaches_the_whole_group() {
    isolated(|| {
        let group = [Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGTERM];
        let mut family = family(Family::Foreground, |side, stdout| {
            say(&stdout, "up\n");
            let heard: Vec<_> = group.iter().map(|_| control(&side)).collect();
            say(&stdout, &format!("{heard:?}\n"));
            assert_eq!(side.control().unwrap_err().kind(), io::ErrorKind::WouldBlock);
            0
        });
        read_line(&mut family.stdout);
        for signal in group {
            nix::sys::signal::killpg(Pid::from_raw(family.pid), signal).unwrap();
        }
        let heard = read_line(&mut family.stdout);
        for signal in group {
            assert!(heard.contains(&format!("Signal({})", signal as i32)), "{heard}");
        }
        assert_eq!(ended(family.pid), Ended::Exited(0));
    });
}

#[test]
fn hang_ups_that_nohup_had_ignored_stay_ignored() {
    isolated(|| {
        sys::ignore(libc::SIGHUP).unwrap();
        let mut family = family(Family::Foreground, |side, stdout| {
            say(&stdout, "up\n");
            assert_eq!(control(&side), Control::Signal(libc::SIGTERM));
            0
        });
        read_line(&mut family.stdout);
        stop(family.pid, Signal::SIGHUP);
        stop(family.pid, Signal::SIGTERM);
        assert_eq!(ended(family.pid), Ended::Exited(0));
    });
}

#[test]
fn the_guard_reaps_orphans_that_come_to_it_and_guards_on() {
    isolated(|| {
        let mut family = family(Family::Foreground, |side, stdout| {
            // Lost to the watcher once it is no subreaper: the guard inherits it.
            nix::sys::prctl::set_child_subreaper(false).unwrap();
            let child = launch_onto(&sh("(sh -c 'echo $$; exit 0' &)"), stdout);
            ended(child.pid);
            assert_eq!(control(&side), Control::Signal(libc::SIGTERM));
            5
        });
        let orphan: i32 = read_line(&mut family.stdout).trim().parse().unwrap();
        if let Ok(pidfd) = sys::pidfd_open(orphan) {
            assert!(readable(pidfd.as_fd()));
        }
        stop(family.pid, Signal::SIGTERM);
        assert_eq!(ended(family.pid), Ended::Exited(5));
    });
}

#[test]
fn a_detached_start_returns_when_the_child_runs_and_holds_nothing_of_the_users() {
    isolated(|| {
        let (mut facts, facts_write) = io::pipe().unwrap();
        let family = family(Family::Detached, move |mut side, stdout| {
            assert!(side.has_front());
            drop(stdout);
            let session = nix::unistd::getsid(None).unwrap();
            assert_eq!(session.as_raw().cast_unsigned(), parent_id(), "the guard leads it");
            side.started().unwrap();
            say(&facts_write, &format!("{}\n", parent_id()));
            assert_eq!(control(&side), Control::Signal(libc::SIGTERM));
            6
        });
        assert_eq!(ended(family.pid), Ended::Exited(0));
        assert_eq!(read_all(family.stderr), "", "stderr is let go although guard and watcher live");
        assert_eq!(read_all(family.stdout), "");
        // The story inherits the guard once the front is gone.
        let guard = read_line(&mut facts).trim().parse().unwrap();
        stop(guard, Signal::SIGTERM);
        assert_eq!(ended(guard), Ended::Exited(6));
    });
}

#[test]
fn a_detached_start_that_fails_is_told_with_its_code() {
    isolated(|| {
        let family = family(Family::Detached, |mut side, _| {
            side.failed(127, "cannot run \"x\": not found").unwrap();
            127
        });
        assert_eq!(ended(family.pid), Ended::Exited(127));
        assert_eq!(read_all(family.stderr), "zvwatch: cannot run \"x\": not found\n");
    });
}

#[test]
fn a_detached_watcher_that_dies_before_it_reported_is_a_failure() {
    isolated(|| {
        let family = family(Family::Detached, |_, _| {
            kill(Pid::this(), Signal::SIGKILL).unwrap();
            0
        });
        assert_eq!(ended(family.pid), Ended::Exited(OWN_FAILURE));
        assert!(read_all(family.stderr).starts_with("zvwatch: the watcher died before it started anything"));
    });
}

#[test]
fn a_detached_failure_can_be_waited_for_without_being_told() {
    isolated(|| {
        let (mut told, tell) = io::pipe().unwrap();
        let pid = fork(|| match split(Family::Detached).unwrap() {
            Role::Front(mut front) => {
                say(&tell, &format!("{:?}\n", front.wait()));
                0
            }
            Role::Guard(guard) => sys::exit_now(guard.run()),
            Role::Watcher(mut side) => side.failed(126, "no").map_or(1, |()| 126),
        });
        let outcome = Outcome::Failed { code: 126, message: "no".into() };
        assert_eq!(read_line(&mut told), format!("{outcome:?}\n"));
        assert_eq!(ended(pid), Ended::Exited(0));
    });
}
