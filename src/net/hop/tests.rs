use super::*;
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn the_crate_comes_in_and_nothing_else() {
    for kind in [SocketKind::Dealer, SocketKind::Router] {
        let remote = match kind {
            SocketKind::Dealer => SocketKind::Router,
            SocketKind::Router => SocketKind::Dealer,
        };
        let mut hop = open(kind, &remote.hello()).await.unwrap();
        hop.ours.write_all(b"\x01\x02hi\x00\x01x").await.unwrap();
        let mut rx = hop.rx;
        let frames = rx.recv().await.unwrap();
        assert_eq!((&frames.header[..], frames.payload.as_deref()), (&b"hi"[..], Some(&b"x"[..])));
    }
}

#[tokio::test]
async fn a_stranger_on_the_private_name_is_passed_over() {
    let (listener, name) = listen().unwrap();
    let bytes = name.strip_prefix("ipc://\0").unwrap();
    let address = SocketAddr::from_abstract_name(bytes).unwrap();
    // Another process, since only the process is looked at.
    let stranger = std::process::Command::new("python3")
        .args(["-c", "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(chr(0)+sys.argv[1])", bytes])
        .status();
    // Without python there is no stranger; then only the second half is tested.
    assert!(stranger.is_err() || stranger.unwrap().success());
    let ours = std::os::unix::net::UnixStream::connect_addr(&address).unwrap();
    let accepted = accept_ourselves(&listener).await.unwrap();
    drop(ours);
    let credentials = getsockopt(&accepted, sockopt::PeerCredentials).unwrap();
    assert_eq!(u32::try_from(credentials.pid()), Ok(std::process::id()));
}

/// Set-up cost of a hop; printed, not judged.
#[tokio::test]
async fn what_a_hop_costs() {
    let start = std::time::Instant::now();
    const HOPS: u32 = 100;
    let mut hops = Vec::new();
    for _ in 0..HOPS {
        hops.push(open(SocketKind::Router, &SocketKind::Dealer.hello()).await.unwrap());
    }
    println!("a hop takes {:?}", start.elapsed() / HOPS);
}
