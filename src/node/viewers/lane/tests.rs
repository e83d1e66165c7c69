use proptest::prelude::*;

use super::held::{JOINED_RECORDS, RECORD_BYTES};
use super::*;

const OWN: Size = Size::DEFAULT;

fn other() -> Size {
    Size::new(132, 50).unwrap()
}

fn attached(own: Size) -> (Lane, Instant) {
    let now = Instant::now();
    let mut lane = Lane::new(Some(own), now);
    lane.on_attached(1);
    assert_eq!(lane.next_part(), Some(Part::Attached(1)));
    (lane, now)
}

fn drawn(lane: &mut Lane, seq: u64, size: Size) -> u64 {
    lane.on_picture(seq, size, true, Bytes::from_static(b"p")).unwrap();
    match lane.next_part() {
        Some(Part::Picture { skipped_bytes, last: true, .. }) => skipped_bytes,
        other => panic!("{other:?}"),
    }
}

fn output(lane: &mut Lane) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(part) = lane.next_part() {
        match part {
            Part::Output(bytes) => all.extend(bytes),
            other @ (Part::Attached(_) | Part::Took(_) | Part::Picture { .. }) => panic!("{other:?}"),
        }
    }
    all
}

fn write(lane: &mut Lane, seq: u64, text: &'static str) {
    lane.on_output(seq, &Bytes::from_static(text.as_bytes()));
}

#[test]
fn behind_a_picture_the_stream_goes_on_without_a_byte_missing_or_doubled() {
    let (mut lane, _) = attached(OWN);
    write(&mut lane, 3, "three ");
    write(&mut lane, 4, "four ");
    assert_eq!(lane.next_cost(), None, "nothing is sent before the picture");
    // The picture has more in it than has arrived.
    assert_eq!(drawn(&mut lane, 6, OWN), 0);
    write(&mut lane, 5, "five ");
    write(&mut lane, 6, "six ");
    write(&mut lane, 7, "seven ");
    assert_eq!(output(&mut lane), b"seven ");
    // And here less.
    let (mut lane, _) = attached(OWN);
    (3..=5).for_each(|seq| write(&mut lane, seq, "x"));
    assert_eq!(drawn(&mut lane, 3, OWN), 0);
    assert_eq!(output(&mut lane), b"xx");
}

#[test]
fn records_that_wait_go_out_together_and_a_single_one_is_not_copied() {
    let (mut lane, _) = attached(OWN);
    drawn(&mut lane, 0, OWN);
    let whole = Bytes::from(vec![7; 200_000]);
    lane.on_output(1, &whole);
    assert_eq!(lane.next_cost(), Some(200_000));
    let Some(Part::Output(sent)) = lane.next_part() else { panic!("no output") };
    assert_eq!(sent.as_ptr(), whole.as_ptr());
    (2..100).for_each(|seq| write(&mut lane, seq, "ab"));
    assert_eq!(lane.next_cost(), Some(2 * JOINED_RECORDS));
}

#[test]
fn a_lag_is_skipped_told_of_and_made_good_by_a_picture() {
    let (mut lane, now) = attached(OWN);
    drawn(&mut lane, 0, OWN);
    let much = Bytes::from(vec![0; 256 << 10]);
    (1..=3).for_each(|seq| lane.on_output(seq, &much));
    assert!(!lane.take_call());
    lane.on_output(4, &much);
    assert!(lane.take_call(), "somebody is to look");
    assert_eq!((lane.next_cost(), lane.held.cost_bytes()), (None, 0));
    write(&mut lane, 5, "12345");
    let later = now + FRAME_APART;
    assert_eq!(lane.ask_due(later, false), Due::No, "not before the client took what it was sent");
    assert_eq!(lane.ask_due(later, true), Due::Now);
    lane.on_asked(later);
    write(&mut lane, 6, "six");
    write(&mut lane, 7, "seven");
    assert_eq!(drawn(&mut lane, 6, OWN), 4 * (256 << 10) + 5 + 3);
    assert_eq!(output(&mut lane), b"seven");
}

#[test]
fn thousands_of_tiny_records_are_a_lag_too() {
    let (mut lane, _) = attached(OWN);
    drawn(&mut lane, 0, OWN);
    let most = (VIEWER_LAG_BYTES / RECORD_BYTES) as u64;
    (1..=most).for_each(|seq| write(&mut lane, seq, "x"));
    assert_eq!((lane.held.is_empty(), lane.sight), (true, Sight::Wanted { slow: true }));
}

#[test]
fn another_size_gets_pictures_at_most_so_many_a_second_and_only_of_news() {
    let (mut lane, mut now) = attached(OWN);
    assert_eq!(drawn(&mut lane, 1, other()), 0);
    write(&mut lane, 1, "in the picture");
    assert_eq!(lane.ask_due(now + FRAME_APART, true), Due::No, "nothing new was written");
    let mut asked = 0;
    for seq in 2..1000 {
        now += Duration::from_millis(1);
        write(&mut lane, seq, "new");
        assert_eq!(lane.next_cost(), None, "bytes made for another size are not sent");
        if lane.ask_due(now, true) == Due::Now {
            asked += 1;
            lane.on_asked(now);
            assert_eq!(drawn(&mut lane, seq, other()), 0, "nothing is skipped for slowness");
        }
    }
    assert!((FRAMES_PER_S - 2..=FRAMES_PER_S).contains(&asked), "{asked}");
    // The program's terminal gets the viewer's size: one more picture, then the stream.
    lane.on_terminal_sized(1000, OWN);
    now += FRAME_APART;
    assert_eq!(lane.ask_due(now, true), Due::Now);
    lane.on_asked(now);
    write(&mut lane, 1001, "a");
    write(&mut lane, 1002, "b");
    drawn(&mut lane, 1001, OWN);
    assert_eq!(output(&mut lane), b"b");
}

#[test]
fn a_picture_made_for_a_size_the_viewer_has_no_more_is_followed_by_another() {
    let (mut lane, now) = attached(OWN);
    lane.on_own_sized(other());
    drawn(&mut lane, 1, other());
    assert_eq!(lane.ask_due(now + FRAME_APART, true), Due::Now);
}

#[test]
fn behind_a_picture_older_than_the_last_one_the_stream_does_not_go_on() {
    let (mut lane, now) = attached(OWN);
    drawn(&mut lane, 4, other());
    write(&mut lane, 4, "in the first picture, not in the second");
    lane.on_own_sized(other());
    lane.on_asked(now + FRAME_APART);
    drawn(&mut lane, 3, other());
    write(&mut lane, 5, "behind both");
    assert_eq!(output(&mut lane), b"", "record 4 would be missing before it");
    let later = now + 2 * FRAME_APART;
    assert_eq!(lane.ask_due(later, true), Due::Now);
    lane.on_asked(later);
    write(&mut lane, 6, "six");
    drawn(&mut lane, 5, other());
    assert_eq!(output(&mut lane), b"six");
}

#[test]
fn a_viewer_that_says_its_size_again_is_drawn_anew() {
    let (mut lane, now) = attached(OWN);
    drawn(&mut lane, 1, OWN);
    write(&mut lane, 2, "shown");
    assert_eq!(output(&mut lane), b"shown");
    assert_eq!(lane.ask_due(now + FRAME_APART, true), Due::No);
    lane.on_own_sized(OWN);
    assert!(lane.take_call());
    assert_eq!(lane.ask_due(now + FRAME_APART, true), Due::Now);
    lane.on_asked(now + FRAME_APART);
    write(&mut lane, 3, "in the picture");
    write(&mut lane, 4, "behind it");
    assert_eq!(drawn(&mut lane, 3, OWN), 0);
    assert_eq!(output(&mut lane), b"behind it");
}

#[test]
fn a_picture_that_nobody_asked_for_is_none_and_one_without_end_is_a_violation() {
    let (mut lane, _) = attached(OWN);
    drawn(&mut lane, 1, OWN);
    assert_eq!(lane.on_picture(2, OWN, true, Bytes::from_static(b"?")), Ok(()));
    assert_eq!(lane.next_cost(), None);
    let (mut lane, _) = attached(OWN);
    let part = Bytes::from(vec![0; PICTURE_PART_BYTES]);
    (0..PICTURE_PARTS_MAX).for_each(|_| lane.on_picture(1, OWN, false, part.clone()).unwrap());
    assert_eq!(lane.on_picture(1, OWN, true, part), Err(PictureTooLong));
}

#[test]
fn a_view_ends_behind_everything_before_its_end() {
    let (mut lane, now) = attached(OWN);
    drawn(&mut lane, 0, OWN);
    write(&mut lane, 1, "last words");
    lane.on_ended(now, 0, 0, "an earlier run".into());
    assert_eq!(lane.close_due(now), Due::No);
    lane.on_ended(now, 1, 3, "exit code 3".into());
    write(&mut lane, 2, "of the next run");
    assert_eq!(lane.close_due(now), Due::No, "something is to be sent");
    assert_eq!(output(&mut lane), b"last words");
    assert_eq!(lane.close_due(now), Due::Now);
    assert_eq!(lane.closed(), Some(&Close::Ended { status: 3, what: "exit code 3".into() }));
}

#[test]
fn a_last_picture_is_waited_for_a_while() {
    let (mut lane, now) = attached(OWN);
    lane.on_ended(now, 1, 0, String::new());
    assert_eq!(lane.close_due(now), Due::At(now + LAST_WORD_WITHIN));
    drawn(&mut lane, 1, OWN);
    assert_eq!(lane.close_due(now), Due::Now);
    let (mut lane, now) = attached(OWN);
    lane.on_ended(now, 1, 0, String::new());
    lane.on_lost(now);
    assert_eq!(lane.close_due(now), Due::Now, "nobody is there to draw it");
    assert!(matches!(lane.closed(), Some(Close::Ended { .. })));
}

#[test]
fn a_refusal_behind_which_the_end_is_on_its_way_is_that_end() {
    let (mut lane, now) = attached(OWN);
    drawn(&mut lane, 1, OWN);
    lane.on_denied(now, "no run".into());
    assert_eq!(lane.close_due(now), Due::At(now + LAST_WORD_WITHIN));
    lane.on_ended(now, 1, 0, "exit code 0".into());
    assert_eq!(lane.close_due(now), Due::Now);
    assert!(matches!(lane.closed(), Some(Close::Ended { .. })));
    let mut lane = Lane::new(None, now);
    lane.on_denied(now, "no".into());
    assert_eq!(lane.close_due(now), Due::Now, "one that was never attached is refused at once");
    let mut lane = Lane::new(None, now);
    assert_eq!(lane.close_due(now), Due::At(now + ATTACH_WITHIN));
    assert_eq!((lane.close_due(now + ATTACH_WITHIN), lane.closed()), (Due::Now, Some(&Close::Unanswered)));
}

/// A watcher, a lane and a client, and everything in between in any order the links allow.
struct Scene {
    lane: Lane,
    now: Instant,
    /// What the program wrote, and which sizes its terminal had: the records, in order.
    made: Vec<Made>,
    /// So many of them have arrived.
    arrived: usize,
    /// The size of the viewer's own terminal as the watcher knows it, and of the program's.
    own: Size,
    terminal: Size,
    /// Pictures on their way.
    pictures: VecDeque<(u64, Size)>,
    /// What the client sees: the stream up to a byte, drawn for a size; and whether that can be written on.
    shown: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Made {
    Output(Bytes),
    Sized(Size),
}

impl Scene {
    fn stream(&self, to: usize) -> Vec<u8> {
        let output = |made: &Made| match made {
            Made::Output(bytes) => bytes.to_vec(),
            Made::Sized(_) => Vec::new(),
        };
        self.made[..to].iter().flat_map(output).collect()
    }

    fn step(&mut self, what: u8, amount: u16) {
        self.now += Duration::from_millis(7);
        match what {
            0 | 1 => {
                let fill = u8::try_from(self.made.len() % 251).unwrap();
                self.made.push(Made::Output(vec![fill; usize::from(amount) * 8 + 1].into()));
            }
            2 | 3 => self.arrive(),
            4 => self.ask(usize::from(amount) % 4),
            5 => self.draw(),
            6 => {
                self.terminal = if amount.is_multiple_of(2) { OWN } else { other() };
                self.made.push(Made::Sized(self.terminal));
            }
            7 if amount.is_multiple_of(3) => {
                self.own = if amount.is_multiple_of(2) { OWN } else { other() };
                self.lane.on_own_sized(self.own);
            }
            _ => self.take(),
        }
    }

    fn arrive(&mut self) {
        if let Some(made) = self.made.get(self.arrived) {
            self.arrived += 1;
            match made {
                Made::Output(bytes) => self.lane.on_output(self.arrived as u64, bytes),
                Made::Sized(size) => self.lane.on_terminal_sized(self.arrived as u64, *size),
            }
        }
    }

    /// The watcher's model is at its last output, or so many records behind it; the records are wherever they are.
    fn ask(&mut self, behind: usize) {
        if self.lane.ask_due(self.now, true) == Due::Now {
            self.lane.on_asked(self.now);
            let made = &self.made[..self.made.len().saturating_sub(behind)];
            let seq = made.iter().rposition(|made| matches!(made, Made::Output(_))).map_or(0, |at| at as u64 + 1);
            self.pictures.push_back((seq, self.terminal));
        }
    }

    fn draw(&mut self) {
        if let Some((seq, size)) = self.pictures.pop_front() {
            self.lane.on_picture(seq, size, true, seq.to_le_bytes().to_vec().into()).unwrap();
        }
    }

    fn take(&mut self) {
        match self.lane.next_part() {
            Some(Part::Output(bytes)) => {
                self.shown.extend(bytes);
                assert!(self.stream(self.made.len()).starts_with(&self.shown), "what is shown is the stream");
            }
            Some(Part::Picture { payload, .. }) => {
                let seq = u64::from_le_bytes(payload[..].try_into().unwrap());
                self.shown = self.stream(usize::try_from(seq).unwrap());
            }
            Some(Part::Attached(_) | Part::Took(_)) | None => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn whatever_the_order_the_client_sees_the_stream_and_at_last_all_of_it(
        steps in prop::collection::vec((0u8..10, 0u16..30_000), 0..100)
    ) {
        let (lane, now) = attached(OWN);
        let nothing = (VecDeque::from([(0, OWN)]), Vec::new());
        let (pictures, shown) = nothing;
        let mut scene = Scene { lane, now, made: vec![], arrived: 0, own: OWN, terminal: OWN, pictures, shown };
        for (what, amount) in steps {
            scene.step(what, amount);
        }
        for _ in 0..scene.made.len() + 10 {
            scene.arrive();
        }
        for _ in 0..500 {
            scene.now += FRAME_APART;
            scene.take();
            scene.ask(0);
            scene.draw();
        }
        prop_assert!(scene.shown == scene.stream(scene.made.len()), "{} bytes shown", scene.shown.len());
        prop_assert_eq!(scene.lane.sight == Sight::Live, scene.own == scene.terminal);
    }
}
