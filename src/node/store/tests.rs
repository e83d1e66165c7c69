//! What a crash or a disk that fails leaves of a process is finished, or begun again.

use bytes::Bytes;
use zerovisor_core::fact::Fact;
use zerovisor_core::record::Head;

use super::*;
use crate::journal::stored;

fn record(seq: u64, kind: Kind) -> journal::Record {
    let payload = match kind {
        Kind::Fact => wire::encode_fact(&Fact::Started { run: 1, pid: 1 }).unwrap(),
        Kind::Stdout | Kind::Stderr | Kind::Terminal => Bytes::from(vec![b'x'; 100]),
    };
    stored(&Record { head: Head { seq, at: Timestamp(seq), run: 1, kind, offset: 0 }, payload })
}

/// A process whose first records have expired, and of whose facts a crash has left too many.
fn process() -> (tempfile::TempDir, Store, Id) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), LogConfig::default()).unwrap();
    let id = Id::from_random([1; 16]);
    store.write_meta(&Meta::unknown(id)).unwrap();
    let mut logs = store.open_process(id).unwrap();
    logs.facts.append(&[1, 3, 6, 9].map(|seq| record(seq, Kind::Fact))).unwrap();
    let kind = |seq| if seq == 6 { Kind::Fact } else { Kind::Stdout };
    logs.log.append(&(5..8).map(|seq| record(seq, kind(seq))).collect::<Vec<_>>()).unwrap();
    (dir, store, id)
}

fn facts(store: &Store, id: Id) -> Vec<u64> {
    let logs = store.open_process(id).unwrap();
    read_all(&mut logs.facts.reader(), is_fact).unwrap().0.iter().map(|fact| fact.head.seq).collect()
}

#[test]
fn facts_that_are_replaced_are_the_old_ones_or_the_new_ones_wherever_it_stops() {
    let (_dir, store, id) = process();
    let [now, new, old] = ["facts", "facts.new", "facts.old"].map(|name| store.dir(id).join(name));
    // In the middle of writing: what is there does not count.
    let (mut half, _) = SegmentLog::open(&new, store.facts_config()).unwrap();
    half.append(&[record(1, Kind::Fact)]).unwrap();
    drop(half);
    assert_eq!(facts(&store, id), [1, 3, 6]);
    assert!(!new.exists() && !old.exists());
    // Between the two renames, with one fact less, which tells the two apart.
    let (mut fresh, _) = SegmentLog::open(&new, store.facts_config()).unwrap();
    fresh.append(&[3, 6].map(|seq| record(seq, Kind::Fact))).unwrap();
    drop(fresh);
    fs::rename(&now, &old).unwrap();
    store.sweep();
    assert_eq!(facts(&store, id), [3, 6]);
    assert!(now.exists() && !new.exists() && !old.exists());
    // In the middle of removing the old ones.
    fs::create_dir(&old).unwrap();
    fs::write(old.join("rest"), "").unwrap();
    assert_eq!(facts(&store, id), [3, 6]);
    assert!(!old.exists());
}

#[test]
fn facts_that_cannot_be_replaced_stay_until_they_can() {
    let (_dir, store, id) = process();
    let names = || -> Vec<_> { fs::read_dir(store.facts_dir(id)).unwrap().map(|e| e.unwrap().file_name()).collect() };
    let before = names();
    let new = store.dir(id).join("facts.new");
    // A file where the directory of the new ones would have to be.
    fs::write(&new, "").unwrap();
    let error = store.open_process(id).unwrap_err().to_string();
    assert!(error.contains("facts.new"), "{error}");
    assert_eq!(names(), before);
    fs::remove_file(&new).unwrap();
    assert_eq!(facts(&store, id), [1, 3, 6]);
}

#[test]
fn what_an_earlier_removal_has_left_is_not_in_the_way_of_the_next() {
    let (dir, store, id) = process();
    let rest = dir.path().join(format!("processes/{id}.removed"));
    fs::create_dir(&rest).unwrap();
    fs::write(rest.join("rest"), "").unwrap();
    store.remove(id).unwrap();
    assert_eq!(fs::read_dir(dir.path().join("processes")).unwrap().count(), 0);
    store.remove(id).unwrap();
}
