//! What only `redis-queue` promises: two commands per grant also when it is contended, the line moves past nodes that
//! are gone or silent, and a hand-over that meets nobody is passed on.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use harness::servers::Server;
use lock_backends::{ClientOptions, Guard, LockClient, LockError, variant};
use tokio::time::timeout;

use support::{Bench, PATIENCE, eventually, say, unique};

/// Long enough that neither renewals nor rescue timers come while a test runs: whoever wakes was woken.
const LONG: Duration = Duration::from_secs(600);

async fn bench(ttl: Duration) -> Option<(Server, Bench)> {
    let Ok(variant) = variant("redis-queue") else {
        eprintln!("skipped: built without the feature redis");
        return None;
    };
    let server = support::start("redis").await?;
    let bench = Bench::with_ttl(variant, server.endpoint(), ttl);
    Some((server, bench))
}

/// Stands in line with one request, polled by nobody until the test does.
async fn in_line<'a>(
    bench: &Bench,
    node: &'a LockClient,
    key: &str,
) -> std::pin::Pin<Box<dyn Future<Output = Result<Guard, LockError>> + 'a>> {
    let mut waiting = Box::pin(node.acquire_request(bench.ask(key)));
    // Long enough for one answer on loopback; the line itself is asked in `length`.
    let early = timeout(Duration::from_millis(100), &mut waiting).await;
    assert!(early.is_err(), "granted while another holds it: {early:?}");
    waiting
}

async fn length(server: &Server, key: &str) -> String {
    say(server, &format!("ZCARD lockbench:line:{key}")).await.trim().trim_start_matches(':').to_owned()
}

#[tokio::test]
async fn a_contended_grant_costs_two_commands_and_its_token_rises() {
    let Some((server, bench)) = bench(LONG).await else { return };
    let key = unique("two");
    let nodes = join_all((0..4).map(|_| bench.node())).await;
    let served = std::sync::Mutex::new(Vec::new());
    join_all(nodes.iter().map(|node| {
        let (bench, key, served) = (&bench, &key, &served);
        async move {
            for _ in 0..50 {
                let guard = node.acquire_request(bench.ask(key)).await.unwrap();
                served.lock().unwrap().push(guard.token());
                guard.release().await.unwrap();
            }
        }
    }))
    .await;
    let operations: u64 = nodes.iter().map(|node| node.counts().operations).sum();
    assert_eq!(operations, 2 * 4 * 50);
    let served = served.into_inner().unwrap();
    assert!(served.is_sorted_by(|one, next| one < next), "tokens in the order of the grants");
    server.stop().await.unwrap();
}

/// Two nodes fight for each of many keys: what waits in a node goes together, and each line is kept all the same.
#[tokio::test]
async fn many_callers_share_their_requests_and_the_line_is_kept() {
    const CALLERS: usize = 64;
    const TURNS: usize = 10;
    let Some((server, bench)) = bench(LONG).await else { return };
    let nodes = join_all((0..2).map(|_| bench.node())).await;
    let keys: Vec<String> = (0..CALLERS).map(|_| unique("shared")).collect();
    let served: Vec<_> = keys.iter().map(|_| std::sync::Mutex::new(Vec::new())).collect();
    join_all(nodes.iter().flat_map(|node| keys.iter().zip(&served).map(move |of| (node, of))).map(
        |(node, (key, served))| {
            let bench = &bench;
            async move {
                for _ in 0..TURNS {
                    let guard = node.acquire_request(bench.ask(key)).await.unwrap();
                    served.lock().unwrap().push(guard.token());
                    guard.release().await.unwrap();
                }
            }
        },
    ))
    .await;
    let operations: u64 = nodes.iter().map(|node| node.counts().operations).sum();
    eprintln!("{operations} requests for {} pairs", nodes.len() * CALLERS * TURNS);
    assert!(operations < (nodes.len() * CALLERS * TURNS / 2) as u64, "{operations}");
    for served in served {
        let served = served.into_inner().unwrap();
        assert_eq!(served.len(), nodes.len() * TURNS);
        assert!(served.is_sorted_by(|one, next| one < next), "tokens in the order of the grants");
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_node_that_is_gone_is_passed_over_in_the_same_script() {
    let Some((server, bench)) = bench(LONG).await else { return };
    let key = unique("gone");
    let (a, c) = (bench.node().await, bench.node().await);
    let (b, link) = bench.node_behind_a_link().await;
    let held = a.acquire_request(bench.ask(&key)).await.unwrap();
    let first = in_line(&bench, &b, &key).await;
    let second = in_line(&bench, &c, &key).await;
    assert_eq!(length(&server, &key).await, "2");
    link.cut();
    let alone = async || say(&server, "PUBSUB CHANNELS lockbench:node:*").await.starts_with("*2");
    timeout(PATIENCE, async { while !alone().await {} }).await.expect("the server sees the end");
    held.release().await.unwrap();
    let next = timeout(PATIENCE, second).await.expect("passed over").unwrap();
    assert_eq!(length(&server, &key).await, "0");
    next.release().await.unwrap();
    drop(first);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_silent_node_delays_the_line_by_its_claim_and_is_never_granted_late() {
    let Some((server, bench)) = bench(support::TTL).await else { return };
    let key = unique("silent");
    let (a, c) = (bench.node().await, bench.node().await);
    let (b, link) = bench.node_behind_a_link().await;
    let held = a.acquire_request(bench.ask(&key)).await.unwrap();
    let first = in_line(&bench, &b, &key).await;
    let second = in_line(&bench, &c, &key).await;
    link.swallow();
    held.release().await.unwrap();
    let next = timeout(PATIENCE, second).await.expect("rescued").unwrap();
    link.restore();
    // The message arrives now. Its claim is over, so b has to wait for c.
    let late = timeout(Duration::from_millis(500), first).await;
    assert!(!matches!(&late, Ok(Ok(guard)) if !guard.lost().is_cancelled()), "{late:?}");
    assert!(!next.lost().is_cancelled());
    next.release().await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_waiter_that_leaves_takes_no_place_and_what_it_was_handed_is_passed_on() {
    let Some((server, bench)) = bench(LONG).await else { return };
    let key = unique("left");
    let (a, b, c) = (bench.node().await, bench.node().await, bench.node().await);
    for released_first in [false, true] {
        let held = a.acquire_request(bench.ask(&key)).await.unwrap();
        let first = in_line(&bench, &b, &key).await;
        let mut second = in_line(&bench, &c, &key).await;
        if released_first {
            // Handed to b, whose caller leaves before it looks.
            held.release().await.unwrap();
            drop(first);
        } else {
            drop(first);
            eventually("b leaves the line", || b.counts().withdrawn == 1).await;
            assert!((&mut second).now_or_never().is_none());
            held.release().await.unwrap();
        }
        let next = timeout(PATIENCE, second).await.expect("handed over").unwrap();
        next.release().await.unwrap();
    }
    server.stop().await.unwrap();
}

/// The server's work is counted, not timed: how often it ran a command since it was told to begin anew.
async fn calls(connection: &mut redis::aio::MultiplexedConnection, command: &str) -> u64 {
    let told: String = redis::cmd("INFO").arg("commandstats").query_async(connection).await.unwrap();
    let count = told.lines().find_map(|line| {
        line.strip_prefix(&format!("cmdstat_{command}:calls="))?.split(',').next()?.parse().ok()
    });
    count.unwrap_or(0)
}

#[tokio::test]
async fn who_leaves_the_line_does_not_read_it() {
    const WAITERS: u64 = 300;
    let Some((server, bench)) = bench(LONG).await else { return };
    let client = redis::Client::open(server.endpoint()).unwrap();
    let mut counting = client.get_multiplexed_async_connection().await.unwrap();
    let key = unique("leavers");
    let (holder, node) = (
        bench.node().await,
        bench.node_with(ClientOptions { local_fifo: false, ..ClientOptions::default() }).await,
    );
    let held = holder.acquire_request(bench.ask(&key)).await.unwrap();
    // All of them are in line long before the first has to go.
    let wait = Duration::from_secs(3);
    let waiting = join_all((0..WAITERS).map(|_| {
        let described = bench.ask_within(&key, wait).describing("start VM 7");
        node.acquire_request(described)
    }));
    let counted = async {
        timeout(wait, async { while length(&server, &key).await != WAITERS.to_string() {} }).await.unwrap();
        let _: () = redis::cmd("CONFIG").arg("RESETSTAT").query_async(&mut counting).await.unwrap();
    };
    let (ended, ()) = tokio::join!(waiting, counted);
    assert!(ended.iter().all(|ended| matches!(ended, Err(LockError::TimedOut))), "{ended:?}");
    assert_eq!(length(&server, &key).await, "0");
    // One element each, found by its name, and no list of all.
    assert_eq!(calls(&mut counting, "zrem").await, WAITERS);
    assert_eq!(calls(&mut counting, "zrange").await, 0);
    held.release().await.unwrap();
    let left: Vec<String> =
        redis::cmd("KEYS").arg(format!("*{key}*")).query_async(&mut counting).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
    server.stop().await.unwrap();
}
