//! Jobs against real spools.

use bytes::Bytes;
use tempfile::TempDir;
use zerovisor_core::fact::{Fact, State};
use zerovisor_core::id::Id;
use zerovisor_core::record::{Head, Kind};
use zerovisor_core::spec::Spec;
use zerovisor_core::stats::{Placement, Rung};
use zerovisor_core::units::Timestamp;
use zerovisor_core::wire::{HostProof, WatcherHello};

use super::*;

const RECORD_BYTES: usize = 64 << 10;
/// Of which a segment takes an eighth, and so four records.
const LIMIT: Limit = Limit { bytes: 2 << 20 };

fn place(dir: &TempDir) -> Place {
    Place::of(&format!("ipc://{}/zerovisor.sock", dir.path().display()).parse().unwrap(), None).unwrap()
}

fn meta() -> Box<Meta> {
    let hello = WatcherHello {
        id: Id::from_random([7; 16]),
        secret: [3; 32],
        welcomed_before: true,
        spec: Spec::new("web".parse().unwrap(), vec!["sleep".into(), "1d".into()]),
        created_at: Timestamp(5),
        host: HostProof::default(),
        first_seq: 1,
        next_seq: 1,
        state: State::Running,
        placement: Placement { rung: Rung::None, why: "no cgroup".into() },
    };
    Box::new(Meta { endpoint: "ipc://zerovisor.sock".into(), hello })
}

fn spill(seqs: std::ops::RangeInclusive<u64>) -> Job {
    let record = |seq| {
        let head = Head { seq, at: Timestamp(seq), run: 1, kind: Kind::Stdout, offset: seq * RECORD_BYTES as u64 };
        Record { head, payload: Bytes::from(vec![b'x'; RECORD_BYTES]) }
    };
    Job::Spill { records: seqs.map(record).collect(), meta: meta() }
}

/// What comes of a job, with all before `first` acknowledged.
async fn does(spooler: &mut Spooler, job: Job, first: u64) -> Done {
    spooler.start(job, first - 1);
    loop {
        spooler.back().await;
        if let Some(done) = spooler.take() {
            return done;
        }
    }
}

#[tokio::test]
async fn what_is_dropped_is_what_was_counted_whatever_is_acknowledged_meanwhile() {
    let dir = TempDir::new().unwrap();
    let mut spooler = Spooler::new(place(&dir), LIMIT);
    assert!(matches!(does(&mut spooler, spill(1..=12), 1).await, Done::Spilled { last: 12, failed: None }));
    let Done::Counted(Ok(standing)) = does(&mut spooler, Job::Count { from: 1, sent_to: 0 }, 1).await else {
        panic!("no count")
    };
    let (head, Fact::Gap(_)) = &standing[0] else { panic!("{standing:?}") };
    let counted = head.seq;
    assert!(standing.len() == 1 && counted < 12, "one segment of several: {standing:?}");
    // All that was counted is acknowledged before it goes.
    assert!(matches!(does(&mut spooler, Job::Drop { front: Vec::new() }, counted + 1).await, Done::Dropped(Ok(()))));
    let Done::Loaded { records: Ok(records), .. } = does(&mut spooler, Job::Load { from: counted + 1 }, 1).await else {
        panic!("nothing to load")
    };
    assert_eq!(records.first().map(|record| record.head.seq), Some(counted + 1), "nothing else went with it");
}

/// A job as it comes back when no thread could be had.
fn without_a_thread(spooler: &mut Spooler, job: Job) -> Done {
    let (give_back, back) = oneshot::channel();
    let done = Arc::new(Notify::new());
    let spool = match std::mem::replace(&mut spooler.hand, Hand::Away { back, done: Arc::clone(&done) }) {
        Hand::Here(spool) => Some(spool),
        Hand::Empty | Hand::Away { .. } => None,
    };
    let (place, limit) = (spooler.place.clone(), spooler.limit);
    let work = Work { spool, job, acknowledged: 0, place, limit, give_back, bell: Bell(done) };
    // No kernel has room for such a stack.
    let Err(work) = on_a_thread("spool", 1 << 46, work, Work::run) else { panic!("a thread with a stack of 64 TiB") };
    work.without_a_thread();
    spooler.take().expect("it is back")
}

#[tokio::test]
async fn without_a_thread_nothing_is_done_here_but_what_comes_last() {
    let dir = TempDir::new().unwrap();
    let mut spooler = Spooler::new(place(&dir), LIMIT);
    let done = without_a_thread(&mut spooler, spill(1..=2));
    let Done::Spilled { last: 0, failed: Some(error) } = done else { panic!("{done:?}") };
    assert!(error.is_passing() && !error.is_full(), "{error}");
    assert!(!place(&dir).dir().exists(), "nothing was written");
    assert!(matches!(does(&mut spooler, spill(1..=2), 1).await, Done::Spilled { last: 2, failed: None }));
    assert!(matches!(without_a_thread(&mut spooler, Job::Load { from: 1 }), Done::Loaded { records: Err(_), .. }));
    assert!(matches!(without_a_thread(&mut spooler, Job::Remove), Done::Removed(Err(_))));
    assert!(spooler.holds_one(), "it is kept");
    assert!(matches!(
        without_a_thread(&mut spooler, Job::Leave { meta: meta() }),
        Done::Left(Ok(Left { bytes: 1.., .. }))
    ));
}
