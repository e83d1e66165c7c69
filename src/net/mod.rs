//! Endpoints, the gate before every listener and every dial, and the ZeroMQ links behind it.
//!
//! ```text
//! peer <-> wire (unix, tcp; later encrypted) <-> guard and relay <-> private hop <-> DEALER or ROUTER <-> Link
//! ```
//! The zeromq crate is never exposed to a peer: [`zmtp`] says what may pass, `hop` how it gets in.

mod bind;
mod bulk;
pub mod dial;
pub mod endpoint;
pub mod heartbeat;
mod hop;
pub mod link;
pub mod listen;
mod progress;
pub mod reconnect;
mod relay;
mod seats;
mod sys;
pub mod telling;
mod unix;
pub mod wire;
pub mod zmtp;

pub use dial::{DialError, dial};
pub use endpoint::Endpoint;
pub use heartbeat::{HEARTBEAT, HEARTBEATS_MISSED, Heartbeat};
pub use link::{Frames, Link, LinkError, LinkRx, LinkTx, UNSENT_MAX_BYTES};
pub use listen::{Acceptor, Admission, BindError};
pub use reconnect::Backoff;
pub use telling::Telling;
pub use wire::Peer;
