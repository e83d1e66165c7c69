//! The table of nodes.

use zerovisor_core::stats::Pressure;
use zerovisor_core::units::Bytes;
use zerovisor_core::view::NodeRow;

use super::{Column, Paint, Table, or_dash, up};
use crate::ctl::out::Look;

const NODE_COLUMNS: [Column; 11] = [
    Column::long("NODE").kept(),
    Column::number("UP"),
    Column::number("PROCS"),
    Column::number("LIVE").kept(),
    Column::number("CPU%").kept(),
    Column::number("MEM").kept(),
    Column::number("CPUS"),
    Column::number("HOST%"),
    Column::number("USED"),
    Column::number("OF"),
    Column::text("PRESSURE"),
];

/// The table of nodes and what they use.
pub fn nodes(rows: &[NodeRow], look: Look) -> String {
    let mut table = Table::new(&NODE_COLUMNS);
    for row in rows {
        let bytes = |bytes: Option<u64>| or_dash(bytes, |bytes| Bytes(bytes).to_string());
        let cells = [
            row.name.to_string(),
            up(row.uptime),
            row.processes.to_string(),
            row.live.to_string(),
            format!("{:.1}", row.cpu_percent),
            Bytes(row.memory_bytes).to_string(),
            row.machine_cpus.to_string(),
            or_dash(row.machine_cpu_percent, |cpu| format!("{cpu:.1}")),
            bytes(row.machine_memory_used_bytes),
            bytes(row.machine_memory_bytes),
            pressure_cell(row.pressure),
        ];
        table.push(cells.map(|text| (text, Paint::Plain)));
    }
    table.render(look)
}

fn pressure_cell(pressure: Pressure) -> String {
    let each = [("cpu", pressure.cpu), ("mem", pressure.memory), ("io", pressure.io)];
    let known = each.iter().filter_map(|(name, percent)| Some(format!("{name} {:.0}%", (*percent)?)));
    or_dash(Some(known.collect::<Vec<_>>().join(" ")).filter(|cell| !cell.is_empty()), |cell| cell)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_node_is_a_line_with_what_is_known() {
        let row = NodeRow {
            name: "n1".parse().unwrap(),
            version: "1".into(),
            uptime: Duration::from_secs(90),
            processes: 12,
            live: 10,
            cpu_percent: 12.34,
            memory_bytes: 3 << 20,
            machine_cpus: 2,
            machine_cpu_percent: None,
            machine_memory_used_bytes: Some(1 << 30),
            machine_memory_bytes: Some(2 << 30),
            pressure: Pressure { cpu: Some(7.4), memory: None, io: None },
        };
        let table = nodes(&[row], Look::default());
        let told: Vec<String> = table.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(told[1], "n1 1m30s 12 10 12.3 3.0 MiB 2 - 1.0 GiB 2.0 GiB cpu 7%");
    }
}
