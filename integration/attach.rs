//! `zvctl attach` on a real terminal: what is shown, what is typed, and that the terminal is given back whatever ends it.

use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use zerovisor_core::id::Id;
use zerovisor_core::size::Size;
use zerovisor_core::wire::{Answer, Ask, AttachAsk, Failure, TYPED_WINDOW_BYTES, ToNode, View};

use crate::harness::{Farm, LONG, Program, SOON, Stage, Terminal};

const ID: [u8; 16] = [7; 16];

/// A client that is attached: what it asked for, and the number of its request.
struct Attached {
    farm: Farm,
    stage: Stage,
    terminal: Terminal,
    zvctl: Program,
    request: u64,
    ask: AttachAsk,
}

impl Attached {
    fn with(args: &[&str]) -> Attached {
        let farm = Farm::empty();
        let stage = Stage::at(farm.dir());
        let terminal = Terminal::new(100, 30);
        let zvctl = terminal.run(&farm.ctl_command(&[&["attach", "sh"], args].concat()));
        let (request, ask, _) = stage.asked();
        let Ask::Attach(ask) = ask else { panic!("{ask:?}") };
        let mut attached = Attached { farm, stage, terminal, zvctl, request, ask };
        attached.welcomes(request, b"PICTURE");
        attached.terminal.shows(b"PICTURE");
        assert!(!attached.terminal.is_itself(), "it is raw");
        attached
    }

    fn welcomes(&self, request: u64, picture: &[u8]) {
        let (id, name) = (Id::from_random(ID), "sh".parse().unwrap());
        self.stage.views(request, View::Attached { id, name, node: "n1".parse().unwrap(), run: 1 }, b"");
        let size = Size::new(100, 30).unwrap();
        self.stage.views(request, View::Picture { size, skipped_bytes: 0, last: true }, picture);
    }

    fn writes(&self, output: &[u8]) {
        self.stage.views(self.request, View::Terminal, output);
    }

    /// What the client says next, but for grants.
    fn said(&self) -> (ToNode, bytes::Bytes) {
        loop {
            let said = self.stage.hears();
            if !matches!(said.0, ToNode::Grant { .. }) {
                return said;
            }
        }
    }

    /// Waits for its end: its status, and what it showed and said since. The terminal is what it was.
    fn ends(self, notice: &str) -> (i32, String) {
        let Attached { mut terminal, zvctl, farm, stage, .. } = self;
        let code = zvctl.end(SOON).code();
        let shown = terminal.shows(notice.as_bytes());
        assert!(shown.contains("\x1b[?1049l") && shown.contains("\x1b[?25h"), "{shown:?}");
        assert!(terminal.is_itself());
        drop((stage, farm));
        (code, shown)
    }
}

#[test]
fn what_is_shown_and_typed_passes_and_the_detach_keys_leave() {
    let mut attached = Attached::with(&[]);
    assert_eq!(attached.ask.size, Some(Size::new(100, 30).unwrap()));
    assert!(!attached.ask.read_only && !attached.ask.steal);
    let request = attached.request;
    attached.writes(b"what is \x1b[5nyour name?");
    let shown = attached.terminal.shows(b"name?");
    assert_eq!(shown, "what is your name?", "the terminal is not asked a second time");
    attached.terminal.types(b"bob\x03");
    assert_eq!(attached.said(), (ToNode::Typed { request }, "bob\x03".into()));
    attached.terminal.sizes(90, 20);
    let size = Size::new(90, 20).unwrap();
    // stty sets columns and rows one after the other.
    let told = [attached.said().0, ToNode::Resized { request, size }];
    assert!(told[0] == told[1] || attached.said().0 == told[1], "{told:?}");
    attached.terminal.types(b"x\x1d\x1d\x1d");
    assert_eq!(attached.said(), (ToNode::Typed { request }, "x".into()), "what comes before the keys is not lost");
    assert_eq!(attached.said().0, ToNode::Cancel { request });
    assert_eq!(attached.ends("[detached from sh; zvctl attach sh returns to it]").0, 0);
}

#[test]
fn everything_that_was_written_is_granted_again() {
    let attached = Attached::with(&["-r"]);
    let mut granted = 0;
    attached.writes(&vec![b'x'; 200_000]);
    let mut terminal = attached.terminal;
    attached.stage.views(attached.request, View::Terminal, b"THE END");
    terminal.shows(b"THE END");
    while granted < 200_000 + 14 {
        if let (ToNode::Grant { bytes, .. }, _) = attached.stage.hears() {
            granted += bytes;
        }
    }
    assert_eq!(granted, 200_000 + 14);
    // Read only: what is typed reaches nobody, and the detach keys are still detach keys.
    terminal.types(b"typed\x1d\x1d\x1d");
    terminal.shows(b"[detached");
    while let Some((said, _)) = attached.stage.hears_within(Duration::from_millis(200)) {
        assert!(!matches!(said, ToNode::Typed { .. }), "{said:?}");
    }
    assert_eq!(attached.zvctl.end(SOON).code(), 0);
}

#[test]
fn a_run_that_ends_gives_its_status_and_its_last_words() {
    let attached = Attached::with(&[]);
    let (status, what) = (7, "exit code 7 after 3s".into());
    attached.writes(b"last words");
    attached.stage.views(attached.request, View::RunEnded { status, what }, b"");
    let (code, shown) = attached.ends("[sh ended: exit code 7 after 3s]");
    assert!(code == 7 && shown.starts_with("last words"), "{code} {shown:?}");
}

#[test]
fn the_end_of_a_run_that_another_follows_says_so() {
    let farm = Farm::new();
    farm.script("once", "[ -e go ] || { echo begun; while [ ! -e go ]; do sleep 0.02; done; exit 3; }; exec sleep 1d");
    let args = ["--pty", "--name", "sh", "--restart", "always", "--backoff", "1s..1s", "sh", "once"];
    let watched = farm.watch(&args);
    farm.reaches("sh", "RUNNING");
    let mut terminal = Terminal::new(80, 24);
    let zvctl = terminal.run(&farm.ctl_command(&["attach", "sh"]));
    terminal.shows(b"begun");
    farm.script("go", "");
    let shown = terminal.shows(b"it is started again]");
    assert!(shown.contains("[sh ended: exit code 3"), "{shown:?}");
    assert_eq!(zvctl.end(SOON).code(), 3);
    farm.ctl(&["stop", "sh"]).ok();
    watched.end(SOON);
}

#[test]
fn whoever_is_sent_away_is_told_why() {
    let attached = Attached::with(&[]);
    attached.stage.views(attached.request, View::SentAway("another viewer took it".into()), b"");
    assert_eq!(attached.ends("zvctl: sent away from sh: another viewer took it").0, 1);
}

#[test]
fn signals_give_the_terminal_back() {
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGHUP, 129), (Signal::SIGINT, 130), (Signal::SIGQUIT, 131)]
    {
        let attached = Attached::with(&[]);
        attached.zvctl.signal(signal);
        let (ended, shown) = attached.ends("returns to it]");
        assert!(ended == code && shown.contains(signal.as_str()), "{signal} {ended} {shown:?}");
    }
}

#[test]
fn a_window_that_is_closed_ends_the_view() {
    let mut attached = Attached::with(&[]);
    attached.terminal.closes();
    let request = attached.request;
    assert_eq!(attached.said().0, ToNode::Cancel { request });
    let code = attached.zvctl.end(SOON).code();
    assert!(code == 129 || code == 1, "{code}");
}

#[test]
fn a_terminal_that_takes_nothing_is_left_all_the_same() {
    let mut attached = Attached::with(&[]);
    attached.writes(&vec![b'x'; 900_000]);
    attached.terminal.types(b"y");
    // Said once it is past the output, of which the terminal has taken a few kilobytes.
    assert_eq!(attached.said().1, "y");
    attached.terminal.types(b"\x1d\x1d\x1d");
    assert_eq!(attached.ends("[detached from sh; zvctl attach sh returns to it]").0, 0);
}

#[test]
fn a_lost_link_is_tried_again_and_the_view_goes_on() {
    let mut attached = Attached::with(&[]);
    attached.stage.hangs_up();
    attached.terminal.shows(b"trying again for 10s");
    let (request, ask, _) = attached.stage.asked();
    let Ask::Attach(ask) = ask else { panic!("{ask:?}") };
    assert_eq!(ask.address.to_string(), Id::from_random(ID).to_string(), "the same process, not another of its name");
    attached.welcomes(request, b"ANOTHER PICTURE");
    attached.terminal.shows(b"ANOTHER PICTURE");
    attached.terminal.types(b"y");
    assert_eq!(attached.said(), (ToNode::Typed { request }, "y".into()));
    // Again, and this time the user has had enough.
    attached.stage.ends_for_good();
    attached.terminal.shows(b"trying again");
    attached.terminal.types(b"\x1d\x1d\x1d");
    let code = attached.zvctl.end(SOON).code();
    attached.terminal.shows(b"[detached from sh;");
    assert!(code == 0 && attached.terminal.is_itself());
}

#[test]
fn a_link_that_stays_lost_ends_the_view_with_255() {
    let mut attached = Attached::with(&[]);
    attached.stage.ends_for_good();
    attached.terminal.shows(b"trying again");
    let code = attached.zvctl.end(LONG).code();
    let shown = attached.terminal.shows(b"is lost:");
    assert!(code == 255 && attached.terminal.is_itself(), "{code} {shown:?}");
}

#[test]
fn no_more_is_typed_than_the_program_takes() {
    let attached = Attached::with(&[]);
    let all = usize::try_from(TYPED_WINDOW_BYTES).unwrap() + 20_000;
    let mut keyboard = attached.terminal.keyboard();
    let typing = std::thread::spawn(move || std::io::Write::write_all(&mut keyboard, &vec![b'k'; all]));
    // Detach keys that were held back and turn out to be none have room kept for them beyond what is read.
    let window = usize::try_from(TYPED_WINDOW_BYTES).unwrap() - 64;
    let mut typed = 0;
    let mut hears = |most: usize, within: Duration| {
        while typed < most {
            match attached.stage.hears_within(within) {
                Some((ToNode::Typed { .. }, keys)) => typed += keys.len(),
                Some(_) => {}
                None => break,
            }
        }
        typed
    };
    assert_eq!(hears(window, SOON), window, "the window is used up");
    assert_eq!(hears(all, Duration::from_millis(300)), window, "and no more comes");
    attached.stage.views(attached.request, View::Took { bytes: window as u64 }, b"");
    assert_eq!(hears(all, SOON), all);
    typing.join().unwrap().unwrap();
    attached.zvctl.signal(Signal::SIGTERM);
    attached.zvctl.end(SOON);
}

#[test]
fn what_forbids_a_view_is_said_before_the_terminal_is_touched() {
    for (failure, code) in [
        (Failure::Unknown("sh".into()), 4),
        (Failure::NotRunning("'sh' is EXITED".into()), 3),
        (Failure::Other("'sh' has no terminal".into()), 1),
    ] {
        let farm = Farm::empty();
        let stage = Stage::at(farm.dir());
        let mut terminal = Terminal::new(80, 24);
        let zvctl = terminal.run(&farm.ctl_command(&["attach", "sh"]));
        let (request, _, _) = stage.asked();
        stage.answers(request, Answer::Failed(failure.clone()), b"");
        assert_eq!(zvctl.end(SOON).code(), code);
        let shown = terminal.shows(failure.to_string().as_bytes());
        assert!(shown.starts_with("zvctl: ") && terminal.is_itself(), "{shown:?}");
    }
    let farm = Farm::empty();
    let mut command = farm.ctl_command(&["attach", "sh"]);
    let ended = Program::start(command.stdin(Stdio::null())).end(SOON);
    ended.refused(2, &["standard input is not a terminal", "zvctl screen", "zvctl send", "zvctl logs -f"]);
}
