//! Deadlines that pass in the moment of a grant: whatever the server says, the key is free afterwards.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod support;

use std::time::Duration;

use lock_backends::backends;
use support::{Bench, PATIENCE, start, unique};
use tokio::task::JoinSet;

/// A node each: so many go to the server for one key.
const NODES: usize = 8;
/// Deadlines that they share, one after the other. The first three met a grant as a rule.
const DEADLINES: usize = 12;
/// Until each of them.
const WITHIN: Duration = Duration::from_millis(150);

/// PostgreSQL may grant a lock and then tell the waiter that its time is over: what belongs to the session stays with it.
#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_a_deadline_that_meets_a_grant_leaves_the_key_free() {
    let Some(server) = start("postgres").await else { return };
    for variant in backends::server("postgres").into_iter().flat_map(|server| server.variants) {
        let bench = Bench::new(variant, server.endpoint());
        let mut nodes = Vec::new();
        for _ in 0..NODES {
            nodes.push(bench.node().await);
        }
        let key = unique(variant.name);
        for _ in 0..DEADLINES {
            let until_ns = bench.deadline_ns(WITHIN);
            let mut waiters = JoinSet::new();
            for node in nodes.iter().cycle().take(NODES * 50) {
                let (node, mut request) = (node.clone(), bench.ask(&key));
                request.deadline_ns = until_ns;
                waiters.spawn(async move {
                    loop {
                        let mut again = request.clone();
                        again.owner = lock_backends::OwnerId(unique("waiter").into());
                        let Ok(guard) = node.acquire_request(again).await else { return };
                        drop(guard.release().await);
                    }
                });
            }
            waiters.join_all().await;
            // Its connections are its own, so that nobody who kept the key can take it again.
            let other = bench.node().await;
            let asked =
                tokio::time::timeout(PATIENCE, other.acquire_request(bench.ask_within(&key, PATIENCE / 6)));
            let guard = asked.await.unwrap().unwrap_or_else(|error| panic!("{}: {error}", variant.name));
            guard.release().await.unwrap();
            other.close().await;
        }
        for node in nodes {
            node.close().await;
        }
    }
    server.stop().await.unwrap();
}
