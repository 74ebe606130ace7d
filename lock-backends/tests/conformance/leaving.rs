//! Callers that leave at any point leave no lock behind.

use std::future::Future;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::join_all;
use lock_backends::LockError;
use tokio::time::timeout;

use crate::support::{Bench, balanced, eventually, free_again, unique};

/// Futures dropped at many points of their way, uncontended and behind a holder.
pub(crate) async fn a_dropped_acquire_future_leaves_no_lock_behind(bench: &Bench) {
    let bench = &bench.with_lasting_leases();
    let (a, b) = (bench.node().await, bench.node().await);
    let mut keys = Vec::new();
    for step in 0..24_u64 {
        let key = unique("dropped future");
        let held = if step % 2 == 0 { Some(b.acquire_request(bench.ask(&key)).await.unwrap()) } else { None };
        // From not even polled twice to well past the grant.
        let point = Duration::from_micros(step * step * 20);
        let waiting = [a.acquire_request(bench.ask(&key)), a.acquire_request(bench.ask(&key))];
        timeout(point, join_all(waiting)).await.map(drop).unwrap_or_default();
        if let Some(guard) = held {
            guard.release().await.unwrap();
        }
        keys.push(key);
    }
    eventually("every attempt has ended", || balanced(&a)).await;
    for key in keys {
        let guard = b.try_acquire_request(bench.ask(&key)).await.unwrap();
        guard.unwrap_or_else(|| panic!("{key} is still held")).release().await.unwrap();
    }
}

/// Acquires and releases that are dropped after their first poll, their second, and so on to their end.
pub(crate) async fn a_future_dropped_at_any_await_point_leaves_no_lock_behind(bench: &Bench) {
    let bench = &bench.with_lasting_leases();
    let (a, b) = (bench.node().await, bench.node().await);
    for polls in 1.. {
        let key = unique("await point");
        let acquired = dropped_after(polls, a.acquire_request(bench.ask(&key))).await;
        let whole = acquired.is_some();
        drop(acquired);
        free_again(bench, &b, &key).await;
        if whole {
            break;
        }
    }
    for polls in 1.. {
        let key = unique("await point");
        let guard = a.acquire_request(bench.ask(&key)).await.unwrap();
        let released = dropped_after(polls, guard.release()).await;
        free_again(bench, &b, &key).await;
        if released.is_some() {
            break;
        }
    }
    eventually("every attempt has ended", || balanced(&a)).await;
}

pub(crate) async fn a_waiter_that_leaves_is_withdrawn_at_once(bench: &Bench) {
    let bench = &bench.with_lasting_leases();
    let key = unique("leaves");
    let (a, b) = (bench.node().await, bench.node().await);
    let held = b.acquire_request(bench.ask(&key)).await.unwrap();
    let left = timeout(Duration::from_millis(200), a.acquire_request(bench.ask(&key))).await;
    assert!(left.is_err(), "granted what is held: {left:?}");
    // Far before its deadline, and while the key is held.
    eventually("it is withdrawn", || a.counts().withdrawn == 1).await;
    assert!(!held.lost().is_cancelled());
    held.release().await.unwrap();
    free_again(bench, &b, &key).await;
}

pub(crate) async fn a_dropped_guard_frees_the_key(bench: &Bench) {
    let bench = &bench.with_lasting_leases();
    let key = unique("dropped guard");
    let (a, b) = (bench.node().await, bench.node().await);
    drop(a.acquire_request(bench.ask(&key)).await.unwrap());
    eventually("the guard is released", || a.counts().released == 1).await;
    assert_eq!(a.counts().dropped_guards, 1);
    b.try_acquire_request(bench.ask(&key)).await.unwrap().expect("free").release().await.unwrap();
}

pub(crate) async fn a_closed_session_frees_its_keys(bench: &Bench) {
    let keys = [unique("closed"), unique("closed")];
    let (a, b) = (bench.node().await, bench.node().await);
    let guards = [
        a.acquire_request(bench.ask(&keys[0])).await.unwrap(),
        a.acquire_request(bench.ask(&keys[1])).await.unwrap(),
    ];
    a.close().await;
    for (guard, key) in guards.into_iter().zip(&keys) {
        assert!(guard.lost().is_cancelled());
        // Within the declared bound: at once, or when the lease has ended.
        let next = b.acquire_request(bench.ask(key)).await.unwrap();
        assert!(matches!(guard.release().await, Err(LockError::AlreadyLost)));
        next.release().await.unwrap();
    }
}

/// Polls the future so often, then drops it when it is woken once more. What it brought, if it ended before.
async fn dropped_after<T>(polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut left = polls;
    std::future::poll_fn(|context| {
        let Some(fewer) = left.checked_sub(1) else { return Poll::Ready(None) };
        left = fewer;
        future.as_mut().poll(context).map(Some)
    })
    .await
}
