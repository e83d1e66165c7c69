//! A zerovisor with a thousand processes: watchers that are nothing but a link, a hello and a sample a second, all in one thread.

use std::path::PathBuf;
use std::process::Stdio;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use zerovisor::net::{Endpoint, Frames, HEARTBEAT, Link, dial};
use zerovisor_core::fact::State;
use zerovisor_core::id::Id;
use zerovisor_core::spec::Spec;
use zerovisor_core::stats::{Placement, Rung, Sample};
use zerovisor_core::units::Timestamp;
use zerovisor_core::wire::{self, Hello, HostProof, Role, ToNode, VERSIONS, WatcherHello};

use super::rig::{Budget, Rig, ZVCTL, head, held, knob, runs, wait_until};

const DIAL_WITHIN: Duration = Duration::from_secs(20);

/// The watchers; gone when dropped.
struct Crowd {
    over: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Crowd {
    fn join(socket: PathBuf, many: usize) -> Crowd {
        // A link costs four descriptors.
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("getrlimit");
        setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("the soft limit may be raised");
        let (over, is_over) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let mut watchers = JoinSet::new();
                for number in 0..many {
                    let link = dial(&Endpoint::Ipc(socket.clone()), DIAL_WITHIN).await.expect("the zerovisor answers");
                    watchers.spawn(watch(link, number));
                }
                let _ = is_over.await;
            });
        });
        Crowd { over: Some(over), thread: Some(thread) }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        drop(self.over.take());
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(matches!(ended, Some(Ok(()))) || std::thread::panicking(), "the crowd ends as it should");
    }
}

/// One watcher, for as long as the zerovisor wants it.
async fn watch(mut link: Link, number: usize) {
    let frames = |message: &ToNode| {
        let header = wire::encode_header(message).expect("a message of the protocol");
        Frames { header, payload: None }
    };
    let role = Role::Watcher(Box::new(hello(number)));
    let hello = ToNode::Hello(Hello { versions: VERSIONS, program: "crowd 1".into(), role });
    link.tx.send(frames(&hello)).await.expect("the hello is sent");
    let mut beat = tokio::time::interval(HEARTBEAT);
    loop {
        let heard = tokio::select! {
            heard = link.rx.recv() => Some(heard),
            _ = beat.tick() => None,
        };
        match heard {
            Some(Ok(_)) => {}
            Some(Err(error)) => panic!("the zerovisor dropped watcher {number}: {error}"),
            None => link.tx.send(frames(&ToNode::Sampled(Box::new(sample(number))))).await.expect("a sample is sent"),
        }
    }
}

fn hello(number: usize) -> WatcherHello {
    let name = format!("member{number}").parse().expect("a name");
    WatcherHello {
        id: Id::from_random((number as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes()),
        secret: [7; 32],
        welcomed_before: false,
        spec: Spec::new(name, vec!["member".into(), "--number".into(), number.to_string()]),
        created_at: Timestamp(1),
        host: HostProof::default(),
        first_seq: 1,
        next_seq: 1,
        state: State::Running,
        placement: Placement { rung: Rung::None, why: "no program".into() },
    }
}

fn sample(number: usize) -> Sample {
    Sample {
        at: Timestamp(1),
        run: 1,
        cpu_percent: Some(number as f64 / 10.0),
        memory_bytes: Some((number as u64 + 1) << 20),
        memory_peak_bytes: Some((number as u64 + 2) << 20),
        ..Sample::default()
    }
}

pub(crate) fn measure() {
    let many = knob("CROWD", 1000);
    head(&format!("zvctl ps with {many} processes, the whole command"));
    let rig = Rig::start(&["--log", "none"]);
    let crowd = Crowd::join(rig.path("zerovisor.sock"), many);
    let rows = || {
        let output = rig.command(ZVCTL, &["ps", "-o", "jsonl"]).stdout(Stdio::piped()).output().expect("zvctl");
        output.stdout.iter().filter(|byte| **byte == b'\n').count()
    };
    wait_until("all of them are listed", || rows() >= many);
    for (what, arguments) in [("zvctl ps", &["ps"][..]), ("zvctl ps -o json", &["ps", "-o", "json"])] {
        let time = || {
            let began = Instant::now();
            assert!(rig.ctl(arguments).status().expect("zvctl").success());
            began.elapsed().as_secs_f64() * 1e3
        };
        held(what, "ms", (0..runs() * 4).map(|_| time()).collect(), Budget::AtMost(50.0));
    }
    drop(crowd);
}
