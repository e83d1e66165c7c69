//! Stories of viewers: what a zerovisor says for them, and what the watcher of a terminal answers.

use super::story::sh_words;
use super::zerovisor::{Heard, Session, Stage, Zerovisor, Zvwatch, tell};
use super::*;
use bytes::Bytes;
use zerovisor_core::fact::Fact;
use zerovisor_core::keys::Key;
use zerovisor_core::record::Kind;
use zerovisor_core::size::Size;
use zerovisor_core::wire::{Deed, Outcome, TYPED_WINDOW_BYTES, ViewerAct, ViewerNews};
use zerovisor_pty::screen::Screen;

/// How many bytes may be unacknowledged.
const WINDOW: u64 = 1 << 20;

/// A watched terminal, and the zerovisor that speaks for its viewers.
struct Told {
    zerovisor: Zerovisor,
    link: Session,
    zvwatch: Zvwatch,
}

/// What a viewer was shown, and the last record it contains.
struct Picture {
    seq: u64,
    size: Size,
    bytes: Vec<u8>,
}

impl Told {
    async fn start(stage: &Stage, options: &str, script: &str) -> Told {
        let mut zerovisor = stage.zerovisor();
        let zvwatch = stage.zvwatch(&format!("--pty {options}"), &sh_words(script));
        let link = zerovisor.watcher(WINDOW).await;
        Told { zerovisor, link, zvwatch }
    }

    async fn act(&mut self, viewer: u64, act: ViewerAct, typed: &[u8]) {
        self.zerovisor.view(&mut self.link, viewer, act, typed).await;
    }

    async fn types(&mut self, viewer: u64, text: &[u8]) {
        self.act(viewer, ViewerAct::Type, text).await;
    }

    /// The next that a viewer is told.
    async fn news(&mut self, viewer: u64) -> (ViewerNews, Bytes) {
        let to_viewer = |heard: &Heard| matches!(heard, Heard::News(who, _, _) if *who == viewer);
        let Heard::News(_, news, payload) = self.zerovisor.take_until(&mut self.link, to_viewer).await else {
            unreachable!()
        };
        (news, payload)
    }

    async fn denied(&mut self, viewer: u64) -> String {
        match self.news(viewer).await {
            (ViewerNews::Denied(why), _) => why,
            (other, _) => panic!("{other:?}"),
        }
    }

    async fn picture(&mut self, viewer: u64) -> Picture {
        let mut bytes = Vec::new();
        loop {
            match self.news(viewer).await {
                (ViewerNews::Picture { seq, size, last }, part) => {
                    bytes.extend_from_slice(&part);
                    if last {
                        return Picture { seq, size, bytes };
                    }
                }
                (ViewerNews::Took { .. }, _) => {}
                (other, _) => panic!("{other:?}"),
            }
        }
    }

    async fn attach(&mut self, viewer: u64, size: Option<Size>) -> Picture {
        self.act(viewer, ViewerAct::Attach { size, read_only: false, steal: false }, b"").await;
        assert_eq!(self.news(viewer).await.0, ViewerNews::Attached { run: 1 });
        self.picture(viewer).await
    }

    /// Takes what comes until the terminal has written this.
    async fn writes(&mut self, text: &str) {
        let (mut wrote, mut from) = (self.zerovisor.output(Kind::Terminal), 0);
        while memchr::memmem::find(&wrote[from..], text.as_bytes()).is_none() {
            // Megabytes are not looked through again for each record: a link whose zerovisor is busy does not last.
            from = wrote.len().saturating_sub(text.len());
            self.zerovisor.take_until(&mut self.link, |heard| matches!(heard, Heard::Output)).await;
            wrote.extend(self.zerovisor.journal.last().map(|(_, payload)| payload.clone()).unwrap());
        }
    }

    async fn resized(&mut self) -> Size {
        let fact = self.zerovisor.take_fact(&mut self.link, |fact| matches!(fact, Fact::Resized { .. })).await;
        let Fact::Resized { run: 1, size } = fact else { panic!("{fact:?}") };
        size
    }

    async fn end(mut self) -> u8 {
        self.zerovisor.take_to_goodbye(&mut self.link).await;
        self.zvwatch.end().await.0
    }
}

fn size(cols: u16, rows: u16) -> Size {
    Size::new(cols, rows).unwrap()
}

/// What a screen shows, in which everything written can be seen.
fn shown(screen: &Screen) -> (Vec<String>, (u16, u16), bool) {
    let cursor = screen.cursor();
    (screen.rows_ansi(), (cursor.col, cursor.row), screen.is_alternate())
}

#[test]
fn a_picture_and_what_follows_it_make_the_same_screen_as_everything() {
    tell(|stage| async move {
        // It writes without end while it is looked at: more than the model does at once, less than a debug build of it does altogether.
        let script = "i=0; while [ ! -e \"$ZV_STOP\" ]; do i=$((i+1)); printf \"\\033[%dm%d,\\033[0m\" $((31+i%7)) $i; \
                      [ $((i%50)) = 0 ] && printf '\\033[?1049h'; [ $((i%77)) = 0 ] && printf '\\033[?1049l'; [ $((i%1000)) = 0 ] && sleep 0.05; \
                      done; stty size";
        let stop = tempfile::tempdir().unwrap();
        let stop_file = stop.path().join("stop");
        let options = format!("--env ZV_STOP={}", stop_file.display());
        let mut told = Told::start(&stage, &options, script).await;
        told.writes("100,").await;
        let mut pictures = Vec::new();
        for viewer in 1..=20 {
            pictures.push(told.attach(viewer, None).await);
        }
        std::fs::write(&stop_file, "").unwrap();
        told.zerovisor.take_to_goodbye(&mut told.link).await;
        let mut whole = Screen::new(80, 24);
        let mut views: Vec<View> = pictures.iter().map(View::new).collect();
        for (head, payload) in told.zerovisor.journal.iter().filter(|(head, _)| head.kind == Kind::Terminal) {
            whole.feed(payload, &mut Vec::new());
            views.iter_mut().for_each(|view| view.follow(head.seq, payload, &whole));
        }
        views.iter().filter(|view| view.left_bytes > 0).for_each(|view| view.assert_shows(&whole));
        assert_eq!(told.zvwatch.end().await.0, 0);
    });
}

/// What a viewer sees who was sent a picture and then the stream, for as long as it is followed.
struct View {
    seq: u64,
    screen: Screen,
    left_bytes: usize,
}

impl View {
    /// More than the program writes between two changes of the screen, and little enough for a slow machine: the model takes its time in
    /// a debug build, and the program writes without end until the last picture is there.
    const FOLLOWED_BYTES: usize = 64 << 10;

    fn new(picture: &Picture) -> View {
        assert_eq!(picture.size, Size::DEFAULT);
        let mut screen = Screen::new(80, 24);
        screen.feed(&picture.bytes, &mut Vec::new());
        View { seq: picture.seq, screen, left_bytes: View::FOLLOWED_BYTES }
    }

    /// The record that made the screen what it is.
    fn follow(&mut self, seq: u64, payload: &[u8], whole: &Screen) {
        if seq == self.seq {
            self.assert_shows(whole);
        } else if seq > self.seq && self.left_bytes > 0 {
            self.screen.feed(payload, &mut Vec::new());
            self.left_bytes = self.left_bytes.saturating_sub(payload.len());
            if self.left_bytes == 0 {
                self.assert_shows(whole);
            }
        }
    }

    fn assert_shows(&self, whole: &Screen) {
        assert_eq!(shown(&self.screen), shown(whole), "behind the picture of record {}", self.seq);
    }
}

#[test]
fn what_viewers_type_is_taken_and_told_and_read_only_ones_type_nothing() {
    tell(|stage| async move {
        let mut told = Told::start(
            &stage,
            "",
            "stty -echo; echo ready; read a; echo \"got $a\"; until read b && [ $b = last ]; do :; done",
        )
        .await;
        told.writes("ready").await;
        told.attach(1, None).await;
        told.act(2, ViewerAct::Attach { size: Some(size(10, 5)), read_only: true, steal: false }, b"").await;
        assert_eq!(told.news(2).await.0, ViewerNews::Attached { run: 1 });
        assert_eq!(told.picture(2).await.size, Size::DEFAULT, "the size is not a read-only viewer's");
        told.types(2, b"never\n").await;
        told.types(1, b"typed\n").await;
        told.writes("got typed").await;
        // Told at a quarter of the window, not before: a key costs no message but its echo.
        let lines = b"more\n".repeat(usize::try_from(TYPED_WINDOW_BYTES / 4 / 5).unwrap());
        told.types(1, &lines).await;
        assert_eq!(told.news(1).await.0, ViewerNews::Took { bytes: 6 + lines.len() as u64 });
        told.types(1, b"last\n").await;
        assert_eq!(told.end().await, 0);
    });
}

#[test]
fn a_mebibyte_typed_by_windows_arrives_whole() {
    tell(|stage| async move {
        let script = "stty raw -echo; echo ready; head -c 1048576 | sha256sum";
        let mut told = Told::start(&stage, "", script).await;
        told.writes("ready").await;
        told.attach(1, None).await;
        let all: Vec<u8> = (0..1_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let (mut typed, mut took) = (0, 0_u64);
        while typed < all.len() {
            // Only a full window is sure to be told of: what is less than a quarter is not.
            while typed as u64 - took == TYPED_WINDOW_BYTES {
                match told.news(1).await {
                    (ViewerNews::Took { bytes }, _) => took = bytes,
                    (other, _) => panic!("{other:?}"),
                }
            }
            let room = usize::try_from(TYPED_WINDOW_BYTES - (typed as u64 - took)).unwrap();
            let piece = &all[typed..(typed + room).min(all.len())];
            told.types(1, piece).await;
            typed += piece.len();
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &all).unwrap();
        let output = Command::new("sha256sum").stdin(File::open(file.path()).unwrap()).output().unwrap();
        told.zerovisor.take_to_goodbye(&mut told.link).await;
        let wrote = String::from_utf8(told.zerovisor.output(Kind::Terminal)).unwrap();
        assert_eq!(wrote, format!("ready\n{}", String::from_utf8(output.stdout).unwrap()));
        assert_eq!(told.zvwatch.end().await.0, 0);
    });
}

#[test]
fn who_types_ahead_of_the_window_is_sent_away() {
    tell(|stage| async move {
        let mut told = Told::start(&stage, "", "stty raw -echo; echo ready; exec sleep 1000").await;
        told.writes("ready").await;
        told.attach(1, None).await;
        let piece = vec![b'x'; 64 << 10];
        // The terminal itself holds some; beyond that and the window nothing is taken.
        for _ in 0..4 {
            told.types(1, &piece).await;
        }
        let why = loop {
            match told.news(1).await {
                (ViewerNews::Took { .. }, _) => {}
                (ViewerNews::Denied(why), _) => break why,
                (other, _) => panic!("{other:?}"),
            }
        };
        assert!(why.contains("65536"), "{why}");
        let stopped = told.zerovisor.order(&mut told.link, Deed::Stop { kill: true }, b"").await;
        assert_eq!(stopped, Outcome::Done);
        assert_eq!(told.end().await, 137);
    });
}

#[test]
fn the_size_is_that_of_the_viewer_who_was_active_last() {
    tell(|stage| async move {
        let script = "trap 'stty size' WINCH; echo ready; while :; do read line && break; done; exit 0";
        let mut told = Told::start(&stage, "", script).await;
        told.writes("ready").await;
        assert_eq!(told.attach(1, Some(size(100, 30))).await.size, size(100, 30));
        told.writes("30 100").await;
        assert_eq!(told.attach(2, Some(size(90, 20))).await.size, size(90, 20));
        told.writes("20 90").await;
        told.act(1, ViewerAct::Resize(size(101, 31)), b"").await;
        told.writes("31 101").await;
        told.act(1, ViewerAct::Detach, b"").await;
        assert_eq!(told.resized().await, size(90, 20), "the size goes back to who is left");
        let sizes: Vec<Fact> =
            told.zerovisor.facts().into_iter().filter(|fact| matches!(fact, Fact::Resized { .. })).collect();
        assert_eq!(sizes.len(), 4, "{sizes:?}");
        told.types(2, b"\n").await;
        assert_eq!(told.end().await, 0);
    });
}

#[test]
fn one_viewer_can_take_the_terminal_from_all_others() {
    tell(|stage| async move {
        let mut told = Told::start(&stage, "", "echo ready; read line").await;
        told.writes("ready").await;
        told.attach(1, None).await;
        told.act(2, ViewerAct::Attach { size: None, read_only: false, steal: true }, b"").await;
        assert_eq!(told.news(1).await.0, ViewerNews::Stolen);
        assert_eq!(told.news(2).await.0, ViewerNews::Attached { run: 1 });
        told.types(1, b"\n").await;
        assert!(told.denied(1).await.contains("not attached"));
        told.types(2, b"\n").await;
        assert_eq!(told.end().await, 0);
    });
}

#[test]
fn what_cannot_be_viewed_is_denied_with_the_reason() {
    tell(|stage| async move {
        let attach = ViewerAct::Attach { size: None, read_only: false, steal: false };
        let mut told = Told::start(&stage, "--screen off", "echo ready; read line").await;
        told.writes("ready").await;
        for act in [ViewerAct::Picture, ViewerAct::Type, ViewerAct::Resize(Size::DEFAULT)] {
            told.act(1, act, b"x").await;
            assert!(told.denied(1).await.contains("not attached"), "{act:?}");
        }
        told.act(1, ViewerAct::Read { ansi: false }, b"").await;
        assert!(told.denied(1).await.contains("--screen off"));
        assert_eq!(told.attach(1, None).await.bytes, b"", "a picture that changes nothing");
        told.act(1, attach, b"").await;
        assert!(told.denied(1).await.contains("already"));
        told.types(1, b"\n").await;
        assert_eq!(told.end().await, 0);

        let mut zerovisor = stage.zerovisor();
        let zvwatch = stage.zvwatch("", &["cat"]);
        let link = zerovisor.watcher(WINDOW).await;
        let mut told = Told { zerovisor, link, zvwatch };
        for act in [attach, ViewerAct::Read { ansi: false }] {
            told.act(1, act, b"").await;
            assert!(told.denied(1).await.contains("no terminal"), "{act:?}");
        }
        assert_eq!(told.zerovisor.order(&mut told.link, Deed::Input { eof: true }, b"").await, Outcome::Done);
        assert_eq!(told.end().await, 0);
    });
}

#[test]
fn the_screen_can_be_read_without_attaching() {
    tell(|stage| async move {
        let script = "printf '\\033]0;a title\\007plain \\033[31mred\\033[0m'; read line";
        let mut told = Told::start(&stage, "--size 20x3", script).await;
        told.writes("red").await;
        told.act(9, ViewerAct::Read { ansi: false }, b"").await;
        let (news, rows) = told.news(9).await;
        let ViewerNews::Screen { shown, last: true } = news else { panic!("{news:?}") };
        assert_eq!(String::from_utf8_lossy(&rows), "plain red\n\n\n");
        assert_eq!((shown.size, shown.cursor, shown.title.as_deref()), (size(20, 3), Some((9, 0)), Some("a title")));
        told.act(9, ViewerAct::Read { ansi: true }, b"").await;
        let rows = told.news(9).await.1;
        assert!(String::from_utf8_lossy(&rows).starts_with("plain \x1b[0;31mred"), "{rows:?}");
        told.attach(1, None).await;
        told.types(1, b"\n").await;
        assert_eq!(told.end().await, 0);
    });
}

#[test]
fn keys_are_sent_as_the_program_has_set_its_terminal() {
    tell(|stage| async move {
        let script =
            "stty raw -echo; printf 'ready'; head -c 3 | od -An -c; printf '\\033[?1hready2'; head -c 3 | od -An -c";
        let mut told = Told::start(&stage, "", script).await;
        told.writes("ready").await;
        let up: Key = "Up".parse().unwrap();
        for (ready, wanted) in [("ready", "033   [   A"), ("ready2", "033   O   A")] {
            told.writes(ready).await;
            let keys = Deed::Keys { keys: vec![up] };
            assert_eq!(told.zerovisor.order(&mut told.link, keys, b"").await, Outcome::Done);
            told.writes(wanted).await;
        }
        assert_eq!(told.end().await, 0);
    });
}

#[test]
fn questions_are_answered_once_however_many_look() {
    tell(|stage| async move {
        // Between asking and what follows the answer there is nothing else to be read.
        let script = "stty raw -echo; printf 'ready\\r\\n'; head -c 1 >/dev/null; printf '\\033[6n'; head -c 6 | od -An -c; \
                      stty min 0 time 3; cat | wc -c";
        let mut told = Told::start(&stage, "", script).await;
        told.writes("ready").await;
        for viewer in 1..=3 {
            told.attach(viewer, Some(size(80, 24))).await;
        }
        told.types(2, b"x").await;
        told.writes("033   [   2   ;   1   R").await;
        told.writes("0").await;
        assert_eq!(told.end().await, 0);
    });
}

#[test]
fn viewers_of_a_lost_link_are_gone_and_the_terminal_goes_on() {
    tell(|stage| async move {
        let mut told = Told::start(&stage, "", "echo ready; read line; echo \"got $line\"").await;
        told.writes("ready").await;
        told.attach(1, Some(size(100, 30))).await;
        drop(told.link);
        told.link = told.zerovisor.watcher(WINDOW).await;
        // The number is free again, and the size stayed.
        assert_eq!(told.attach(1, None).await.size, size(100, 30));
        told.types(1, b"typed\n").await;
        told.writes("got typed").await;
        assert_eq!(told.end().await, 0);
    });
}

#[test]
fn what_a_viewer_of_a_lost_link_typed_ahead_is_not_held_against_the_next_of_its_number() {
    tell(|stage| async move {
        let script =
            "stty raw -echo; echo ready; until [ -e \"$ZV_READ\" ]; do sleep 0.02; done; head -c 131072 | wc -c";
        let dir = tempfile::tempdir().unwrap();
        let read = dir.path().join("read");
        let mut told = Told::start(&stage, &format!("--env ZV_READ={}", read.display()), script).await;
        told.writes("ready").await;
        let window = vec![b'x'; usize::try_from(TYPED_WINDOW_BYTES).unwrap()];
        told.attach(1, None).await;
        told.types(1, &window).await;
        // Answered behind what was typed, which has come by then.
        told.act(1, ViewerAct::Picture, b"").await;
        told.picture(1).await;
        drop(told.link);
        told.link = told.zerovisor.watcher(WINDOW).await;
        told.attach(1, None).await;
        told.types(1, &window).await;
        std::fs::write(&read, "").unwrap();
        told.writes("131072").await;
        assert_eq!(told.end().await, 0);
    });
}

#[test]
fn a_screen_too_large_to_draw_is_denied_and_the_link_stays() {
    tell(|stage| async move {
        // Each cell in colours of its own: some 6 MB.
        let script = "awk 'BEGIN { for (i = 0; i < 160000; i++) printf \"\\033[38;2;200;200;%d;48;2;100;100;%dmx\", 100 + i % 100, \
                      100 + i % 99 }'; printf '\\033]0;drawn\\007'; read line; printf '\\033[m\\033[2J'; read line";
        let mut told = Told::start(&stage, "--size 400x400", script).await;
        told.writes("drawn").await;
        for _ in 0..5 {
            told.act(1, ViewerAct::Attach { size: None, read_only: false, steal: false }, b"").await;
            assert_eq!(told.news(1).await.0, ViewerNews::Attached { run: 1 });
            let why = told.denied(1).await;
            assert!(why.contains("MiB to draw"), "{why}");
        }
        let end = Deed::Input { eof: false };
        assert_eq!(told.zerovisor.order(&mut told.link, end.clone(), b"\n").await, Outcome::Done);
        told.writes("\x1b[2J").await;
        told.attach(1, None).await;
        assert_eq!(told.zerovisor.order(&mut told.link, end, b"\n").await, Outcome::Done);
        assert_eq!(told.end().await, 0);
    });
}

#[test]
fn the_next_run_has_the_size_the_last_one_had() {
    tell(|stage| async move {
        let script = "stty size; [ $ZV_RUN = 2 ] && exit; read line; exit 1";
        let mut told = Told::start(&stage, "--restart on-failure --backoff 0..0", script).await;
        told.writes("24 80").await;
        told.attach(1, Some(size(100, 30))).await;
        told.types(1, b"\n").await;
        told.writes("30 100").await;
        let zerovisor = &mut told.zerovisor;
        let fact = zerovisor.facts().into_iter().rfind(|fact| matches!(fact, Fact::Resized { .. }));
        assert_eq!(fact, Some(Fact::Resized { run: 2, size: size(100, 30) }));
        assert_eq!(told.end().await, 0);
    });
}
