//! Figures, not promises: `cargo test --release textlog::tests::speed -- --ignored --nocapture`.

use super::*;

/// CPU time of this process so far, in seconds.
fn cpu_s() -> f64 {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).unwrap();
    let s = |t: nix::sys::time::TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 * 1e-6;
    s(usage.user_time()) + s(usage.system_time())
}

fn measure(what: &str, payload: &[u8], total: usize) {
    let mut desk = Desk::new();
    desk.config.far_behind_bytes = u64::MAX;
    let mut source = desk.source(1, "speed");
    source.started(4242);
    let per_batch = (1usize << 20).div_ceil(payload.len());
    for _ in 0..total.div_ceil(payload.len() * per_batch) {
        let batch: Vec<_> = (0..per_batch as u64).map(|n| source.next_record(n, Kind::Stdout, payload)).collect();
        source.log.append(&batch).unwrap();
    }
    let (cpu, at) = (cpu_s(), Instant::now());
    let text = desk.start();
    source.open_in(&text);
    text.stop();
    let (_, thread) = desk.running.take().unwrap();
    thread.join().unwrap();
    let (cpu, wall) = (cpu_s() - cpu, at.elapsed().as_secs_f64());
    let kept = fs::read_to_string(&desk.config.cursors).unwrap();
    let next = source.log.last().unwrap().0 + 1;
    assert!(kept.contains(&format!(" {next} ")), "not all was rendered in time");
    let bytes = total as f64;
    println!("{what}: {:.0} MB/s, {:.2} CPU s/GiB", bytes / wall / 1e6, cpu / bytes * f64::from(1 << 30));
}

#[test]
#[ignore = "a measurement"]
fn rendering_speed() {
    let lines = |len: usize| format!("{}\n", "x".repeat(len - 1));
    for _ in 0..3 {
        measure("100-byte lines, 64 KiB records", lines(100).repeat(655).as_bytes(), 1 << 30);
        measure("100-byte lines, 100-byte records", lines(100).as_bytes(), 256 << 20);
        measure("1000-byte lines, 64 KiB records", lines(1000).repeat(65).as_bytes(), 1 << 30);
        measure("10-byte lines, 64 KiB records", lines(10).repeat(6553).as_bytes(), 64 << 20);
        measure("without line end, 64 KiB records", &vec![b'x'; 65536], 512 << 20);
    }
}
