//! Following journals: in time, fairly, across restarts and over what is missing.

use super::super::cursor::Cursor;
use super::super::line::Page;
use super::super::process::Process;
use super::*;

fn small() -> LogConfig {
    LogConfig { segment_bytes: 16 << 10, index_every_bytes: 4096, ..LogConfig::default() }
}

#[test]
fn what_is_journaled_is_written_at_once() {
    let mut desk = Desk::new();
    let mut source = desk.source(1, "p");
    let text = desk.start();
    source.open_in(&text);
    for n in 0..50 {
        source.out(&format!("line {n}\n"));
        text.written(source.id);
        desk.wait(|text| text.ends_with(&format!(" line {n}\n")));
    }
}

#[test]
fn a_line_that_does_not_end_is_written_after_its_time() {
    let mut desk = Desk::new();
    desk.config.partial_after = Duration::from_millis(30);
    let mut source = desk.source(1, "p");
    source.out("done\nlogin: ");
    let text = desk.start();
    source.open_in(&text);
    desk.wait(|text| text.ends_with("stdout+ login: \n"));
    source.out("bob\nnext\n");
    text.written(source.id);
    desk.wait(|text| text.ends_with(" next\n"));
    let lines = desk.lines();
    assert_eq!(lines[1..], ["p.1[-]       stdout+ login: ", "p.1[-]       stdout bob", "p.1[-]       stdout next"]);
}

#[test]
fn a_line_has_its_whole_time_however_many_came_before_it() {
    let desk = Desk::new();
    let mut source = desk.source(1, "p");
    let mut process = Process::new("p".parse().unwrap(), source.log.reader(), Cursor::default());
    let (mut page, patience, mut at) = (Page::default(), Duration::from_secs(1), Instant::now());
    source.write(Kind::Stderr, b"slow");
    for _ in 0..100 {
        source.out("half\nhal");
        at += Duration::from_millis(100);
        process.turn(&mut page, at, u64::MAX);
        process.wait_for_ends(at, patience);
        process.write_due(&mut page, at, patience);
        source.out("f\n");
        if page.text.ends_with(b"stderr+ slow\n") {
            break;
        }
        at += Duration::from_millis(100);
        process.write_due(&mut page, at, patience);
    }
    let text = String::from_utf8(page.text).unwrap();
    assert!(!text.contains("stdout+") && text.contains("stderr+ slow\n"), "{text}");
}

#[test]
fn a_stop_and_a_start_neither_lose_nor_repeat() {
    let mut desk = Desk::new();
    let mut source = desk.source(1, "p");
    source.started(77);
    for n in 0..100 {
        let text = desk.start();
        assert_eq!(text.rendered_before(source.id).is_some(), n > 0);
        source.open_in(&text);
        source.out(&format!("{n}\nhalf {n}, "));
        text.written(source.id);
        if n % 3 == 0 {
            text.closed(source.id);
        }
        desk.stop();
    }
    let lines = desk.lines();
    assert_eq!(lines[0], "p.1[77]      state  started, pid 77");
    let wanted =
        (0..100).flat_map(|n| [format!("p.1[77]      stdout {n}"), format!("p.1[77]      stdout+ half {n}, ")]);
    assert_eq!(lines[1..], wanted.collect::<Vec<_>>());
}

#[test]
fn after_a_crash_a_note_says_that_lines_may_repeat() {
    let mut desk = Desk::new();
    let mut source = desk.source(1, "p");
    source.out("one\nhal");
    let text = desk.start();
    source.open_in(&text);
    // Cursors as they are while it runs: saved within a second, not marked as complete.
    let saved = || fs::read_to_string(&desk.config.cursors).unwrap_or_default();
    desk.wait(|text| text.ends_with(" one\n") && saved().lines().count() == 3);
    let crashed = saved();
    desk.stop();
    fs::write(&desk.config.cursors, crashed).unwrap();
    fs::write(desk.path(), desk.read() + "torn").unwrap();
    let text = desk.start();
    source.out("f\ntwo\n");
    source.open_in(&text);
    desk.stop();
    let written = desk.read();
    let (_, after) = written.split_once("torn\n").unwrap();
    let lines: Vec<_> = after.lines().map(|line| &line[28..]).collect();
    assert!(lines[0].starts_with("zerovisor    node   the zerovisor before did not end by itself"), "{lines:?}");
    assert_eq!(lines[1..], ["p.1[-]       stdout half", "p.1[-]       stdout two"]);
}

#[test]
fn damaged_positions_are_told_of() {
    let mut desk = Desk::new();
    fs::write(&desk.config.cursors, "zerovisor text cursors 1 stopped\nend 1\n").unwrap();
    desk.start();
    desk.stop();
    assert!(desk.read().contains("positions of the text log are lost (it is damaged)"), "{}", desk.read());
}

#[test]
fn two_hundred_processes_are_all_written_in_their_order() {
    let mut desk = Desk::new();
    let mut sources: Vec<_> = (0..200).map(|n| desk.source(n, "p")).collect();
    let text = desk.start();
    sources.iter().for_each(|source| source.open_in(&text));
    for n in 0..20 {
        for (at, source) in sources.iter_mut().enumerate() {
            source.out(&format!("{at}:{n}\n"));
            text.written(source.id);
        }
    }
    sources.iter().for_each(|source| text.closed(source.id));
    sources.iter().for_each(|source| desk.wait_rendered(source));
    desk.stop();
    let mut next = vec![0; sources.len()];
    for line in desk.lines() {
        let (at, n) = line.rsplit_once(' ').unwrap().1.split_once(':').unwrap();
        let (at, n): (usize, usize) = (at.parse().unwrap(), n.parse().unwrap());
        assert_eq!(next[at], n, "{line}");
        next[at] += 1;
    }
    assert!(next.iter().all(|n| *n == 20));
}

#[test]
fn one_that_floods_does_not_hide_the_others() {
    let mut desk = Desk::new();
    let (mut flood, mut quiet) = (desk.source(1, "flood"), desk.source(2, "quiet"));
    for _ in 0..100 {
        flood.out(&"x\n".repeat(64 << 10));
    }
    quiet.out("hello\n");
    desk.config.rotate_bytes = 0;
    let text = desk.start();
    flood.open_in(&text);
    quiet.open_in(&text);
    desk.wait_rendered(&flood);
    desk.stop();
    let written = desk.read();
    assert!(written.find("quiet.1").unwrap() < written.len() / 10);
    assert_eq!(written.lines().count(), 100 * (64 << 10) + 1);
}

#[test]
fn one_that_is_far_behind_skips_with_a_note() {
    let mut desk = Desk::new();
    // Positions of the default bound stay cheap to measure; this one needs a small log only.
    desk.config.far_behind_bytes = 1 << 20;
    let mut source = Source::new(desk.dir.path(), 1, "p", small());
    for n in 0..30_000 {
        source.out(&format!("line {n} {}\n", "x".repeat(60)));
    }
    let text = desk.start();
    source.open_in(&text);
    desk.wait_rendered(&source);
    desk.stop();
    let lines = desk.lines();
    let note = &lines[0];
    assert!(note.starts_with("p           ") && note.contains("gap    far behind: "), "{note}");
    let skipped: usize = note.split(' ').find_map(|word| word.parse().ok()).unwrap();
    assert_eq!(lines.len() - 1 + skipped, 30_000);
    assert!(lines[1].contains(&format!(" line {skipped} ")) && lines.last().unwrap().contains(" line 29999 "));
    assert!(lines.len() < 5000, "{}", lines.len());
}

#[test]
fn what_has_expired_is_a_gap() {
    let mut desk = Desk::new();
    let mut source = Source::new(desk.dir.path(), 1, "p", LogConfig { retain_bytes: Some(20 << 10), ..small() });
    source.out("first\n");
    let text = desk.start();
    source.open_in(&text);
    desk.stop();
    for _ in 0..100 {
        source.out(&format!("{}\n", "x".repeat(1000)));
    }
    let first = source.log.retain(0).dropped.last().unwrap().last_seq + 1;
    let text = desk.start();
    source.open_in(&text);
    desk.stop();
    let lines = desk.lines();
    assert_eq!(lines[1], format!("p.1[-]       gap    records 2 to {} have expired from the journal", first - 1));
    assert_eq!(lines.len() as u64, 2 + 101 - (first - 1));
}

#[test]
fn a_line_without_end_takes_bounded_memory() {
    let mut desk = Desk::new();
    let mut source = desk.source(1, "p");
    let chunk = vec![b'x'; 256 << 10];
    (0..400).for_each(|_| source.write(Kind::Stdout, &chunk));
    let text = desk.start();
    source.open_in(&text);
    desk.wait_rendered(&source);
    desk.stop();
    let kept = fs::metadata(&desk.config.cursors).unwrap().len();
    assert!(kept < 20 << 10, "{kept}");
    let mut bytes = 0;
    for name in ["zerovisor.log.1", "zerovisor.log"] {
        let text = fs::read_to_string(desk.dir.path().join(name)).unwrap();
        bytes += text.lines().map(|line| line.split_once("stdout+ ").unwrap().1.len()).sum::<usize>();
    }
    assert_eq!(bytes, 100 << 20);
}

#[test]
fn a_removed_process_is_rendered_and_forgotten() {
    let mut desk = Desk::new();
    let mut source = desk.source(1, "p");
    source.out("last words");
    let text = desk.start();
    source.open_in(&text);
    text.removed(source.id);
    text.event(event(Happening::Removed, Some(&source)));
    desk.stop();
    assert_eq!(desk.lines(), ["p.1[-]       stdout+ last words", "p            node   removed, with its journal"]);
    assert!(desk.start().rendered_before(source.id).is_none());
}

#[test]
fn a_flood_of_events_is_bounded_and_counted() {
    let inbox = super::super::inbox::Inbox::default();
    (0..5000).for_each(|_| inbox.event(event(Happening::NodeStopping, None)));
    let (news, _) = inbox.wait(Duration::ZERO);
    assert_eq!((news.events.len(), news.left_out), (4096, 5000 - 4096));
}
