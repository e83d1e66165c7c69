use super::*;
use crate::net::dial;

#[test]
fn binding_needs_no_runtime_and_accepting_needs_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::Ipc(directory.path().join("zv.sock"));
    let mut acceptor = Acceptor::bind(&endpoint, Admission::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (near, far) = tokio::join!(dial(&endpoint, HANDSHAKE_DEADLINE), acceptor.accept());
        near.unwrap();
        far.unwrap();
    });
    drop(acceptor);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn links_and_acceptors_may_move_between_threads() {
    fn send<T: Send>(_: &T) {}
    let endpoint = "tcp://127.0.0.1:0".parse().unwrap();
    let mut acceptor = Acceptor::bind(&endpoint, Admission::default()).unwrap();
    send(&acceptor);
    send(&acceptor.accept());
    send(&dial(&endpoint, HANDSHAKE_DEADLINE));
}

#[tokio::test]
async fn a_stranger_is_not_waited_for_longer_than_the_deadline() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zv.sock");
    let limits = Limits { handshake: Duration::from_millis(20), ..Limits::default() };
    let admission = Admission { limits, ..Admission::default() };
    let mut acceptor = Acceptor::bind(&Endpoint::Ipc(path.clone()), admission).unwrap();
    let silent = tokio::net::UnixStream::connect(&path).await.unwrap();
    let hung_up = async {
        let mut said = Vec::new();
        let mut silent = silent;
        tokio::io::AsyncReadExt::read_to_end(&mut silent, &mut said).await.unwrap();
        assert_eq!(said, SocketKind::Router.hello());
    };
    tokio::select! {
        () = hung_up => {}
        _ = acceptor.accept() => panic!("a silent one became a link"),
    }
    while acceptor.turned_away().too_slow == 0 {
        let _ = timeout(Duration::from_millis(1), acceptor.accept()).await;
    }
    assert_eq!(acceptor.connections(), 0);
}
