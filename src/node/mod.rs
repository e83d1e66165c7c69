//! room
pub mod journal;
