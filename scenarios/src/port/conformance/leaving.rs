//! Programs that leave: told to, or killed.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::clause::Clause;

pub(super) const CLOSE: Clause = Clause {
    name: "a program that is told to close gives back what it holds",
    expected: "the key free for another within 3 s of close, well before a lease would end",
    about: None,
    run: |bench| {
        Box::pin(async move {
            let [one, other] = bench.nodes().await?;
            let key = bench.key();
            one.must_acquire(&key).await?;
            one.conversation.close().await;
            let grant = other.must_acquire(&key).await.map_err(|came| format!("after close: {came}"))?;
            other.must_release(&grant).await
        })
    },
};

pub(super) const KILLED: Clause = Clause {
    name: "the key of a program that was killed is free after its lease",
    expected: "granted to another within twice LOCKBENCH_TTL_MS and 3 s more",
    about: None,
    run: |bench| {
        Box::pin(async move {
            let [one, other] = bench.nodes().await?;
            let key = bench.key();
            one.must_acquire(&key).await?;
            one.conversation.kill().await;
            let within = bench.ttl * 2 + Duration::from_secs(3);
            let begun = Instant::now();
            while begun.elapsed() < within {
                if let Some(grant) = other.acquire(&key, Duration::from_millis(500)).await? {
                    return other.must_release(&grant).await;
                }
                sleep(Duration::from_millis(50)).await;
            }
            Err(format!("still held {:?} after the kill", begun.elapsed()))
        })
    },
};
