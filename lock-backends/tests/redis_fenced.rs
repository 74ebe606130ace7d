//! What only `redis-fenced` promises: its cost, its wake-up without the safety net, its token when the data
//! is gone.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use harness::servers::Server;
use lock_backends::{
    ClientOptions, Endpoint, LockClient, OwnerId, Request, SessionOptions, SinceStart, variant,
};
use tokio::time::timeout;

use support::{PATIENCE, say};

/// No lease ends and no renewal comes while a test runs, so whoever wakes within `PATIENCE` was woken.
const TTL: Duration = Duration::from_secs(600);

/// `None`, with the reason printed: not in this build or not on this machine.
async fn server() -> Option<Server> {
    if variant("redis-fenced").is_err() {
        eprintln!("skipped: built without the feature redis");
        return None;
    }
    support::start("redis").await
}

async fn node(server: &Server, name: &str) -> LockClient {
    let session = SessionOptions { node: name.into(), ttl: TTL, now: Arc::new(SinceStart::default()) };
    let endpoint = Endpoint(server.endpoint().to_owned());
    let variant = variant("redis-fenced").unwrap();
    LockClient::connect(variant, &endpoint, session, ClientOptions::default()).await.unwrap()
}

fn ask(owner: &str) -> Request {
    Request::exclusive("vm-1", OwnerId(owner.into()), u64::MAX)
}

#[tokio::test]
async fn an_uncontended_pair_is_two_requests() {
    let Some(server) = server().await else { return };
    let a = node(&server, "a").await;
    for _ in 0..10 {
        a.acquire_request(ask("a:1")).await.unwrap().release().await.unwrap();
    }
    assert_eq!(a.counts().operations, 20);
    a.close().await;
    server.stop().await.unwrap();
}

/// Returns once a node that was new waits at the server: asked, subscribed, asked again.
async fn wait_in_line(b: &LockClient) {
    let waits = timeout(PATIENCE, async {
        while b.counts().operations < 3 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    waits.await.expect("three requests");
}

#[tokio::test]
async fn a_release_wakes_a_waiter_of_another_node() {
    let Some(server) = server().await else { return };
    let (a, b) = (node(&server, "a").await, node(&server, "b").await);
    let held = a.acquire_request(ask("a:1")).await.unwrap();
    let (next, _) = tokio::join!(timeout(PATIENCE, b.acquire_request(ask("b:1"))), async {
        wait_in_line(&b).await;
        held.release().await.unwrap()
    });
    next.expect("woken").unwrap().release().await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_waiter_whose_connection_broke_is_still_woken() {
    let Some(server) = server().await else { return };
    let (a, b) = (node(&server, "a").await, node(&server, "b").await);
    let held = a.acquire_request(ask("a:1")).await.unwrap();
    let (next, _) = tokio::join!(timeout(PATIENCE, b.acquire_request(ask("b:1"))), async {
        wait_in_line(&b).await;
        let asked = b.counts().operations;
        assert!(say(&server, "CLIENT KILL TYPE pubsub").await.starts_with(":1"));
        // The broken connection makes it subscribe and ask again on the next one.
        let back = async {
            let subscribed =
                async || say(&server, "PUBSUB NUMSUB lockbench:lock:vm-1").await.ends_with(":1\r\n");
            while b.counts().operations == asked || !subscribed().await {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(PATIENCE, back).await.expect("subscribed again");
        held.release().await.unwrap()
    });
    next.expect("woken").unwrap().release().await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test]
async fn tokens_rise_when_the_data_is_gone() {
    let Some(server) = server().await else { return };
    let a = node(&server, "a").await;
    let guard = a.acquire_request(ask("a:1")).await.unwrap();
    let before = guard.token().unwrap();
    assert!(say(&server, "FLUSHALL").await.starts_with("+OK"));
    assert!(matches!(guard.release().await, Err(lock_backends::LockError::AlreadyLost)));
    let guard = a.acquire_request(ask("a:2")).await.unwrap();
    assert!(guard.token().unwrap() > before);
    guard.release().await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_retry_of_the_same_attempt_finds_its_own_grant() {
    let Some(server) = server().await else { return };
    let (a, b) = (node(&server, "a").await, node(&server, "b").await);
    let first = a.acquire_request(ask("a:1")).await.unwrap();
    // The same owner from another connection, as after a lost answer.
    let again = b.try_acquire_request(ask("a:1")).await.unwrap().expect("recognised");
    assert_eq!(first.token(), again.token());
    // An owner that begins alike is another one.
    assert!(node(&server, "c").await.try_acquire_request(ask("a:")).await.unwrap().is_none());
    first.release().await.unwrap();
    assert!(matches!(again.release().await, Err(lock_backends::LockError::AlreadyLost)));
    server.stop().await.unwrap();
}
