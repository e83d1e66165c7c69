//! Starting a child in a cgroup of its own: what the cgroup adds to the fork, the exec and the wait.
//!
//! The functions measured are the watcher's own, called from here, so that no connection and no exec of zvwatch is in it. The rung is
//! the one this machine has; controllers are not enabled, since that moves this process for good.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use zerovisor::host::Host;
use zerovisor::watcher::pipes::{Stdin, stdio};
use zerovisor::watcher::spawn::{Prepared, Program, Surroundings, prepare, spawn};
use zerovisor_cgroup::{Group, Limits, Owner, ProcessCgroup, Rung, Site};

use super::rig::{Budget, head, held, ratios, row, runs};

/// After this much idleness the kernel takes its time: an RCU grace period for a write to cgroup.procs.
const IDLE: Duration = Duration::from_millis(100);

/// From the call until the program runs, and until it has been waited for, in milliseconds.
#[derive(Clone, Copy)]
struct Start {
    runs: f64,
    ended: f64,
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn bare() -> Start {
    let began = Instant::now();
    let mut child = Command::new("/bin/true").spawn().expect("true");
    let runs = ms(began);
    assert!(child.wait().expect("true ends").success());
    Start { runs, ended: ms(began) }
}

fn ours(prepared: &Prepared, surroundings: &Surroundings<'_>) -> Start {
    let (streams, ends) = stdio(Stdin::Null).expect("pipes");
    let began = Instant::now();
    let child = spawn(prepared, streams, surroundings).expect("true");
    let runs = ms(began);
    waitpid(Pid::from_raw(child.pid), None).expect("true ends");
    let ended = ms(began);
    drop::<(OwnedFd, _)>((child.pidfd, ends));
    Start { runs, ended }
}

/// The start of a run in its cgroup, and what making and removing that costs before and after, in milliseconds.
fn nested(prepared: &Prepared, group: &Group, number: u32) -> (Start, f64) {
    let began = Instant::now();
    let leaf = group.run(number, &Limits::default()).expect("a cgroup for the run");
    let entrance = leaf.entrance().expect("its entrance");
    let made = ms(began);
    let start = ours(prepared, &Surroundings { cgroup: Some(&entrance), ..Surroundings::default() });
    let began = Instant::now();
    drop(entrance);
    leaf.remove().expect("the cgroup is empty");
    (start, made + ms(began))
}

/// The group of one process, named after this one.
fn group(site: &Site) -> Group {
    let pid = i32::try_from(std::process::id()).expect("a pid");
    let proof = Host::here().proof_of(pid);
    let owner = Owner { pid, start_ticks: proof.start_ticks, pid_namespace: proof.pid_namespace };
    site.create(&ProcessCgroup { name: "bench", id: [7; 16], owner }).expect("a cgroup of our own")
}

pub(crate) fn measure() {
    let site = Site::find();
    match site.rung() {
        Rung::None => return println!("SKIPPED start in a cgroup: {}", site.why()),
        Rung::V2 | Rung::Hybrid | Rung::V1 => {}
    }
    let argv = vec![OsString::from("/bin/true")];
    let prepared = prepare(&Program { argv, ..Program::default() }).expect("a program");
    let group = group(&site);
    let mut number = 0;
    for (how, idle) in [("after 100 ms of idleness", IDLE), ("back to back", Duration::ZERO)] {
        head(&format!("start of /bin/true in a cgroup of its own, {how}; {}", site.why()));
        let (mut alone, mut outside, mut inside, mut around) = (vec![], vec![], vec![], vec![]);
        for _ in 0..runs() * 10 {
            std::thread::sleep(idle);
            alone.push(bare());
            std::thread::sleep(idle);
            outside.push(ours(&prepared, &Surroundings::default()));
            std::thread::sleep(idle);
            number += 1;
            let (start, made) = nested(&prepared, &group, number);
            inside.push(start);
            around.push(made);
        }
        let of = |starts: &[Start], pick: fn(&Start) -> f64| starts.iter().map(pick).collect::<Vec<f64>>();
        for (what, starts) in [("std::process", &alone), ("our spawn", &outside), ("our spawn in a cgroup", &inside)] {
            row(&format!("{what}: until it runs"), "ms", of(starts, |start| start.runs));
            row(&format!("{what}: until it was waited for"), "ms", of(starts, |start| start.ended));
        }
        row("making and removing the cgroup of the run", "ms", around);
        let ratio = ratios(&of(&inside, |start| start.ended), &of(&alone, |start| start.ended));
        let what = "our spawn in a cgroup, start to exit";
        match site.rung() {
            Rung::V2 => held(what, "x std", ratio, Budget::AtMost(1.3)),
            // The write to cgroup.procs that v1 asks for has no budget.
            Rung::Hybrid | Rung::V1 | Rung::None => row(what, "x std", ratio),
        }
    }
    group.remove().expect("the group is empty");
}
