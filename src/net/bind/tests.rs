use super::*;
use std::os::fd::AsFd;

fn place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zv.sock");
    (directory, path)
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_socket_is_private_from_the_start_and_goes_with_us() {
    let (_directory, path) = place();
    let (_listener, file) = bind_ipc(&path, false).unwrap();
    assert_eq!(mode(&path), 0o600);
    drop(file);
    assert!(!path.exists());
}

/// The promise behind "race-free": bind itself makes the file 0600, whatever the umask, with no chmod after it.
#[test]
fn bind_takes_the_mode_of_the_socket() {
    let (_directory, path) = place();
    let fd = stream_socket(AddressFamily::Unix).unwrap();
    fchmod(fd.as_fd(), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    bind(fd.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn open_to_all_is_0666() {
    let (_directory, path) = place();
    let _bound = bind_ipc(&path, true).unwrap();
    assert_eq!(mode(&path), 0o666);
}

#[test]
fn a_dead_ones_socket_is_replaced_and_a_living_ones_is_not() {
    let (_directory, path) = place();
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "stale");
    let bound = bind_ipc(&path, false).unwrap();
    let error = bind_ipc(&path, false).unwrap_err();
    assert!(error.to_string().contains(&format!("pid {}", std::process::id())), "{error}");
    assert!(path.exists());
    drop(bound);
}

#[test]
fn a_socket_that_is_no_longer_ours_stays() {
    let (_directory, path) = place();
    let (listener, file) = bind_ipc(&path, false).unwrap();
    fs::rename(&path, path.with_extension("old")).unwrap();
    let (_listener2, _file2) = bind_ipc(&path, false).unwrap();
    drop((listener, file));
    assert!(path.exists());
}

#[test]
fn what_is_in_the_way_is_named() {
    let (directory, path) = place();
    fs::write(&path, "precious").unwrap();
    assert!(matches!(bind_ipc(&path, false), Err(BindError::NotSocket(_))));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    let nowhere = directory.path().join("no/such/zv.sock");
    assert!(matches!(bind_ipc(&nowhere, false), Err(BindError::NoDirectory(_))));
    let under_a_file = path.join("zv.sock");
    assert!(matches!(bind_ipc(&under_a_file, false), Err(BindError::NoDirectory(_))));
    // Root may write anywhere.
    if !nix::unistd::geteuid().is_root() {
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o500)).unwrap();
        assert!(matches!(bind_ipc(&directory.path().join("x"), false), Err(BindError::Denied(_))));
    }
}

#[test]
fn tcp_binds_names_addresses_and_all() {
    for host in ["127.0.0.1", "localhost", "*"] {
        let (listener, endpoint) = bind_tcp(host, 0).unwrap();
        let Endpoint::Tcp { port, .. } = endpoint else { unreachable!() };
        assert_ne!(port, 0);
        if host == "*" {
            std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        }
        let error = bind_tcp(host, port).unwrap_err();
        assert!(matches!(error, BindError::InUse { .. }), "{error}");
        drop(listener);
    }
    assert!(matches!(bind_tcp("192.0.2.1", 0), Err(BindError::NotOurs(_))));
    assert!(matches!(bind_tcp("no.such.host.invalid", 0), Err(BindError::NoHost { .. })));
}
