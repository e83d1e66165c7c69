//! Whatever a run does to get away, it stays in the tree and dies with it.

use super::super::sys::Signals;
use super::super::tree::{Reaped, Who, descendants_by_scan};
use super::*;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// Everything that was reaped until nothing was left.
fn reap_all(tree: &mut Tree) -> Vec<Reaped> {
    let ended = Signals::of(&[libc::SIGCHLD]);
    let mut all = Vec::new();
    loop {
        all.extend(tree.reap());
        if tree.is_empty() {
            return all;
        }
        ended.wait(Some(Duration::from_secs(20))).unwrap().expect("nothing ended");
    }
}

#[test]
fn the_main_process_is_told_from_orphans() {
    isolated(|| {
        Signals::of(&[libc::SIGCHLD]).block().unwrap();
        let mut tree = Tree::adopt().unwrap();
        assert!(tree.is_empty());
        let (child, _ends) = launch(&sh("(sh -c 'exit 7' & sh -c 'kill -9 $$' &) ; exit 3")).unwrap();
        tree.set_main(child.pid);
        let all = reap_all(&mut tree);
        let main: Vec<_> = all.iter().filter(|r| r.who == Who::Main).collect();
        assert_eq!(main.len(), 1);
        assert_eq!((main[0].pid, main[0].ended), (child.pid, Ended::Exited(3)));
        assert!(main[0].usage.max_rss_bytes > 0);
        assert_eq!(tree.main(), None);
        assert!(all.iter().any(|r| r.who == Who::Orphan && r.ended == Ended::Exited(7)), "{all:?}");
    });
}

#[test]
fn nothing_escapes_by_double_fork_and_sessions_of_its_own() {
    isolated(|| {
        let mut tree = Tree::adopt().unwrap();
        let (mut read, write) = io::pipe().unwrap();
        let script = "trap '' TERM HUP INT; (setsid sh -c 'sleep 1000 & echo ready; wait' &); echo ready; sleep 1000";
        let child = launch_onto(&sh(script), write);
        tree.set_main(child.pid);
        assert_eq!(read_line(&mut read) + &read_line(&mut read), "ready\nready\n");
        let walked = tree.descendants();
        let mut scanned = descendants_by_scan();
        // The forked shell may be between its parents in one of the two; main and the session's leader are not.
        assert!(walked.len() >= 3, "{walked:?}");
        scanned.retain(|member| walked.contains(member));
        assert!(scanned.len() >= 3, "the scan of /proc finds the same: {scanned:?}");
        tree.kill_until_empty(soon(), |_| {}).unwrap();
        assert!(tree.is_empty());
        assert_eq!(read_all(read), "");
    });
}

#[test]
fn processes_that_never_stand_still_are_caught() {
    isolated(|| {
        let mut tree = Tree::adopt().unwrap();
        let (mut read, write) = io::pipe().unwrap();
        // Each generation starts the next and is gone: no pid lives long enough for a simple walk.
        let child = launch_onto(&sh("f() { f & }; f; f; f; echo ready"), write);
        tree.set_main(child.pid);
        read_line(&mut read);
        tree.kill_until_empty(soon(), |_| {}).unwrap();
        assert_eq!(read_all(read), "");
    });
}

#[test]
fn a_kill_whose_time_is_up_before_it_begins_kills_once() {
    isolated(|| {
        let mut tree = Tree::adopt().unwrap();
        let (read, write) = io::pipe().unwrap();
        let child = launch_onto(&sh("trap '' TERM; sleep 1000 & sleep 1000"), write);
        tree.set_main(child.pid);
        let _may_be_stubborn = tree.kill_until_empty(Instant::now(), |_| {});
        // What the one walk missed was a fork ahead of it: the end of all who hold the pipe tells.
        assert_eq!(read_all(read), "");
    });
}

#[test]
fn a_signal_reaches_every_descendant() {
    isolated(|| {
        Signals::of(&[libc::SIGCHLD]).block().unwrap();
        let mut tree = Tree::adopt().unwrap();
        let (mut read, write) = io::pipe().unwrap();
        let child = launch_onto(&sh("sleep 1000 & sleep 1000 & echo ready; wait"), write);
        tree.set_main(child.pid);
        read_line(&mut read);
        let reach = tree.signal(libc::SIGTERM);
        assert_eq!((reach.signalled, reach.denied), (3, 0));
        let all = reap_all(&mut tree);
        assert!(all.iter().all(|r| r.ended == Ended::Killed { signal: libc::SIGTERM, core: false }), "{all:?}");
    });
}

#[test]
fn a_signal_never_reaches_another_process_of_the_same_number() {
    isolated(|| {
        let mut tree = Tree::adopt().unwrap();
        let (child, _ends) = launch(&program(&["sleep", "1000"])).unwrap();
        tree.set_main(child.pid);
        let mut member = tree.descendants()[0];
        assert_eq!(member.pid, child.pid);
        member.start -= 1;
        let error = member.signal(libc::SIGKILL).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ESRCH));
        tree.kill_until_empty(soon(), |_| {}).unwrap();
    });
}
