//! room
pub mod journal;
pub mod textlog;
