//! Links that fall silent or break, and a server that is killed.

use std::time::Duration;

use futures_util::future::join_all;
use lock_backends::LockError;
use tokio::time::{sleep, timeout};

use crate::support::{Bench, PATIENCE, TTL, balanced, eventually, free_again, unique};

/// How long a try may take: two requests that wait a ttl each, and the 5 s that a connection may take to open.
const ANSWER: Duration = Duration::from_secs(10);

/// The waiter's link is silent until its lease is long over, and the key becomes free meanwhile.
pub(crate) async fn an_expired_waiter_is_never_granted(bench: &Bench) {
    let key = unique("expired");
    let b = bench.node().await;
    let (a, link) = bench.node_behind_a_link().await;
    let held = b.acquire_request(bench.ask(&key)).await.unwrap();
    let mut waiting = Box::pin(a.acquire_request(bench.ask(&key)));
    assert!(timeout(Duration::from_millis(200), &mut waiting).await.is_err());
    link.swallow();
    let told = timeout(TTL * 2, &mut waiting).await.ok();
    assert!(!matches!(told, Some(Ok(_))), "granted over a silent link: {told:?}");
    held.release().await.unwrap();
    let next = b.acquire_request(bench.ask(&key)).await.unwrap();
    link.restore();
    let late = match told {
        Some(told) => told.ok(),
        None => timeout(Duration::from_secs(1), &mut waiting).await.ok().and_then(Result::ok),
    };
    let late = late.filter(|guard| !guard.lost().is_cancelled());
    assert!(late.is_none() || next.lost().is_cancelled(), "two holders: {late:?} and {next:?}");
    drop((late, waiting));
    next.release().await.unwrap();
    free_again(bench, &b, &key).await;
}

/// Either the session goes on after a broken connection, or it is lost and everybody is told.
pub(crate) async fn a_cut_link_is_survived_or_told(bench: &Bench) {
    let key = unique("cut");
    let (a, link) = bench.node_behind_a_link().await;
    let b = bench.node().await;
    a.acquire_request(bench.ask(&key)).await.unwrap().release().await.unwrap();
    link.cut();
    sleep(Duration::from_millis(50)).await;
    link.restore();
    let again = async {
        loop {
            match a.acquire_request(bench.ask_within(&key, Duration::from_millis(500))).await {
                Ok(guard) => return drop(guard.release().await),
                Err(LockError::SessionLost(_)) => return assert!(a.lost().is_cancelled()),
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    };
    timeout(PATIENCE, again).await.expect("a grant, or a session that is lost");
    free_again(bench, &b, &key).await;
}

/// The holder's link fails. Its key is granted to somebody else in the end, and the holder knows by then.
pub(crate) async fn a_vanished_session_frees_its_keys_and_its_holder_is_told(bench: &Bench) {
    let key = unique("vanished");
    let b = bench.node().await;
    let (a, link) = bench.node_behind_a_link().await;
    let guard = a.acquire_request(bench.ask(&key)).await.unwrap();
    // Without a lease the server frees the key when the connection closes, not when it falls silent.
    if bench.variant.capabilities.lease {
        link.swallow();
    } else {
        link.cut();
    }
    let next = b.acquire_request(bench.ask(&key)).await.unwrap();
    if bench.variant.capabilities.lease {
        assert!(guard.lost().is_cancelled(), "granted to another before the holder was told");
    }
    timeout(PATIENCE, guard.lost().cancelled()).await.expect("the holder is told");
    if let (Some(old), Some(new)) = (guard.token(), next.token()) {
        assert!(old < new);
    }
    link.restore();
    // Unanswered where the link was down for a part of it; the client goes on in the background, and may not free the
    // other's key.
    let ret = guard.release().await;
    assert!(matches!(ret, Err(LockError::AlreadyLost | LockError::Unknown(_) | LockError::Unavailable(_))));
    assert!(b.try_acquire_request(bench.ask(&key)).await.unwrap().is_none());
    next.release().await.unwrap();
}

/// Requests are swallowed and arrive late, after their callers were told: what they are granted must not
/// stay.
pub(crate) async fn an_acquire_on_a_silent_link_ends_and_frees_its_key(bench: &Bench) {
    let bench = &bench.with_lasting_leases();
    let keys = [unique("silent"), unique("silent"), unique("silent")];
    let b = bench.node().await;
    let (a, link) = bench.node_behind_a_link().await;
    // Warm: the way to a lock is known, and only requests for locks are swallowed.
    a.acquire_request(bench.ask(&keys[0])).await.unwrap().release().await.unwrap();
    link.swallow();
    let wait = Duration::from_millis(200);
    let asked = join_all(keys.iter().map(|key| a.acquire_request(bench.ask_within(key, wait)))).await;
    assert!(asked.iter().all(Result::is_err), "granted by a silent server: {asked:?}");
    link.restore();
    for key in &keys {
        let guard = b.acquire_request(bench.ask(key)).await.unwrap();
        guard.release().await.unwrap();
    }
    assert!(balanced(&a));
}

/// Without an answer nobody knows whether the key is held: a try may say neither yes nor no, and leaves nothing behind.
pub(crate) async fn a_try_over_a_cut_link_tells_the_truth_and_leaves_nothing(bench: &Bench) {
    let bench = &bench.with_lasting_leases();
    let keys = [unique("cut try"), unique("cut try")];
    let b = bench.node().await;
    let (a, link) = bench.node_behind_a_link().await;
    a.try_acquire_request(bench.ask(&keys[0])).await.unwrap().expect("free").release().await.unwrap();
    link.cut();
    for key in &keys {
        let tried = timeout(ANSWER, a.try_acquire_request(bench.ask(key))).await.expect("an answer in time");
        assert!(tried.is_err(), "answered over a cut link: {tried:?}");
    }
    link.restore();
    for key in &keys {
        free_again(bench, &b, key).await;
    }
    eventually("every attempt has ended", || balanced(&a)).await;
}

/// As above; what the link swallowed arrives when the caller has been told.
pub(crate) async fn a_try_over_a_silent_link_tells_the_truth_and_leaves_nothing(bench: &Bench) {
    let keys = [unique("silent try"), unique("silent try")];
    let b = bench.node().await;
    let (a, link) = bench.node_behind_a_link().await;
    a.try_acquire_request(bench.ask(&keys[0])).await.unwrap().expect("free").release().await.unwrap();
    link.swallow();
    let tries = join_all(keys.iter().map(|key| a.try_acquire_request(bench.ask(key))));
    let told = timeout(ANSWER, tries).await.expect("an answer in time");
    assert!(told.iter().all(Result::is_err), "answered over a silent link: {told:?}");
    link.restore();
    for key in &keys {
        free_again(bench, &b, key).await;
    }
    eventually("every attempt has ended", || balanced(&a)).await;
}

/// The server is killed and started again while a key is held.
pub(crate) async fn a_restarted_server_keeps_the_locks_apart(
    bench: &Bench,
    server: &mut harness::servers::Server,
) {
    let key = unique("restart");
    let a = bench.node().await;
    let guard = a.acquire_request(bench.ask(&key)).await.unwrap();
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    let b = bench.node().await;
    let mut taken = b.try_acquire_request(bench.ask(&key)).await.unwrap();
    if taken.is_some() {
        timeout(PATIENCE, guard.lost().cancelled()).await.expect("the holder is told");
    }
    let old = guard.token();
    let released = guard.release().await;
    assert!(taken.is_none() || released.is_err(), "freed another's lock");
    if taken.is_none() {
        taken = Some(b.acquire_request(bench.ask(&key)).await.unwrap());
    }
    let next = taken.expect("taken in either way");
    assert!(!bench.variant.capabilities.token || old < next.token(), "{old:?} then {:?}", next.token());
    next.release().await.unwrap();
    // The old session works again, or says that it is lost.
    let again = async {
        while !a.lost().is_cancelled() {
            match a.acquire_request(bench.ask_within(&key, Duration::from_secs(1))).await {
                Ok(guard) => return drop(guard.release().await),
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    };
    timeout(PATIENCE, again).await.expect("a grant, or a session that is lost");
}
