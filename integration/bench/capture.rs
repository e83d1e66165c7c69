//! Output from the child's write(2) into the journal, beside `| cat > file`.

use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

use super::chatty;
use super::rig::{Budget, Rig, head, held, knob, ratios, row, runs};

/// What `--sync` may be, the cheapest first.
const SYNC_MODES: [&str; 3] = ["none", "interval", "always"];

/// `kid lines|blocks BYTES`: writes so many bytes as 100-byte lines, one write(2) each, or as 64 KiB writes.
pub(crate) fn kid(arguments: &[String]) -> ExitCode {
    let (Some(mode), Some(total)) = (arguments.first(), arguments.get(1).and_then(|n| n.parse::<usize>().ok())) else {
        return ExitCode::from(2);
    };
    write_all(mode, total)
}

/// Writes so many bytes to standard output, one write(2) a block.
pub(crate) fn write_all(mode: &str, total: usize) -> ExitCode {
    let block = block(mode);
    let mut out = File::from(nix::unistd::dup(std::io::stdout()).expect("standard output can be duplicated"));
    let mut left = total;
    while left > 0 {
        let Ok(wrote) = out.write(&block[..block.len().min(left)]) else { return ExitCode::FAILURE };
        left -= wrote;
    }
    ExitCode::SUCCESS
}

/// What the kid writes over and over: lines of 100 bytes.
fn block(mode: &str) -> Vec<u8> {
    let size: usize = if mode == "lines" { 100 } else { 64 << 10 };
    (0..size).map(|at| if at % 100 == 99 { b'\n' } else { b'a' + (at % 26) as u8 }).collect()
}

/// How many line feeds are in all that the kid writes, if each write is taken whole.
pub(crate) fn line_feeds(mode: &str, total: usize) -> usize {
    let block = block(mode);
    let within = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
    total / block.len() * within(&block) + within(&block[..total % block.len()])
}

struct Run {
    wall: Duration,
    /// CPU of the supervisor: everything but the kid.
    cpu: Duration,
}

/// CPU of all children that were waited for, and of theirs.
pub(crate) fn children_cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("getrusage");
    let span = |time: nix::sys::time::TimeVal| {
        Duration::from_secs(time.tv_sec().unsigned_abs()) + Duration::from_micros(time.tv_usec().unsigned_abs())
    };
    span(usage.user_time()) + span(usage.system_time())
}

/// The kid as a command.
pub(crate) fn kid_command(mode: &str, bytes: usize) -> [String; 4] {
    let own = std::env::current_exe().expect("own path").display().to_string();
    [own, "kid".into(), mode.into(), bytes.to_string()]
}

/// The kid alone into /dev/null: what to take off the CPU of a run that counts it in.
fn kid_cpu(mode: &str, bytes: usize) -> Duration {
    let [program, rest @ ..] = kid_command(mode, bytes);
    let before = children_cpu();
    // Through a pipe that is emptied at once by splice into /dev/null, so that the kid pays for the pipe as it does under a supervisor.
    let mut kid = Command::new(program).args(rest).stdout(Stdio::piped()).spawn().expect("the kid starts");
    let pipe = kid.stdout.take().expect("its pipe");
    let null = File::options().write(true).open("/dev/null").expect("/dev/null");
    while nix::fcntl::splice(&pipe, None, &null, None, 1 << 20, nix::fcntl::SpliceFFlags::empty()).is_ok_and(|n| n > 0)
    {
    }
    kid.wait().expect("the kid ends");
    children_cpu() - before
}

fn cat(mode: &str, bytes: usize) -> Run {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let line = format!("{} | exec cat > {}", kid_command(mode, bytes).join(" "), dir.path().join("log").display());
    let (before, began) = (children_cpu(), Instant::now());
    let status = Command::new("sh").args(["-c", &line]).status().expect("sh");
    assert!(status.success());
    Run { wall: began.elapsed(), cpu: children_cpu() - before }
}

fn zerovisor(mode: &str, bytes: usize, extra: &[&str]) -> Run {
    let rig = Rig::start(extra);
    let kid = kid_command(mode, bytes);
    let command: Vec<&str> = kid.iter().map(String::as_str).collect();
    let (before, node_before, began) = (children_cpu(), rig.node_cpu(), Instant::now());
    // Ends once the exit record, behind the last byte, is acknowledged.
    let status = rig.watch(&command).process_group(0).status().expect("zvwatch");
    assert!(status.success());
    let wall = began.elapsed();
    Run { wall, cpu: children_cpu() - before + (rig.node_cpu() - node_before) }
}

pub(crate) fn measure() {
    let bytes = knob("MIB", 512) << 20;
    for (mode, what) in [("blocks", "64 KiB writes"), ("lines", "100-byte writes")] {
        head(&format!("capture of {} MiB in {what}", bytes >> 20));
        let names =
            ["| cat > file", "zerovisor --log none", "zerovisor (default)", "zerovisor --log none --sync always"];
        let mut got: Vec<Vec<Run>> = names.iter().map(|_| Vec::new()).collect();
        let mut kids = Vec::new();
        for _ in 0..runs() {
            kids.push(kid_cpu(mode, bytes));
            got[0].push(cat(mode, bytes));
            got[1].push(zerovisor(mode, bytes, &["--log", "none"]));
            got[2].push(zerovisor(mode, bytes, &[]));
            got[3].push(zerovisor(mode, bytes, &["--log", "none", "--sync", "always"]));
        }
        let gib = bytes as f64 / f64::from(1 << 30);
        // The budgets are those of the second row, our own without zerovisor.log.
        let (least, most) = if mode == "blocks" { (0.8, 1.5) } else { (0.9, 3.0) };
        for (at, (name, runs)) in names.iter().zip(&got).enumerate() {
            let within =
                |unit, values, budget| if at == 1 { held(name, unit, values, budget) } else { row(name, unit, values) };
            row(name, "MB/s", runs.iter().map(|run| bytes as f64 / run.wall.as_secs_f64() / 1e6).collect());
            let ratio = runs.iter().zip(&got[0]).map(|(run, cat)| cat.wall.as_secs_f64() / run.wall.as_secs_f64());
            within("x cat", ratio.collect(), Budget::AtLeast(least));
            let own = runs.iter().zip(&kids).map(|(run, kid)| run.cpu.saturating_sub(*kid).as_secs_f64() / gib);
            within("cpu s/GiB", own.collect(), Budget::AtMost(most));
        }
    }
}

/// What `--sync` costs: the same writers under each mode, all of them ended and acknowledged.
pub(crate) fn syncing() {
    let bytes = knob("SYNC_MIB", 256) << 20;
    for (mode, what) in [("blocks", "64 KiB writes"), ("lines", "100-byte writes")] {
        for many in [1, 10] {
            head(&format!("--sync: {} MiB by {many} writers, in {what}", bytes >> 20));
            let mut walls: Vec<Vec<f64>> = SYNC_MODES.iter().map(|_| Vec::new()).collect();
            for _ in 0..runs().min(3) {
                for (sync, walls) in SYNC_MODES.iter().zip(&mut walls) {
                    walls.push(chatty::watched_for(mode, many, bytes / many, &["--log", "none", "--sync", sync]));
                }
            }
            for (sync, of) in SYNC_MODES.iter().zip(&walls) {
                row(sync, "MiB/s", of.iter().map(|wall| (bytes >> 20) as f64 / wall).collect());
                row(sync, "x none", ratios(&walls[0], of));
            }
        }
    }
}
