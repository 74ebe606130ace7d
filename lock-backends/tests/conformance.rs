//! One suite for every registered variant, on the real server that it names, gated by what it declares.
//!
//! To see which contract of which variant runs: `cargo test -p lock-backends --test conformance --
//! --nocapture`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use lock_backends::{
    ClientOptions, LocalFifo, LockClient, LockError, Mode, ReleaseRet, Request, Token, Variant, backends,
};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use support::{Bench, PATIENCE, balanced, eventually, unique};

/// Found by a walk of 1.1e10 steps (Pollard's rho) through FNV-1a behind the prefix of the Postgres variants, whose own
/// test says that it still holds.
const ONE_HASH: [&str; 2] = ["FQdmNbzbq4c", "rheRAdVb1C8"];

#[test]
fn in_process() {
    conforms(None);
}

#[test]
fn redis() {
    conforms(Some("redis"));
}

#[test]
fn postgres() {
    conforms(Some("postgres"));
}

#[test]
fn etcd() {
    conforms(Some("etcd"));
}

#[test]
fn zookeeper() {
    conforms(Some("zookeeper"));
}

/// Runs every contract of every variant of that server; a broken one does not hide the next.
fn conforms(server: Option<&str>) {
    // Side by side they would take each other's processor, and leases end by the clock.
    static ONE_SERVER_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_SERVER_AT_A_TIME.lock().unwrap_or_else(|broken| broken.into_inner());
    let variants = match server.map(backends::server) {
        None => backends::LOCAL,
        Some(Some(server)) => server.variants,
        Some(None) => return eprintln!("skipped: no variant on {server:?} in this build"),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut running = None;
        if let Some(name) = server {
            running = support::start(name).await;
            if running.is_none() {
                return;
            }
        }
        let mut broken = Vec::new();
        for variant in variants {
            let bench = Bench::new(variant, running.as_ref().map_or("", |running| running.endpoint()));
            broken.extend(run_contracts(&bench).await);
            if let Some(running) = &mut running {
                let name = format!("{}: a_restarted_server_keeps_the_locks_apart", variant.name);
                let contract = a_restarted_server_keeps_the_locks_apart(&bench, running);
                match timeout(PATIENCE * 3, AssertUnwindSafe(contract).catch_unwind()).await {
                    Ok(Ok(())) => eprintln!("holds    {name}"),
                    _ => broken.push(name),
                }
            }
        }
        if let Some(running) = running {
            running.stop().await.unwrap();
        }
        assert!(broken.is_empty(), "broken: {broken:?}");
    });
}

async fn run_contracts(bench: &Bench) -> Vec<String> {
    let mut broken = Vec::new();
    let server = backends::server_of(bench.variant).map(|server| server.name);
    let Variant { capabilities, .. } = *bench.variant;
    macro_rules! run {
        ($($contract:ident $(if $promised:expr)?;)*) => {$(
            let name = format!("{}: {}", bench.variant.name, stringify!($contract));
            let promised = true $(&& $promised)?;
            if promised {
                match timeout(PATIENCE * 3, AssertUnwindSafe($contract(bench)).catch_unwind()).await {
                    Ok(Ok(())) => eprintln!("holds    {name}"),
                    Ok(Err(_)) => broken.push(name),
                    Err(_) => broken.push(format!("{name} (hung)")),
                }
            } else {
                eprintln!("skipped  {name}: not {}", concat!($(stringify!($promised))?));
            }
        )*};
    }
    run! {
        a_key_has_one_holder_and_tokens_rise;
        a_level_is_never_exceeded_and_is_reached;
        tokens_rise_over_sessions if capabilities.token;
        a_try_does_not_wait;
        a_deadline_leaves_nothing;
        a_dropped_acquire_future_leaves_no_lock_behind;
        a_future_dropped_at_any_await_point_leaves_no_lock_behind;
        a_waiter_that_leaves_is_withdrawn_at_once;
        an_expired_waiter_is_never_granted if capabilities.lease;
        a_cut_link_is_survived_or_told if server.is_some();
        the_holder_is_shown_to_whoever_is_refused;
        a_slot_is_never_taken_for_a_key;
        names_with_one_hash_never_share_a_lock if server == Some("postgres");
        a_dropped_guard_frees_the_key;
        a_closed_session_frees_its_keys;
        a_vanished_session_frees_its_keys_and_its_holder_is_told if server.is_some();
        an_acquire_on_a_silent_link_ends_and_frees_its_key if server.is_some();
        several_keys_are_taken_all_or_nothing;
        shared_mode_is_refused if !capabilities.shared_mode;
        shared_holders_do_not_exclude_each_other if capabilities.shared_mode;
        odd_names_are_names;
        ten_thousand_waiters_on_one_session;
        local_waiters_are_served_in_the_order_of_their_calls;
        sessions_are_served_in_the_order_of_their_arrival if capabilities.fair;
    }
    broken
}

/// Two nodes, many tasks, one key, with and without the local line: nobody meets anybody inside.
async fn a_key_has_one_holder_and_tokens_rise(bench: &Bench) {
    for local_fifo in [true, false] {
        if !local_fifo && bench.variant.capabilities.local_fifo == LocalFifo::Required {
            continue;
        }
        let key = unique("one holder");
        let options = ClientOptions { local_fifo, ..ClientOptions::default() };
        let nodes = [bench.node_with(options.clone()).await, bench.node_with(options).await];
        let inside = Arc::new(AtomicUsize::new(0));
        let met = Arc::new(AtomicBool::new(false));
        let tokens = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        for task in 0..24 {
            let client = Arc::clone(&nodes[task % 2]);
            let (inside, met, tokens) = (Arc::clone(&inside), Arc::clone(&met), Arc::clone(&tokens));
            let requests: Vec<Request> = (0..4).map(|_| bench.ask(&key)).collect();
            tasks.spawn(async move {
                for request in requests {
                    let guard = client.acquire(request).await.unwrap();
                    met.fetch_or(inside.fetch_add(1, Ordering::SeqCst) > 0, Ordering::SeqCst);
                    tokens.lock().unwrap().push(guard.token());
                    tokio::task::yield_now().await;
                    inside.fetch_sub(1, Ordering::SeqCst);
                    assert_eq!(guard.release().await.unwrap(), ReleaseRet::Released);
                }
            });
        }
        tasks.join_all().await;
        assert!(!met.load(Ordering::SeqCst), "two holders at once");
        assert_rising(bench, &tokens.lock().unwrap());
        assert!(nodes.iter().all(|client| balanced(client)));
    }
}

fn assert_rising(bench: &Bench, tokens: &[Option<Token>]) {
    if bench.variant.capabilities.token {
        assert!(tokens.iter().all(Option::is_some), "a grant without a token");
        let stale = tokens.windows(2).find(|pair| pair[0] >= pair[1]);
        assert!(stale.is_none(), "a token that does not rise: {stale:?}");
    }
}

async fn a_level_is_never_exceeded_and_is_reached(bench: &Bench) {
    const LEVEL: u32 = 3;
    let key = unique("level");
    let nodes = [bench.node().await, bench.node().await];
    let ask = |seed: u64| Request { level: LEVEL, slot_seed: seed, ..bench.ask(&key) };
    // Reached: three must be inside before the first may leave.
    let together = Arc::new(Barrier::new(3));
    let reaching = (0..3).map(|task| {
        let (client, together, request) = (&nodes[task % 2], Arc::clone(&together), ask(task as u64));
        async move {
            let guard = client.acquire(request).await.unwrap();
            timeout(PATIENCE, together.wait()).await.expect("three holders at once");
            guard.release().await.unwrap();
        }
    });
    join_all(reaching).await;
    // Never exceeded, and a slot is one holder's.
    let inside = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = JoinSet::new();
    for task in 0..30 {
        let (client, inside, request) = (Arc::clone(&nodes[task % 2]), Arc::clone(&inside), ask(task as u64));
        tasks.spawn(async move {
            let guard = client.acquire(request).await.unwrap();
            let slot = guard.slot();
            {
                let mut inside = inside.lock().unwrap();
                assert!(slot < LEVEL && !inside.contains(&slot), "slot {slot} of {inside:?}");
                inside.push(slot);
            }
            sleep(Duration::from_millis(2)).await;
            inside.lock().unwrap().retain(|other| *other != slot);
            guard.release().await.unwrap();
        });
    }
    tasks.join_all().await;
}

async fn tokens_rise_over_sessions(bench: &Bench) {
    let key = unique("sessions");
    let stays = bench.node().await;
    let mut tokens = Vec::new();
    for _ in 0..4 {
        let comes = bench.node().await;
        for client in [&comes, &stays, &comes] {
            let guard = client.acquire(bench.ask(&key)).await.unwrap();
            tokens.push(guard.token());
            guard.release().await.unwrap();
        }
        close(comes).await;
    }
    assert_rising(bench, &tokens);
}

async fn a_try_does_not_wait(bench: &Bench) {
    let key = unique("try");
    let (a, b) = (bench.node().await, bench.node().await);
    let guard = a.try_acquire(bench.ask(&key)).await.unwrap().expect("free");
    assert!(b.try_acquire(bench.ask(&key)).await.unwrap().is_none(), "held by another node");
    assert!(a.try_acquire(bench.ask(&key)).await.unwrap().is_none(), "held by another task of this node");
    assert_eq!(guard.release().await.unwrap(), ReleaseRet::Released);
    let guard = b.try_acquire(bench.ask(&key)).await.unwrap().expect("free again");
    guard.release().await.unwrap();
}

async fn a_deadline_leaves_nothing(bench: &Bench) {
    let key = unique("deadline");
    let (a, b) = (bench.node().await, bench.node().await);
    let guard = a.acquire(bench.ask(&key)).await.unwrap();
    let requests = (0..5).map(|_| bench.ask_within(&key, Duration::from_millis(150)));
    for late in join_all(requests.map(|request| b.acquire(request))).await {
        assert!(matches!(late, Err(LockError::TimedOut)), "{late:?}");
    }
    assert_eq!(guard.release().await.unwrap(), ReleaseRet::Released);
    // Nobody stands in line any more, so this is granted without a wait.
    let guard = a.try_acquire(bench.ask(&key)).await.unwrap().expect("nobody waits");
    guard.release().await.unwrap();
    assert_eq!(b.counts().timed_out, 5);
    assert!(balanced(&b));
}

/// Futures dropped at many points of their way, uncontended and behind a holder.
async fn a_dropped_acquire_future_leaves_no_lock_behind(bench: &Bench) {
    let (a, b) = (bench.node().await, bench.node().await);
    let mut keys = Vec::new();
    for step in 0..24_u64 {
        let key = unique("dropped future");
        let held = if step % 2 == 0 { Some(b.acquire(bench.ask(&key)).await.unwrap()) } else { None };
        // From not even polled twice to well past the grant.
        let point = Duration::from_micros(step * step * 20);
        let waiting = [a.acquire(bench.ask(&key)), a.acquire(bench.ask(&key))];
        timeout(point, join_all(waiting)).await.map(drop).unwrap_or_default();
        if let Some(guard) = held {
            guard.release().await.unwrap();
        }
        keys.push(key);
    }
    eventually("every attempt has ended", || balanced(&a)).await;
    for key in keys {
        let guard = b.try_acquire(bench.ask(&key)).await.unwrap();
        guard.unwrap_or_else(|| panic!("{key} is still held")).release().await.unwrap();
    }
}

async fn a_dropped_guard_frees_the_key(bench: &Bench) {
    let key = unique("dropped guard");
    let (a, b) = (bench.node().await, bench.node().await);
    drop(a.acquire(bench.ask(&key)).await.unwrap());
    eventually("the guard is released", || a.counts().released == 1).await;
    assert_eq!(a.counts().dropped_guards, 1);
    b.try_acquire(bench.ask(&key)).await.unwrap().expect("free").release().await.unwrap();
}

async fn a_closed_session_frees_its_keys(bench: &Bench) {
    let keys = [unique("closed"), unique("closed")];
    let (a, b) = (bench.node().await, bench.node().await);
    let guards =
        [a.acquire(bench.ask(&keys[0])).await.unwrap(), a.acquire(bench.ask(&keys[1])).await.unwrap()];
    close(a).await;
    for (guard, key) in guards.into_iter().zip(&keys) {
        assert!(guard.lost().is_cancelled());
        // Within the declared bound: at once, or when the lease has ended.
        let next = b.acquire(bench.ask(key)).await.unwrap();
        assert_eq!(guard.release().await.unwrap(), ReleaseRet::AlreadyLost);
        assert_eq!(next.release().await.unwrap(), ReleaseRet::Released);
    }
}

/// The holder's link fails. Its key is granted to somebody else in the end, and the holder knows by then.
async fn a_vanished_session_frees_its_keys_and_its_holder_is_told(bench: &Bench) {
    let key = unique("vanished");
    let b = bench.node().await;
    let (a, link) = bench.node_behind_a_link().await;
    let guard = a.acquire(bench.ask(&key)).await.unwrap();
    // Without a lease the server frees the key when the connection closes, not when it falls silent.
    if bench.variant.capabilities.lease {
        link.swallow();
    } else {
        link.cut();
    }
    let next = b.acquire(bench.ask(&key)).await.unwrap();
    if bench.variant.capabilities.lease {
        assert!(guard.lost().is_cancelled(), "granted to another before the holder was told");
    }
    timeout(PATIENCE, guard.lost().cancelled()).await.expect("the holder is told");
    if let (Some(old), Some(new)) = (guard.token(), next.token()) {
        assert!(old < new);
    }
    link.restore();
    let mut ret = guard.release().await;
    if let Err(LockError::Unknown(_) | LockError::Unavailable(_)) = ret {
        // The link was down for a part of it; the client goes on in the background, and may not free the
        // other's key.
        ret = Ok(ReleaseRet::AlreadyLost);
    }
    assert_eq!(ret.unwrap(), ReleaseRet::AlreadyLost);
    assert!(b.try_acquire(bench.ask(&key)).await.unwrap().is_none());
    assert_eq!(next.release().await.unwrap(), ReleaseRet::Released);
}

/// Requests are swallowed and arrive late, after their callers were told: what they are granted must not
/// stay.
async fn an_acquire_on_a_silent_link_ends_and_frees_its_key(bench: &Bench) {
    let keys = [unique("silent"), unique("silent"), unique("silent")];
    let b = bench.node().await;
    let (a, link) = bench.node_behind_a_link().await;
    // Warm: the way to a lock is known, and only requests for locks are swallowed.
    a.acquire(bench.ask(&keys[0])).await.unwrap().release().await.unwrap();
    link.swallow();
    let wait = Duration::from_millis(200);
    let asked = join_all(keys.iter().map(|key| a.acquire(bench.ask_within(key, wait)))).await;
    assert!(asked.iter().all(Result::is_err), "granted by a silent server: {asked:?}");
    link.restore();
    for key in &keys {
        let guard = b.acquire(bench.ask(key)).await.unwrap();
        assert_eq!(guard.release().await.unwrap(), ReleaseRet::Released);
    }
    assert!(balanced(&a));
}

async fn several_keys_are_taken_all_or_nothing(bench: &Bench) {
    let names = [unique("many"), unique("many"), unique("many")];
    let (a, b) = (bench.node().await, bench.node().await);
    let all = || names.iter().rev().map(|name| name.as_str().into()).collect();
    let held = b.acquire(bench.ask(&names[1])).await.unwrap();
    let late = Request { keys: all(), ..bench.ask_within("", Duration::from_millis(300)) };
    let late = a.acquire(late).await;
    assert!(matches!(late, Err(LockError::TimedOut)), "{late:?}");
    let refused = a.try_acquire(Request { keys: all(), ..bench.ask("") }).await.unwrap();
    assert!(refused.is_none());
    for free in [&names[0], &names[2]] {
        let guard = b.try_acquire(bench.ask(free)).await.unwrap();
        guard.expect("all or nothing").release().await.unwrap();
    }
    held.release().await.unwrap();
    let guard = a.acquire(Request { keys: all(), ..bench.ask("") }).await.unwrap();
    for name in &names {
        assert!(b.try_acquire(bench.ask(name)).await.unwrap().is_none());
    }
    assert_eq!(guard.release().await.unwrap(), ReleaseRet::Released);
}

async fn shared_mode_is_refused(bench: &Bench) {
    let shared = Request { mode: Mode::Shared, ..bench.ask(&unique("shared")) };
    let refused = bench.node().await.acquire(shared).await;
    assert!(matches!(refused, Err(LockError::Unsupported(_))), "{refused:?}");
}

async fn shared_holders_do_not_exclude_each_other(bench: &Bench) {
    let key = unique("shared");
    let (a, b) = (bench.node().await, bench.node().await);
    let shared = || Request { mode: Mode::Shared, ..bench.ask(&key) };
    let guards = [a.acquire(shared()).await.unwrap(), b.acquire(shared()).await.unwrap()];
    assert!(bench.node().await.try_acquire(bench.ask(&key)).await.unwrap().is_none());
    for guard in guards {
        assert_eq!(guard.release().await.unwrap(), ReleaseRet::Released);
    }
    let guard = a.acquire(bench.ask(&key)).await.unwrap();
    assert!(b.try_acquire(shared()).await.unwrap().is_none());
    guard.release().await.unwrap();
}

/// All of them at once, so that two names that are taken for one another show.
async fn odd_names_are_names(bench: &Bench) {
    let run = unique("odd");
    let long = "x".repeat(500);
    let odd = [
        "a b",
        " a",
        "Ünïcode-✓-名前",
        "a/b",
        "a_b",
        "a%2Fb",
        "/a",
        "a/",
        "a//b",
        "a#1",
        "#",
        ".",
        "..",
        "'\"\\`",
        "a:b;c",
        "A",
        &long,
    ];
    let (a, b) = (bench.node().await, bench.node().await);
    let mut guards = Vec::new();
    for name in odd {
        let key = format!("{run}{name}");
        let guard = a.try_acquire(bench.ask(&key)).await.unwrap();
        guards.push((guard.unwrap_or_else(|| panic!("{name} is free")), key));
        let whole = a.try_acquire(bench.ask(&format!("{name}{run}"))).await.unwrap();
        whole.unwrap_or_else(|| panic!("{name} in front is free")).release().await.unwrap();
    }
    for (guard, key) in guards {
        assert!(b.try_acquire(bench.ask(&key)).await.unwrap().is_none(), "{key} is held");
        assert_eq!(guard.release().await.unwrap(), ReleaseRet::Released, "{key}");
        b.try_acquire(bench.ask(&key)).await.unwrap().expect("free").release().await.unwrap();
    }
}

/// Ten thousand stand in line; the first hundreds are served, and the others leave. Nothing stays behind.
async fn ten_thousand_waiters_on_one_session(bench: &Bench) {
    const SERVED: u64 = 300;
    let key = unique("ten thousand");
    let (a, b) = (bench.node().await, bench.node().await);
    let first = b.acquire(bench.ask(&key)).await.unwrap();
    let mut waiters = JoinSet::new();
    for _ in 0..10_000 {
        let (client, request) = (Arc::clone(&a), bench.ask_within(&key, PATIENCE * 3));
        waiters.spawn(async move { client.acquire(request).await.unwrap().release().await.unwrap() });
    }
    eventually("all have asked", || a.counts().attempts == 10_000).await;
    first.release().await.unwrap();
    for _ in 0..SERVED {
        assert_eq!(waiters.join_next().await.unwrap().unwrap(), ReleaseRet::Released);
    }
    waiters.shutdown().await;
    eventually("every attempt has ended", || balanced(&a)).await;
    assert!(a.counts().grants >= SERVED);
    free_again(bench, &b, &key).await;
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

/// Within the patience of a test, which is a failure and not a measurement.
async fn free_again(bench: &Bench, node: &LockClient, key: &str) {
    let guard = node.acquire(bench.ask(key)).await;
    guard.unwrap_or_else(|error| panic!("{key} is still held: {error}")).release().await.unwrap();
}

/// Acquires and releases that are dropped after their first poll, their second, and so on to their end.
async fn a_future_dropped_at_any_await_point_leaves_no_lock_behind(bench: &Bench) {
    let (a, b) = (bench.node().await, bench.node().await);
    for polls in 1.. {
        let key = unique("await point");
        let acquired = dropped_after(polls, a.acquire(bench.ask(&key))).await;
        let whole = acquired.is_some();
        drop(acquired);
        free_again(bench, &b, &key).await;
        if whole {
            break;
        }
    }
    for polls in 1.. {
        let key = unique("await point");
        let guard = a.acquire(bench.ask(&key)).await.unwrap();
        let released = dropped_after(polls, guard.release()).await;
        free_again(bench, &b, &key).await;
        if released.is_some() {
            break;
        }
    }
    eventually("every attempt has ended", || balanced(&a)).await;
}

async fn a_waiter_that_leaves_is_withdrawn_at_once(bench: &Bench) {
    let key = unique("leaves");
    let (a, b) = (bench.node().await, bench.node().await);
    let held = b.acquire(bench.ask(&key)).await.unwrap();
    let left = timeout(Duration::from_millis(200), a.acquire(bench.ask(&key))).await;
    assert!(left.is_err(), "granted what is held: {left:?}");
    // Far before its deadline, and while the key is held.
    eventually("it is withdrawn", || a.counts().withdrawn == 1).await;
    assert!(!held.lost().is_cancelled());
    assert_eq!(held.release().await.unwrap(), ReleaseRet::Released);
    free_again(bench, &b, &key).await;
}

/// The waiter's link is silent until its lease is long over, and the key becomes free meanwhile.
async fn an_expired_waiter_is_never_granted(bench: &Bench) {
    let key = unique("expired");
    let b = bench.node().await;
    let (a, link) = bench.node_behind_a_link().await;
    let held = b.acquire(bench.ask(&key)).await.unwrap();
    let mut waiting = Box::pin(a.acquire(bench.ask(&key)));
    assert!(timeout(Duration::from_millis(200), &mut waiting).await.is_err());
    link.swallow();
    let told = timeout(support::TTL * 2, &mut waiting).await.ok();
    assert!(!matches!(told, Some(Ok(_))), "granted over a silent link: {told:?}");
    held.release().await.unwrap();
    let next = b.acquire(bench.ask(&key)).await.unwrap();
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
async fn a_cut_link_is_survived_or_told(bench: &Bench) {
    let key = unique("cut");
    let (a, link) = bench.node_behind_a_link().await;
    let b = bench.node().await;
    a.acquire(bench.ask(&key)).await.unwrap().release().await.unwrap();
    link.cut();
    sleep(Duration::from_millis(50)).await;
    link.restore();
    let again = async {
        loop {
            match a.acquire(bench.ask_within(&key, Duration::from_millis(500))).await {
                Ok(guard) => return drop(guard.release().await),
                Err(LockError::SessionLost(_)) => return assert!(a.lost().is_cancelled()),
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    };
    timeout(PATIENCE, again).await.expect("a grant, or a session that is lost");
    free_again(bench, &b, &key).await;
}

async fn the_holder_is_shown_to_whoever_is_refused(bench: &Bench) {
    let key = unique("shown");
    let (a, b) = (bench.node().await, bench.node().await);
    let request = Request { description: "resize of volume 7; O'Hara".into(), ..bench.ask(&key) };
    let (owner, description) = (request.owner.0.to_string(), request.description.to_string());
    let guard = a.acquire(request).await.unwrap();
    assert!(b.try_acquire(bench.ask(&key)).await.unwrap().is_none());
    match b.holder(&key).await.unwrap() {
        Some(shown) => {
            assert!(shown == description || shown == owner || shown.starts_with("lease "), "{shown}")
        }
        None => eprintln!("         {} cannot tell who holds a key", bench.variant.name),
    }
    guard.release().await.unwrap();
    assert_eq!(b.holder(&key).await.unwrap(), None);
}

/// `x#1` and the slots of `x`, all at once.
async fn a_slot_is_never_taken_for_a_key(bench: &Bench) {
    let key = unique("slot or key");
    let (a, b) = (bench.node().await, bench.node().await);
    let plain = [format!("{key}#0"), format!("{key}#1"), format!("{key}##0")];
    let mut guards = Vec::new();
    for name in &plain {
        guards.push(a.try_acquire(bench.ask(name)).await.unwrap().expect("a key of its own"));
    }
    for seed in 0..2 {
        let request = Request { level: 2, slot_seed: seed, ..bench.ask(&key) };
        guards.push(b.try_acquire(request).await.unwrap().expect("a slot of its own"));
    }
    let request = Request { level: 2, ..bench.ask(&key) };
    assert!(a.try_acquire(request).await.unwrap().is_none(), "a third holder of two slots");
    for guard in guards {
        assert_eq!(guard.release().await.unwrap(), ReleaseRet::Released);
    }
}

/// Two names whose 64-bit hash is the same: a needless wait, never a double grant, and each release frees its own.
async fn names_with_one_hash_never_share_a_lock(bench: &Bench) {
    let [one, two] = ONE_HASH;
    let (a, b) = (bench.node().await, bench.node().await);
    let guard = a.acquire(bench.ask(one)).await.unwrap();
    let others = [a.try_acquire(bench.ask(two)).await.unwrap(), b.try_acquire(bench.ask(two)).await.unwrap()];
    let by_hash = bench.variant.capabilities.lease;
    assert!(by_hash || others.iter().all(Option::is_none), "advisory locks know only the hash");
    assert!(b.try_acquire(bench.ask(one)).await.unwrap().is_none());
    drop(others);
    assert_eq!(guard.release().await.unwrap(), ReleaseRet::Released);
    free_again(bench, &b, two).await;
    free_again(bench, &a, one).await;
}

/// The server is killed and started again while a key is held.
async fn a_restarted_server_keeps_the_locks_apart(bench: &Bench, server: &mut harness::servers::Server) {
    let key = unique("restart");
    let a = bench.node().await;
    let guard = a.acquire(bench.ask(&key)).await.unwrap();
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    let b = bench.node().await;
    let mut taken = b.try_acquire(bench.ask(&key)).await.unwrap();
    if taken.is_some() {
        timeout(PATIENCE, guard.lost().cancelled()).await.expect("the holder is told");
    }
    let old = guard.token();
    let released = guard.release().await;
    assert!(taken.is_none() || !matches!(released, Ok(ReleaseRet::Released)), "freed another's lock");
    if taken.is_none() {
        taken = Some(b.acquire(bench.ask(&key)).await.unwrap());
    }
    let next = taken.expect("taken in either way");
    assert!(!bench.variant.capabilities.token || old < next.token(), "{old:?} then {:?}", next.token());
    assert_eq!(next.release().await.unwrap(), ReleaseRet::Released);
    // The old session works again, or says that it is lost.
    let again = async {
        while !a.lost().is_cancelled() {
            match a.acquire(bench.ask_within(&key, Duration::from_secs(1))).await {
                Ok(guard) => return drop(guard.release().await),
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    };
    timeout(PATIENCE, again).await.expect("a grant, or a session that is lost");
}

async fn local_waiters_are_served_in_the_order_of_their_calls(bench: &Bench) {
    let key = unique("order");
    let a = bench.node().await;
    let first = a.acquire(bench.ask(&key)).await.unwrap();
    let served = Mutex::new(Vec::new());
    // join_all polls them in order, and the first poll is the call.
    let waiters = join_all((0..50).map(|place| {
        let (request, a, served) = (bench.ask(&key), &a, &served);
        async move {
            let guard = a.acquire(request).await.unwrap();
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

async fn sessions_are_served_in_the_order_of_their_arrival(bench: &Bench) {
    let key = unique("fair");
    let holder = bench.node().await;
    let first = holder.acquire(bench.ask(&key)).await.unwrap();
    let served = Arc::new(Mutex::new(Vec::new()));
    let mut waiters = JoinSet::new();
    for place in 0..6 {
        let node = bench.node().await;
        let sent = node.counts().operations;
        let (client, served, request) = (Arc::clone(&node), Arc::clone(&served), bench.ask(&key));
        waiters.spawn(async move {
            let guard = client.acquire(request).await.unwrap();
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

async fn close(client: Arc<LockClient>) {
    Arc::into_inner(client).expect("the only handle").close().await;
}
