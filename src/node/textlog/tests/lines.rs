//! What lines look like.

use proptest::prelude::*;
use zerovisor_core::exit::{Exit, ExitReport, Usage};
use zerovisor_core::units::Timestamp;

use super::super::line::{PIECE_BYTES, Page, Stream, Word, who};
use super::*;

/// 9999-12-30T22:00:00Z: jiff leaves room for any time zone in front of the end of the year 9999.
const JIFF_LAST_US: u64 = 253_402_207_200_000_000;

fn rendered(chunks: &[&[u8]]) -> Vec<String> {
    let (mut stream, mut page) = (Stream::default(), Page::default());
    for chunk in chunks {
        stream.feed(chunk, Timestamp(BASE_US), &who("p", 1, Some(7)), Word::Stdout, &mut page);
        assert!(stream.pending.len() <= PIECE_BYTES);
    }
    stream.finish(&who("p", 1, Some(7)), Word::Stdout, &mut page);
    String::from_utf8(page.text).unwrap().lines().map(str::to_owned).collect()
}

fn texts(chunks: &[&[u8]]) -> Vec<String> {
    let head = "2026-11-23T04:12:00.000000Z p.1[7]       stdout";
    rendered(chunks).iter().map(|line| line.strip_prefix(head).unwrap().to_owned()).collect()
}

#[test]
fn a_process_reads_as_documented() {
    let mut desk = Desk::new();
    let mut echo = desk.source(1, "echo");
    echo.started(4242);
    echo.out("bob is your uncle\n");
    echo.write(Kind::Stderr, b"oh\r\n");
    echo.write(Kind::Terminal, b"tty\tx\n");
    let report = ExitReport {
        exit: Exit::Code(0),
        oom: None,
        started_at: Timestamp(BASE_US),
        ended_at: Timestamp(BASE_US),
        runtime: Duration::from_millis(10),
        usage: Usage { cpu_user_us: 1000, peak_rss_bytes: 2 << 20, ..Usage::default() },
        restarts: 0,
    };
    echo.fact(&Fact::Ended { run: 1, report });
    let text = desk.start();
    text.event(event(Happening::NodeStarted { version: "0.1.0".into() }, None));
    text.event(event(Happening::Declared, Some(&echo)));
    text.event(event(Happening::Fact { seq: 1, fact: Fact::Exited }, Some(&echo)));
    echo.open_in(&text);
    desk.stop();
    let pid = std::process::id();
    let (node, process): (Vec<_>, Vec<_>) = desk.read().lines().map(str::to_owned).partition(|l| l.contains(" node "));
    assert_eq!(
        process,
        [
            "2026-11-23T04:12:00.001000Z echo.1[4242] state  started, pid 4242",
            "2026-11-23T04:12:00.002000Z echo.1[4242] stdout bob is your uncle",
            "2026-11-23T04:12:00.003000Z echo.1[4242] stderr oh",
            "2026-11-23T04:12:00.004000Z echo.1[4242] term   tty\tx",
            "2026-11-23T04:12:00.005000Z echo.1[4242] state  ended: exit code 0 after 10ms (cpu 1ms, peak 2.0 MiB)",
        ]
    );
    assert_eq!(
        node,
        [
            format!("2026-11-23T04:12:00.000000Z zerovisor    node   started, version 0.1.0, pid {pid}, node lab1"),
            "2026-11-23T04:12:00.000000Z echo         node   declared by its watcher".into(),
        ]
    );
}

#[test]
fn nothing_a_program_writes_reaches_a_terminal_as_it_is() {
    assert_eq!(
        texts(&[b"a\0b \x1b[2J \xff\xfe\r\nx\ry\n", "\u{9b}2J \u{202e}x é\n".as_bytes()]),
        [r" a\x00b \x1b[2J \xff\xfe", r" x\x0dy", " \\u{009b}2J \\u{202e}x é"]
    );
}

#[test]
fn a_long_line_is_written_in_marked_pieces() {
    let line = "é".repeat(PIECE_BYTES);
    let shown = texts(&[b"a", line.as_bytes(), b"\nnext\n"]);
    assert!(shown[0].starts_with("+ aé") && shown[1].starts_with("+ é"), "{:?}", &shown[0][..10]);
    assert_eq!(shown.last().unwrap(), " next");
    let whole: String =
        shown[..shown.len() - 1].iter().map(|piece| &piece[2 - usize::from(!piece.starts_with('+'))..]).collect();
    assert_eq!(whole, format!("a{line}"));
}

#[test]
fn the_pieces_of_the_short_words_keep_the_columns() {
    let (mut stream, mut page) = (Stream::default(), Page::default());
    stream.feed(b"x", Timestamp(BASE_US), &who("p", 1, None), Word::Term, &mut page);
    stream.write_out(&who("p", 1, None), Word::Term, &mut page);
    stream.feed(b"\n", Timestamp(BASE_US), &who("p", 1, None), Word::Term, &mut page);
    let text = String::from_utf8(page.text).unwrap();
    let lines: Vec<_> = text.lines().map(|line| &line[28..]).collect();
    assert_eq!(lines, ["p.1[-]       term+  x", "p.1[-]       term   "]);
}

#[test]
fn a_piece_is_not_cut_within_a_character_or_a_line_end() {
    let (mut stream, mut page) = (Stream::default(), Page::default());
    let who = who("p", 1, None);
    for (text, left) in [("aé".as_bytes(), 0), (&b"a\xc3"[..], 1), (b"a\xf0\x9f\xa6", 3), (b"a\r", 1), (b"\xff", 0)] {
        stream.feed(text, Timestamp(BASE_US), &who, Word::Stdout, &mut page);
        stream.write_out(&who, Word::Stdout, &mut page);
        assert_eq!(stream.pending.len(), left, "{text:?}");
        stream.finish(&who, Word::Stdout, &mut page);
    }
}

#[test]
fn a_time_beyond_what_can_be_written_is_the_last_one() {
    let mut page = Page::default();
    page.line(Timestamp(u64::MAX), b"p", Word::Gap, "x");
    assert!(page.text.starts_with(b"9999-12-31T23:59:59.999999Z "));
}

proptest! {
    #[test]
    fn lines_do_not_depend_on_how_they_were_read(
        words in prop::collection::vec(prop_oneof![
            Just(b"\n".to_vec()), Just(b"\r\n".to_vec()), Just("é🦀".as_bytes().to_vec()),
            Just(vec![b'x'; PIECE_BYTES - 1]), Just(vec![b'y'; 100]), prop::collection::vec(any::<u8>(), 0..9),
        ], 0..30),
        cuts in prop::collection::vec(1usize..20_000, 1..50),
    ) {
        let bytes = words.concat();
        let (mut chunks, mut rest, mut cuts) = (Vec::new(), &bytes[..], cuts.iter().cycle());
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
            chunks.push(chunk);
            rest = after;
        }
        prop_assert_eq!(rendered(&chunks), rendered(&[&bytes]));
    }

    #[test]
    fn times_are_those_of_a_calendar(mut times in prop::collection::vec(0u64..JIFF_LAST_US, 1..20)) {
        times.push(times[0] + 1);
        let mut page = Page::default();
        for at in &times {
            page.line(Timestamp(*at), b"", Word::Gap, "");
        }
        let text = String::from_utf8(page.text).unwrap();
        for (line, at) in text.lines().zip(&times) {
            let us = i64::try_from(*at).unwrap();
            let known = jiff::Timestamp::from_microsecond(us).unwrap();
            prop_assert_eq!(&line[..27], format!("{known:.6}"));
        }
    }
}
