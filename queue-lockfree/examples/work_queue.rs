//! Tasks of one key run one at a time, in order; tasks of different keys run beside each other.
//!
//! ```sh
//! cargo run -p queue-lockfree --example work_queue
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use queue_lockfree::{Now, QueueError, QueueLimits, Submission, TaskError, TokioNow, WorkQueues};
use tokio::task::JoinSet;
use tokio::time::sleep;

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let now = Arc::new(TokioNow::start());
    let queues = WorkQueues::new(QueueLimits::default(), now.clone());

    // Workers poll the spawned tasks; one per thread of the runtime is enough.
    let mut workers = JoinSet::new();
    for _ in 0..2 {
        let queues = queues.clone();
        workers.spawn(async move { queues.serve().await });
    }

    // Three snapshots of one volume: level 1, so each begins when the one before has ended.
    let mut snapshots = Vec::new();
    for number in 1..=3 {
        let snapshot = queues.spawn(Submission::new("volume-17", 1), move |entitlement| async move {
            sleep(Duration::from_millis(10)).await;
            // Whoever guards the volume can refuse a token that is lower than one that it has seen.
            (number, entitlement.token)
        })?;
        snapshots.push(snapshot);
    }
    let mut last = None;
    for snapshot in snapshots {
        let (number, token) = snapshot.finished().await?;
        assert!(token > last, "tokens rise in the order of the tasks");
        println!("snapshot {number} of volume-17 is done, under token {token:?}");
        last = token;
    }

    // A task that will not wait for longer than its deadline leaves the queue, and is proven not to run.
    let holder = queues.acquire(Submission::new("volume-17", 1)).await?;
    let deadline_ns = now.deadline_in(Duration::from_millis(20));
    let late = queues.spawn(Submission::new("volume-17", 1).until(deadline_ns), |_| async {})?;
    let answer = late.finished().await;
    assert_eq!(answer, Err(TaskError::NotStarted(QueueError::TimedOut)));
    holder.done();
    println!("a task that came too late was not started: {:?}", queues.metrics());
    Ok(())
}
