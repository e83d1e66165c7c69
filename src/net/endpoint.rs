//! Where a zerovisor listens or is found: `ipc://PATH` or `tcp://HOST:PORT`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

/// Longest path of a unix socket: `sun_path` less its terminating NUL.
pub const IPC_PATH_MAX_BYTES: usize = 107;

/// An address as users write it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A socket file; a relative path counts from the working directory.
    Ipc(PathBuf),
    /// A tcp address.
    Tcp {
        /// A name, an IPv4 or IPv6 address (without brackets), or `*` for all addresses when binding.
        host: String,
        /// The port; 0 lets the system choose when binding.
        port: u16,
    },
}

impl Endpoint {
    /// Whether it is reached over the network, where strangers are.
    pub fn is_tcp(&self) -> bool {
        matches!(self, Endpoint::Tcp { .. })
    }
}

/// Why a string is no endpoint. Each message is one line that says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EndpointError {
    /// No `://`.
    #[error("endpoint {0:?} has no scheme: write ipc://PATH for a socket file or tcp://HOST:PORT")]
    NoScheme(String),
    /// A scheme other than ipc and tcp.
    #[error("endpoint {endpoint:?}: unknown scheme {scheme:?}, known are ipc:// and tcp://")]
    UnknownScheme {
        /// The whole string.
        endpoint: String,
        /// What stands before `://`.
        scheme: String,
    },
    /// `ipc://` alone.
    #[error("endpoint ipc:// has no path: write for example ipc://zerovisor.sock")]
    NoPath,
    /// A path that does not fit into a socket address.
    #[error(
        "endpoint ipc://{path}: the path has {len} bytes, a socket address takes {IPC_PATH_MAX_BYTES}: use a shorter \
         or a relative path"
    )]
    PathTooLong {
        /// The path.
        path: String,
        /// Its length in bytes.
        len: usize,
    },
    /// A NUL byte in the path.
    #[error("endpoint ipc://{0:?}: a path can't contain a NUL byte")]
    NulInPath(String),
    /// No host before the port.
    #[error("endpoint {0:?} has no host: write tcp://HOST:PORT, or tcp://*:PORT for all addresses")]
    NoHost(String),
    /// No port.
    #[error("endpoint {0:?} has no port: write tcp://HOST:PORT")]
    NoPort(String),
    /// A port that is no number up to 65535.
    #[error("endpoint {endpoint:?}: bad port {port:?}, a port is a number from 0 to 65535")]
    BadPort {
        /// The whole string.
        endpoint: String,
        /// What stands where the port should.
        port: String,
    },
    /// An IPv6 address outside brackets, or brackets around something else.
    #[error("endpoint {0:?}: an IPv6 address goes in brackets, as in tcp://[::1]:7700")]
    BadIpv6(String),
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(EndpointError::NoScheme(text.to_owned()));
        };
        match scheme {
            "ipc" => ipc(rest),
            "tcp" => tcp(text, rest),
            _ => Err(EndpointError::UnknownScheme { endpoint: text.to_owned(), scheme: scheme.to_owned() }),
        }
    }
}

fn ipc(path: &str) -> Result<Endpoint, EndpointError> {
    if path.is_empty() {
        return Err(EndpointError::NoPath);
    }
    if path.contains('\0') {
        return Err(EndpointError::NulInPath(path.to_owned()));
    }
    if path.len() > IPC_PATH_MAX_BYTES {
        return Err(EndpointError::PathTooLong { path: path.to_owned(), len: path.len() });
    }
    Ok(Endpoint::Ipc(PathBuf::from(path)))
}

fn tcp(text: &str, rest: &str) -> Result<Endpoint, EndpointError> {
    let endpoint = || text.to_owned();
    let (host, port) = if let Some(bracketed) = rest.strip_prefix('[') {
        let (host, after) = bracketed.split_once(']').ok_or_else(|| EndpointError::BadIpv6(endpoint()))?;
        // A scope (%eth0) may follow the address.
        let address = host.split('%').next().unwrap_or_default();
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(EndpointError::BadIpv6(endpoint()));
        }
        (host, after.strip_prefix(':').ok_or_else(|| EndpointError::NoPort(endpoint()))?)
    } else {
        rest.rsplit_once(':').ok_or_else(|| EndpointError::NoPort(endpoint()))?
    };
    if host.is_empty() {
        return Err(EndpointError::NoHost(endpoint()));
    }
    if host.contains(':') && !rest.starts_with('[') {
        return Err(EndpointError::BadIpv6(endpoint()));
    }
    if port.is_empty() {
        return Err(EndpointError::NoPort(endpoint()));
    }
    // `parse` alone would take "+1".
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(EndpointError::BadPort { endpoint: endpoint(), port: port.to_owned() });
    }
    let number = port.parse().map_err(|_| EndpointError::BadPort { endpoint: endpoint(), port: port.to_owned() })?;
    Ok(Endpoint::Tcp { host: host.to_owned(), port: number })
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipc(path) => write!(f, "ipc://{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        text.parse::<Endpoint>().unwrap_err().to_string()
    }

    #[test]
    fn what_is_written_is_read_back() {
        for text in
            ["ipc://zerovisor.sock", "ipc:///run/zv", "ipc://@x", "tcp://a.b:1", "tcp://*:7700", "tcp://[::1]:0"]
        {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        let longest = format!("ipc://{}", "x".repeat(IPC_PATH_MAX_BYTES));
        assert_eq!(longest.parse::<Endpoint>().unwrap().to_string(), longest);
    }

    #[test]
    fn errors_say_what_to_write() {
        assert!(error("udp://x:1").contains("known are ipc:// and tcp://"));
        assert!(error("zerovisor.sock").contains("no scheme"));
        assert!(error("ipc://").contains("no path"));
        let long = error(&format!("ipc://{}", "x".repeat(108)));
        assert!(long.contains("108 bytes") && long.contains("107") && long.contains("relative"), "{long}");
        assert!(error("tcp://host").contains("no port"));
        assert!(error("tcp://host:").contains("no port"));
        assert!(error("tcp://:1").contains("no host"));
        assert!(error("tcp://[::1]").contains("no port"));
        for bad in ["tcp://h:65536", "tcp://h:-1", "tcp://h:+1", "tcp://h:x"] {
            assert!(error(bad).contains("bad port"), "{bad}");
        }
        for bad in ["tcp://::1:80", "tcp://[::1:80", "tcp://[host]:80"] {
            assert!(error(bad).contains("brackets"), "{bad}");
        }
    }

    #[test]
    fn every_error_is_one_line() {
        for bad in ["", "x://y", "ipc://", "ipc://a\0b", "tcp://", "tcp://a\nb", "tcp://[", "tcp://:0"] {
            assert!(!error(bad).contains('\n'), "{bad:?}");
        }
    }
}
