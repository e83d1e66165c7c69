//! Whoever views a terminal sees all of it, is told what it missed, and costs nobody else anything.

use std::time::{Duration, Instant};

use zerovisor_core::exit::{Exit, ExitReport, Usage};
use zerovisor_core::fact::Fact;
use zerovisor_core::id::Id;
use zerovisor_core::size::Size;
use zerovisor_core::units::Timestamp;
use zerovisor_core::wire::{
    Answer, Ask, AttachAsk, Failure, STREAM_WINDOW_BYTES, ScreenShown, TYPED_WINDOW_BYTES, ToNode, View, ViewerAct,
    ViewerNews,
};

use crate::harness::{Client, Farm, LONG, Watcher, until, watcher_hello};

fn wide() -> Size {
    Size::new(200, 50).unwrap()
}

fn exited(code: i32) -> Fact {
    let report = ExitReport {
        exit: Exit::Code(code),
        oom: None,
        started_at: Timestamp(1),
        ended_at: Timestamp(2),
        runtime: Duration::from_secs(1),
        usage: Usage::default(),
        restarts: 0,
    };
    Fact::Ended { run: 1, report }
}

#[test]
fn a_picture_and_the_stream_behind_it_are_the_whole_whichever_comes_first() {
    let farm = Farm::new();
    let mut watcher = Watcher::on_terminal(&farm, "sh");
    watcher.writes(b"before ");
    let mut client = Client::of(&farm);
    client.attach("sh", Some(Size::DEFAULT));
    let (viewer, act, _) = watcher.asked();
    assert_eq!(act, ViewerAct::Attach { size: Some(Size::DEFAULT), read_only: false, steal: false });
    watcher.writes(b"in the picture, sent before it ");
    watcher.attaches(viewer);
    let seq = watcher.seq + 1;
    let part = ViewerNews::Picture { seq, size: Size::DEFAULT, last: false };
    watcher.tells(viewer, part, b"<pic");
    watcher.tells(viewer, ViewerNews::Picture { seq, size: Size::DEFAULT, last: true }, b"ture>");
    watcher.writes(b"in the picture, sent after it ");
    watcher.writes(b"live ");
    watcher.writes(b"and more");
    let (View::Attached { name, run: 1, .. }, _) = client.view() else { panic!("not attached") };
    assert_eq!(name.as_str(), "sh");
    let picture = |last| View::Picture { size: Size::DEFAULT, skipped_bytes: 0, last };
    assert_eq!(client.view(), (picture(false), b"<pic".to_vec()));
    assert_eq!(client.view(), (picture(true), b"ture>".to_vec()));
    assert_eq!(client.reads(13), b"live and more");
    // And a picture that is behind what has arrived.
    let mut late = Client::of(&farm);
    late.attach("sh", None);
    let (viewer, _, _) = watcher.asked();
    let seq = watcher.seq;
    watcher.writes(b" one");
    watcher.writes(b" two");
    watcher.attaches(viewer);
    watcher.draws(viewer, seq, Size::DEFAULT, b"");
    watcher.writes(b" three");
    assert!(matches!(late.view().0, View::Attached { .. }));
    assert_eq!(late.view(), (picture(true), Vec::new()));
    assert_eq!(late.reads(14), b" one two three");
    assert_eq!(client.reads(14), b" one two three");
}

#[test]
fn what_is_typed_arrives_in_order_and_what_was_taken_is_told() {
    let farm = Farm::new();
    let mut watcher = Watcher::on_terminal(&farm, "sh");
    let mut client = Client::of(&farm);
    client.attach("sh", Some(Size::DEFAULT));
    // Before anybody has answered.
    client.types(b"ls");
    client.peer.say(&ToNode::Resized { request: 1, size: wide() }, None);
    client.types(b"\n");
    let viewer = watcher.welcomes();
    let mut typed = Vec::new();
    let mut resized_behind = None;
    while typed != b"ls\n" || resized_behind.is_none() {
        match watcher.asked() {
            (_, ViewerAct::Type, bytes) => typed.extend(bytes),
            (_, ViewerAct::Resize(size), _) => resized_behind = Some((typed.clone(), size)),
            (_, ViewerAct::Picture, _) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(resized_behind, Some((b"ls".to_vec(), wide())));
    watcher.tells(viewer, ViewerNews::Took { bytes: 3 }, b"");
    until("it is told", LONG, || (client.view().0 == View::Took { bytes: 3 }).then_some(()));
}

#[test]
fn who_types_beyond_its_window_or_without_the_right_is_dropped_and_nobody_else() {
    let farm = Farm::new();
    let mut watcher = Watcher::on_terminal(&farm, "sh");
    let (mut other, _) = Client::attached(&farm, &mut watcher, "sh");
    let (mut greedy, viewer) = Client::attached(&farm, &mut watcher, "sh");
    let window = vec![b'x'; usize::try_from(TYPED_WINDOW_BYTES).unwrap()];
    greedy.types(&window);
    assert_eq!(watcher.asked().2.len(), window.len());
    watcher.tells(viewer, ViewerNews::Took { bytes: 100 }, b"");
    assert_eq!(greedy.view().0, View::Took { bytes: 100 });
    greedy.types(&window[..100]);
    assert_eq!(watcher.asked().2.len(), 100);
    greedy.types(b"!");
    greedy.peer.meets_its_end();
    assert_eq!(watcher.asked(), (viewer, ViewerAct::Detach, Vec::new()));
    let mut sly = Client::of(&farm);
    let ask = AttachAsk { address: "sh".parse().unwrap(), size: None, read_only: true, steal: false };
    sly.asks(Ask::Attach(ask));
    let viewer = watcher.welcomes();
    sly.types(b"x");
    sly.peer.meets_its_end();
    assert_eq!(watcher.asked(), (viewer, ViewerAct::Detach, Vec::new()));
    assert!(farm.node_said().contains("beyond its window"), "{}", farm.node_said());
    watcher.writes(b"goes on");
    assert_eq!(other.reads(7), b"goes on");
}

#[test]
fn a_slow_viewer_is_told_what_it_missed_and_nobody_waits_for_it() {
    let farm = Farm::empty();
    farm.start_node(&["--log", "none"]);
    let mut watcher = Watcher::on_terminal(&farm, "sh");
    let (mut slow, number) = Client::attached(&farm, &mut watcher, "sh");
    let (mut quick, _) = Client::attached(&farm, &mut watcher, "sh");
    // Far more than a window and a lag; each record is acknowledged, and seen by the quick one, before the next.
    let mut all = 0_u64;
    for fill in 0..100_u8 {
        let record = vec![fill; 100_000];
        watcher.writes(&record);
        assert!(quick.reads(record.len()) == record, "the other one sees all of it at once");
        quick.grants(record.len() as u64);
        watcher.is_journaled();
        all += record.len() as u64;
        slow.peer.ping();
    }
    assert_eq!(farm.raw(&["sh"]).len() as u64, all, "the journal has all of it");
    let mut taken = 0;
    while STREAM_WINDOW_BYTES - taken >= 100_000 {
        let (view, payload) = slow.view();
        assert_eq!(view, View::Terminal);
        assert!(payload.iter().all(|byte| u64::from(*byte) == taken / 100_000));
        taken += payload.len() as u64;
    }
    slow.grants(taken);
    assert_eq!(watcher.asked(), (number, ViewerAct::Picture, Vec::new()));
    watcher.writes(b"after");
    let seq = watcher.seq - 1;
    watcher.draws(number, seq, Size::DEFAULT, b"<picture>");
    let picture = View::Picture { size: Size::DEFAULT, skipped_bytes: all - taken, last: true };
    assert_eq!(slow.view(), (picture, b"<picture>".to_vec()));
    assert_eq!(slow.reads(5), b"after");
}

#[test]
fn another_size_is_shown_in_pictures_until_the_sizes_agree() {
    let farm = Farm::new();
    let mut watcher = Watcher::on_terminal(&farm, "sh");
    let mut client = Client::of(&farm);
    client.attach("sh", Some(wide()));
    let (viewer, _, _) = watcher.asked();
    watcher.attaches(viewer);
    watcher.draws(viewer, watcher.seq, Size::DEFAULT, b"small");
    assert!(matches!(client.view().0, View::Attached { .. }));
    let (begun, mut asked) = (Instant::now(), 0);
    for _ in 0..5 {
        let (view, _) = client.view();
        assert_eq!(view, View::Picture { size: Size::DEFAULT, skipped_bytes: 0, last: true });
        watcher.writes(b"garbled in any other size");
        assert_eq!(watcher.asked(), (viewer, ViewerAct::Picture, Vec::new()));
        asked += 1;
        watcher.draws(viewer, watcher.seq, Size::DEFAULT, b"small again");
    }
    assert!(begun.elapsed() >= Duration::from_millis(50) * (asked - 1), "20 pictures a second at most");
    assert!(matches!(client.view().0, View::Picture { .. }));
    watcher.fact(&Fact::Resized { run: 1, size: wide() });
    assert_eq!(watcher.asked().1, ViewerAct::Picture);
    watcher.writes(b"in it");
    watcher.draws(viewer, watcher.seq, wide(), b"wide");
    watcher.writes(b"live");
    let picture = View::Picture { size: wide(), skipped_bytes: 0, last: true };
    assert_eq!(client.view(), (picture, b"wide".to_vec()));
    assert_eq!(client.reads(4), b"live");
}

#[test]
fn a_view_ends_with_its_run_behind_the_last_byte() {
    let farm = Farm::new();
    let mut watcher = Watcher::on_terminal(&farm, "sh");
    let (mut client, _) = Client::attached(&farm, &mut watcher, "sh");
    watcher.writes(b"last words");
    watcher.fact(&exited(7));
    watcher.writes(b"of another run");
    assert_eq!(client.reads(10), b"last words");
    let (View::RunEnded { status: 7, what }, _) = client.view() else { panic!("no end") };
    assert!(what.starts_with("exit code 7 after 1"), "{what}");
    assert!(matches!(client.hears().answer, Answer::End(_)));
}

#[test]
fn who_is_sent_away_denied_or_cut_off_is_told_why() {
    let farm = Farm::new();
    let mut watcher = Watcher::on_terminal(&farm, "sh");
    let (mut first, viewer) = Client::attached(&farm, &mut watcher, "sh");
    watcher.tells(viewer, ViewerNews::Stolen, b"");
    let (View::SentAway(why), _) = first.view() else { panic!("not sent away") };
    assert!(why.contains("--steal"), "{why}");
    assert!(matches!(first.hears().answer, Answer::End(_)));
    let mut second = Client::of(&farm);
    second.attach("sh", None);
    let (viewer, _, _) = watcher.asked();
    watcher.tells(viewer, ViewerNews::Denied("not today".into()), b"");
    assert_eq!(second.failure(), Failure::Other("not today".into()));
    let (mut third, _) = Client::attached(&farm, &mut watcher, "sh");
    let mut fourth = Client::of(&farm);
    fourth.attach("sh", None);
    watcher.asked();
    drop(watcher);
    for cut_off in [&mut third, &mut fourth] {
        assert_eq!(cut_off.failure(), Failure::Other("its watcher's link was lost".into()));
    }
    // Its watcher proved no pid to be looked up: it may live.
    let mut fifth = Client::of(&farm);
    until("it shows that its watcher is away", LONG, || {
        fifth.attach("sh", None);
        fifth.failure().to_string().contains("cannot be reached").then_some(())
    });
}

#[test]
fn what_has_no_terminal_or_does_not_run_is_not_attached_to() {
    let farm = Farm::new();
    let mut piped = Watcher::saying(&farm, watcher_hello(Id::from_random([1; 16]), 1, "piped"));
    let mut client = Client::of(&farm);
    client.attach("piped", None);
    let why = client.failure().to_string();
    assert!(why.contains("'piped' has no terminal") && why.contains("zvctl logs -f"), "{why}");
    piped.peer.say(&ToNode::Goodbye, None);
    let mut watcher = Watcher::on_terminal(&farm, "sh");
    watcher.fact(&exited(0));
    watcher.fact(&Fact::Exited);
    farm.reaches("sh", "EXITED");
    client.attach("sh", None);
    let (viewer, _, _) = watcher.asked();
    watcher.tells(viewer, ViewerNews::Denied("no run".into()), b"");
    let denied = client.failure();
    watcher.peer.say(&ToNode::Goodbye, None);
    watcher.peer.meets_its_end();
    for ask in [Ask::Screen { address: "sh".parse().unwrap(), ansi: false }, attach_ask("sh")] {
        client.asks(ask);
        let failure = client.failure();
        assert_eq!(failure, denied);
        let Failure::NotRunning(why) = failure else { panic!("{failure:?}") };
        assert!(why.contains("'sh' is EXITED") && why.contains("zvctl logs sh"), "{why}");
    }
}

fn attach_ask(name: &str) -> Ask {
    Ask::Attach(AttachAsk { address: name.parse().unwrap(), size: None, read_only: false, steal: false })
}

#[test]
fn a_client_that_cancels_or_goes_leaves_the_watcher() {
    let farm = Farm::new();
    let mut watcher = Watcher::on_terminal(&farm, "sh");
    let (mut client, viewer) = Client::attached(&farm, &mut watcher, "sh");
    client.peer.say(&ToNode::Cancel { request: 1 }, None);
    assert_eq!(watcher.asked(), (viewer, ViewerAct::Detach, Vec::new()));
    let (client, viewer) = Client::attached(&farm, &mut watcher, "sh");
    drop(client);
    assert_eq!(watcher.asked(), (viewer, ViewerAct::Detach, Vec::new()));
    watcher.tells(viewer, ViewerNews::Took { bytes: 1 }, b"");
    watcher.writes(b"nobody looks");
    watcher.is_journaled();
}

#[test]
fn a_screen_is_read_in_parts_without_attaching() {
    let farm = Farm::new();
    let mut watcher = Watcher::on_terminal(&farm, "sh");
    let mut client = Client::of(&farm);
    client.asks(Ask::Screen { address: "sh".parse().unwrap(), ansi: true });
    let (viewer, act, _) = watcher.asked();
    assert_eq!(act, ViewerAct::Read { ansi: true });
    let shown = ScreenShown { size: Size::DEFAULT, cursor: Some((1, 2)), title: None, alternate: false };
    for (last, text) in [(false, b"$ ls\n"), (true, b"file\n")] {
        watcher.tells(viewer, ViewerNews::Screen { shown: shown.clone(), last }, text);
        let heard = client.hears();
        assert_eq!((heard.answer, &heard.payload[..]), (Answer::Screen { shown: shown.clone(), last }, &text[..]));
    }
    assert!(matches!(client.hears().answer, Answer::End(_)));
}

#[test]
fn a_watcher_that_tells_a_viewer_too_much_is_dropped() {
    let farm = Farm::new();
    let mut watcher = Watcher::on_terminal(&farm, "sh");
    let mut client = Client::of(&farm);
    client.attach("sh", None);
    let (viewer, _, _) = watcher.asked();
    watcher.draws(viewer, 1, Size::DEFAULT, &vec![0; (256 << 10) + 1]);
    watcher.peer.meets_its_end();
    assert_eq!(client.failure(), Failure::Other("its watcher's link was lost".into()));
}
