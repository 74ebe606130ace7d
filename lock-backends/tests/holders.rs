//! What the variants with a connection for each holder promise when a node has more to hold than connections: they say so,
//! at once or after a second, and nobody waits for ever or past its deadline.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use lock_backends::{Guard, LockClient, LockError, variant};
use tokio::time::{Instant, sleep};

use support::{Bench, TTL, unique};

/// Connections of a node.
const MOST: usize = 64;

/// Runs the test on each variant of this kind.
async fn on_each(test: impl AsyncFn(&Bench)) {
    for (server, names) in
        [("postgres", &["pg-session", "pg-xact"] as &[&str]), ("mariadb", &["mysql-get-lock"])]
    {
        let Some(running) = support::start(server).await else { continue };
        for variant in names.iter().filter_map(|name| variant(name).ok()) {
            test(&Bench::with_ttl(variant, running.endpoint(), TTL)).await;
        }
        running.stop().await.unwrap();
    }
}

/// So many keys, all held at once: each but the first is a nested acquire.
async fn hold(bench: &Bench, node: &LockClient, most: usize) -> Vec<Guard> {
    let mut guards = Vec::new();
    for _ in 0..most {
        let request = bench.ask_within(&unique("nested"), Duration::from_secs(20));
        guards.push(node.acquire_request(request).await.unwrap());
    }
    guards
}

#[tokio::test]
async fn nested_holders_beyond_the_limit_are_told_and_do_not_wait_for_each_other() {
    on_each(async |bench| {
        let node = bench.node().await;
        let mut guards = hold(bench, &node, MOST).await;
        let tried = Instant::now();
        let refused = node.try_acquire_request(bench.ask(&unique("free"))).await;
        assert!(matches!(refused, Err(LockError::Unavailable(_))), "{refused:?}");
        // No round trip: far below what a wait for a connection may take.
        assert!(tried.elapsed() < Duration::from_millis(200), "a try that waited {:?}", tried.elapsed());
        let asked = Instant::now();
        let refused = node.acquire_request(bench.ask(&unique("free"))).await;
        assert!(
            matches!(&refused, Err(LockError::Unavailable(why)) if why.contains("64 connections")),
            "{refused:?}"
        );
        // A second without one that came back, and as long again for a loaded machine; the deadline is a minute.
        assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
        guards.pop().unwrap().release().await.unwrap();
        hold(bench, &node, 1).await.pop().unwrap().release().await.unwrap();
        node.close().await;
    })
    .await;
}

#[tokio::test]
async fn one_deadline_bounds_the_wait_for_a_connection_and_for_the_lock() {
    on_each(async |bench| {
        let (node, other) = (bench.node().await, bench.node().await);
        let key = unique("contended");
        let held = other.acquire_request(bench.ask(&key)).await.unwrap();
        let mut guards = hold(bench, &node, MOST).await;
        let wait = Duration::from_millis(900);
        let (asked, request) = (Instant::now(), bench.ask_within(&key, wait));
        let late = async { (node.acquire_request(request).await, asked.elapsed()) };
        let one_comes_back = async {
            sleep(Duration::from_millis(600)).await;
            guards.pop().unwrap().release().await.unwrap();
        };
        let ((late, took), ()) = tokio::join!(late, one_comes_back);
        assert!(matches!(late, Err(LockError::TimedOut)), "{late:?}");
        // The deadline, which the server takes in whole ms, and what a loaded machine adds; with a deadline for each wait it
        // would be 1.5 s at least.
        let early = took + Duration::from_millis(1) < wait;
        assert!(!early && took < Duration::from_millis(1_400), "{took:?}");
        held.release().await.unwrap();
        node.close().await;
    })
    .await;
}
