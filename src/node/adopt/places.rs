//! Where watchers of this zerovisor may have left something.

use std::path::PathBuf;

use nix::ifaddrs::getifaddrs;
use nix::unistd::gethostname;

use crate::net::Endpoint;
use crate::spool::{Place, SpoolError};

/// The places of endpoints: where a watcher keeps what is for them by default, and below each of these directories. Those that cannot
/// be are told and left out.
pub(in crate::node) fn of(endpoints: &[Endpoint], dirs: &[PathBuf]) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    let mut add = |place: Result<Place, SpoolError>| match place {
        Ok(place) if places.contains(&place) => {}
        Ok(place) => places.push(place),
        Err(error) => tracing::warn!(%error, "no spool is looked for there"),
    };
    for endpoint in endpoints.iter().flat_map(written) {
        add(Place::of(&endpoint, None));
        dirs.iter().for_each(|dir| add(Place::of(&endpoint, Some(dir))));
    }
    places
}

/// How watchers of this machine may have written an endpoint.
fn written(endpoint: &Endpoint) -> Vec<Endpoint> {
    match endpoint {
        Endpoint::Ipc(_) => vec![endpoint.clone()],
        Endpoint::Tcp { host, port } => {
            let mut hosts = own_hosts();
            hosts.extend((host != "*").then(|| host.clone()));
            hosts.sort();
            hosts.dedup();
            hosts.into_iter().map(|host| Endpoint::Tcp { host, port: *port }).collect()
        }
    }
}

/// The names and addresses of this machine.
fn own_hosts() -> Vec<String> {
    let mut hosts = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    hosts.extend(gethostname().ok().and_then(|name| name.into_string().ok()));
    for interface in getifaddrs().into_iter().flatten() {
        let Some(address) = interface.address else { continue };
        hosts.extend(address.as_sockaddr_in().map(|address| address.ip().to_string()));
        hosts.extend(address.as_sockaddr_in6().map(|address| address.ip().to_string()));
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dirs(endpoint: &str, given: &[&str]) -> Vec<PathBuf> {
        let given: Vec<PathBuf> = given.iter().map(PathBuf::from).collect();
        of(&[endpoint.parse().unwrap()], &given).iter().map(|place| place.dir().to_path_buf()).collect()
    }

    #[test]
    fn a_socket_has_its_place_beside_it_and_one_in_each_directory() {
        let found = dirs("ipc:///run/zv/zerovisor.sock", &["/one", "/two"]);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with("/run/zv") && found[1].starts_with("/one") && found[2].starts_with("/two"));
    }

    #[test]
    fn a_port_has_a_place_for_each_name_of_this_machine() {
        if std::env::var_os("HOME").is_none() {
            return crate::node::adopt::tests::skipped("a port has a place for each name of this machine", "no HOME");
        }
        let own = gethostname().unwrap().into_string().unwrap();
        for bound in ["tcp://*:7700", "tcp://127.0.0.1:7700"] {
            let found = dirs(bound, &[]);
            for host in ["localhost", "127.0.0.1", own.as_str()] {
                let place = Place::of(&format!("tcp://{host}:7700").parse().unwrap(), None).unwrap();
                assert_eq!(found.iter().filter(|dir| **dir == place.dir()).count(), 1, "{host} in {found:?}");
            }
            let foreign = Place::of(&"tcp://somewhere.else:7700".parse().unwrap(), None).unwrap();
            assert!(!found.contains(&foreign.dir().to_path_buf()));
        }
    }
}
