//! The watcher's end before a user's end that reads when the test says so.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream as Other;

use super::*;

fn pair() -> (Front, Other) {
    let (inside, outside) = Other::pair().unwrap();
    outside.set_nonblocking(true).unwrap();
    (Front::new(inside.into(), Size::DEFAULT, true).unwrap(), outside)
}

/// Reads what the user is sent, and all that is sent on as it is read.
async fn received(front: &mut Front, outside: &mut Other) -> Vec<ToFront> {
    let (mut inbox, mut chunk, mut frames) = (BytesMut::new(), vec![0; 64 << 10], Vec::new());
    loop {
        match outside.read(&mut chunk) {
            Ok(bytes) => inbox.extend_from_slice(&chunk[..bytes]),
            Err(_) if front.is_sent() => break,
            Err(_) => {
                front.ready(false).await;
                assert!(front.turn(false).is_empty());
            }
        }
    }
    while let Some((what, body)) = next_frame(&mut inbox).unwrap() {
        frames.push(ToFront::decode(what, body).unwrap());
    }
    assert!(inbox.is_empty(), "frames are whole");
    frames
}

fn told<F: Future<Output = ()>>(story: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), story).await.unwrap() });
}

#[test]
fn a_slow_console_skips_and_gets_a_picture_when_it_has_caught_up() {
    told(async {
        let (mut front, mut outside) = pair();
        let now = Instant::now();
        let much = Bytes::from(vec![b'x'; 64 << 10]);
        let mut most = 0;
        for _ in 0..64 {
            front.show(&much, Size::DEFAULT, now);
            most = most.max(front.unsent);
        }
        assert!(most <= LAG_BYTES + much.len(), "{most} bytes wait");
        assert!(!front.wants_picture(now) && !front.has_caught_up(), "not before it has caught up");
        received(&mut front, &mut outside).await;
        assert!(front.wants_picture(now));
        assert!(!front.wants_picture(now), "once");
        front.show(&Bytes::from_static(b"behind"), Size::DEFAULT, now);
        front.on_picture(Bytes::from_static(b"picture"));
        let frames = received(&mut front, &mut outside).await;
        let output = |text: &'static [u8]| ToFront::Output(Bytes::from_static(text));
        assert_eq!(frames, [ToFront::Picture, output(b"picture"), output(b"behind")]);
        assert!(front.has_caught_up());
    });
}

#[test]
fn one_that_is_gone_is_noticed_while_nothing_may_be_typed() {
    told(async {
        let (mut front, outside) = pair();
        (&outside).write_all(&ToWatcher::Typed(Bytes::from_static(b"last")).encode()).unwrap();
        let waits = tokio::time::timeout(Duration::from_millis(50), front.ready(false));
        assert!(waits.await.is_err(), "what is typed waits");
        drop(outside);
        let mut doings = Vec::new();
        while !matches!(doings.last(), Some(Doing::Gone)) {
            assert!(front.ready(false).await);
            doings.extend(front.turn(true));
        }
        assert!(matches!(&doings[..], [Doing::Typed(last), Doing::Gone] if &last[..] == b"last"), "{doings:?}");
    });
}

#[test]
fn another_size_is_shown_by_pictures_and_nothing_follows_the_end() {
    told(async {
        let (mut front, mut outside) = pair();
        let (now, other) = (Instant::now(), Size::new(100, 30).unwrap());
        front.show(&Bytes::from_static(b"x"), other, now);
        assert!(front.wants_picture(now) && front.deadline().is_none());
        front.show(&Bytes::from_static(b"y"), other, now);
        assert_eq!(front.deadline(), Some(now + FRAME_EVERY), "frames have their distance");
        front.end(7, false, "", now);
        front.part(false, "late");
        front.show(&Bytes::from_static(b"z"), other, now);
        assert!(front.deadline().is_none() && !front.wants_picture(now + FRAME_EVERY), "nothing to wake up for");
        let end = ToFront::Ended { status: 7, alternate: false, line: String::new() };
        assert_eq!(received(&mut front, &mut outside).await, [end]);
    });
}
