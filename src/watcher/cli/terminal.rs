//! The options about a terminal.

use clap::{Args, ValueEnum};
use zerovisor_core::detach::DetachKeys;
use zerovisor_core::size::Size;
use zerovisor_core::viewers::SizePolicy;

/// What kind of terminal the command gets.
#[derive(Args, Debug)]
#[command(next_help_heading = "Terminal")]
pub(super) struct TerminalArgs {
    /// Run it on a terminal of its own: seen with `zvctl screen`, entered with `zvctl attach`; with -it on a terminal, this one
    #[arg(long)]
    pub(super) pty: bool,
    /// The size its terminal begins with [default: with -it that of this console, else 80x24]
    #[arg(long, value_name = "COLSxROWS", requires = "pty")]
    pub(super) size: Option<Size>,
    /// Whose size it takes when several view it: latest, largest, smallest, or fixed for its own [default: latest; with -it and --size fixed]
    #[arg(long, value_name = "WHOSE", requires = "pty")]
    pub(super) size_policy: Option<SizePolicy>,
    /// What typed with -it leaves it running and returns to the shell: keys separated by commas, or none
    #[arg(long, value_name = "KEYS", default_value_t = DetachKeys::default(), requires = "pty")]
    pub(super) detach_keys: DetachKeys,
    /// Whether the screen is kept, for attach and `zvctl screen`, and the program's questions to its terminal are answered
    #[arg(long, value_name = "WHETHER", default_value = "on", requires = "pty")]
    pub(super) screen: Switch,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Switch {
    /// It is
    On,
    /// It is not
    Off,
}
