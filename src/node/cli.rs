//! The command line of zerovisor.

use std::path::PathBuf;

use clap::{CommandFactory, Parser};
use zerovisor_core::name::NodeName;
use zerovisor_core::units::{Bytes, Span};

use super::syncer::SyncMode;
use crate::net::Endpoint;

/// Where a zerovisor listens when nothing else is said, and where the other tools look for it.
pub const DEFAULT_ENDPOINT: &str = "ipc://zerovisor.sock";

/// Collects the output, states and exits of supervised programs, keeps them in a journal, and answers zvctl.
#[derive(Parser, Clone, Debug)]
#[command(name = "zerovisor", version, max_term_width = 100)]
pub struct Cli {
    /// Listen here: ipc://PATH or tcp://HOST:PORT (* for all addresses); may be given several times
    #[arg(short, long = "endpoint", value_name = "ENDPOINT", env = crate::usage::endpoint_variable(), default_value = DEFAULT_ENDPOINT, value_delimiter = ',')]
    pub endpoints: Vec<Endpoint>,

    /// Allow tcp endpoints that anybody who can reach them may read and command
    #[arg(long)]
    pub insecure: bool,

    /// The name of this node [default: the host's name]
    #[arg(long, value_name = "NAME")]
    pub name: Option<NodeName>,

    /// Keep the journal in this directory
    #[arg(long, value_name = "DIR", default_value = "zerovisor.data")]
    pub data: PathBuf,

    /// Write a readable log of every line and event to this file; - for standard output, none for no log
    #[arg(long, value_name = "FILE", default_value = "zerovisor.log")]
    pub log: PathBuf,

    /// Begin a new log file at this size
    #[arg(long, value_name = "SIZE", default_value = "64M")]
    pub log_size: Bytes,

    /// Keep so many older log files
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub log_keep: u32,

    /// Look here too for what watchers with this --spool have left; may be given several times
    #[arg(long = "spool", value_name = "DIR")]
    pub spools: Vec<PathBuf>,

    /// When a record counts as safe: none (the kernel has it), interval (and it is on the disk a second later), always (it is on the disk)
    #[arg(long, value_name = "WHEN", default_value_t = SyncMode::Interval)]
    pub sync: SyncMode,

    /// Keep at most so much of each process
    #[arg(long, value_name = "SIZE", default_value = "1G")]
    pub retain_size: Bytes,

    /// Keep at most so much of all processes together [default: a tenth of the file system]
    #[arg(long, value_name = "SIZE")]
    pub retain_total: Option<Bytes>,

    /// Keep nothing that is older than this; an ended process is forgotten with the last of it [default: no limit]
    #[arg(long, value_name = "SPAN")]
    pub retain_age: Option<Span>,
}

/// The command as clap sees it, for completions and man pages.
pub fn command() -> clap::Command {
    Cli::command()
}
