//! What watchers sample is shown while it is news, and costs nothing when it is not.

use std::time::{Duration, Instant};

use zerovisor_core::fact::Fact;
use zerovisor_core::id::Id;
use zerovisor_core::stats::Sample;
use zerovisor_core::units::Timestamp;
use zerovisor_core::view::NodeRow;
use zerovisor_core::wire::{self, Answer, Ask, ToNode, ToPeer};

use crate::harness::{Client, Farm, SOON, Watcher, until, watcher_hello};

/// Samples that come closer behind each other may be passed over.
const SAMPLES_APART: Duration = Duration::from_millis(50);

fn sample(run: u32, cpu: f64, memory: u64) -> Sample {
    let of_run = Sample { at: Timestamp(1), run, cpu_percent: Some(cpu), ..Sample::default() };
    Sample { memory_bytes: Some(memory), memory_peak_bytes: Some(2 * memory), ..of_run }
}

fn running(farm: &Farm, id: u8, name: &str) -> Watcher {
    let mut watcher = Watcher::saying(farm, watcher_hello(Id::from_random([id; 16]), id, name));
    watcher.fact(&Fact::Started { run: 1, pid: 1 });
    watcher.is_journaled();
    watcher
}

/// Waits until everything it said so far was heard.
fn is_heard(watcher: &mut Watcher) {
    let nonce = u64::MAX;
    watcher.peer.say(&ToNode::Ping { nonce }, None);
    while !matches!(watcher.peer.hear(), Some((ToPeer::Pong { nonce: heard }, _)) if heard == nonce) {}
}

fn node_row(farm: &Farm) -> NodeRow {
    let mut client = Client::of(farm);
    client.asks(Ask::NodeRows);
    let heard = client.hears();
    assert_eq!(heard.answer, Answer::NodeRows);
    let mut rows: Vec<NodeRow> = wire::decode_page(&heard.payload).unwrap();
    assert!(matches!(client.hears().answer, Answer::End(_)));
    assert_eq!(rows.len(), 1);
    rows.remove(0)
}

#[test]
fn a_sample_shows_in_rows_and_sums_until_it_is_old() {
    let farm = Farm::new();
    let mut one = running(&farm, 1, "one");
    let mut two = running(&farm, 2, "two");
    // Each look comes right behind a sample: on a busy machine several would take longer than a sample is news.
    let mut look_at = |name| {
        one.sampled(&sample(1, 12.5, 1000));
        two.sampled(&sample(1, 50.0, 3000));
        farm.row(name)
    };
    for (name, cpu, memory) in [("one", 12.5, 1000), ("two", 50.0, 3000)] {
        let row = until("it is shown", SOON, || Some(look_at(name)).filter(|row| !row["cpu_percent"].is_null()));
        assert_eq!(row["cpu_percent"].as_f64(), Some(cpu));
        let used = (row["memory_bytes"].as_u64(), row["memory_peak_bytes"].as_u64());
        assert_eq!(used, (Some(memory), Some(2 * memory)));
    }
    let node = node_row(&farm);
    assert_eq!((node.processes, node.live, node.cpu_percent, node.memory_bytes), (2, 2, 62.5, 4000));
    assert!(node.machine_cpu_percent.is_some_and(|percent| percent >= 0.0), "{node:?}");
    assert!(node.machine_memory_used_bytes < node.machine_memory_bytes, "{node:?}");
    // The link lives and samples stop: what was, is no news.
    until("it is stale", SOON, || {
        one.peer.ping();
        two.peer.ping();
        farm.row("one")["cpu_percent"].is_null().then_some(())
    });
    one.peer.ping();
    assert_eq!(farm.row("one")["memory_bytes"].as_u64(), Some(1000));
}

#[test]
fn a_sample_of_a_run_that_ended_is_gone() {
    let farm = Farm::new();
    let mut watcher = running(&farm, 1, "one");
    until("it is shown", SOON, || {
        watcher.sampled(&sample(1, 1.0, 1000));
        farm.row("one")["memory_bytes"].is_u64().then_some(())
    });
    watcher.fact(&Fact::Started { run: 2, pid: 2 });
    watcher.is_journaled();
    until("run 2 is shown", SOON, || {
        watcher.peer.ping();
        (farm.row("one")["run"] == 2).then_some(())
    });
    watcher.peer.ping();
    assert!(farm.row("one")["memory_bytes"].is_null());
    // One that comes too soon behind another is passed over: for as long as it takes that some are not.
    let begun = Instant::now();
    while begun.elapsed() < 4 * SAMPLES_APART {
        watcher.sampled(&sample(1, 1.0, 1000));
        is_heard(&mut watcher);
        assert!(farm.row("one")["memory_bytes"].is_null(), "it is of the run before");
    }
    until("its own is shown", SOON, || {
        watcher.sampled(&sample(2, 1.0, 500));
        (farm.row("one")["memory_peak_bytes"] == 1000).then_some(())
    });
}

#[test]
fn numbers_that_cannot_be_end_the_link() {
    let farm = Farm::new();
    let mut watcher = running(&farm, 1, "one");
    watcher.sampled(&sample(1, f64::NAN, 1));
    watcher.peer.meets_its_end();
    assert!(farm.node_said().contains("CPU percentage"), "{}", farm.node_said());
}
