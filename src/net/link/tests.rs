use super::*;
use crate::net::listen::{Acceptor, Admission, Limits};
use crate::net::{DialError, Endpoint, dial};
use std::sync::LazyLock;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

const SOON: Duration = Duration::from_secs(20);

struct Door {
    acceptor: Acceptor,
    endpoint: Endpoint,
    _directory: tempfile::TempDir,
}

fn door() -> Door {
    door_with(Admission::default())
}

fn door_with(admission: Admission) -> Door {
    let directory = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::Ipc(directory.path().join("zv.sock"));
    Door { acceptor: Acceptor::bind(&endpoint, admission).unwrap(), endpoint, _directory: directory }
}

fn tcp_door() -> Door {
    let acceptor = Acceptor::bind(&"tcp://127.0.0.1:0".parse().unwrap(), Admission::default()).unwrap();
    let endpoint = acceptor.endpoint().clone();
    Door { acceptor, endpoint, _directory: tempfile::tempdir().unwrap() }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("nothing happened")
}

/// Dialer's and acceptor's end.
async fn pair(door: &mut Door) -> (Link, Link) {
    let (near, far) = within(async { tokio::join!(dial(&door.endpoint, SOON), door.acceptor.accept()) }).await;
    (near.unwrap(), far.unwrap())
}

fn frames(header: &str, payload: Option<Vec<u8>>) -> Frames {
    Frames { header: Bytes::from(header.to_owned()), payload: payload.map(Bytes::from) }
}

/// Bytes that say where they belong. Made once: an unoptimized build takes its time for each.
fn pattern(bytes: usize, salt: usize) -> Vec<u8> {
    const SALTS: usize = 4096;
    static ALL: LazyLock<Vec<u8>> = LazyLock::new(|| {
        (0..(1 << 20) + 64 + SALTS).map(|i| u8::try_from((i * 31 + i / 251) % 256).unwrap()).collect()
    });
    ALL[salt % SALTS..][..bytes].to_vec()
}

async fn raw(door: &Door) -> UnixStream {
    let Endpoint::Ipc(path) = &door.endpoint else { unreachable!() };
    UnixStream::connect(path).await.unwrap()
}

#[tokio::test]
async fn a_link_carries_payloads_intact_both_ways_over_ipc_and_tcp() {
    for mut door in [door(), tcp_door()] {
        let (mut near, mut far) = pair(&mut door).await;
        let sizes = [0, 1, 255, 256, 65_535, 65_536, 262_144, 1 << 20, (1 << 20) + 64];
        for (n, size) in sizes.into_iter().enumerate() {
            let message = frames(&format!("h{n}"), Some(pattern(size, n)));
            within(near.tx.send(message.clone())).await.unwrap();
            within(far.tx.send(message.clone())).await.unwrap();
            assert_eq!(within(far.rx.recv()).await.unwrap(), message);
            assert_eq!(within(near.rx.recv()).await.unwrap(), message);
        }
        // And many under way at once, of all sizes.
        let (mut tx, mut rx) = (near.tx, far.rx);
        let sender = async {
            for n in 0..400 {
                let payload = (n % 7 != 0).then(|| pattern(sizes[n % sizes.len()], n));
                tx.drained_to(8 << 20).await.unwrap();
                tx.send(frames(&n.to_string(), payload)).await.unwrap();
            }
        };
        let receiver = async {
            for n in 0..400 {
                let payload = (n % 7 != 0).then(|| pattern(sizes[n % sizes.len()], n));
                assert_eq!(rx.recv().await.unwrap(), frames(&n.to_string(), payload), "{n}");
            }
        };
        within(async { tokio::join!(sender, receiver) }).await;
    }
}

#[tokio::test]
async fn peers_are_known() {
    let mut door = door();
    let (near, far) = pair(&mut door).await;
    for peer in [near.peer, far.peer] {
        let Peer::Unix { uid, pid, .. } = peer else { panic!("{peer:?}") };
        assert_eq!((uid, u32::try_from(pid)), (nix::unistd::geteuid().as_raw(), Ok(std::process::id())));
    }
    let mut door = tcp_door();
    let (_near, far) = pair(&mut door).await;
    assert!(matches!(far.peer, Peer::Tcp { addr } if addr.ip().is_loopback()));
}

#[tokio::test]
async fn close_flushes_and_the_peer_gets_everything_before_the_end() {
    for mut door in [door(), tcp_door()] {
        let (mut near, mut far) = pair(&mut door).await;
        const MESSAGES: usize = 40;
        for n in 0..MESSAGES {
            near.tx.send(frames(&n.to_string(), Some(pattern(50_000, n)))).await.unwrap();
        }
        let reader = async {
            for n in 0..MESSAGES {
                assert_eq!(far.rx.recv().await.unwrap(), frames(&n.to_string(), Some(pattern(50_000, n))));
            }
            let end = far.rx.recv().await.unwrap_err();
            assert_eq!(end, LinkError::PeerClosed);
            assert_eq!(far.rx.recv().await.unwrap_err(), LinkError::PeerClosed, "the same again");
            assert_eq!(far.tx.send(frames("x", None)).await.unwrap_err(), LinkError::PeerClosed);
        };
        let (closed, ()) = within(async { tokio::join!(near.close(), reader) }).await;
        closed.unwrap();
    }
}

#[tokio::test]
async fn a_dropped_link_is_flushed_too() {
    let mut door = door();
    let (mut near, mut far) = pair(&mut door).await;
    near.tx.send(frames("a first message is no longer than a hello", None)).await.unwrap();
    for n in 0..20 {
        near.tx.send(frames(&n.to_string(), Some(pattern(100_000, n)))).await.unwrap();
    }
    drop(near);
    within(far.rx.recv()).await.unwrap();
    for n in 0..20 {
        assert_eq!(within(far.rx.recv()).await.unwrap().header, n.to_string());
    }
    assert_eq!(within(far.rx.recv()).await.unwrap_err(), LinkError::PeerClosed);
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_bounded_and_given_up() {
    let mut door = door();
    let mut silent = raw(&door).await;
    silent.write_all(&SocketKind::Dealer.hello()).await.unwrap();
    let mut far = within(door.acceptor.accept()).await.unwrap();
    let refused = loop {
        match within(far.tx.send(frames("h", Some(pattern(1 << 20, 0))))).await {
            Ok(()) => assert!(far.tx.unsent_bytes() <= UNSENT_MAX_BYTES),
            Err(error) => break error,
        }
        tokio::task::yield_now().await;
    };
    assert!(matches!(refused, LinkError::Stalled { .. }), "{refused}");
    assert!(matches!(far.tx.flush(Duration::from_millis(10)).await, Err(LinkError::NotFlushed(_))));
    let start = Instant::now();
    assert!(matches!(within(far.close()).await, Err(LinkError::NotFlushed(_))));
    assert!(start.elapsed() < 3 * LINGER);
    assert_eq!(door.acceptor.connections(), 0, "its seat is free again");
}

#[tokio::test]
async fn small_messages_to_a_stalled_peer_are_bounded_too() {
    let mut door = door();
    let mut silent = raw(&door).await;
    silent.write_all(&SocketKind::Dealer.hello()).await.unwrap();
    let mut far = within(door.acceptor.accept()).await.unwrap();
    let mut sent = 0;
    while far.tx.send(frames("", None)).await.is_ok() {
        sent += 1;
        if sent % 1000 == 0 {
            tokio::task::yield_now().await;
        }
        assert!(sent < 1_000_000);
    }
    assert!(sent >= UNSENT_MAX_MESSAGES);
}

#[tokio::test]
async fn messages_that_nobody_takes_wait_with_their_sender() {
    for mut door in [door(), tcp_door()] {
        let (mut near, mut far) = pair(&mut door).await;
        let mut sent = 0;
        // Sockets and pipes hold some megabytes beside those that are let in.
        while tokio::time::timeout(Duration::from_millis(500), near.tx.drained_to(64 << 10)).await.is_ok() {
            within(near.tx.send(frames("h", Some(vec![0; 1024])))).await.unwrap();
            sent += 1;
            assert!(sent < 30_000, "{sent} messages were let in");
        }
        assert!(sent > UNTAKEN_MAX_MESSAGES);
        for _ in 0..sent {
            within(far.rx.recv()).await.unwrap();
        }
        within(near.tx.flush(SOON)).await.unwrap();
    }
}

#[tokio::test]
async fn too_large_a_frame_is_refused_here_and_the_link_lives() {
    let mut door = door();
    let (mut near, mut far) = pair(&mut door).await;
    let header = Bytes::from(vec![0; (64 << 10) + 1]);
    assert!(matches!(near.tx.send(Frames { header, payload: None }).await, Err(LinkError::TooLarge { .. })));
    let payload = Some(vec![0; (1 << 20) + 65]);
    assert!(matches!(near.tx.send(frames("h", payload)).await, Err(LinkError::TooLarge { .. })));
    near.tx.send(frames("fine", None)).await.unwrap();
    assert_eq!(within(far.rx.recv()).await.unwrap().header, "fine");
}

#[tokio::test]
async fn recv_can_be_cancelled_at_any_time() {
    let mut door = door();
    let (mut near, mut far) = pair(&mut door).await;
    let sender = tokio::spawn(async move {
        for n in 0..500 {
            near.tx.send(frames(&n.to_string(), Some(pattern(n * 100, n)))).await.unwrap();
            tokio::task::yield_now().await;
        }
        near
    });
    for n in 0..500 {
        let message = within(async {
            loop {
                tokio::select! {
                    biased;
                    message = far.rx.recv() => break message.unwrap(),
                    () = tokio::task::yield_now() => {}
                }
            }
        });
        assert_eq!(message.await, frames(&n.to_string(), Some(pattern(n * 100, n))));
    }
    within(sender).await.unwrap();
}

/// What kills or blocks the bare crate: after the handshake, these bytes.
fn hostile_frames() -> Vec<(&'static str, Vec<u8>)> {
    let long = |len: u64| [&[2][..], &len.to_be_bytes()].concat();
    vec![
        ("2^47", long(1 << 47)),
        ("2^62", long(1 << 62)),
        ("2^63", long(1 << 63)),
        ("endless MORE", b"\x01\x00".repeat(1000)),
        ("PING", b"\x04\x07\x04PING\x00\x00".to_vec()),
        ("reserved flag", b"\x80\x00".to_vec()),
        ("large header", long((64 << 10) + 1)),
        ("large payload", [b"\x01\x00".to_vec(), long((1 << 20) + 65)].concat()),
    ]
}

async fn serves(door: &mut Door) {
    let start = Instant::now();
    let (mut near, mut far) = pair(door).await;
    near.tx.send(frames("hello", None)).await.unwrap();
    assert_eq!(within(far.rx.recv()).await.unwrap().header, "hello");
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test]
async fn hostile_dialers_are_cut_off_and_others_served() {
    let mut door = door();
    for (what, bytes) in hostile_frames() {
        let mut stranger = raw(&door).await;
        let hello = [SocketKind::Dealer.hello(), b"\x01\x01a\x00\x01b".to_vec(), bytes].concat();
        stranger.write_all(&hello).await.unwrap();
        let accepted = within(async {
            tokio::select! {
                link = door.acceptor.accept() => Some(link.unwrap()),
                // The refusal may already come in the handshake, if all of it was read at once.
                _ = stranger.readable() => None,
            }
        });
        if let Some(mut link) = accepted.await {
            assert_eq!(within(link.rx.recv()).await.unwrap(), frames("a", Some(b"b".to_vec())), "{what}");
            let end = within(link.rx.recv()).await.unwrap_err();
            assert!(matches!(end, LinkError::Refused(_)), "{what}: {end}");
            let mut rest = Vec::new();
            // Closed with bytes unread: a reset is as good as the end.
            let _ = within(stranger.read_to_end(&mut rest)).await;
        }
        serves(&mut door).await;
    }
}

#[tokio::test]
async fn strangers_who_do_not_finish_the_handshake_do_no_harm() {
    let mut door = door();
    let mut strangers = Vec::new();
    let hello = SocketKind::Dealer.hello();
    let mut random = vec![0; 4096];
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom").unwrap(), &mut random).unwrap();
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &random, &hello[..1], &hello[..30], &hello[..64], &hello[..90]] {
        let mut stranger = raw(&door).await;
        // Those that are cut off at once may not take it all.
        let _ = stranger.write_all(bytes).await;
        strangers.push(stranger);
    }
    let mut wrong = raw(&door).await;
    wrong.write_all(&SocketKind::Router.hello()).await.unwrap();
    serves(&mut door).await;
}

#[tokio::test]
async fn a_thousand_silent_connections_leave_room_for_others() {
    let mut door = door();
    let acceptor = &mut door.acceptor;
    let mut strangers = Vec::new();
    let Endpoint::Ipc(path) = door.endpoint.clone() else { unreachable!() };
    let connect = async {
        for _ in 0..1000 {
            loop {
                match UnixStream::connect(&path).await {
                    Ok(stream) => break strangers.push(stream),
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        }
    };
    within(async {
        tokio::select! {
            () = connect => {}
            _ = acceptor.accept() => panic!("a silent one became a link"),
        }
    })
    .await;
    serves(&mut door).await;
    assert!(door.acceptor.turned_away().displaced > 0);
    assert!(door.acceptor.connections() <= 256 + 2);
}

#[tokio::test]
async fn one_over_the_limit_is_closed_at_once() {
    let limits = Limits { connections: 2, ..Limits::default() };
    let mut door = door_with(Admission { limits, ..Admission::default() });
    let (_near, far) = pair(&mut door).await;
    let (_near2, _far2) = pair(&mut door).await;
    let third = within(async {
        tokio::select! {
            dialed = dial(&door.endpoint, SOON) => dialed,
            _ = door.acceptor.accept() => panic!("over the limit"),
        }
    });
    assert!(matches!(third.await, Err(DialError::TurnedAway(_))));
    assert_eq!(door.acceptor.turned_away().over_limit, 1);
    drop(far);
    drop(_near);
    while door.acceptor.connections() > 1 {
        tokio::task::yield_now().await;
    }
    serves(&mut door).await;
}

/// A server that says `bytes` to whoever connects, and keeps the connection.
async fn hostile_server(bytes: Vec<u8>) -> (Endpoint, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("evil.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.write_all(&bytes).await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    (Endpoint::Ipc(path), directory)
}

#[tokio::test]
async fn a_hostile_server_does_not_harm_a_dialer() {
    for (what, bytes) in hostile_frames() {
        let (endpoint, _directory) = hostile_server([SocketKind::Router.hello(), bytes].concat()).await;
        match within(dial(&endpoint, SOON)).await {
            Ok(mut link) => {
                let end = within(link.rx.recv()).await.unwrap_err();
                assert!(matches!(end, LinkError::Refused(_)), "{what}: {end}");
            }
            Err(error) => assert!(matches!(error, DialError::NotZerovisor { .. }), "{what}: {error}"),
        }
    }
    let (endpoint, _directory) = hostile_server(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()).await;
    assert!(matches!(within(dial(&endpoint, SOON)).await, Err(DialError::NotZerovisor { .. })));
    let (endpoint, _directory) = hostile_server(SocketKind::Router.hello()[..64].to_vec()).await;
    let short = Duration::from_millis(50);
    assert!(matches!(within(dial(&endpoint, short)).await, Err(DialError::TimedOut { .. })));
}

#[tokio::test]
async fn dial_says_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let missing = Endpoint::Ipc(directory.path().join("none"));
    let error = within(dial(&missing, SOON)).await.unwrap_err();
    assert!(matches!(error, DialError::NothingThere { .. }), "{error}");
    let stale = directory.path().join("stale");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    let error = within(dial(&Endpoint::Ipc(stale), SOON)).await.unwrap_err();
    assert!(matches!(error, DialError::NothingThere { .. }), "{error}");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = within(dial(&format!("tcp://127.0.0.1:{free}").parse().unwrap(), SOON)).await.unwrap_err();
    assert!(matches!(error, DialError::NothingThere { .. }), "{error}");
    let error = within(dial(&"tcp://no.such.host.invalid:1".parse().unwrap(), SOON)).await.unwrap_err();
    assert!(matches!(error, DialError::NothingThere { .. } | DialError::Failed { .. }), "{error}");
    assert!(!error.to_string().contains('\n'));
}

#[tokio::test]
async fn a_peer_that_dies_inside_a_message_is_reported_once_and_for_all() {
    let mut door = door();
    let mut stranger = raw(&door).await;
    let bytes = [SocketKind::Dealer.hello(), b"\x00\x01a\x01\x01b\x02\0\0\0\0\0\0\x10\x00half".to_vec()].concat();
    stranger.write_all(&bytes).await.unwrap();
    let mut far = within(door.acceptor.accept()).await.unwrap();
    drop(stranger);
    assert_eq!(within(far.rx.recv()).await.unwrap().header, "a");
    for _ in 0..3 {
        assert_eq!(within(far.rx.recv()).await.unwrap_err(), LinkError::PeerCutOff);
    }
}
