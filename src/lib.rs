//! Zerovisor.
pub mod ctl;
pub mod net;
pub mod node;
pub mod watcher;
