//! Starting, restarting, being many, being idle.

use std::process::Command;
use std::time::{Duration, Instant};

use super::families::{launch, stop};
use super::rig::{Budget, Rig, head, held, knob, pss_kib, row, runs, wakeups};

/// Start to exit of /bin/true: through zvwatch (foreground, exit acknowledged) beside fork, exec and wait.
pub(crate) fn start() {
    head("start to exit of /bin/true");
    let rig = Rig::start(&["--log", "none"]);
    let (mut bare, mut ours, mut ratio) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs() * 20 {
        let began = Instant::now();
        assert!(Command::new("/bin/true").status().expect("true").success());
        let alone = began.elapsed().as_secs_f64();
        let began = Instant::now();
        assert!(rig.watch(&["/bin/true"]).status().expect("zvwatch").success());
        let watched = began.elapsed().as_secs_f64();
        bare.push(alone * 1e3);
        ours.push(watched * 1e3);
        ratio.push(watched / alone);
    }
    row("spawn and wait", "ms", bare);
    row("zvwatch /bin/true", "ms", ours);
    row("zvwatch /bin/true", "x spawn", ratio);
}

/// From the end of a run to the first instruction of the next, by the clock of the runs themselves.
pub(crate) fn restart() {
    head("crash to restart, no backoff");
    let rig = Rig::start(&["--log", "none"]);
    let times = rig.path("times");
    let script = format!("date +%s.%N >> {0}; date +%s.%N >> {0}; exit 1", times.display());
    let life = ["-d", "--restart", "on-failure:200", "--backoff", "0..0", "--start-secs", "0", "sh", "-c", &script];
    assert!(rig.watch(&life).status().expect("zvwatch").success());
    assert!(rig.ctl(&["wait", "sh", "--for", "ended"]).status().is_ok());
    assert!(rig.ctl(&["rm", "-f", "sh"]).status().is_ok_and(|status| status.success()));
    let text = std::fs::read_to_string(&times).expect("the runs wrote their times");
    let stamps: Vec<f64> = text.lines().filter_map(|line| line.parse().ok()).collect();
    // Between two dates of one run lies one date's start and end; between two runs the same and the restart.
    let gaps =
        |from: usize| stamps[from..].chunks(2).filter(|pair| pair.len() == 2).map(|pair| (pair[1] - pair[0]) * 1e3);
    let (within, across): (Vec<f64>, Vec<f64>) = (gaps(0).collect(), gaps(1).collect());
    row("date to date within a run", "ms", within);
    row("date to date across a restart", "ms", across);
    let mut shell = Command::new("sh");
    let looped = rig.path("loop");
    let body = format!("date +%s.%N >> {0}; date +%s.%N >> {0}; exit 1", looped.display());
    shell.args(["-c", &format!("i=0; while [ $i -lt 200 ]; do sh -c '{body}'; i=$((i+1)); done")]);
    assert!(shell.status().expect("sh").success());
    let text = std::fs::read_to_string(&looped).expect("the loop wrote its times");
    let stamps: Vec<f64> = text.lines().filter_map(|line| line.parse().ok()).collect();
    let across = stamps[1..].chunks(2).filter(|pair| pair.len() == 2).map(|pair| (pair[1] - pair[0]) * 1e3);
    row("the same in a shell loop", "ms", across.collect());
}

/// A watcher and its guard by their proportional set size, and what one more of them costs the zerovisor.
pub(crate) fn memory() {
    head("memory of idle watchers with their guards");
    for many in [1, knob("MANY", 100)] {
        let rig = Rig::start(&["--log", "none"]);
        let before = pss_kib(rig.node.id());
        let families = launch(&rig, many, &[]);
        let per_family: Vec<f64> =
            families.iter().map(|(guard, watcher)| (pss_kib(*guard) + pss_kib(*watcher)) as f64).collect();
        // The budgets are those of one among a hundred: fewer share the pages of the programs.
        let within = |what: &str, values, most| {
            let what = format!("{what}, of {many}");
            if many < 100 {
                row(&what, "KiB PSS", values);
            } else {
                held(&what, "KiB PSS", values, Budget::AtMost(most));
            }
        };
        within("watcher and guard", per_family, 350.0);
        let grown = pss_kib(rig.node.id()).saturating_sub(before) as f64 / many as f64;
        within("zerovisor, growth a watcher", vec![grown], 128.0);
        stop(&rig);
    }
}

/// Wake-ups a second of an idle watcher, and CPU of a hundred.
pub(crate) fn idle() {
    head("idle");
    let rig = Rig::start(&["--log", "none"]);
    let families = launch(&rig, knob("MANY", 100), &[]);
    let span = Duration::from_secs(10);
    let count = || families.iter().map(|(guard, watcher)| (wakeups(*guard), wakeups(*watcher))).collect::<Vec<_>>();
    let cpu = || families.iter().map(|(_, watcher)| super::rig::cpu_of(*watcher)).sum::<Duration>();
    let (before, cpu_before, node_before) = (count(), cpu(), rig.node_cpu());
    std::thread::sleep(span);
    let (after, cpu_after, node_after) = (count(), cpu(), rig.node_cpu());
    let rate = |pick: fn(&(u64, u64)) -> u64| {
        before.iter().zip(&after).map(|(b, a)| (pick(a) - pick(b)) as f64 / span.as_secs_f64()).collect::<Vec<_>>()
    };
    row("guard", "wake-ups/s", rate(|pair| pair.0));
    row("watcher", "wake-ups/s", rate(|pair| pair.1));
    let ms = |cpu: Duration| cpu.as_secs_f64() * 1e3 / span.as_secs_f64();
    row("all watchers", "cpu ms/s", vec![ms(cpu_after - cpu_before)]);
    row("zerovisor", "cpu ms/s", vec![ms(node_after - node_before)]);
    stop(&rig);
}

/// `zvctl ps` with many processes, as a whole command.
pub(crate) fn ps() {
    head("zvctl ps");
    let rig = Rig::start(&["--log", "none"]);
    launch(&rig, 200, &[]);
    let time = || {
        let began = Instant::now();
        assert!(rig.ctl(&["ps"]).status().expect("zvctl").success());
        began.elapsed().as_secs_f64() * 1e3
    };
    row("zvctl ps with 200 processes", "ms", (0..runs() * 4).map(|_| time()).collect());
    stop(&rig);
}
