//! When a probe can no longer meet its service level: it is stopped then, since a queue that grows takes long to drain.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use harness::engine::{Clock, Progress};
use harness::model::Plan;
use harness::record::ServiceLevel;
use harness::record::capacity::MAY_BE_LATE;

/// Between two looks.
const LOOK_NS: u64 = 20_000_000;

/// Returns once so many tasks are late that the level cannot be met any more, whatever comes. Cancel safe.
pub(super) async fn hopeless(plan: &Plan, level: &ServiceLevel, clock: &Clock, progress: &Arc<Progress>) {
    // When each must have returned to be in time. Those that have returned may be others, so fewer are found late than are.
    let ends = |task: harness::model::Planned<'_>| {
        task.arrival_ns + task.steps().map(|step| step.hold_ns).sum::<u64>() + level.excess_ns
    };
    let mut due: Vec<u64> = plan.tasks.iter().map(ends).collect();
    due.sort_unstable();
    let most = (MAY_BE_LATE * due.len() as f64) as u64;
    loop {
        let now_ns = clock.now_ns();
        let origin_ns = progress.origin_ns.load(Ordering::Relaxed);
        if origin_ns > 0 && now_ns > origin_ns {
            let due = due.partition_point(|due_ns| *due_ns <= now_ns - origin_ns) as u64;
            if due.saturating_sub(progress.returned.load(Ordering::Relaxed)) > most {
                return;
            }
        }
        clock.sleep_until(now_ns + LOOK_NS).await;
    }
}
