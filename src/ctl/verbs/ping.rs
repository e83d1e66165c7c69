//! `zvctl ping`

use std::time::{Duration, Instant};

use serde::Serialize;
use zerovisor_core::escape::escaped;
use zerovisor_core::units::{Span, Timestamp};
use zerovisor_core::wire::{Answer, Ask};

use super::{Asker, finish};
use crate::ctl::cli::Format;
use crate::ctl::error::CtlError;
use crate::ctl::{json, out, when};

#[derive(Serialize)]
struct HereJson {
    node: String,
    program: String,
    pid: i32,
    started_at: String,
    round_trip_s: f64,
}

/// Asks whether the zerovisor is there.
///
/// # Errors
/// It is not.
pub async fn run(asker: &Asker) -> Result<(), CtlError> {
    let mut client = asker.client().await?;
    let asked = Instant::now();
    let reply = client.answer(Ask::Ping).await?;
    let round_trip = asked.elapsed();
    let mut here = Vec::new();
    for (answer, _) in &reply.parts {
        if let Answer::Here { node, program, pid, started_at } = answer {
            let line = person_line(node.as_str(), program, *pid, *started_at, round_trip);
            let (node, program, started_at) = (node.to_string(), program.clone(), when::rfc3339(*started_at));
            let round_trip_s = round_trip.as_secs_f64();
            here.push((line, HereJson { node, program, pid: *pid, started_at, round_trip_s }));
        }
    }
    match asker.format() {
        Format::Table | Format::Wide => out::print(here.iter().map(|(line, _)| line.as_str()).collect::<String>())?,
        Format::Json => {
            let rows: Vec<_> = here.iter().map(|(_, row)| row).collect();
            out::print_line(json::answer("zerovisors", &rows, &reply.nodes))?;
        }
        Format::Jsonl => out::print(here.iter().map(|(_, row)| json::line(row) + "\n").collect::<String>())?,
    }
    finish(&reply.nodes)
}

fn person_line(node: &str, program: &str, pid: i32, started_at: Timestamp, round_trip: Duration) -> String {
    let up = Span(Duration::from_secs(when::now().since(started_at).as_secs().max(1)));
    escaped(&format!("{node}: {program}, pid {pid}, up {up}, answered in {}", Span(round_trip))) + "\n"
}
