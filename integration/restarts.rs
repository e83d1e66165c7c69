//! When a new run follows an ended one, and when none does.

use serde_json::json;

use crate::harness::{Farm, SOON};

/// Runs `script` under a policy with hardly any delay, to its end.
fn run_under(farm: &Farm, policy: &str, script: &str) -> (i32, serde_json::Value) {
    let args = ["--name", "p", "--restart", policy, "--backoff", "1ms..5ms", "sh", "-c", script];
    let code = farm.watched(&args).code();
    (code, farm.row("p"))
}

#[test]
fn without_a_policy_no_end_is_followed_by_a_run() {
    let farm = Farm::new();
    let (code, row) = run_under(&farm, "no", "exit 9");
    assert_eq!((code, &row["state"], &row["run"]), (9, &json!("EXITED"), &json!(1)), "{row}");
}

#[test]
fn on_failure_gives_up_after_three_restarts_and_says_why() {
    let farm = Farm::new();
    let (code, row) = run_under(&farm, "on-failure", "echo run $ZV_RUN; exit 9");
    assert_eq!((code, &row["state"]), (9, &json!("FATAL")), "{row}");
    assert_eq!((&row["run"], &row["restarts"]), (&json!(4), &json!(3)), "{row}");
    assert_eq!(farm.ctl(&["logs", "p"]).ok().out(), "run 1\nrun 2\nrun 3\nrun 4\n");
    let why = farm.ctl(&["why", "p"]).ok().out();
    assert!(why.contains("4 failed runs") && why.contains("exit code 9"), "{why}");
}

#[test]
fn on_failure_gives_up_after_as_many_as_asked() {
    let farm = Farm::new();
    let (_, row) = run_under(&farm, "on-failure:5", "exit 1");
    assert_eq!((&row["state"], &row["restarts"]), (&json!("FATAL"), &json!(5)), "{row}");
}

#[test]
fn on_failure_leaves_a_success_alone() {
    let farm = Farm::new();
    let (code, row) = run_under(&farm, "on-failure", "[ $ZV_RUN = 2 ]");
    assert_eq!((code, &row["state"], &row["run"]), (0, &json!("EXITED"), &json!(2)), "{row}");
}

#[test]
fn exit_codes_decide_what_a_success_is() {
    let farm = Farm::new();
    let args = ["--name", "p", "--restart", "on-failure", "--exit-codes", "0,3", "sh", "-c", "exit 3"];
    assert_eq!(farm.watched(&args).code(), 3);
    assert_eq!((&farm.row("p")["state"], &farm.row("p")["run"]), (&json!("EXITED"), &json!(1)));
}

#[test]
fn always_goes_on_until_it_is_stopped_by_hand_and_then_stays_stopped() {
    let farm = Farm::new();
    let script = "[ $ZV_RUN -gt 4 ] && exec sleep 1d";
    farm.watched(&["--name", "p", "--restart", "always", "--backoff", "1ms..5ms", "-d", "sh", "-c", script]).ok();
    let row = farm.reaches("p", "RUNNING");
    assert_eq!((&row["run"], &row["restarts"]), (&json!(5), &json!(4)), "{row}");
    farm.ctl(&["stop", "p"]).ok();
    assert_eq!(farm.row("p")["state"], "STOPPED");
    let last = farm.events("p").last().cloned();
    assert_eq!(last.as_deref(), Some("stopped"), "a manual stop never restarts");
}

#[test]
fn a_stop_during_the_delay_ends_it() {
    let farm = Farm::new();
    farm.watched(&["--name", "p", "--restart", "always", "--backoff", "1h..2h", "-d", "sh", "-c", "exit 1"]).ok();
    farm.reaches("p", "BACKOFF");
    farm.ctl(&["stop", "p"]).ok();
    assert_eq!(farm.row("p")["state"], "STOPPED");
    assert_eq!(farm.row("p")["run"], 1);
}

#[test]
fn a_start_during_the_delay_does_not_wait_for_it() {
    let farm = Farm::new();
    let script = "[ $ZV_RUN = 1 ] && exit 1; exec sleep 1d";
    farm.watched(&["--name", "p", "--restart", "always", "--backoff", "1h..2h", "-d", "sh", "-c", script]).ok();
    farm.reaches("p", "BACKOFF");
    farm.ctl(&["start", "p"]).ok();
    assert_eq!(farm.reaches("p", "RUNNING")["run"], 2);
    farm.ctl(&["stop", "p"]).ok();
}

#[test]
fn delays_double_up_to_the_longest() {
    let farm = Farm::new();
    let args = ["--name", "p", "--restart", "on-failure:6", "--backoff", "20ms..160ms", "sh", "-c", "exit 1"];
    farm.watch(&args).end(SOON);
    let told = farm.jsonl(&["events", "p"]);
    let delays: Vec<f64> = told.iter().filter_map(|event| event["delay_s"].as_f64()).collect();
    assert_eq!(delays.len(), 6, "{delays:?}");
    for (delay, nominal) in delays.iter().zip([0.02, 0.04, 0.08, 0.16, 0.16, 0.16]) {
        // Jitter moves each by less than half.
        assert!((nominal * 0.5..=nominal * 1.5).contains(delay), "{delay} for {nominal}: {delays:?}");
    }
}
