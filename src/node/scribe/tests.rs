//! The scribe while the disk fails: its thread's work, done one piece at a time.

use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use bytes::Bytes;
use zerovisor_core::fact::Fact;
use zerovisor_core::record::{Head, Kind};
use zerovisor_core::wire;

use super::*;
use crate::journal::lock_data_dir;
use crate::node::hub::{self, HubInbox};
use crate::node::store::Meta;

/// How long the syncer may take for a file of some KiB.
const SOON: Duration = Duration::from_secs(20);

struct Desk {
    data: tempfile::TempDir,
    store: Store,
    thread: Thread,
    queue: Receiver<Work>,
    _hub: HubInbox,
}

impl Desk {
    /// With segments of 64 KiB.
    fn new() -> Desk {
        let data = tempfile::tempdir().unwrap();
        let lock = lock_data_dir(data.path()).unwrap();
        let retention = Retention { size: 1 << 20, total: 1 << 30, age: None };
        let store = Store::open(data.path(), retention.log_config()).unwrap();
        let (hub, inbox) = hub::channel();
        let (node, text) = ("n1".parse().unwrap(), TextLog::none());
        let tools = Tools { store: store.clone(), node, hub, text, sync: SyncMode::Interval, retention };
        let (own_work, queue) = channel();
        let (thread, ..) = Thread::new(tools, lock, own_work).unwrap();
        Desk { data, store, thread, queue, _hub: inbox }
    }

    /// A process that has written a fact, 100 KiB of output, and a fact.
    fn process(&mut self, n: u8) -> Id {
        let id = Id::from_random([n; 16]);
        self.thread.serve(Work::Declare { meta: Box::new(Meta::unknown(id)), news: None });
        let (receipts, written) = (mpsc::unbounded_channel().0, watch::channel(Written::default()).0);
        let opening = Opening { id, name: ProcessName::nearest("p"), receipts, written };
        self.thread.serve(Work::Open { opening, reply: oneshot::channel().0 });
        let fact = |fact: Fact| (Kind::Fact, wire::encode_fact(&fact).unwrap());
        let output = (0..10).map(|_| (Kind::Stdout, Bytes::from(vec![b'x'; 10_000])));
        let life = std::iter::once(fact(Fact::Started { run: 1, pid: 1 })).chain(output).chain([fact(Fact::Exited)]);
        let (mut seq, mut offset) = (0, 0);
        for (kind, payload) in life {
            seq += 1;
            let head = Head { seq, at: Timestamp(seq), run: 1, kind, offset };
            offset += if kind == Kind::Stdout { payload.len() as u64 } else { 0 };
            self.thread.serve(Work::Append { id, record: Record { head, payload } });
        }
        assert_eq!(self.thread.sizes(id).last_seq, 12);
        id
    }

    fn segments(&self, id: Id) -> Vec<PathBuf> {
        let dir = self.data.path().join(format!("processes/{id}/log"));
        let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|ending| ending == "seg"));
        files.sort();
        assert_eq!(files.len(), 2);
        files
    }

    /// Serves what comes from the syncer next.
    fn hear(&mut self) {
        let work = self.queue.recv_timeout(SOON).unwrap();
        self.thread.serve(work);
    }
}

/// A file or directory that cannot be opened, and so not be synced.
struct Unopenable<'a>(&'a Path, PathBuf);

impl<'a> Unopenable<'a> {
    fn make(path: &'a Path) -> Unopenable<'a> {
        let aside = path.with_extension("aside");
        fs::rename(path, &aside).unwrap();
        symlink(path, path).unwrap();
        Unopenable(path, aside)
    }

    fn end(self) {
        fs::remove_file(self.0).unwrap();
        fs::rename(self.1, self.0).unwrap();
    }
}

#[test]
fn a_disk_that_fails_with_something_unsynced_leaves_the_thread_asleep() {
    let mut desk = Desk::new();
    desk.process(1);
    let now = Instant::now();
    desk.thread.keep_house(now);
    desk.thread.on_disk_failure("it fails");
    desk.thread.on_disk_failure("it fails again");
    for ms in [0, 1100, 1500] {
        let wait = desk.thread.keep_house(now + Duration::from_millis(ms));
        assert!(wait > Duration::from_millis(100), "{wait:?} at {ms} ms");
    }
}

#[test]
fn a_log_in_doubt_is_kept_until_it_is_written_again() {
    let mut desk = Desk::new();
    let id = desk.process(1);
    let segments = desk.segments(id);
    let unopenable = Unopenable::make(&segments[0]);
    desk.thread.serve(Work::Close { id });
    desk.hear();
    assert!(desk.thread.trouble.disk().is_some());
    desk.thread.let_go_of_idle();
    assert!(desk.thread.parked.contains_key(&id), "its tail is not known to be on the disk");
    unopenable.end();
    desk.thread.retry_disk();
    desk.hear();
    assert_eq!(desk.thread.trouble.disk(), None);
    desk.thread.let_go_of_idle();
    assert!(desk.thread.parked.is_empty());
    assert_eq!(desk.store.open_process(id).unwrap().log.last().unwrap().0, 12);
}

#[test]
fn a_mend_that_saw_a_log_before_its_sync_failed_does_not_end_the_trouble() {
    let mut desk = Desk::new();
    let id = desk.process(1);
    let segments = desk.segments(id);
    let unopenable = Unopenable::make(&segments[0]);
    desk.thread.sync();
    desk.hear();
    desk.thread.serve(Work::Mended(Ok(())));
    let why = desk.thread.trouble.disk().unwrap();
    assert!(why.contains("has to be written again"), "{why}");
    unopenable.end();
    desk.thread.retry_disk();
    desk.hear();
    assert_eq!(desk.thread.trouble.disk(), None);
}

#[test]
fn facts_that_could_not_be_aligned_behind_a_mend_are_aligned_by_the_next_try() {
    let mut desk = Desk::new();
    let id = desk.process(1);
    let segments = desk.segments(id);
    let unopenable = Unopenable::make(&segments[0]);
    desk.thread.serve(Work::Close { id });
    desk.hear();
    unopenable.end();
    // Its last output cannot be read back, so the fact behind it is of no record any more.
    let newest = fs::OpenOptions::new().write(true).open(&segments[1]).unwrap();
    let len = newest.metadata().unwrap().len();
    newest.write_all_at(&[0; 500], len - 2000).unwrap();
    let in_the_way = desk.data.path().join(format!("processes/{id}/facts.new"));
    fs::write(&in_the_way, "").unwrap();
    desk.thread.retry_disk();
    assert_eq!(desk.thread.parked[&id].log.last().unwrap().0, 10);
    assert_eq!(desk.thread.parked[&id].facts.last().unwrap().0, 12, "not yet");
    assert!(desk.thread.trouble.disk().is_some());
    desk.thread.let_go_of_idle();
    fs::remove_file(&in_the_way).unwrap();
    desk.thread.retry_disk();
    assert_eq!(desk.thread.parked[&id].facts.last().unwrap().0, 1);
    desk.hear();
    assert_eq!(desk.thread.trouble.disk(), None);
}

#[test]
fn facts_that_a_mend_has_cut_are_put_back_from_the_output() {
    let mut desk = Desk::new();
    let id = desk.process(1);
    let facts = desk.data.path().join(format!("processes/{id}/facts"));
    let unopenable = Unopenable::make(&facts);
    desk.thread.sync();
    desk.hear();
    unopenable.end();
    let file = fs::OpenOptions::new().write(true).open(facts.join(format!("{:020}.seg", 1))).unwrap();
    let len = file.metadata().unwrap().len();
    file.write_all_at(&[0; 8], len - 8).unwrap();
    desk.thread.retry_disk();
    let logs = &desk.thread.open[&id].logs;
    assert_eq!((logs.facts.last().unwrap().0, logs.log.last().unwrap().0), (12, 12));
}

#[test]
fn of_logs_that_nobody_reads_any_more_few_stay_open() {
    let mut desk = Desk::new();
    for n in 1..=200 {
        let id = Id::from_random([n; 16]);
        desk.store.write_meta(&Meta::unknown(id)).unwrap();
        desk.thread.serve(Work::Reader { which: Which::Log(id), reply: oneshot::channel().0 });
    }
    assert!(desk.thread.parked.len() <= thread::PARKED_MAX, "{}", desk.thread.parked.len());
}
