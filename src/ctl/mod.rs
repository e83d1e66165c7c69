//! zvctl: asks one zerovisor, and shows what it says.
//!
//! ```text
//! cli            the command line
//! error          what can go wrong, with exit status and line
//! filter when    --where and --sort; points in time
//! out            standard output and standard error
//! json render why    what answers look like: JSON, tables, sentences
//! ```

pub mod cli;
pub mod error;
pub mod filter;
pub mod json;
pub mod out;
pub mod render;
pub mod when;
pub mod why;
