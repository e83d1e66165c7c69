//! The power is cut: what was acknowledged is there, under the name it had, and how it ended is known.
//!
//! A cut is a copy of what a disk holds while its file system still has the rest in memory; and, for what depends on when the kernel writes
//! which file, files that are cut by hand.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::harness::{Disk, Farm, SOON};

/// The journal's round of a second, and a slow disk; the kernel by itself writes after thirty.
const ROUNDS: Duration = Duration::from_secs(10);

/// A hundred numbers, and an exit code of its own.
const SCRIPT: &str = "seq 1 100; exit 3";

/// The directory of the one process there is.
fn home(data: &Path) -> Option<PathBuf> {
    let mut all = fs::read_dir(data.join("processes")).ok()?;
    Some(all.next()?.unwrap().path())
}

/// Every file of a process, with its size.
fn sizes(home: &Path) -> Vec<(PathBuf, u64)> {
    let mut all = Vec::new();
    for dir in [home.to_path_buf(), home.join("log"), home.join("facts")] {
        for entry in fs::read_dir(&dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            all.extend(
                path.is_file()
                    .then(|| (path.strip_prefix(home).unwrap().to_path_buf(), fs::metadata(&path).unwrap().len())),
            );
        }
    }
    all.sort();
    all
}

/// The process is served as if nothing had happened.
fn serves_all(farm: &Farm) {
    let row = farm.row("kept");
    assert_eq!((&row["state"], &row["exit"]["code"]), (&"EXITED".into(), &3.into()), "{row}");
    let numbers: String = (1..=100).map(|n| format!("{n}\n")).collect();
    assert_eq!(farm.ctl(&["logs", "kept"]).ok().out(), numbers);
}

#[test]
fn what_was_acknowledged_with_sync_always_outlives_a_power_cut() {
    let farm = Farm::empty();
    let Some(disk) = Disk::lazy(&farm, "disk") else { skip!("no loop device can be mounted here") };
    farm.start_node(&["--data", "disk/data", "--sync", "always"]);
    // It ends once its end is acknowledged.
    assert_eq!(farm.watch(&["--name", "kept", "sh", "-c", SCRIPT]).end(SOON).code(), 3);
    let cut = disk.cut(&farm, "cut");
    farm.kill_node();
    farm.start_node(&["--data", "cut/data"]);
    serves_all(&farm);
    assert!(!farm.node_said().contains("not intact"), "{}", farm.node_said());
    drop(cut);
}

#[test]
fn all_but_the_last_second_outlives_a_power_cut() {
    let farm = Farm::empty();
    let Some(disk) = Disk::lazy(&farm, "disk") else { skip!("no loop device can be mounted here") };
    farm.start_node(&["--data", "disk/data"]);
    assert_eq!(farm.watch(&["--name", "kept", "sh", "-c", SCRIPT]).end(SOON).code(), 3);
    let all = sizes(&home(&disk.at.join("data")).unwrap());
    let since = Instant::now();
    let mut cuts = 0..;
    let cut = loop {
        let name = format!("cut{}", cuts.next().unwrap());
        let cut = disk.cut(&farm, &name);
        let there = home(&cut.at.join("data")).map(|home| sizes(&home));
        if there.as_ref() == Some(&all) {
            break cut;
        }
        assert!(since.elapsed() < ROUNDS, "only {there:?} is on the disk of {all:?}");
    };
    farm.kill_node();
    farm.start_node(&["--data", cut.at.join("data").to_str().unwrap()]);
    serves_all(&farm);
}

#[test]
fn facts_that_a_power_cut_took_are_read_from_the_output() {
    let farm = Farm::new();
    assert_eq!(farm.watch(&["--name", "kept", "sh", "-c", SCRIPT]).end(SOON).code(), 3);
    farm.reaches("kept", "EXITED");
    farm.kill_node();
    let data = farm.path("zerovisor.data");
    let facts = home(&data).unwrap().join("facts").join(format!("{:020}.seg", 1));
    let whole = fs::read(&facts).unwrap();
    // Half of them, and of one the beginning only: its start is known, and not its end.
    fs::write(&facts, &whole[..whole.len() / 2]).unwrap();
    fs::write(data.join("boot"), "another\n").unwrap();
    farm.start_node(&[]);
    serves_all(&farm);
    assert_eq!(fs::read(&facts).unwrap().len(), whole.len(), "they are put back");
    let said = farm.node_said();
    assert_eq!(said.matches("its facts lacked the last").count(), 1, "{said}");
    assert_eq!(farm.told("kept", "exited").len(), 1);
    farm.kill_node();
    farm.start_node(&[]);
    serves_all(&farm);
    assert!(!farm.node_said().contains("not intact"), "{}", farm.node_said());
}
