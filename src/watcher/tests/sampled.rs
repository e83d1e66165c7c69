//! What samples say of what a run really uses, beside what the kernel says of the same processes.

use super::story::{children_of, sh_words, stop};
use super::zerovisor::{Heard, Session, Zerovisor, tell};
use super::*;
use zerovisor_core::record::Kind;
use zerovisor_core::stats::Sample;

/// Busy in a grandchild that its parents have left.
const BURN: &str = "(setsid sh -c 'echo $$; while :; do :; done' &); exec sleep 1000";
/// A program that holds so much: what dd has read it cannot write.
const HOLD: &str = "dd if=/dev/zero bs=209715200 count=1 2>/dev/null | sleep 1000";
const HELD_BYTES: u64 = 209_715_200;

async fn sample(zerovisor: &mut Zerovisor, session: &mut Session) -> Sample {
    let heard = zerovisor.take_until(session, |heard| matches!(heard, Heard::Sample(_))).await;
    let Heard::Sample(sample) = heard else { unreachable!() };
    *sample
}

/// CPU of a process by the scheduler's own count.
fn burnt(pid: i32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// A machine that is busy otherwise gives less than a core: what was burnt is measured beside.
fn burnt_cpu_is_read(options: &'static str) {
    tell(|stage| async move {
        let mut zerovisor = stage.zerovisor();
        let zvwatch = stage.zvwatch(options, &sh_words(BURN));
        let mut session = zerovisor.watcher(1 << 20).await;
        zerovisor.take_until(&mut session, |heard| matches!(heard, Heard::Output)).await;
        let burner: i32 = String::from_utf8(zerovisor.output(Kind::Stdout)).unwrap().trim().parse().unwrap();
        assert_eq!(sample(&mut zerovisor, &mut session).await.cpu_percent, None, "there is no rate at first");
        let mut last = sample(&mut zerovisor, &mut session).await;
        let (begun, before) = (last.at, burnt(burner));
        let mut used = Duration::ZERO;
        for _ in 0..3 {
            let next = sample(&mut zerovisor, &mut session).await;
            used += next.at.since(last.at).mul_f64(next.cpu_percent.unwrap() / 100.0);
            last = next;
        }
        let (span, burnt) = (last.at.since(begun), burnt(burner) - before);
        let share = used.as_secs_f64() / burnt.as_secs_f64();
        assert!((0.9..1.05).contains(&share), "{used:?} read, {burnt:?} burnt in {span:?}");
        assert!(burnt > span / 10, "{burnt:?} of {span:?} tell nothing");
        end(zvwatch.pid);
    });
}

fn held_memory_is_read(options: &'static str) {
    tell(|stage| async move {
        let mut zerovisor = stage.zerovisor();
        let zvwatch = stage.zvwatch(options, &sh_words(HOLD));
        let mut session = zerovisor.watcher(1 << 20).await;
        let (least, most) = (HELD_BYTES / 20 * 19, HELD_BYTES / 20 * 21);
        loop {
            let sample = sample(&mut zerovisor, &mut session).await;
            let memory = sample.memory_bytes.expect("every rung tells memory");
            assert!(memory <= most, "{sample:?}");
            assert!(sample.memory_peak_bytes >= Some(memory), "{sample:?}");
            assert_eq!((sample.main_threads, sample.main_state), (Some(1), Some('S')));
            assert!(sample.pids >= Some(1) && sample.main_fds >= Some(3), "{sample:?}");
            if memory >= least {
                break;
            }
        }
        end(zvwatch.pid);
    });
}

fn end(guard: i32) {
    let watcher = children_of(guard)[0];
    stop(watcher, Signal::SIGKILL);
    outlast(guard);
}

#[test]
fn cpu_burnt_by_a_grandchild_is_read_on_any_rung() {
    burnt_cpu_is_read("");
}

#[test]
fn cpu_burnt_by_a_grandchild_is_read_without_a_cgroup() {
    burnt_cpu_is_read("--cgroup off");
}

#[test]
fn memory_is_read_to_a_twentieth_on_any_rung() {
    held_memory_is_read("");
}

#[test]
fn memory_is_read_to_a_twentieth_without_a_cgroup() {
    held_memory_is_read("--cgroup off");
}

#[test]
fn without_an_interval_there_are_heartbeats_and_no_samples() {
    tell(|stage| async move {
        let mut zerovisor = stage.zerovisor();
        let zvwatch = stage.zvwatch("--stats-interval 0", &["sleep", "1000"]);
        let mut session = zerovisor.watcher(1 << 20).await;
        let mut beats = 0;
        while beats < 3 {
            match zerovisor.take(&mut session, 1 << 20).await.expect("the link lives") {
                Heard::Sample(sample) => panic!("{sample:?}"),
                Heard::Other => beats += 1,
                Heard::News(..) | Heard::Fact(_) | Heard::Output | Heard::Obeyed(_) | Heard::Goodbye => {}
            }
        }
        end(zvwatch.pid);
    });
}
