#![allow(clippy::disallowed_methods, reason = "a test may look at the clock")]

use proptest::prelude::*;

use super::*;

/// A watch with a clock of its own: what came out and whether the user left.
struct Terminal {
    watch: DetachWatch,
    start: Instant,
    out: Vec<u8>,
}

impl Terminal {
    fn new(keys: &str) -> Terminal {
        Terminal { watch: DetachWatch::new(keys.parse().unwrap()), start: Instant::now(), out: Vec::new() }
    }

    fn default() -> Terminal {
        Terminal::new("ctrl-],ctrl-],ctrl-]")
    }

    /// Types at that millisecond; a timer that is due before goes off at its time.
    fn types(&mut self, at_ms: u64, input: &[u8]) -> bool {
        self.time(at_ms);
        self.watch.on_input(self.start + Duration::from_millis(at_ms), input, &mut self.out)
    }

    fn time(&mut self, at_ms: u64) {
        while let Some(due) = self.watch.deadline().filter(|due| *due <= self.start + Duration::from_millis(at_ms)) {
            self.watch.on_timer(due, &mut self.out);
            assert!(self.watch.deadline().is_none_or(|next| next > due), "a timer that changes nothing would spin");
        }
    }
}

#[test]
fn three_times_within_a_second_leaves() {
    let mut terminal = Terminal::default();
    assert!(!terminal.types(0, b"ls\x1d"));
    assert!(!terminal.types(300, b"\x1d"));
    assert!(terminal.types(999, b"\x1drest"));
    assert_eq!(terminal.out, b"ls", "neither the keys nor what follows them goes to the program");
    assert!(!terminal.types(1000, b"\x1d\x1d"), "then it begins anew");
    assert!(Terminal::default().types(0, b"a\x1d\x1d\x1db"), "in one piece");
}

#[test]
fn three_times_in_more_than_a_second_goes_on() {
    let mut terminal = Terminal::default();
    for at in [0, 600, 1000] {
        assert!(!terminal.types(at, b"\x1d"));
    }
    terminal.time(3000);
    assert_eq!(terminal.out, b"\x1d\x1d\x1d");
    let mut late = Terminal::default();
    late.types(0, b"\x1d\x1d");
    let at = late.start + Duration::from_millis(1500);
    assert!(!late.watch.on_input(at, b"\x1d", &mut late.out), "nor when the timer is late");
}

#[test]
fn a_held_key_goes_on_with_the_next_one_or_in_half_a_second() {
    let mut terminal = Terminal::default();
    terminal.types(0, b"\x1d");
    assert_eq!(terminal.out, b"");
    terminal.types(100, b"x");
    assert_eq!(terminal.out, b"\x1dx");
    terminal.types(200, b"\x1d");
    terminal.time(699);
    assert_eq!(terminal.out, b"\x1dx");
    terminal.time(700);
    assert_eq!(terminal.out, b"\x1dx\x1d");
    assert_eq!(terminal.watch.deadline(), None);
}

#[test]
fn a_key_that_was_sent_on_counts_until_its_second_is_over() {
    let mut terminal = Terminal::default();
    for (at, left) in [(0, false), (600, false), (900, true)] {
        assert_eq!(terminal.types(at, b"\x1d"), left, "{at}");
    }
    let mut sliding = Terminal::default();
    for (at, left) in [(0, false), (900, false), (1200, false), (1500, true)] {
        assert_eq!(sliding.types(at, b"\x1d"), left, "{at}");
    }
    assert_eq!(sliding.out, b"\x1d");
}

#[test]
fn a_sequence_may_begin_within_itself() {
    let mut terminal = Terminal::new("a,b,a,c");
    assert!(!terminal.types(0, b"abab"));
    assert_eq!(terminal.out, b"ab");
    assert!(terminal.types(10, b"ac"));
    assert_eq!(terminal.out, b"ab");
    let mut docker = Terminal::new("ctrl-p,ctrl-q");
    assert!(docker.types(0, b"\x10\x10\x11"));
    assert_eq!(docker.out, b"\x10");
}

#[test]
fn a_bracketed_paste_is_data() {
    let mut terminal = Terminal::default();
    let paste = b"\x1b[200~\x1d\x1d\x1d\x1b[201\x1b[201~";
    for byte in paste {
        assert!(!terminal.types(0, &[*byte]));
    }
    assert_eq!(terminal.out, paste);
    assert!(terminal.types(0, b"\x1d\x1d\x1d"), "after it the keys leave again");
    let mut lost = Terminal::default();
    assert!(!lost.types(0, b"\x1b[200~\x1d\x1d\x1d"));
    assert!(lost.types(5000, b"\x1d\x1d\x1d"), "a paste that lost its end is no prison");
    let mut held = Terminal::default();
    assert!(!held.types(0, b"\x1d\x1d\x1b[200~\x1d\x1b[201~"));
    assert_eq!(held.out, b"\x1d\x1d\x1b[200~\x1d\x1b[201~");
}

#[test]
fn keys_count_however_the_terminal_spells_them() {
    for stream in [
        &b"\x1b[93;5u\x1b[93;5u\x1b[93;5u"[..],
        b"\x1b[93;5:1u\x1b[93;5:3u\x1b[93;5:1u\x1b[93;5:3u\x1b[93;5:1u",
        b"\x1b[57442;5u\x1b[93;5u\x1b[57442;1:3u\x1b[57442;5u\x1b[93;5u\x1b[93;5u",
        b"\x1b[93:125;133u\x1b[93:125;133u\x1b[93:125;133u",
        b"\x1b[27;5;93~\x1b[27;5;93~\x1b[27;5;93~",
        b"\x1d\x1b[93;5u\x1b[27;5;93~",
    ] {
        assert!(Terminal::default().types(0, stream), "{}", stream.escape_ascii());
        for cut in 1..stream.len() {
            let mut terminal = Terminal::default();
            let escape_cut_off = stream[cut - 1] == ESC && cut > 1;
            let left = terminal.types(0, &stream[..cut]) || terminal.types(0, &stream[cut..]);
            assert!(left || escape_cut_off, "{} cut at {cut}", stream.escape_ascii());
        }
    }
    for other in [
        &b"\x1b[93;6u"[..],
        b"\x1b[93u",
        b"\x1b[93;13u",
        b"\x1b[93;5:3u",
        b"\x1b[91;5u",
        b"\x1b[27;5;91~",
        b"\x1b[200;5u",
        b"\x1b[Z",
    ] {
        let mut terminal = Terminal::default();
        assert!(!terminal.types(0, &other.repeat(3)));
        assert_eq!(terminal.out, other.repeat(3), "at once");
    }
}

#[test]
fn the_escape_key_is_never_held() {
    let mut terminal = Terminal::default();
    terminal.types(0, b"\x1b");
    assert_eq!(terminal.out, b"\x1b");
    terminal.types(10, b"\x1d");
    terminal.types(20, b"\x1b");
    assert_eq!(terminal.out, b"\x1b\x1d\x1b");
    terminal.types(30, b"[");
    assert_eq!(terminal.out, b"\x1b\x1d\x1b[");
    assert!(terminal.types(40, b"A\x1b\x1d\x1d\x1d"));
}

#[test]
fn keys_read_as_documented() {
    for text in ["ctrl-],ctrl-],ctrl-]", "ctrl-p,ctrl-q", "~,.", "none", "Enter,~,."] {
        assert_eq!(text.parse::<DetachKeys>().unwrap().to_string(), text);
    }
    for (one, other) in [("C-a", "ctrl-a"), ("^]", "ctrl-]"), ("Ctrl-P, Ctrl-Q", "ctrl-p,ctrl-q")] {
        assert_eq!(one.parse::<DetachKeys>(), other.parse());
    }
    assert_eq!(DetachKeys::default().to_string(), "ctrl-],ctrl-],ctrl-]");
    for bad in ["", ",", "ctrl-p,", "ctrl-", "Up", "M-x", "Escape", "ctrl-[", "é", "detach", "a,a,a,a,a,a,a,a,a"] {
        assert!(bad.parse::<DetachKeys>().is_err(), "{bad}");
    }
}

#[test]
fn without_keys_nothing_leaves_and_nothing_is_held() {
    let mut terminal = Terminal::new("none");
    assert!(!terminal.types(0, b"\x1d\x1d\x1d\x1b"));
    assert_eq!((&terminal.out[..], terminal.watch.deadline()), (&b"\x1d\x1d\x1d\x1b"[..], None));
}

fn pieces() -> impl Strategy<Value = Vec<(u64, Vec<u8>)>> {
    let known: Vec<&[u8]> = vec![
        b"\x1d",
        b"\x1d\x1d",
        b"\x1b[93;5u",
        b"\x1b[93;5:3u",
        b"\x1b[200~",
        b"\x1b[201~",
        b"\x1b[",
        b"93;5",
        b"\x1b",
    ];
    let piece =
        prop_oneof![prop::sample::select(known).prop_map(<[u8]>::to_vec), prop::collection::vec(any::<u8>(), 0..5),];
    prop::collection::vec((0u64..700, piece), 0..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn without_the_sequence_all_goes_on_in_order_and_in_time(pieces in pieces(), late in any::<bool>()) {
        let mut terminal = Terminal::default();
        let (mut now, mut typed) = (0, Vec::new());
        for (after, piece) in pieces {
            now += after;
            typed.extend_from_slice(&piece);
            let at = terminal.start + Duration::from_millis(now);
            let left = if late { terminal.watch.on_input(at, &piece, &mut terminal.out) } else { terminal.types(now, &piece) };
            prop_assert!(typed.starts_with(&terminal.out));
            if left {
                return Ok(());
            }
            let held = typed.len() - terminal.out.len();
            prop_assert_eq!(held > 0, terminal.watch.deadline().is_some());
            prop_assert!(terminal.watch.deadline().is_none_or(|due| due <= at + WITHIN));
        }
        let mut finished = terminal.watch.clone();
        let mut rest = terminal.out.clone();
        finished.finish(&mut rest);
        prop_assert_eq!(&rest, &typed);
        terminal.time(now + 1000);
        prop_assert_eq!(&terminal.out, &typed);
    }
}
