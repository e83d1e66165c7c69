//! What is used and what may be: samples, limits, sizes, nodes.

use serde::Serialize;
use serde_json::{Value, json};
use zerovisor_core::limits::Limits;
use zerovisor_core::size::Size;
use zerovisor_core::stats::{Pressure, Sample};
use zerovisor_core::view::NodeRow;

use crate::ctl::when::rfc3339;

pub(super) fn size(size: Size) -> Value {
    json!({ "cols": size.cols(), "rows": size.rows() })
}

pub(super) fn limits(limits: &Limits) -> Value {
    json!({
        "memory_bytes": limits.memory_bytes,
        "cpus": limits.cpu_millis.map(|millis| f64::from(millis) / 1000.0),
        "pids": limits.pids,
    })
}

pub(super) fn sample(sample: &Sample) -> Value {
    json!({
        "at": rfc3339(sample.at),
        "run": sample.run,
        "cpu_percent": sample.cpu_percent,
        "cpu_user_us": sample.cpu_user_us,
        "cpu_system_us": sample.cpu_system_us,
        "throttled_us": sample.throttled_us,
        "memory_bytes": sample.memory_bytes,
        "memory_peak_bytes": sample.memory_peak_bytes,
        "anon_bytes": sample.anon_bytes,
        "file_bytes": sample.file_bytes,
        "swap_bytes": sample.swap_bytes,
        "oom_kills": sample.oom_kills,
        "pids": sample.pids,
        "read_bytes": sample.read_bytes,
        "written_bytes": sample.written_bytes,
        "pressure": pressure(sample.pressure),
        "main_threads": sample.main_threads,
        "main_fds": sample.main_fds,
        "main_state": sample.main_state,
    })
}

/// Percent of the last ten seconds.
fn pressure(pressure: Pressure) -> Value {
    json!({ "cpu": pressure.cpu, "memory": pressure.memory, "io": pressure.io })
}

/// A node and its machine.
#[derive(Serialize)]
pub struct NodeRowJson<'a> {
    name: &'a str,
    version: &'a str,
    uptime_s: f64,
    processes: u64,
    live: u64,
    cpu_percent: f64,
    memory_bytes: u64,
    machine_cpus: u32,
    machine_cpu_percent: Option<f64>,
    machine_memory_used_bytes: Option<u64>,
    machine_memory_bytes: Option<u64>,
    pressure: Value,
}

impl<'a> NodeRowJson<'a> {
    /// That of the core's.
    pub fn of(row: &'a NodeRow) -> NodeRowJson<'a> {
        NodeRowJson {
            name: row.name.as_str(),
            version: &row.version,
            uptime_s: row.uptime.as_secs_f64(),
            processes: row.processes,
            live: row.live,
            cpu_percent: row.cpu_percent,
            memory_bytes: row.memory_bytes,
            machine_cpus: row.machine_cpus,
            machine_cpu_percent: row.machine_cpu_percent,
            machine_memory_used_bytes: row.machine_memory_used_bytes,
            machine_memory_bytes: row.machine_memory_bytes,
            pressure: pressure(row.pressure),
        }
    }
}
