//! The verbs of tables: ps, top.

use std::time::Duration;

use clap::Args;

use super::{Targets, number};
use crate::ctl::filter::{Filter, SortKey};

/// `zvctl ps`
#[derive(Args, Debug)]
#[command(after_help = PS_HELP)]
pub struct Ps {
    /// Which; nothing means every live one.
    #[command(flatten)]
    pub targets: Targets,
    /// Ended ones too
    #[arg(short, long)]
    pub all: bool,
    /// Order by a field: text ascending, quantities largest first; -FIELD turns it round
    #[arg(long, value_name = "FIELD", allow_hyphen_values = true)]
    pub sort: Option<SortKey>,
    /// Only those an expression is true for, such as 'cpu > 50 && name ~ "web"'
    #[arg(long = "where", value_name = "EXPR")]
    pub filter: Option<Filter>,
    /// Only the ids, whole, one a line
    #[arg(short, long, conflicts_with = "output")]
    pub quiet: bool,
}

const PS_HELP: &str = "\
Fields for --where and --sort: id name node state pid run started_at ended_at uptime cpu memory peak restarts exit.code \
exit.signal exit.oom command rung output silent labels.KEY, and their names in JSON. \
Operators: == != < <= > >= ~ (matches a regular expression) !~ && || ! ( ). \
Sizes and spans take units: memory > 1.5G && uptime < 10m. A field alone is true when it has a value that is not 0. \
null compares with ==: exit.code == null. What is not measured compares as neither greater nor smaller.";

/// `zvctl top`
#[derive(Args, Debug)]
#[command(after_help = TOP_HELP)]
pub struct Top {
    /// Which; nothing means every live one.
    #[command(flatten)]
    pub targets: Targets,
    /// Print one table below the other; so it is where there is no terminal
    #[arg(short, long)]
    pub batch: bool,
    /// End after N tables
    #[arg(short = 'n', long, value_name = "N", value_parser = number::<u64>)]
    pub count: Option<u64>,
    /// Seconds between two tables, 0.1 at least; watchers measure once a second
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = delay)]
    pub delay: Duration,
    /// Order by a field, as in ps
    #[arg(long, value_name = "FIELD", default_value = "cpu", allow_hyphen_values = true)]
    pub sort: SortKey,
    /// Only those an expression is true for, as in ps
    #[arg(long = "where", value_name = "EXPR")]
    pub filter: Option<Filter>,
}

const TOP_HELP: &str = "\
q or Ctrl-C leaves. First the nodes: CPU% and MEM are of all their processes together, in percent of one core, HOST% and USED of their \
machines; pressure is the share of the last ten seconds in which something waited for the resource. Then the processes. \
With -o json or jsonl each table is a line: {\"at\", \"totals\", \"processes\", \"nodes\"}.";

/// A number of seconds.
fn delay(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds: &f64| (0.1..=86_400.0).contains(seconds));
    let seconds = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| "write seconds such as 2 or 0.5, 0.1 at least".to_owned())
}
