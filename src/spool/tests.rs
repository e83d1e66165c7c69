//! Promises of a spool, each kept against real files.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use bytes::Bytes;
use tempfile::TempDir;
use zerovisor_core::fact::State;
use zerovisor_core::id::Id;
use zerovisor_core::record::{Head, Kind, Record};
use zerovisor_core::spec::Spec;
use zerovisor_core::stats::{Placement, Rung};
use zerovisor_core::units::Timestamp;
use zerovisor_core::wire::{HostProof, WatcherHello};

use super::*;

const RECORD_BYTES: usize = 64 << 10;

fn place(dir: &TempDir) -> Place {
    Place::of(&format!("ipc://{}/zerovisor.sock", dir.path().display()).parse().unwrap(), None).unwrap()
}

fn id() -> Id {
    Id::from_random([7; 16])
}

fn meta() -> Meta {
    let hello = WatcherHello {
        id: id(),
        secret: [3; 32],
        welcomed_before: true,
        spec: Spec::new("web".parse().unwrap(), vec!["sleep".into(), "1d".into()]),
        created_at: Timestamp(5),
        host: HostProof::default(),
        first_seq: 1,
        next_seq: 9,
        state: State::Running,
        placement: Placement { rung: Rung::None, why: "no cgroup".into() },
    };
    Meta { endpoint: "ipc://zerovisor.sock".into(), hello }
}

fn record(seq: u64) -> Record {
    let head = Head { seq, at: Timestamp(1000 + seq), run: 1, kind: Kind::Stdout, offset: seq * 3 };
    Record { head, payload: Bytes::from(vec![u8::try_from(seq % 251).unwrap(); RECORD_BYTES]) }
}

fn fact(seq: u64) -> Record {
    let head = Head { seq, at: Timestamp(1000 + seq), run: 1, kind: Kind::Fact, offset: 0 };
    Record { head, payload: Bytes::from_static(b"a fact") }
}

fn records(seqs: impl IntoIterator<Item = u64>) -> Vec<Record> {
    seqs.into_iter().map(record).collect()
}

/// Everything behind `after`, in small batches.
fn all(left: &mut Left, mut after: u64) -> Vec<Record> {
    let mut all = Vec::new();
    loop {
        let batch = left.next_batch(after, 100_000).unwrap();
        let Some(last) = batch.last() else { return all };
        after = last.head.seq;
        all.extend(batch);
    }
}

fn seqs(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.head.seq).collect()
}

fn take(place: &Place) -> Left {
    Left::take(place, id()).unwrap().unwrap()
}

#[test]
fn what_is_left_is_taken_in_whole_and_once() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(&dir);
    assert_eq!(Left::ids(&place).unwrap(), []);
    let mut spool = Spool::create(&place, &meta()).unwrap();
    assert_eq!(spool.range(), None);
    spool.append(&records(1..=20)).unwrap();
    spool.append(&records(21..=40)).unwrap();
    assert_eq!(spool.range(), Some((1, 40)));
    assert_eq!(Left::ids(&place).unwrap(), [id()]);
    assert!(Left::take(&place, id()).unwrap().is_none(), "its watcher lives");
    let mut last = meta();
    (last.hello.state, last.hello.next_seq) = (State::Exited, 41);
    spool.close(&last).unwrap();
    let mut left = take(&place);
    assert_eq!(left.meta(), &last);
    assert!(Left::take(&place, id()).unwrap().is_none(), "one zerovisor has it");
    assert_eq!(all(&mut left, 0), records(1..=40));
    assert_eq!(all(&mut left, 17), records(18..=40), "from wherever the journal ends");
    left.remove().unwrap();
    assert!(!place.dir().exists(), "nothing stays");
    assert!(Left::take(&place, id()).unwrap().is_none());
}

#[test]
fn a_watcher_that_is_gone_without_a_word_leaves_what_it_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(&dir);
    let mut spool = Spool::create(&place, &meta()).unwrap();
    drop(Spool::create(
        &place,
        &Meta { hello: WatcherHello { id: Id::from_random([8; 16]), ..meta().hello }, ..meta() },
    ));
    spool.append(&records(1..=5)).unwrap();
    drop(spool);
    let torn = fs::read_dir(place.dir().join(id().to_string()).join(LOG)).unwrap().next().unwrap().unwrap().path();
    OpenOptions::new().append(true).open(torn).unwrap().write_all(b"half a record").unwrap();
    let mut left = take(&place);
    assert_eq!(seqs(&all(&mut left, 0)), [1, 2, 3, 4, 5]);
    let mut empty = Left::take(&place, Id::from_random([8; 16])).unwrap().unwrap();
    assert_eq!(all(&mut empty, 0), [], "one that had come no further is empty");
}

#[test]
fn what_is_acknowledged_goes_and_the_rest_is_read_on() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(&dir);
    let limit = Limit { bytes: 8 << 20 };
    let mut spool = Spool::create_limited(&place, &meta(), limit).unwrap();
    spool.append(&records(1..=100)).unwrap();
    let mut read = spool.read_from(1, 1 << 20).unwrap();
    let next = read.last().unwrap().head.seq + 1;
    read.extend(spool.read_from(next, 1 << 20).unwrap());
    assert_eq!(seqs(&read), (1..=read.len() as u64).collect::<Vec<_>>());
    let before = spool.bytes();
    spool.trim(50).unwrap();
    assert!(spool.bytes() < before - 32 * RECORD_BYTES as u64, "{} of {before}", spool.bytes());
    assert_eq!(spool.read_from(51, 1).unwrap(), records([51]));
    assert_eq!(spool.read_from(101, 1 << 20).unwrap(), []);
    spool.remove().unwrap();
    assert!(!place.dir().exists());
}

#[test]
fn it_takes_no_more_than_it_may_and_what_is_dropped_has_a_front() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(&dir);
    let mut spool = Spool::create_limited(&place, &meta(), Limit { bytes: 4 << 20 }).unwrap();
    let error = spool.append(&records(1..=100)).unwrap_err();
    assert!(error.is_full() && error.to_string().contains("--spool-max of 4.0 MiB"), "{error}");
    assert!(spool.bytes() <= 4 << 20 && spool.bytes() > 3 << 20);
    let (first, last) = spool.range().unwrap();
    assert_eq!((first, last), (1, spool.bytes() / RECORD_BYTES as u64));
    let mut front = Vec::new();
    for _ in 0..2 {
        let oldest = spool.oldest().unwrap();
        front.push(fact(oldest.last().unwrap().head.seq));
        spool.drop_oldest(&front).unwrap();
    }
    let kept = spool.range().unwrap();
    assert_eq!(kept.0, front[1].head.seq + 1);
    spool.append(&records(last + 1..=last + 4)).unwrap();
    drop(spool);
    let mut left = take(&place);
    let expected: Vec<u64> = seqs(&front).into_iter().chain(kept.0..=last + 4).collect();
    assert_eq!(seqs(&all(&mut left, 0)), expected);
    assert_eq!(seqs(&all(&mut left, front[0].head.seq))[0], front[1].head.seq);
}

#[test]
fn the_only_segment_can_be_dropped_too() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(&dir);
    let mut spool = Spool::create(&place, &meta()).unwrap();
    spool.append(&records(1..=3)).unwrap();
    assert_eq!(seqs(&spool.oldest().unwrap()), [1, 2, 3]);
    spool.drop_oldest(&[fact(3)]).unwrap();
    assert_eq!((spool.range(), spool.bytes()), (None, 0));
    spool.append(&records(4..=5)).unwrap();
    assert_eq!(seqs(&spool.read_from(4, 1 << 20).unwrap()), [4, 5]);
    drop(spool);
    assert_eq!(seqs(&all(&mut take(&place), 0)), [3, 4, 5]);
}

#[test]
fn damage_is_a_hole_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(&dir);
    let mut spool = Spool::create(&place, &meta()).unwrap();
    spool.append(&records(1..=6)).unwrap();
    spool.append(&records(7..=9)).unwrap();
    let log = spool.dir().join(LOG).join(format!("{:020}.seg", 1));
    let mut bytes = fs::read(&log).unwrap();
    bytes[3 * (RECORD_BYTES + 40) + 100] ^= 1;
    fs::write(&log, bytes).unwrap();
    assert_eq!(seqs(&spool.oldest().unwrap()), [1, 2, 3, 5, 6, 7, 8, 9]);
    drop(spool);
    assert_eq!(seqs(&all(&mut take(&place), 0)), [1, 2, 3, 5, 6, 7, 8, 9]);
}

#[test]
fn a_front_or_meta_that_is_damaged_never_panics() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(&dir);
    let mut spool = Spool::create(&place, &meta()).unwrap();
    spool.append(&records(1..=4)).unwrap();
    spool.drop_oldest(&[fact(2), fact(4)]).unwrap();
    drop(spool);
    let home = place.dir().join(id().to_string());
    for (name, whole) in [FRONT, META].map(|name| (name, fs::read(home.join(name)).unwrap())) {
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x55;
            for bytes in [&whole[..at], &flipped] {
                fs::write(home.join(name), bytes).unwrap();
                match Left::take(&place, id()) {
                    Ok(left) => assert!(name == FRONT && all(&mut left.unwrap(), 0).len() < 2),
                    Err(error) => assert!(name == META && error.to_string().contains("meta"), "{error}"),
                }
            }
        }
        fs::write(home.join(name), whole).unwrap();
    }
    fs::remove_file(home.join(META)).unwrap();
    assert!(Left::take(&place, id()).unwrap_err().to_string().contains("missing"));
}

#[test]
fn nobody_else_can_look_in_or_lead_us_astray() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(&dir);
    let mut spool = Spool::create(&place, &meta()).unwrap();
    spool.append(&records(1..=2)).unwrap();
    spool.drop_oldest(&[fact(2)]).unwrap();
    fn look(path: &Path) {
        let meta = fs::symlink_metadata(path).unwrap();
        assert_eq!(meta.permissions().mode() & 0o077, 0, "{}", path.display());
        if meta.is_dir() {
            fs::read_dir(path).unwrap().for_each(|entry| look(&entry.unwrap().path()));
        }
    }
    look(place.dir());
    drop(spool);
    let home = place.dir().join(id().to_string());
    fs::rename(home.join(META), home.join("elsewhere")).unwrap();
    symlink("elsewhere", home.join(META)).unwrap();
    assert!(Left::take(&place, id()).is_err(), "a file that is a link");
    fs::rename(&home, dir.path().join("moved")).unwrap();
    symlink("../moved", &home).unwrap();
    assert!(matches!(Left::take(&place, id()), Err(SpoolError::NotOurs { .. })), "a directory that is one");
    fs::set_permissions(place.dir(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(Spool::create(&place, &meta()), Err(SpoolError::NotOurs { .. })), "a place others may write");
    assert!(matches!(Left::ids(&place), Err(SpoolError::NotOurs { .. })));
}

#[test]
fn what_the_dead_left_half_made_is_swept_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(&dir);
    let other = place.dir().join(Id::from_random([9; 16]).to_string());
    for ending in [NEW, GONE] {
        fs::create_dir_all(other.with_extension(ending)).unwrap();
        fs::write(other.with_extension(ending).join(LOCK), "").unwrap();
    }
    fs::set_permissions(place.dir(), fs::Permissions::from_mode(0o700)).unwrap();
    let spool = Spool::create(&place, &meta()).unwrap();
    assert!(!other.with_extension(NEW).exists() && !other.with_extension(GONE).exists());
    spool.remove().unwrap();
    assert!(!place.dir().exists());
    fs::write(place.dir(), "a file in its place").unwrap();
    assert!(Spool::create(&place, &meta()).unwrap_err().to_string().contains("is no directory"));
}

#[test]
fn a_process_directory_that_others_may_write_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(&dir);
    let mut spool = Spool::create(&place, &meta()).unwrap();
    spool.append(&records(1..=2)).unwrap();
    let home = spool.dir().to_path_buf();
    drop(spool);
    for mode in [0o720, 0o702] {
        fs::set_permissions(&home, fs::Permissions::from_mode(mode)).unwrap();
        let error = Left::take(&place, id()).unwrap_err();
        assert!(matches!(&error, SpoolError::NotOurs { path, .. } if *path == home), "{mode:o}: {error}");
        assert!(error.to_string().contains("others may write it"), "{error}");
    }
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(seqs(&all(&mut take(&place), 0)), [1, 2]);
}

/// Another zerovisor than the one that acknowledged them may ask: what is missing before was lost by a journal, not here.
#[test]
fn what_was_acknowledged_and_what_was_damaged_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(&dir);
    let mut spool = Spool::create_limited(&place, &meta(), Limit { bytes: 4 << 20 }).unwrap();
    spool.append(&records(1..=50)).unwrap();
    spool.trim(20).unwrap();
    let first = spool.range().unwrap().0;
    assert!((10..=21).contains(&first), "{first}");
    drop(spool);
    let mut left = take(&place);
    assert_eq!((left.kept_from(), seqs(&all(&mut left, 0))[0]), (first, first));
    drop(left);
    fs::write(place.dir().join(id().to_string()).join(FRONT), "no front").unwrap();
    assert_eq!(take(&place).kept_from(), 1, "what stood for the first ones is damaged");
}

/// Each sweeps what the others are just making: nobody must be taken for dead who is not.
#[test]
fn many_that_begin_at_once_leave_one_another_alone() {
    const WATCHERS: u8 = 8;
    const ROUNDS: u8 = 30;
    let dir = tempfile::tempdir().unwrap();
    let place = place(&dir);
    let watcher = |watcher: u8| {
        for round in 0..ROUNDS {
            let hello = WatcherHello { id: Id::from_random([watcher + 1; 16]), ..meta().hello };
            let spool = Spool::create(&place, &Meta { hello, ..meta() });
            let spool = spool.unwrap_or_else(|error| panic!("round {round} of {watcher}: {error}"));
            let whole = [LOCK, META].map(|name| spool.dir().join(name).exists());
            assert_eq!(whole, [true; 2], "lock and declaration, round {round} of {watcher}");
            spool.remove().unwrap();
        }
    };
    std::thread::scope(|scope| (0..WATCHERS).for_each(|n| drop(scope.spawn(move || watcher(n)))));
    assert!(!place.dir().exists(), "nothing stays");
}
