//! Zerovisor: one library behind three programs. Who may use whom, downward only:
//!
//! ```text
//! bin/{zerovisor,zvwatch,zvctl}     parse, run, exit code
//! node       watcher       ctl      the shells of the three programs; they do not know each other
//!            net                    endpoints, the gate, links
//! zerovisor-core  -pty  -cgroup     crates of their own; they do not know each other either
//! ```
pub mod ctl;
pub mod net;
pub mod node;
pub mod watcher;
