//! The queue in the database: jobs survive the node that submitted them, and each ends in exactly one outcome.
//!
//! ```sh
//! cargo run -p queue-lockfree --example jobs -- postgres://user:password@localhost/database
//! ```
//!
//! The role must be allowed to create a schema; it is called `jobs`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use queue_lockfree::{
    Job, JobForm, JobNode, JobNodeOptions, JobOutcome, JobSubmission, Now, TokioNow, job_handler_fn,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).ok_or("the URL of a PostgreSQL database is missing")?;
    run(&url).await
}

/// The example, on this database.
pub(crate) async fn run(url: &str) -> Result<(), Box<dyn Error>> {
    let now = Arc::new(TokioNow::start());
    let mut nodes = Vec::new();
    for name in ["node-0", "node-1"] {
        let handler = job_handler_fn(move |job: Job| async move {
            // `job.token` rises with every start in a queue: pass it to whatever the job changes.
            match &job.payload[..] {
                b"fail" => Err(format!("{name} was told to fail")),
                payload => Ok(Bytes::from(format!("{name} made {}", String::from_utf8_lossy(payload)))),
            }
        });
        let options = JobNodeOptions::new(url, name, JobForm::SkipLocked, now.clone());
        nodes.push(JobNode::start(options, Arc::new(handler)).await?);
    }

    // Until the database has it, waited for at the longest until the deadline.
    let deadline_ns = now.deadline_in(Duration::from_secs(30));
    let router = JobSubmission::new("l3-network-1", "virtual router").restartable().until(deadline_ns);
    let ticket = nodes[0].enqueue(router).await?;
    match ticket.outcome().await? {
        JobOutcome::Completed(result) => println!("completed: {}", String::from_utf8_lossy(&result)),
        other => return Err(format!("the job was not completed: {other:?}").into()),
    }

    // Submitted and waited for in one; the error of a handler is an outcome too.
    let outcome = nodes[1].submit(JobSubmission::new("l3-network-1", "fail").until(deadline_ns)).await?;
    assert!(matches!(outcome, JobOutcome::Failed(_)), "{outcome:?}");
    println!("as foretold: {outcome:?}");

    for node in nodes {
        node.shutdown(Duration::from_secs(5)).await;
    }
    Ok(())
}
