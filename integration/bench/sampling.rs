//! What sampling costs: watchers of idle processes that measure each second, beside the same that never do.

use std::time::Duration;

use super::families::{launch, stop};
use super::rig::{Budget, Rig, cpu_of, head, held, knob, row, wakeups};

/// How long is counted: ten samples, one of which is a costly one.
const SPAN: Duration = Duration::from_secs(10);

/// What a watcher spends, with how many beside it.
struct Spent {
    /// CPU of each watcher, in microseconds a second.
    cpu: Vec<f64>,
    /// Wake-ups of each watcher a second.
    wakeups: Vec<f64>,
    /// CPU of the zerovisor, in microseconds a second.
    node: f64,
}

fn spent(many: usize, interval: &str) -> Spent {
    let rig = Rig::start(&["--log", "none"]);
    let families = launch(&rig, many, &["--stats-interval", interval]);
    let look = || -> Vec<(Duration, u64)> {
        families.iter().map(|(_, watcher)| (cpu_of(*watcher), wakeups(*watcher))).collect()
    };
    let (before, node_before) = (look(), rig.node_cpu());
    std::thread::sleep(SPAN);
    let (after, node_after) = (look(), rig.node_cpu());
    let a_second = |span: Duration| span.as_secs_f64() * 1e6 / SPAN.as_secs_f64();
    let pairs = || before.iter().zip(&after);
    let cpu = pairs().map(|(before, after)| a_second(after.0 - before.0)).collect();
    let wakeups = pairs().map(|(before, after)| (after.1 - before.1) as f64 / SPAN.as_secs_f64()).collect();
    stop(&rig);
    Spent { cpu, wakeups, node: a_second(node_after - node_before) }
}

pub(crate) fn measure() {
    for many in [1, knob("MANY", 100), knob("CROWD", 1000)] {
        head(&format!("sampling {many} idle processes"));
        let (sampled, silent) = (spent(many, "1s"), spent(many, "0"));
        let mean = |of: &Spent| of.cpu.iter().sum::<f64>() / many as f64;
        let all = |of: &Spent| vec![of.cpu.iter().sum::<f64>() / 1e3];
        row("all watchers, --stats-interval 1s", "cpu ms/s", all(&sampled));
        row("all watchers, --stats-interval 0", "cpu ms/s", all(&silent));
        row("zerovisor, --stats-interval 1s", "cpu ms/s", vec![sampled.node / 1e3]);
        row("zerovisor, --stats-interval 0", "cpu ms/s", vec![silent.node / 1e3]);
        held("a watcher, mean", "cpu µs/s", vec![mean(&sampled)], Budget::AtMost(60.0));
        // The sample takes the place of the ping: this is what measuring adds to being there.
        let added = vec![mean(&sampled) - mean(&silent)];
        held("the sampling in it, by difference", "cpu µs/s", added, Budget::AtMost(60.0));
        row("a watcher, --stats-interval 1s", "wake-ups/s", sampled.wakeups);
        row("a watcher, --stats-interval 0", "wake-ups/s", silent.wakeups);
    }
}
