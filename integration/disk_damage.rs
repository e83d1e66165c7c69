//! A journal that is not intact: the zerovisor starts, serves what is, and says what is not.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::harness::{Farm, SOON, until};

/// The directory of the one process there is.
fn home(farm: &Farm) -> PathBuf {
    let mut all = fs::read_dir(farm.path("zerovisor.data/processes")).unwrap();
    let home = all.next().unwrap().unwrap().path();
    assert!(all.next().is_none(), "one process");
    home
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect();
    all.retain(|path| path.extension().is_some_and(|kind| kind == "seg"));
    all.sort();
    all
}

fn flip(path: &Path, at: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 4], at).unwrap();
}

fn cut(path: &Path, bytes: u64) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() - bytes).unwrap();
}

/// A process of a hundred lines, each a record, that has exited with 3; its zerovisor is gone.
fn told() -> (Farm, PathBuf) {
    let farm = Farm::new();
    let script = "i=0; while [ $i -lt 100 ]; do i=$((i + 1)); echo line $i; sleep 0.002; done; exit 3";
    assert_eq!(farm.watch(&["--name", "told", "sh", "-c", script]).end(SOON).code(), 3);
    farm.reaches("told", "EXITED");
    farm.kill_node();
    let home = home(&farm);
    (farm, home)
}

/// The numbers of the lines that are served.
fn lines(farm: &Farm, name: &str) -> Vec<u32> {
    let out = farm.ctl(&["logs", name]).ok().out();
    out.lines().filter_map(|line| line.strip_prefix("line ")?.parse().ok()).collect()
}

/// It is said in one line each on standard error, in zerovisor.log and in the events, and by inspect.
fn says(farm: &Farm, name: &str, words: &str) {
    let told: Vec<String> = farm.node_said().lines().filter(|l| l.contains(words)).map(str::to_owned).collect();
    assert_eq!(told.len(), 1, "'{words}' once: {}", farm.node_said());
    assert!(told[0].contains("the journal is not intact"), "{}", told[0]);
    farm.file_says("zerovisor.log", words);
    let events = farm.jsonl(&["events"]);
    let damaged = |event: &&serde_json::Value| event["event"] == "journal_damaged";
    assert!(events.iter().filter(damaged).any(|event| event["what"].as_str().unwrap().contains(words)), "{events:?}");
    let seen = farm.json(&["inspect", name]);
    let trouble = seen["processes"][0]["journal"]["trouble"].as_str().unwrap_or_default();
    assert!(trouble.contains(words), "inspect: {seen}");
}

#[test]
fn a_torn_tail_costs_the_record_it_is_in() {
    let (farm, home) = told();
    let newest = segments(&home.join("log")).pop().unwrap();
    // The end of the last fact, Exited: as a power cut leaves it.
    cut(&newest, 3);
    farm.start_node(&[]);
    assert_eq!(lines(&farm, "told"), (1..=100).collect::<Vec<_>>());
    says(&farm, "told", "never completely written");
    // Without its last word it counts as lost, or not heard of until that is proven.
    let state = farm.row("told")["state"].clone();
    assert!(state == "LOST" || state == "UNREACHABLE", "{state}");
}

#[test]
fn a_flipped_bit_costs_its_own_record() {
    let (farm, home) = told();
    let newest = segments(&home.join("log")).pop().unwrap();
    let half = fs::metadata(&newest).unwrap().len() / 2;
    flip(&newest, half);
    farm.start_node(&[]);
    let served = lines(&farm, "told");
    assert!(served.len() >= 98 && served.len() < 100 && served.is_sorted(), "{served:?}");
    says(&farm, "told", "damaged: segment");
    let said = farm.ctl(&["logs", "told"]).ok().err();
    assert!(said.contains("damaged"), "logs says where: {said}");
    assert_eq!(farm.row("told")["exit"]["code"], 3);
}

#[test]
fn a_flipped_bit_in_the_head_of_a_segment_costs_nothing() {
    let (farm, home) = told();
    flip(&segments(&home.join("log"))[0], 30);
    farm.start_node(&[]);
    assert_eq!(lines(&farm, "told"), (1..=100).collect::<Vec<_>>());
    says(&farm, "told", "bytes 0..48");
}

#[test]
fn facts_that_are_damaged_or_missing_are_read_from_the_output() {
    for how in ["missing", "flipped", "empty"] {
        let (farm, home) = told();
        let facts = home.join("facts");
        match how {
            "missing" => fs::remove_dir_all(&facts).unwrap(),
            "flipped" => {
                let newest = segments(&facts).pop().unwrap();
                flip(&newest, fs::metadata(&newest).unwrap().len() / 2);
            }
            _ => fs::remove_file(segments(&facts).pop().unwrap()).unwrap(),
        }
        farm.start_node(&[]);
        let row = farm.row("told");
        assert_eq!((&row["state"], &row["exit"]["code"]), (&"EXITED".into(), &3.into()), "{how}: {row}");
        assert_eq!(lines(&farm, "told").len(), 100, "{how}");
        says(&farm, "told", if how == "flipped" { "its facts: damaged" } else { "missing" });
    }
}

#[test]
fn a_process_whose_declaration_is_lost_is_served_without_its_name() {
    for how in ["missing", "flipped"] {
        let (farm, home) = told();
        let meta = home.join("meta");
        match how {
            "missing" => fs::remove_file(&meta).unwrap(),
            _ => flip(&meta, fs::metadata(&meta).unwrap().len() / 2),
        }
        farm.start_node(&[]);
        let row = farm.row("unknown");
        assert_eq!((&row["state"], &row["exit"]["code"]), (&"EXITED".into(), &3.into()), "{how}: {row}");
        let id = row["id"].as_str().unwrap().to_owned();
        assert!(home.ends_with(&id), "{id}");
        assert_eq!(lines(&farm, &id).len(), 100, "{how}");
        says(&farm, &id, "served under the name unknown");
    }
}

#[test]
fn a_watcher_brings_a_lost_declaration_back() {
    let farm = Farm::new();
    farm.watched(&["--name", "stays", "-d", "sh", "-c", "echo one; while [ ! -e go ]; do :; done; echo two"]).ok();
    farm.wrote("stays", "one");
    farm.kill_node();
    fs::remove_file(home(&farm).join("meta")).unwrap();
    farm.start_node(&[]);
    farm.reaches("stays", "RUNNING");
    fs::write(farm.path("go"), "").unwrap();
    farm.reaches("stays", "EXITED");
    farm.kill_node();
    farm.start_node(&[]);
    assert_eq!(farm.ctl(&["logs", "stays"]).ok().out(), "one\ntwo\n");
}

#[test]
fn damage_in_one_process_or_in_the_events_keeps_nothing_else_from_being_served() {
    let (farm, home) = told();
    farm.start_node(&[]);
    farm.watched(&["--name", "other", "echo", "other"]).ok();
    farm.kill_node();
    let all = fs::read_dir(farm.path("zerovisor.data/processes")).unwrap();
    let other = all.map(|entry| entry.unwrap().path()).find(|path| *path != home).unwrap();
    fs::remove_dir_all(other.join("log")).unwrap();
    let events = segments(&farm.path("zerovisor.data/events")).pop().unwrap();
    flip(&events, fs::metadata(&events).unwrap().len() / 2);
    farm.start_node(&[]);
    assert_eq!(lines(&farm, "told").len(), 100);
    says(&farm, "other", "log is missing");
    assert!(farm.node_said().contains("its events: damaged"), "{}", farm.node_said());
    let told: Vec<_> = farm.jsonl(&["events"]).iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert!(told.windows(2).all(|pair| pair[0] < pair[1]) && told.len() > 10, "{told:?}");
    farm.watched(&["--name", "new", "echo", "new"]).ok();
    assert_eq!(farm.ctl(&["logs", "new"]).ok().out(), "new\n");
}

#[test]
fn a_segment_that_cannot_be_read_keeps_nothing_from_being_served_and_is_kept() {
    for what in ["log", "facts"] {
        let (farm, home) = told();
        let newest = segments(&home.join(what)).pop().unwrap();
        let aside = home.join("aside");
        fs::rename(&newest, &aside).unwrap();
        // It can be opened, and every read(2) of it fails.
        fs::create_dir(&newest).unwrap();
        farm.start_node(&[]);
        says(&farm, "told", "cannot read");
        farm.watched(&["--name", "other", "echo", "other"]).ok();
        assert_eq!(farm.ctl(&["logs", "other"]).ok().out(), "other\n");
        farm.kill_node();
        fs::remove_dir(&newest).unwrap();
        fs::rename(&aside, &newest).unwrap();
        farm.start_node(&[]);
        assert_eq!(lines(&farm, "told").len(), 100, "{what}");
        assert_eq!(farm.row("told")["exit"]["code"], 3, "{what}");
    }
}

#[test]
fn segments_cut_short_and_indexes_lost_are_read_around() {
    let farm = Farm::empty();
    farm.start_node(&["--retain-size", "1M"]);
    farm.watched(&["--name", "long", "seq", "1", "100000"]).ok();
    farm.kill_node();
    let log = home(&farm).join("log");
    let all = segments(&log);
    assert!(all.len() > 3, "{all:?}");
    let served = |said: &mut String| -> usize {
        farm.start_node(&["--retain-size", "1M"]);
        let ended = farm.ctl(&["logs", "long"]).ok();
        *said = ended.err();
        let lines = ended.out().lines().count();
        farm.kill_node();
        lines
    };
    let mut said = String::new();
    for file in fs::read_dir(&log).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|kind| kind == "idx") {
            fs::remove_file(path).unwrap();
        }
    }
    assert_eq!((served(&mut said), said.as_str()), (100_000, ""), "an index is only a help");
    // A sealed segment that lost its end: the records behind the cut are named, all others are there.
    cut(&all[1], 5000);
    let left = served(&mut said);
    assert!((60_000..100_000).contains(&left), "{left}");
    assert!(said.contains("missing") || said.contains("damaged"), "{said}");
}

#[test]
fn a_journal_of_a_newer_program_is_refused_and_not_touched() {
    for what in ["log", "facts", "events", "meta"] {
        let (farm, home) = told();
        let path = match what {
            "meta" => home.join("meta"),
            "events" => segments(&farm.path("zerovisor.data/events")).pop().unwrap(),
            kind => segments(&home.join(kind)).pop().unwrap(),
        };
        let mut bytes = fs::read(&path).unwrap();
        if what == "meta" {
            bytes[6] = b'9';
        } else {
            bytes[6] = 9;
            let crc = crc32c(&bytes[..44]);
            bytes[44..48].copy_from_slice(&crc.to_le_bytes());
        }
        fs::write(&path, &bytes).unwrap();
        let before = tree(&farm.path("zerovisor.data"));
        let refused = farm.zerovisor(&[]);
        refused.refused(1, &["newer program", path.file_name().unwrap().to_str().unwrap()]);
        assert_eq!(tree(&farm.path("zerovisor.data")), before, "{what}");
        assert!(!farm.path("zerovisor.sock").exists(), "nobody is let in");
    }
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

/// Every file with its bytes, but for the lock, which names its latest holder.
fn tree(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(tree(&path));
        } else if !path.ends_with("lock") {
            all.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    all.sort();
    all
}

#[test]
fn a_socket_that_is_removed_is_bound_again() {
    let farm = Farm::new();
    fs::remove_file(farm.path("zerovisor.sock")).unwrap();
    until("it is bound again", SOON, || farm.path("zerovisor.sock").exists().then_some(()));
    assert!(farm.node_said().contains("its socket file was removed"), "{}", farm.node_said());
    farm.watched(&["--name", "after", "echo", "after"]).ok();
    assert_eq!(farm.ctl(&["logs", "after"]).ok().out(), "after\n");
}
