//! Waiting: not at all, until a deadline, in order, by the thousand.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use lock_backends::LockError;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::support::{Bench, PATIENCE, balanced, eventually, free_again, unique};

pub(crate) async fn a_try_does_not_wait(bench: &Bench) {
    let key = unique("try");
    let (a, b) = (bench.node().await, bench.node().await);
    let guard = a.try_acquire_request(bench.ask(&key)).await.unwrap().expect("free");
    assert!(b.try_acquire_request(bench.ask(&key)).await.unwrap().is_none(), "held by another node");
    assert!(
        a.try_acquire_request(bench.ask(&key)).await.unwrap().is_none(),
        "held by another task of this node"
    );
    guard.release().await.unwrap();
    let guard = b.try_acquire_request(bench.ask(&key)).await.unwrap().expect("free again");
    guard.release().await.unwrap();
}

pub(crate) async fn a_deadline_leaves_nothing(bench: &Bench) {
    let bench = &bench.with_lasting_leases();
    let key = unique("deadline");
    let (a, b) = (bench.node().await, bench.node().await);
    let guard = a.acquire_request(bench.ask(&key)).await.unwrap();
    let requests = (0..5).map(|_| bench.ask_within(&key, Duration::from_millis(150)));
    for late in join_all(requests.map(|request| b.acquire_request(request))).await {
        assert!(matches!(late, Err(LockError::TimedOut)), "{late:?}");
    }
    guard.release().await.unwrap();
    // Nobody stands in line any more, so this is granted without a wait.
    let guard = a.try_acquire_request(bench.ask(&key)).await.unwrap().expect("nobody waits");
    guard.release().await.unwrap();
    assert_eq!(b.counts().timed_out, 5);
    assert!(balanced(&b));
}

/// Ten thousand stand in line; the first hundreds are served, and the others leave. Nothing stays behind.
pub(crate) async fn ten_thousand_waiters_on_one_session(bench: &Bench) {
    const SERVED: u64 = 300;
    let bench = &bench.with_lasting_leases();
    let key = unique("ten thousand");
    let (a, b) = (bench.node().await, bench.node().await);
    let first = b.acquire_request(bench.ask(&key)).await.unwrap();
    let mut waiters = JoinSet::new();
    for _ in 0..10_000 {
        let (client, request) = (a.clone(), bench.ask_within(&key, PATIENCE * 3));
        waiters.spawn(async move { client.acquire_request(request).await.unwrap().release().await.unwrap() });
    }
    eventually("all have asked", || a.counts().attempts == 10_000).await;
    first.release().await.unwrap();
    for _ in 0..SERVED {
        waiters.join_next().await.unwrap().unwrap();
    }
    waiters.shutdown().await;
    eventually("every attempt has ended", || balanced(&a)).await;
    assert!(a.counts().grants >= SERVED);
    free_again(bench, &b, &key).await;
}

pub(crate) async fn local_waiters_are_served_in_the_order_of_their_calls(bench: &Bench) {
    let key = unique("order");
    let a = bench.node().await;
    let first = a.acquire_request(bench.ask(&key)).await.unwrap();
    let served = Mutex::new(Vec::new());
    // join_all polls them in order, and the first poll is the call.
    let waiters = join_all((0..50).map(|place| {
        let (request, a, served) = (bench.ask(&key), &a, &served);
        async move {
            let guard = a.acquire_request(request).await.unwrap();
            served.lock().unwrap().push(place);
            guard.release().await.unwrap();
        }
    }));
    let released = async {
        eventually("all stand in line", || a.counts().attempts == 51).await;
        first.release().await.unwrap()
    };
    tokio::join!(waiters, released);
    let served = served.into_inner().unwrap();
    assert_eq!(served, (0..50).collect::<Vec<_>>());
}

pub(crate) async fn sessions_are_served_in_the_order_of_their_arrival(bench: &Bench) {
    let key = unique("fair");
    let holder = bench.node().await;
    let first = holder.acquire_request(bench.ask(&key)).await.unwrap();
    let served = Arc::new(Mutex::new(Vec::new()));
    let mut waiters = JoinSet::new();
    for place in 0..6 {
        let node = bench.node().await;
        let sent = node.counts().operations;
        let (client, served, request) = (node.clone(), Arc::clone(&served), bench.ask(&key));
        waiters.spawn(async move {
            let guard = client.acquire_request(request).await.unwrap();
            served.lock().unwrap().push(place);
            guard.release().await.unwrap();
        });
        eventually("it was sent", || node.counts().operations > sent).await;
        // Sent is not arrived; the next one gives it room.
        sleep(Duration::from_millis(100)).await;
    }
    first.release().await.unwrap();
    waiters.join_all().await;
    assert_eq!(*served.lock().unwrap(), (0..6).collect::<Vec<_>>());
}
