//! A server that stands still for three seconds, seen by a whole run in real time.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod trial;

use harness::servers::ServerKind;
use trial::Trial;

/// Tasks go on arriving while the server stands still, and each counts from when it was due: of those that came in `k` stalls of
/// length L at a rate r, the longest hundredth of all N waits for L − N ÷ 100 ÷ (k · r) at least.
#[test]
fn a_server_that_stands_still_for_three_seconds_is_in_the_99th_percentile_as_arithmetic_has_it() {
    let trial = Trial::new("smoke", "redis-fenced", Some(ServerKind::named("redis")))
        .faults("pause", "server", 3.0, 3_000.0)
        // Nobody's lease is lost, and nobody gives up.
        .set("detect_ms=20000")
        .set("deadline_ms=20000")
        .set("least_faults=1");
    let Some((record, told)) = trial.run() else { return };
    let stalls_s =
        record.faults.faults.iter().filter_map(|fault| Some((fault.until_ns? - fault.from_ns?) as f64 / 1e9));
    let stalls_s: Vec<f64> = stalls_s.collect();
    assert!(!stalls_s.is_empty() && record.tasks.completed == record.tasks.planned, "{told}");
    assert!(stalls_s.iter().all(|length_s| (2.9..3.5).contains(length_s)), "{stalls_s:?}");
    let count = stalls_s.len() as f64;
    let (tasks, window_s) = (record.tasks.planned as f64, record.window_ns as f64 / 1e9);
    let longest_s = stalls_s.iter().sum::<f64>() / count;
    let expected_s = longest_s - tasks / 100.0 / (count * tasks / window_s);
    let seen_s = record.latency.excess.quantile_ns(0.99).unwrap() as f64 / 1e9;
    println!("{count} stalls, {tasks} tasks: p99 {seen_s:.3} s, by arithmetic {expected_s:.3} s");
    assert!((seen_s / expected_s - 1.0).abs() < 0.1, "{seen_s} s, by arithmetic {expected_s} s");
}
