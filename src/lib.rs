//! Zerovisor: one library behind three programs. Who may use whom, downward only:
//!
//! ```text
//! bin/{zerovisor,zvwatch,zvctl}     parse, run, exit code
//! node       watcher       ctl      the shells of the three programs; they do not know each other
//!      spool                        where a watcher keeps what no zerovisor takes, and the next one finds it
//!      net, host, tty, usage        endpoints, the gate, links; this machine; the user's terminal; errors of a command line
//!      journal                      append-only logs of checksummed records: the zerovisor's journal, a watcher's spool
//! zerovisor-core  -pty  -cgroup     crates of their own; they do not know each other either
//! ```
pub mod ctl;
pub mod host;
pub mod journal;
pub mod net;
pub mod node;
pub mod spool;
pub mod tty;
pub mod usage;
pub mod watcher;

#[cfg(test)]
mod alone;

/// The version of the program, for people.
pub const PROGRAM_VERSION: &str = env!("CARGO_PKG_VERSION");
