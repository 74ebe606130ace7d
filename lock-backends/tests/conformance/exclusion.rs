//! One holder at a time, or as many as there are slots, and tokens that rise.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use lock_backends::{ClientOptions, LocalFifo, LockError, Mode, Request, Token};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::support::{Bench, PATIENCE, balanced, unique};

/// Two nodes, many tasks, one key, with and without the local line: nobody meets anybody inside.
pub(crate) async fn a_key_has_one_holder_and_tokens_rise(bench: &Bench) {
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
            let client = nodes[task % 2].clone();
            let (inside, met, tokens) = (Arc::clone(&inside), Arc::clone(&met), Arc::clone(&tokens));
            let requests: Vec<Request> = (0..4).map(|_| bench.ask(&key)).collect();
            tasks.spawn(async move {
                for request in requests {
                    let guard = client.acquire_request(request).await.unwrap();
                    met.fetch_or(inside.fetch_add(1, Ordering::SeqCst) > 0, Ordering::SeqCst);
                    tokens.lock().unwrap().push(guard.token());
                    tokio::task::yield_now().await;
                    inside.fetch_sub(1, Ordering::SeqCst);
                    guard.release().await.unwrap();
                }
            });
        }
        tasks.join_all().await;
        assert!(!met.load(Ordering::SeqCst), "two holders at once");
        assert_rising(bench, &tokens.lock().unwrap());
        assert!(nodes.iter().all(balanced));
    }
}

pub(crate) async fn a_level_is_never_exceeded_and_is_reached(bench: &Bench) {
    const LEVEL: u32 = 3;
    let key = unique("level");
    let nodes = [bench.node().await, bench.node().await];
    let ask = |seed: u64| Request { level: LEVEL, slot_seed: seed, ..bench.ask(&key) };
    // Reached: three must be inside before the first may leave.
    let together = Arc::new(Barrier::new(3));
    let reaching = (0..3).map(|task| {
        let (client, together, request) = (&nodes[task % 2], Arc::clone(&together), ask(task as u64));
        async move {
            let guard = client.acquire_request(request).await.unwrap();
            timeout(PATIENCE, together.wait()).await.expect("three holders at once");
            guard.release().await.unwrap();
        }
    });
    join_all(reaching).await;
    // Never exceeded, and a slot is one holder's.
    let inside = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = JoinSet::new();
    for task in 0..30 {
        let (client, inside, request) = (nodes[task % 2].clone(), Arc::clone(&inside), ask(task as u64));
        tasks.spawn(async move {
            let guard = client.acquire_request(request).await.unwrap();
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

pub(crate) async fn tokens_rise_over_sessions(bench: &Bench) {
    let key = unique("sessions");
    let stays = bench.node().await;
    let mut tokens = Vec::new();
    for _ in 0..4 {
        let comes = bench.node().await;
        for client in [&comes, &stays, &comes] {
            let guard = client.acquire_request(bench.ask(&key)).await.unwrap();
            tokens.push(guard.token());
            guard.release().await.unwrap();
        }
        comes.close().await;
    }
    assert_rising(bench, &tokens);
}

pub(crate) async fn several_keys_are_taken_all_or_nothing(bench: &Bench) {
    let bench = &bench.with_lasting_leases();
    let names = [unique("many"), unique("many"), unique("many")];
    let (a, b) = (bench.node().await, bench.node().await);
    let all = || names.iter().rev().map(|name| name.as_str().into()).collect();
    let held = b.acquire_request(bench.ask(&names[1])).await.unwrap();
    let late = Request { keys: all(), ..bench.ask_within("", Duration::from_millis(300)) };
    let late = a.acquire_request(late).await;
    assert!(matches!(late, Err(LockError::TimedOut)), "{late:?}");
    let refused = a.try_acquire_request(Request { keys: all(), ..bench.ask("") }).await.unwrap();
    assert!(refused.is_none());
    for free in [&names[0], &names[2]] {
        let guard = b.try_acquire_request(bench.ask(free)).await.unwrap();
        guard.expect("all or nothing").release().await.unwrap();
    }
    held.release().await.unwrap();
    let guard = a.acquire_request(Request { keys: all(), ..bench.ask("") }).await.unwrap();
    for name in &names {
        assert!(b.try_acquire_request(bench.ask(name)).await.unwrap().is_none());
    }
    guard.release().await.unwrap();
}

/// One more than the connections that some pools stop at: each but the first is a nested acquire.
pub(crate) async fn thirty_three_keys_are_held_at_once_by_one_client(bench: &Bench) {
    let bench = &bench.with_lasting_leases();
    let keys: Vec<String> = (0..33).map(|_| unique("held at once")).collect();
    let (a, b) = (bench.node().await, bench.node().await);
    let mut guards = Vec::new();
    for key in &keys {
        guards.push(a.acquire_request(bench.ask(key)).await.unwrap());
    }
    for key in &keys {
        assert!(b.try_acquire_request(bench.ask(key)).await.unwrap().is_none(), "{key} is held");
    }
    for guard in guards {
        guard.release().await.unwrap();
    }
    for key in &keys {
        b.try_acquire_request(bench.ask(key)).await.unwrap().expect("free").release().await.unwrap();
    }
}

pub(crate) async fn shared_mode_is_refused(bench: &Bench) {
    let shared = Request { mode: Mode::Shared, ..bench.ask(&unique("shared")) };
    let refused = bench.node().await.acquire_request(shared).await;
    assert!(matches!(refused, Err(LockError::Unsupported(_))), "{refused:?}");
}

pub(crate) async fn shared_holders_do_not_exclude_each_other(bench: &Bench) {
    let key = unique("shared");
    let (a, b) = (bench.node().await, bench.node().await);
    let shared = || Request { mode: Mode::Shared, ..bench.ask(&key) };
    let guards = [a.acquire_request(shared()).await.unwrap(), b.acquire_request(shared()).await.unwrap()];
    assert!(bench.node().await.try_acquire_request(bench.ask(&key)).await.unwrap().is_none());
    for guard in guards {
        guard.release().await.unwrap();
    }
    let guard = a.acquire_request(bench.ask(&key)).await.unwrap();
    assert!(b.try_acquire_request(shared()).await.unwrap().is_none());
    guard.release().await.unwrap();
}

fn assert_rising(bench: &Bench, tokens: &[Option<Token>]) {
    if bench.variant.capabilities.token {
        assert!(tokens.iter().all(Option::is_some), "a grant without a token");
        let stale = tokens.windows(2).find(|pair| pair[0] >= pair[1]);
        assert!(stale.is_none(), "a token that does not rise: {stale:?}");
    }
}
