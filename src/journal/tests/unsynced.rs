//! A sync that fails: what is in doubt is written again, and nothing counts as safe before that is on the disk.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;

/// ext4 on a loop device whose file stands on a tmpfs that is smaller than it claims: writes go well, syncs fail.
struct Thin {
    dir: tempfile::TempDir,
    device: String,
}

fn run(program: &str, args: &[&str], path: &Path) -> Option<String> {
    let done = Command::new(program).args(args).arg(path).output().ok()?;
    done.status.success().then(|| String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

impl Thin {
    /// Room for 6 MiB where 64 are promised. None where we may not mount.
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let (below, on) = (dir.path().join("below"), dir.path().join("on"));
        std::fs::create_dir(&below).unwrap();
        std::fs::create_dir(&on).unwrap();
        run("mount", &["-t", "tmpfs", "-o", "size=6m", "zvtest"], &below)?;
        let mut thin = Self { dir, device: String::new() };
        let image = below.join("image");
        std::fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        // Without a journal of its own, whose failure would end all writing for good.
        run("mkfs.ext4", &["-q", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard"], &image)?;
        thin.device = run("losetup", &["-f", "--show"], &image)?;
        run("mount", &[&thin.device], &on)?;
        Some(thin)
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("on/log")
    }

    /// All that was promised.
    fn grow(&self) {
        run("mount", &["-o", "remount,size=70m"], &self.dir.path().join("below")).unwrap();
    }
}

impl Drop for Thin {
    fn drop(&mut self) {
        run("umount", &[], &self.dir.path().join("on"));
        run("losetup", &["-d"], Path::new(&self.device));
        run("umount", &[], &self.dir.path().join("below"));
    }
}

macro_rules! thin {
    () => {{
        let Some(thin) = Thin::mount() else {
            use std::io::Write;
            writeln!(std::io::stderr(), "SKIPPED: no loop device can be mounted here, failing syncs are not tested")
                .unwrap();
            return;
        };
        thin
    }};
}

fn config() -> LogConfig {
    LogConfig { segment_bytes: 1 << 20, index_every_bytes: 64 << 10, ..LogConfig::default() }
}

/// Appends and syncs until a sync fails; the records so far, and how many of them a good sync covers.
fn fill(log: &mut SegmentLog) -> (Vec<Record>, usize) {
    let (mut all, mut safe) = (Vec::new(), 0);
    for seq in 1..2000 {
        let next = record(seq, 30_000);
        log.append(std::slice::from_ref(&next)).unwrap();
        all.push(next);
        if seq % 40 == 0 {
            match log.dirty().unwrap().sync() {
                Ok(()) => safe = all.len(),
                Err(_) => return (all, safe),
            }
        }
    }
    panic!("no sync has failed");
}

#[test]
fn what_a_failed_sync_leaves_in_doubt_is_written_again() {
    let thin = thin!();
    let mut log = open(&thin.log(), config());
    let mut follower = log.reader();
    let (mut all, safe) = fill(&mut log);
    assert!(safe > 0 && safe < all.len());
    let early = drain(&mut follower);
    assert_eq!(early.0, all);
    assert!(log.is_in_doubt());
    // Nothing that is tried before the mend counts, whatever the disk says by then.
    all.push(record(2000, 100));
    log.append(&all[all.len() - 1..]).unwrap();
    thin.grow();
    let error = log.dirty().unwrap().sync().unwrap_err();
    assert!(matches!(error, JournalError::Doubtful { .. }), "{error}");
    let before: u64 = std::fs::metadata(segment_files(&thin.log(), "seg").last().unwrap()).unwrap().len();
    let mended = log.mend().unwrap();
    assert_eq!(mended.lost_after, None);
    assert!(mended.bytes > before, "{mended:?}");
    assert!(!log.is_in_doubt());
    all.push(record(2001, 100));
    log.append(&all[all.len() - 1..]).unwrap();
    log.dirty().unwrap().sync().unwrap();
    // The follower neither misses nor repeats one, and whoever comes later sees all of them.
    let (rest, damage) = drain(&mut follower);
    assert_eq!((seqs(&rest), damage.len()), (vec![2000, 2001], 0));
    assert_eq!(drain(&mut log.reader()), (all.clone(), vec![]));
    drop(log);
    let (log, found) = SegmentLog::open(&thin.log(), config()).unwrap();
    assert_eq!((found.torn, found.damaged.len(), found.last.map(|l| l.0)), (None, 0, Some(2001)));
    assert_eq!(drain(&mut log.reader()).0, all);
    assert!(segment_files(&thin.log(), "mend").is_empty());
}

#[test]
fn work_from_before_a_mend_proves_nothing() {
    let thin = thin!();
    let mut log = open(&thin.log(), config());
    let (all, _) = fill(&mut log);
    log.append(&[record(2000, 100)]).unwrap();
    let old = log.dirty().unwrap();
    thin.grow();
    log.mend().unwrap();
    assert!(old.sync().is_err(), "it is about files that were replaced");
    let mut both = old;
    both.absorb(log.dirty().unwrap());
    both.sync().unwrap();
    assert_eq!(drain(&mut log.reader()).0.len(), all.len() + 1);
}

#[test]
fn a_disk_too_full_to_mend_leaves_everything_as_it_was() {
    let Some(tiny) = full::Tiny::mount() else {
        use std::io::Write;
        writeln!(std::io::stderr(), "SKIPPED: cannot mount a tmpfs, ENOSPC is not tested").unwrap();
        return;
    };
    let mut log = open(&tiny.log(), config());
    let all = batch(1..=30, 20_000);
    log.append(&all).unwrap();
    // 600 KiB of 1 MiB: there is no room for a copy.
    assert!(log.mend().unwrap_err().is_full());
    assert_eq!(drain(&mut log.reader()), (all.clone(), vec![]));
    assert!(segment_files(&tiny.log(), "mend").is_empty(), "and no half copy");
    log.append(&[record(31, 10)]).unwrap();
    assert_eq!(drain(&mut log.reader()).0.len(), 31);
}

#[test]
fn what_cannot_be_read_back_ends_the_log_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = open(&path, config());
    log.append(&batch(1..=10, 1000)).unwrap();
    log.dirty().unwrap().sync().unwrap();
    log.append(&batch(11..=20, 1000)).unwrap();
    let mut follower = log.reader();
    // What a page that was dropped would read as: record 16 is as it was before it was written.
    let file = std::fs::OpenOptions::new().write(true).open(&segment_files(&path, "seg")[0]).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0; 500], 48 + 15 * 1040 + 100).unwrap();
    let mended = log.mend().unwrap();
    assert_eq!(mended.lost_after, Some(15));
    assert_eq!(log.last().unwrap().0, 15);
    log.append(&batch(16..=22, 1000)).unwrap();
    assert_eq!(drain(&mut follower), (batch(1..=22, 1000), vec![]));
    assert_eq!(all(&path), batch(1..=22, 1000));
}

#[test]
fn whatever_a_dead_writer_left_counts_as_unsynced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    filled(&path, small(), &batch(1..=100, 1000));
    let segments = segment_files(&path, "seg").len();
    assert!(segments > 4, "{segments} segments");
    let mut log = open(&path, small());
    let work = log.dirty().unwrap();
    assert_eq!((work.sealed.len() + 1, work.active.is_some(), work.dir, work.parent), (segments, true, true, true));
    // Before that is done nothing vouches for any of it; behind it, nothing is in doubt.
    let mended = open(&path, small()).mend().unwrap();
    assert_eq!(mended.bytes, 100 * 1040);
    let mut log = open(&path, small());
    log.dirty().unwrap().sync().unwrap();
    assert_eq!(log.mend().unwrap().bytes, 0);
    assert_eq!(all(&path), batch(1..=100, 1000));
}

/// Makes the record `at` of a segment with records of 1,000 bytes unreadable.
fn spoil(segment: &Path, at: u64) {
    let file = std::fs::OpenOptions::new().write(true).open(segment).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0; 500], 48 + at * 1040 + 100).unwrap();
}

#[test]
fn old_damage_ends_no_log_that_is_mended_before_its_first_sync() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    filled(&path, small(), &batch(1..=60, 1000));
    let segments = segment_files(&path, "seg");
    assert_eq!(segments.len(), 4);
    spoil(&segments[0], 9);
    let mut log = open(&path, small());
    let mended = log.mend().unwrap();
    assert_eq!((mended.lost_after, mended.bytes), (None, 45 * 1040));
    let (records, damage) = drain(&mut log.reader());
    assert_eq!((seqs(&records), damage.len()), ((1..=9).chain(11..=60).collect::<Vec<_>>(), 1));
    assert!(segment_files(&path, "mend").is_empty());
    log.dirty().unwrap().sync().unwrap();
}

#[test]
fn a_mend_that_cannot_remove_what_is_behind_a_hole_finds_the_hole_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = open(&path, small());
    log.append(&batch(1..=60, 1000)).unwrap();
    let segments = segment_files(&path, "seg");
    let [first, second, third, ..] = &segments[..] else { panic!("{segments:?}") };
    spoil(first, 9);
    // A directory with something in it cannot be removed as a file.
    let aside = path.join("aside");
    for stuck in [third, second] {
        std::fs::rename(stuck, &aside).unwrap();
        std::fs::create_dir(stuck).unwrap();
        let error = log.mend().unwrap_err();
        assert!(error.to_string().contains("cannot remove"), "{error}");
        std::fs::remove_dir(stuck).unwrap();
        std::fs::rename(&aside, stuck).unwrap();
    }
    assert_eq!(log.mend().unwrap().lost_after, Some(9));
    log.append(&batch(10..=70, 1000)).unwrap();
    log.dirty().unwrap().sync().unwrap();
    assert_eq!(drain(&mut log.reader()), (batch(1..=70, 1000), vec![]));
    drop(log);
    assert_eq!(all(&path), batch(1..=70, 1000));
}

#[test]
fn records_that_a_crash_inside_a_mend_left_twice_are_read_once_from_the_end_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let cfg = LogConfig { segment_bytes: 64 << 10, index_every_bytes: 4096, ..LogConfig::default() };
    let mut log = open(&path, cfg);
    log.append(&batch(1..=10, 1000)).unwrap();
    log.dirty().unwrap().sync().unwrap();
    log.append(&batch(11..=30, 1000)).unwrap();
    let segment = segment_files(&path, "seg").remove(0);
    let whole = std::fs::read(&segment).unwrap();
    log.mend().unwrap();
    drop(log);
    // The crash came before the cut.
    assert!(std::fs::metadata(&segment).unwrap().len() < whole.len() as u64);
    std::fs::write(&segment, &whole).unwrap();
    let log = open(&path, cfg);
    assert_eq!(drain(&mut log.reader()), (batch(1..=30, 1000), vec![]));
    let blocks: Vec<_> = log.reader().blocks_back().map(|block| block.unwrap().read().unwrap()).collect();
    assert!(blocks.iter().all(|block| !block.is_empty()));
    assert_eq!(seqs(&blocks.into_iter().rev().flatten().collect::<Vec<_>>()), (1..=30).collect::<Vec<_>>());
}

#[test]
fn a_follower_goes_on_in_what_takes_the_place_of_a_lost_segment() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = open(&path, small());
    log.append(&batch(1..=10, 1000)).unwrap();
    let mut follower = log.reader();
    // In its middle.
    let mut seen = follower.next_batch(4000).unwrap();
    assert!(seen.len() < 10);
    spoil(&segment_files(&path, "seg")[0], 0);
    assert_eq!(log.mend().unwrap().lost_after, Some(0));
    assert_eq!(follower.next_batch(1 << 20).unwrap(), []);
    // Of another length, so that nothing of it stands where it stood.
    log.append(&batch(1..=12, 700)).unwrap();
    let (rest, damage) = drain(&mut follower);
    seen.extend(rest);
    assert_eq!((seqs(&seen), damage), ((1..=12).collect::<Vec<_>>(), vec![]));
}

#[test]
fn a_follower_ahead_of_a_log_that_was_cut_goes_on_when_the_log_has_come_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = open(&path, small());
    log.append(&batch(1..=40, 1000)).unwrap();
    let mut follower = log.reader();
    assert_eq!(drain(&mut follower).0.len(), 40);
    spoil(&segment_files(&path, "seg")[0], 5);
    assert_eq!(log.mend().unwrap().lost_after, Some(5));
    log.append(&batch(6..=41, 100)).unwrap();
    assert_eq!(segment_files(&path, "seg").len(), 2, "they begin below where it stands");
    let (rest, damage) = drain(&mut follower);
    assert_eq!((seqs(&rest), damage), (vec![41], vec![]));
}
