//! Where the spools of one endpoint are.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, faccessat};

use super::error::SpoolError;
use super::private;
use crate::host;
use crate::net::Endpoint;

/// Of what a user wrote, so much goes into a directory's name, in bytes: the file system allows 255.
const READABLE_MAX_BYTES: usize = 100;

/// The directory with the spools of one endpoint: one a watcher, by its process's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    dir: PathBuf,
}

impl Place {
    /// Where it is, whether it exists or not:
    ///
    /// | endpoint | place |
    /// |---|---|
    /// | `ipc://PATH/NAME.sock` | `PATH/NAME.spool`: whoever binds that socket finds it |
    /// | `tcp://HOST:PORT` | `$XDG_STATE_HOME/zerovisor/spool/HOST-PORT`, by default below `$HOME/.local/state` |
    /// | `tcp://localhost:PORT` | `.../localhost-PORT-CHECKSUM`, as is 127.0.0.1 or ::1 |
    /// | any, with `given` | `GIVEN/NAME-CHECKSUM` |
    ///
    /// A home may be shared by machines, and localhost is another on each: there the checksum is of this one's id too.
    ///
    /// Always absolute: the working directory may change later.
    ///
    /// # Errors
    /// The working directory is gone; [`SpoolError::NoHome`].
    pub fn of(endpoint: &Endpoint, given: Option<&Path>) -> Result<Place, SpoolError> {
        Place::within(endpoint, given, &|name| env::var_os(name), &host::machine())
    }

    pub(super) fn within(
        endpoint: &Endpoint,
        given: Option<&Path>,
        variable: &dyn Fn(&str) -> Option<OsString>,
        machine: &str,
    ) -> Result<Place, SpoolError> {
        let dir = match (given, endpoint) {
            (Some(given), Endpoint::Ipc(path)) => {
                let socket = resolved(path)?;
                let name = socket.file_name().unwrap_or_default().to_string_lossy().into_owned();
                absolute(given)?.join(checked_key(&name, socket.as_os_str().as_bytes()))
            }
            (Some(given), Endpoint::Tcp { host, port }) => {
                let exact = if is_loopback(host) { format!("{endpoint} {machine}") } else { endpoint.to_string() };
                absolute(given)?.join(checked_key(&format!("{host}-{port}"), exact.as_bytes()))
            }
            (None, Endpoint::Ipc(path)) => {
                let socket = absolute(path)?;
                let name = socket.file_name().unwrap_or_default();
                let stem = name.as_bytes().strip_suffix(b".sock").filter(|stem| !stem.is_empty());
                let mut name = stem.map_or(name, OsStr::from_bytes).to_os_string();
                name.push(".spool");
                socket.with_file_name(name)
            }
            (None, Endpoint::Tcp { host, port }) => {
                let home = state_home(variable).ok_or_else(|| SpoolError::NoHome(endpoint.to_string()))?;
                let name = format!("{host}-{port}");
                let exact = format!("{name} {machine}");
                let key = if is_loopback(host) { checked_key(&name, exact.as_bytes()) } else { key(&name) };
                home.join("zerovisor/spool").join(key)
            }
        };
        Ok(Place { dir })
    }

    /// The directory; it need not exist.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether a spool could be made here, as far as that can be told without making anything.
    ///
    /// # Errors
    /// The place, or the nearest directory above it that there is, cannot be written, or is not ours alone.
    pub fn check(&self) -> Result<(), SpoolError> {
        let there = |path: &&Path| path.symlink_metadata().is_ok();
        let Some(near) = self.dir.ancestors().find(there) else { return Ok(()) };
        if near == self.dir {
            private::check_dir(near)?;
        } else if !near.is_dir() {
            return Err(SpoolError::io("write in", near)(io::ErrorKind::NotADirectory.into()));
        }
        faccessat(AT_FDCWD, near, AccessFlags::W_OK | AccessFlags::X_OK, AtFlags::AT_EACCESS)
            .map_err(|errno| SpoolError::io("write in", near)(errno.into()))
    }
}

/// Whether that is another host on each machine.
fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Where this program keeps state of its user; none: there is no such place.
pub(super) fn state_dir() -> Option<PathBuf> {
    state_home(&|name| env::var_os(name)).map(|home| home.join("zerovisor"))
}

fn state_home(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    // Relative ones are to be ignored, says the XDG Base Directory Specification.
    let of = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    of("XDG_STATE_HOME").or_else(|| of("HOME").map(|home| home.join(".local/state")))
}

fn absolute(path: &Path) -> Result<PathBuf, SpoolError> {
    std::path::absolute(path).map_err(SpoolError::io("find the absolute path of", path))
}

/// The path of a socket by which every way to its directory has the same name, as far as that exists.
fn resolved(path: &Path) -> Result<PathBuf, SpoolError> {
    let path = absolute(path)?;
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return Ok(path) };
    match dir.canonicalize() {
        Ok(dir) => Ok(dir.join(name)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path),
        Err(error) => Err(SpoolError::io("resolve", dir)(error)),
    }
}

/// What can stand for this text as the name of a directory: itself where possible, else with a checksum that tells it from others.
fn key(text: &str) -> String {
    let readable = readable(text);
    if readable == text { readable } else { checked_key(text, text.as_bytes()) }
}

fn checked_key(text: &str, exact: &[u8]) -> String {
    format!("{}-{:08x}", readable(text), crc32c::crc32c(exact))
}

fn readable(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' };
    let mut name: String = text.chars().map(plain).collect();
    name.truncate(READABLE_MAX_BYTES);
    // Neither hidden nor `..`.
    if name.starts_with('.') {
        name.replace_range(..1, "_");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(endpoint: &str, given: Option<&str>, vars: &[(&str, &str)]) -> Result<String, SpoolError> {
        place_on("a machine", endpoint, given, vars)
    }

    fn place_on(
        machine: &str,
        endpoint: &str,
        given: Option<&str>,
        vars: &[(&str, &str)],
    ) -> Result<String, SpoolError> {
        let variable = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value));
        let found = Place::within(&endpoint.parse().unwrap(), given.map(Path::new), &variable, machine)?;
        Ok(found.dir().to_str().unwrap().to_owned())
    }

    #[test]
    fn whoever_binds_the_socket_finds_the_spool_beside_it() {
        assert_eq!(place("ipc:///run/zv/zerovisor.sock", None, &[]).unwrap(), "/run/zv/zerovisor.spool");
        assert_eq!(place("ipc:///run/zv/x", None, &[]).unwrap(), "/run/zv/x.spool");
        assert_eq!(place("ipc:///run/zv/.sock", None, &[]).unwrap(), "/run/zv/.sock.spool");
        let here = env::current_dir().unwrap();
        assert_eq!(place("ipc://zerovisor.sock", None, &[]).unwrap(), here.join("zerovisor.spool").to_str().unwrap());
    }

    #[test]
    fn a_tcp_endpoint_has_its_place_in_the_users_state() {
        let home = [("HOME", "/home/u")];
        let state = "/home/u/.local/state/zerovisor/spool";
        assert_eq!(place("tcp://a.b:1", None, &home).unwrap(), format!("{state}/a.b-1"));
        let six = place("tcp://[::1]:7", None, &home).unwrap();
        assert!(six.starts_with(&format!("{state}/__1-7-")), "{six}");
        assert!(place("tcp://../../x:7", None, &home).unwrap().starts_with(&format!("{state}/_._.._x-7-")));
        let both = [("HOME", "/home/u"), ("XDG_STATE_HOME", "/s")];
        assert_eq!(place("tcp://a:1", None, &both).unwrap(), "/s/zerovisor/spool/a-1");
        let relative = [("HOME", "/home/u"), ("XDG_STATE_HOME", "s")];
        assert_eq!(place("tcp://a:1", None, &relative).unwrap(), format!("{state}/a-1"));
        assert!(matches!(place("tcp://a:1", None, &[("HOME", "")]), Err(SpoolError::NoHome(_))));
    }

    #[test]
    fn machines_that_share_a_home_share_no_localhost() {
        for given in [None, Some("/given")] {
            let on = |machine, endpoint| place_on(machine, endpoint, given, &[("HOME", "/home/u")]).unwrap();
            for own in ["tcp://localhost:1", "tcp://127.0.0.1:1", "tcp://127.1.2.3:1", "tcp://[::1]:1"] {
                assert_ne!(on("one", own), on("other", own));
                assert_eq!(on("one", own), on("one", own));
            }
            // Whoever binds that takes in what any of them has left for it.
            assert_eq!(on("one", "tcp://a.b:1"), on("other", "tcp://a.b:1"));
        }
    }

    #[test]
    fn below_a_given_directory_each_endpoint_has_its_own_whatever_way_leads_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let at = |dir: &Path| place(&format!("ipc://{}/zerovisor.sock", dir.display()), Some("/given"), &[]).unwrap();
        assert_eq!(at(&real), at(&link));
        assert!(at(&real).starts_with("/given/zerovisor.sock-"));
        assert_ne!(at(&real), at(dir.path()));
        assert_ne!(place("tcp://a:1", Some("/g"), &[]).unwrap(), place("tcp://b:1", Some("/g"), &[]).unwrap());
    }
}
