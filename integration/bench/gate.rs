//! What the gate costs: bare zeromq against one gate and two, over ipc, all in one run.
//!
//! `cargo bench --bench gate [-- SECONDS]`. Sender and receiver are threads, each with a current-thread runtime, as the
//! two programs would be. CPU is that of the whole process, both sides together.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::panic, reason = "a bench reports to a person")]
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "figures")]

use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use bytes::Bytes;
use nix::sys::resource::{UsageWho, getrusage};
use zeromq::{DealerSocket, RouterSocket, Socket, SocketRecv, SocketSend, ZmqMessage};
use zerovisor::net::listen::Admission;
use zerovisor::net::{Acceptor, Endpoint, Frames, Link, dial};

const HEADER: &[u8] = b"a header of 24 bytes ...";
/// Credit, as the protocol gives it: bytes under way before the receiver has confirmed.
const WINDOW_BYTES: usize = 4 << 20;
const WINDOW_MESSAGES: usize = 512;

#[derive(Clone, Copy, Debug)]
enum Setup {
    Bare,
    OneGate,
    TwoGates,
}

enum End {
    Link(Link),
    Dealer(DealerSocket),
    Router(RouterSocket, Option<Bytes>),
}

impl End {
    async fn send(&mut self, payload: Bytes) {
        let header = Bytes::from_static(HEADER);
        match self {
            Self::Link(link) => link.tx.send(Frames { header, payload: Some(payload) }).await.unwrap(),
            Self::Dealer(socket) => socket.send(ZmqMessage::try_from(vec![header, payload]).unwrap()).await.unwrap(),
            Self::Router(socket, peer) => {
                let frames = vec![peer.clone().unwrap(), header, payload];
                socket.send(ZmqMessage::try_from(frames).unwrap()).await.unwrap();
            }
        }
    }

    async fn recv(&mut self) -> Bytes {
        match self {
            Self::Link(link) => link.rx.recv().await.unwrap().payload.unwrap(),
            Self::Dealer(socket) => socket.recv().await.unwrap().into_vecdeque().pop_back().unwrap(),
            Self::Router(socket, peer) => {
                let mut frames = socket.recv().await.unwrap().into_vecdeque();
                *peer = frames.pop_front();
                frames.pop_back().unwrap()
            }
        }
    }
}

async fn serve(setup: Setup, path: &Path, bound: std::sync::mpsc::Sender<()>) -> End {
    match setup {
        Setup::Bare => {
            let mut router = RouterSocket::new();
            router.bind(&format!("ipc://{}", path.display())).await.unwrap();
            bound.send(()).unwrap();
            End::Router(router, None)
        }
        Setup::OneGate | Setup::TwoGates => {
            let endpoint = Endpoint::Ipc(path.to_owned());
            let mut acceptor = Acceptor::bind(&endpoint, Admission::default()).unwrap();
            bound.send(()).unwrap();
            End::Link(acceptor.accept().await.unwrap())
        }
    }
}

async fn connect(setup: Setup, path: &Path) -> End {
    match setup {
        Setup::Bare | Setup::OneGate => {
            let mut dealer = DealerSocket::new();
            dealer.connect(&format!("ipc://{}", path.display())).await.unwrap();
            End::Dealer(dealer)
        }
        Setup::TwoGates => End::Link(dial(&Endpoint::Ipc(path.to_owned()), Duration::from_secs(5)).await.unwrap()),
    }
}

fn on_runtime<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn cpu_seconds() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    [usage.user_time(), usage.system_time()].iter().map(|t| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6).sum()
}

/// Sends for `span` under credit; (bytes per second, CPU seconds a GiB).
fn throughput(setup: Setup, bytes: usize, span: Duration) -> (f64, f64) {
    let directory = tempfile::tempdir().unwrap();
    let path: PathBuf = directory.path().join("s");
    let (bound, is_bound) = channel();
    let (over, is_over) = tokio::sync::oneshot::channel::<()>();
    let window = (WINDOW_BYTES / bytes).clamp(4, WINDOW_MESSAGES);
    let server_path = path.clone();
    let receiver = std::thread::spawn(move || {
        on_runtime(async move {
            let mut end = serve(setup, &server_path, bound).await;
            assert_eq!(end.recv().await, "hello");
            let mut received = 0;
            // An empty payload ends it.
            while !end.recv().await.is_empty() {
                received += 1;
                if received % (window / 2) == 0 {
                    end.send(Bytes::from_static(b"ack")).await;
                }
            }
            end.send(Bytes::from_static(b"end")).await;
            // A bare socket loses what is queued when its runtime ends.
            let _ = is_over.await;
        });
    });
    is_bound.recv().unwrap();
    let figures = on_runtime(async {
        let mut end = connect(setup, &path).await;
        // A gate lets a first message be no longer than a hello.
        end.send(Bytes::from_static(b"hello")).await;
        let payload = Bytes::from(vec![7; bytes]);
        let (start, cpu) = (Instant::now(), cpu_seconds());
        let (mut sent, mut credit) = (0usize, window);
        while start.elapsed() < span {
            while credit > 0 {
                end.send(payload.clone()).await;
                credit -= 1;
                sent += 1;
            }
            end.recv().await;
            credit += window / 2;
        }
        end.send(Bytes::new()).await;
        while end.recv().await != "end" {}
        let total = (sent * bytes) as f64;
        let figures = (total / start.elapsed().as_secs_f64(), (cpu_seconds() - cpu) / (total / f64::from(1 << 30)));
        over.send(()).unwrap();
        figures
    });
    receiver.join().unwrap();
    figures
}

/// p50 and p99 of a 64-byte round trip, and the CPU of one, in microseconds.
fn round_trip(setup: Setup, span: Duration) -> (f64, f64, f64) {
    let directory = tempfile::tempdir().unwrap();
    let path: PathBuf = directory.path().join("s");
    let (bound, is_bound) = channel();
    let (over, is_over) = tokio::sync::oneshot::channel::<()>();
    let server_path = path.clone();
    let echo = std::thread::spawn(move || {
        on_runtime(async move {
            let mut end = serve(setup, &server_path, bound).await;
            loop {
                let payload = end.recv().await;
                let last = payload.is_empty();
                end.send(payload).await;
                if last {
                    let _ = is_over.await;
                    return;
                }
            }
        });
    });
    is_bound.recv().unwrap();
    let figures = on_runtime(async {
        let mut end = connect(setup, &path).await;
        let payload = Bytes::from(vec![7; 64]);
        let mut took = Vec::new();
        let (start, cpu) = (Instant::now(), cpu_seconds());
        while start.elapsed() < span {
            let sent = Instant::now();
            end.send(payload.clone()).await;
            end.recv().await;
            took.push(sent.elapsed());
        }
        let cpu = (cpu_seconds() - cpu) * 1e6 / took.len() as f64;
        end.send(Bytes::new()).await;
        end.recv().await;
        over.send(()).unwrap();
        took.sort_unstable();
        let at = |fraction: f64| took[(took.len() as f64 * fraction) as usize].as_secs_f64() * 1e6;
        (at(0.5), at(0.99), cpu)
    });
    echo.join().unwrap();
    figures
}

fn main() {
    let seconds = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(1.0);
    let span = Duration::from_secs_f64(seconds);
    let setups = [Setup::Bare, Setup::OneGate, Setup::TwoGates];
    for bytes in [256 << 10, 64 << 10, 1 << 10] {
        for setup in setups {
            let mut runs: Vec<_> = (0..3).map(|_| throughput(setup, bytes, span)).collect();
            runs.sort_by(|a, b| a.0.total_cmp(&b.0));
            let (rate, cpu) = runs[1];
            println!("{bytes:>7} bytes {:<9} {:>7.0} MB/s {cpu:>6.2} CPU s/GiB", format!("{setup:?}"), rate / 1e6);
        }
    }
    for setup in setups {
        let (p50, p99, cpu) = round_trip(setup, span);
        println!("64-byte round trip {:<9} p50 {p50:>6.1} p99 {p99:>6.1} µs, CPU {cpu:>5.1} µs", format!("{setup:?}"));
    }
}
