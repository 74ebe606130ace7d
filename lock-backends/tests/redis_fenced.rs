//! What only `redis-fenced` promises: its cost, its wake-up without the safety net, its token when the data
//! is gone.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use harness::servers::Server;
use lock_backends::{
    ClientOptions, Endpoint, LockClient, LockError, OwnerId, Request, SessionOptions, SinceStart, variant,
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

/// Script calls that the server has served.
async fn script_calls(server: &Server) -> u64 {
    let stats = say(server, "INFO commandstats").await;
    let calls = stats.split_once("cmdstat_evalsha:calls=").map_or("0", |(_, calls)| calls);
    calls.split_once(',').map_or(calls, |(calls, _)| calls).parse().unwrap()
}

/// What waits while others are on their way goes together: counted by the server itself, and by the client.
#[tokio::test]
async fn many_callers_share_their_requests() {
    const CALLERS: usize = 128;
    const PAIRS: usize = 20;
    let Some(server) = server().await else { return };
    let a = node(&server, "a").await;
    let before = script_calls(&server).await;
    let tokens = join_all((0..CALLERS).map(|caller| {
        let a = &a;
        async move {
            let mut tokens = Vec::new();
            for pair in 0..PAIRS {
                let owner = OwnerId(format!("a:{caller}:{pair}").into());
                let key = format!("vm-{caller}");
                let guard = a.acquire_request(Request::exclusive(&key, owner, u64::MAX)).await.unwrap();
                tokens.push(guard.token().unwrap());
                guard.release().await.unwrap();
            }
            assert!(tokens.is_sorted_by(|one, next| one < next));
            tokens
        }
    }))
    .await;
    let calls = script_calls(&server).await - before;
    eprintln!("{calls} script calls for {} pairs", CALLERS * PAIRS);
    // One by one they are two a pair; of 128 callers 64 go in one call.
    assert!(calls < (CALLERS * PAIRS / 4) as u64, "{calls}");
    assert_eq!(a.counts().operations, calls);
    let all: std::collections::BTreeSet<_> = tokens.iter().flatten().collect();
    assert_eq!(all.len(), CALLERS * PAIRS);
    a.close().await;
    server.stop().await.unwrap();
}

/// A value of somebody else's where a lock should be fails whoever asks for that lock, and nobody else in the call.
#[tokio::test]
async fn what_cannot_be_done_fails_alone() {
    let Some(server) = server().await else { return };
    let (a, b) = (node(&server, "a").await, node(&server, "b").await);
    assert!(say(&server, "LPUSH lockbench:lock:odd stranger").await.starts_with(":1"));
    let held = b.acquire_request(Request::exclusive("held", OwnerId("b:1".into()), u64::MAX)).await.unwrap();
    let asked = join_all((0..40).map(|caller| {
        let (a, owner) = (&a, OwnerId(format!("a:{caller}").into()));
        async move {
            match caller % 4 {
                0 => a.try_acquire_request(Request::exclusive("odd", owner, u64::MAX)).await.map(|_| "none"),
                1 => {
                    let refused = a.try_acquire_request(Request::exclusive("held", owner, u64::MAX)).await?;
                    Ok(refused.map_or("refused", |_| "granted"))
                }
                _ => {
                    let level = Request::exclusive(&format!("free-{caller}"), owner, u64::MAX).at_level(3);
                    let guard = a.try_acquire_request(level).await?.expect("free");
                    guard.release().await.map(|_| "released")
                }
            }
        }
    }))
    .await;
    for (caller, outcome) in asked.into_iter().enumerate() {
        match (caller % 4, outcome) {
            // Those of one node try one after the other, and are refused while another of it tries.
            (0, Err(LockError::Protocol(why))) => assert!(why.contains("WRONGTYPE"), "{why}"),
            (0, Ok("none")) | (1, Ok("refused")) | (2 | 3, Ok("released")) => {}
            (kind, outcome) => panic!("{kind}: {outcome:?}"),
        }
    }
    held.release().await.unwrap();
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
