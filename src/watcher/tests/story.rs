//! Stories of the whole watcher: real families and real children, before a small zerovisor of the test's own at the level of messages.

use super::zerovisor::{Heard, tell};
use super::*;
use zerovisor_core::exit::Exit;
use zerovisor_core::fact::{Fact, State};
use zerovisor_core::record::Kind;
use zerovisor_core::wire::{Deed, Outcome, Refusal, Refused, ToNode, ToPeer, VERSIONS, WatcherWelcome, Welcome};

pub(super) fn sh_words(script: &str) -> [&str; 3] {
    ["sh", "-c", script]
}

fn exit_of(facts: &[Fact]) -> Exit {
    let mut exits =
        facts.iter().filter_map(|fact| if let Fact::Ended { report, .. } = fact { Some(report.exit) } else { None });
    exits.next_back().expect("an exit report")
}

#[test]
fn a_run_is_told_whole_and_its_status_returned() {
    tell(|stage| async move {
        let mut zerovisor = stage.zerovisor();
        let script = "echo out; echo err >&2; echo $ZV_NAME $ZV_RUN $ZV_NODE; exit 7";
        let zvwatch = stage.zvwatch("--name story", &sh_words(script));
        let mut session = zerovisor.watcher(1 << 20).await;
        zerovisor.take_to_goodbye(&mut session).await;
        assert_eq!(zvwatch.end().await, (7, String::new()));
        assert_eq!(zerovisor.output(Kind::Stdout), b"out\nstory 1 here\n");
        assert_eq!(zerovisor.output(Kind::Stderr), b"err\n");
        let facts = zerovisor.facts();
        assert!(
            matches!(facts[..], [Fact::Started { run: 1, .. }, Fact::Ended { run: 1, .. }, Fact::Exited]),
            "{facts:?}"
        );
        assert_eq!(exit_of(&facts), Exit::Code(7));
    });
}

#[test]
fn output_comes_once_and_in_order_across_links_dropped_at_any_point() {
    tell(|stage| async move {
        let mut zerovisor = stage.zerovisor();
        let zvwatch = stage.zvwatch("", &["seq", "1", "2000000"]);
        let mut lives = 0_u32;
        loop {
            let mut session = zerovisor.watcher(64 << 10).await;
            lives += 1;
            // Links of one to seven messages, so that they end inside and between windows; the last has no end of its own.
            let mut left = if lives < 12 { lives * 3 % 7 } else { u32::MAX };
            let over = loop {
                match zerovisor.take(&mut session, 64 << 10).await {
                    Some(Heard::Goodbye) => break true,
                    Some(_) if left == 0 => break false,
                    Some(_) => left -= 1,
                    None => panic!("the watcher dropped the link"),
                }
            };
            if over {
                break;
            }
        }
        assert!(lives >= 12);
        let wanted: String = (1..=2_000_000).map(|n| format!("{n}\n")).collect();
        assert!(zerovisor.output(Kind::Stdout) == wanted.as_bytes(), "every byte once and in order");
        let (status, said) = zvwatch.end().await;
        assert_eq!(status, 0);
        // That a link is away is told, also at the end; that anything is lost may never be.
        assert!(!said.contains("zvwatch: lost: "), "{said}");
        assert!(said.lines().any(|line| line.starts_with("zvwatch: lost the zerovisor")), "{said}");
        assert!(
            said.lines().any(|line| line.starts_with("zvwatch: linked to the zerovisor")),
            "and its end, too: {said}"
        );
    });
}

#[test]
fn a_zerovisor_that_acknowledges_nothing_makes_the_child_wait() {
    tell(|stage| async move {
        let mut zerovisor = stage.zerovisor();
        let endless = "yes | tee /dev/null; exit 3";
        let zvwatch = stage.zvwatch("", &sh_words(endless));
        let (mut session, hello) = zerovisor.hello().await;
        let watcher = WatcherWelcome { name: hello.spec.name, journal_end: 0, window_bytes: 256 << 10 };
        let welcome =
            Welcome { version: 1, node: "n".parse().unwrap(), program: String::new(), watcher: Some(watcher) };
        session.say(&ToPeer::Welcome(welcome), None).await;
        // Unacknowledged, no more than the window comes; the heartbeats that follow show that the watcher is otherwise well.
        let (mut bytes, mut beats) = (0, 0);
        while beats < 2 {
            match session.hear().await.expect("the link lives") {
                (ToNode::Record(_), payload) => bytes += payload.len(),
                (ToNode::Sampled(_), _) => beats += 1,
                (ToNode::Ping { nonce }, _) => {
                    beats += 1;
                    session.say(&ToPeer::Pong { nonce }, None).await;
                }
                (other, _) => panic!("{other:?}"),
            }
        }
        assert!((1..=512 << 10).contains(&bytes), "{bytes} bytes in flight");
        let watcher = children_of(zvwatch.pid)[0];
        let rss = procfs::process::Process::new(watcher).unwrap().status().unwrap().vmrss.unwrap();
        assert!(rss < 64 << 10, "{rss} KiB resident while the child waits");
        stop(zvwatch.pid, Signal::SIGKILL);
        outlast(zvwatch.pid);
    });
}

pub(super) fn children_of(pid: i32) -> Vec<i32> {
    let all = procfs::process::all_processes().unwrap().flatten().filter_map(|process| process.stat().ok());
    all.filter(|stat| stat.ppid == pid).map(|stat| stat.pid).collect()
}

pub(super) fn stop(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

#[test]
fn what_a_run_leaves_behind_ends_before_its_end_is_told() {
    tell(|stage| async move {
        let mut zerovisor = stage.zerovisor();
        let mark = "1000.2201";
        let script = format!("(setsid sh -c 'trap \"\" TERM; echo deaf; exec sleep {mark}' &); read line");
        let zvwatch = stage.zvwatch("--stop-timeout 200ms", &sh_words(&script));
        let mut session = zerovisor.watcher(1 << 20).await;
        zerovisor.take_until(&mut session, |heard| matches!(heard, Heard::Output)).await;
        assert!(lives(mark));
        assert_eq!(zerovisor.order(&mut session, Deed::Input { eof: true }, b"go\n").await, Outcome::Done);
        zerovisor.take_fact(&mut session, |fact| matches!(fact, Fact::Ended { .. })).await;
        assert!(!lives(mark), "the tree ends first");
        zerovisor.take_to_goodbye(&mut session).await;
        assert_eq!(zvwatch.end().await.0, 0);
        assert!(zerovisor.facts().contains(&Fact::Killed { run: 1 }));
    });
}

#[test]
fn input_reaches_the_child_and_its_end_too() {
    tell(|stage| async move {
        let mut zerovisor = stage.zerovisor();
        let zvwatch = stage.zvwatch("", &["cat"]);
        let mut session = zerovisor.watcher(1 << 20).await;
        assert_eq!(zerovisor.order(&mut session, Deed::Input { eof: false }, b"one ").await, Outcome::Done);
        assert_eq!(zerovisor.order(&mut session, Deed::Input { eof: true }, b"two").await, Outcome::Done);
        let late = zerovisor.order(&mut session, Deed::Input { eof: false }, b"three").await;
        // The program may have ended by then.
        assert!(matches!(late, Outcome::Denied(_) | Outcome::NotRunning(_)), "{late:?}");
        zerovisor.take_to_goodbye(&mut session).await;
        assert_eq!(zerovisor.output(Kind::Stdout), b"one two");
        assert!(zerovisor.facts().contains(&Fact::InputClosed { run: 1 }));
        assert_eq!(zvwatch.end().await.0, 0);
    });
}

#[test]
fn input_that_nobody_reads_is_refused_at_its_bound_and_hinders_nothing() {
    tell(|stage| async move {
        let mut zerovisor = stage.zerovisor();
        let zvwatch = stage.zvwatch("", &["sleep", "1000"]);
        let mut session = zerovisor.watcher(1 << 20).await;
        let chunk = vec![b'x'; 512 << 10];
        let mut taken = 0;
        let why = loop {
            match zerovisor.order(&mut session, Deed::Input { eof: false }, &chunk).await {
                Outcome::Done => taken += chunk.len(),
                Outcome::Busy(why) => break why,
                other @ (Outcome::Already | Outcome::NotRunning(_) | Outcome::Denied(_)) => panic!("{other:?}"),
            }
        };
        assert!(why.contains("its input is full") && taken <= (1 << 20) + (64 << 10), "{taken} bytes: {why}");
        assert_eq!(zerovisor.order(&mut session, Deed::Stop { kill: false }, b"").await, Outcome::Done);
        zerovisor.take_to_goodbye(&mut session).await;
        assert_eq!(zvwatch.end().await.0, 128 + 15);
    });
}

#[test]
fn a_failing_program_is_restarted_and_given_up() {
    tell(|stage| async move {
        let mut zerovisor = stage.zerovisor();
        let zvwatch = stage.zvwatch("--restart on-failure:2 --backoff 0..0", &sh_words("echo $ZV_RUN; exit 9"));
        let mut session = zerovisor.watcher(1 << 20).await;
        zerovisor.take_to_goodbye(&mut session).await;
        assert_eq!(zvwatch.end().await.0, 9);
        let started = zerovisor.facts().iter().filter(|fact| matches!(fact, Fact::Started { .. })).count();
        assert_eq!(started, 3);
        assert!(matches!(zerovisor.facts().last(), Some(Fact::Fatal { .. })));
    });
}

#[test]
fn a_program_that_cannot_start_is_told_on_the_console_and_recorded() {
    tell(|stage| async move {
        for (command, status) in [("no-such-program-here", 127), ("/etc/passwd", 126)] {
            let mut zerovisor = stage.zerovisor();
            let zvwatch = stage.zvwatch("", &[command]);
            let mut session = zerovisor.watcher(1 << 20).await;
            zerovisor.take_to_goodbye(&mut session).await;
            let (ended, said) = zvwatch.end().await;
            assert_eq!(ended, status, "{said}");
            assert!(said.starts_with("zvwatch: cannot run") && said.lines().count() == 1, "{said}");
            assert!(matches!(zerovisor.facts()[..], [Fact::SpawnFailed { .. }, Fact::Fatal { .. }]));
        }
    });
}

#[test]
fn a_name_that_is_taken_is_refused_before_anything_starts() {
    tell(|stage| async move {
        let mut zerovisor = stage.zerovisor();
        let zvwatch = stage.zvwatch("--name web", &["touch", "/nonexistent/x"]);
        let (mut session, hello) = zerovisor.hello().await;
        assert!(hello.spec.name_given && !hello.welcomed_before);
        let reason = Refusal::NameTaken { name: hello.spec.name, holder: "12345678".into() };
        session.say(&ToPeer::Refused(Refused { versions: VERSIONS, reason }), None).await;
        let (status, said) = zvwatch.end().await;
        assert_eq!(status, 125);
        assert!(said.contains("'web'") && said.lines().count() == 1, "{said}");
    });
}

#[test]
fn without_a_zerovisor_it_runs_and_says_what_is_lost() {
    tell(|stage| async move {
        let (status, said) = stage.zvwatch("--spool none", &sh_words("echo lost; exit 4")).end().await;
        assert_eq!(status, 4);
        let lines: Vec<_> = said.lines().collect();
        assert!(
            lines.len() == 2 && lines[0].contains("no zerovisor at") && lines[1].contains("5 B of output"),
            "{said}"
        );
    });
}

#[test]
fn a_zerovisor_that_comes_later_gets_everything() {
    tell(|stage| async move {
        let zvwatch = stage.zvwatch("", &sh_words("echo early; read line; exit 5"));
        let mut zerovisor = stage.zerovisor();
        let mut session = zerovisor.watcher(1 << 20).await;
        zerovisor.take_until(&mut session, |heard| matches!(heard, Heard::Output)).await;
        assert_eq!(zerovisor.output(Kind::Stdout), b"early\n");
        assert_eq!(zerovisor.order(&mut session, Deed::Input { eof: true }, b"").await, Outcome::Done);
        zerovisor.take_to_goodbye(&mut session).await;
        assert_eq!(zvwatch.end().await.0, 5);
    });
}

#[test]
fn a_detached_watcher_waits_for_commands_and_stays_until_it_is_removed() {
    tell(|stage| async move {
        let mut zerovisor = stage.zerovisor();
        let zvwatch = stage.zvwatch("-d --name waits", &[]);
        let mut session = zerovisor.watcher(1 << 20).await;
        zerovisor.take_fact(&mut session, |fact| *fact == Fact::Waiting).await;
        assert_eq!(zvwatch.end().await, (0, String::new()), "the front returns to the shell");
        let command = Some(vec![b"sh".to_vec(), b"-c".to_vec(), b"echo told; sleep 1000".to_vec()]);
        assert_eq!(zerovisor.order(&mut session, Deed::Start { command }, b"").await, Outcome::Done);
        zerovisor.take_until(&mut session, |heard| matches!(heard, Heard::Output)).await;
        assert!(matches!(zerovisor.order(&mut session, Deed::Remove { force: false }, b"").await, Outcome::Denied(_)));
        assert_eq!(zerovisor.order(&mut session, Deed::Stop { kill: true }, b"").await, Outcome::Done);
        let stopped = |fact: &Fact| fact.state() == Some(State::Stopped);
        zerovisor.take_fact(&mut session, stopped).await;
        assert_eq!(zerovisor.order(&mut session, Deed::Start { command: None }, b"").await, Outcome::Done);
        zerovisor.take_fact(&mut session, |fact| matches!(fact, Fact::Started { run: 2, .. })).await;
        assert_eq!(zerovisor.order(&mut session, Deed::Remove { force: true }, b"").await, Outcome::Done);
        zerovisor.take_to_goodbye(&mut session).await;
    });
}

#[test]
fn int_stops_and_a_second_one_kills() {
    tell(|stage| async move {
        let mut zerovisor = stage.zerovisor();
        let deaf = "trap '' TERM; echo ready; while :; do sleep 1000; done";
        let zvwatch = stage.zvwatch("--stop-timeout 1h", &sh_words(deaf));
        let mut session = zerovisor.watcher(1 << 20).await;
        zerovisor.take_until(&mut session, |heard| matches!(heard, Heard::Output)).await;
        stop(zvwatch.pid, Signal::SIGINT);
        zerovisor.take_fact(&mut session, |fact| matches!(fact, Fact::Stopping { .. })).await;
        stop(zvwatch.pid, Signal::SIGINT);
        zerovisor.take_to_goodbye(&mut session).await;
        assert_eq!(zvwatch.end().await.0, 128 + 9);
        assert!(zerovisor.facts().contains(&Fact::Killed { run: 1 }));
    });
}

#[test]
fn a_dead_guard_ends_the_run_and_that_is_recorded() {
    tell(|stage| async move {
        let mut zerovisor = stage.zerovisor();
        let mark = "1000.2202";
        let zvwatch = stage.zvwatch("", &["sleep", mark]);
        let mut session = zerovisor.watcher(1 << 20).await;
        zerovisor.take_fact(&mut session, |fact| matches!(fact, Fact::Started { .. })).await;
        stop(zvwatch.pid, Signal::SIGKILL);
        zerovisor.take_to_goodbye(&mut session).await;
        assert!(!lives(mark));
        assert!(zerovisor.facts().contains(&Fact::Killed { run: 1 }));
        outlast(zvwatch.pid);
    });
}
