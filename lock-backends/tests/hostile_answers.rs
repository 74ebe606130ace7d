//! Servers that answer anything: a proxy before the real one flips, leaves out, repeats and exchanges parts of its answers. Every
//! client ends in time, with an error or an answer; none panics, and none takes the memory that a length asks for.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use harness::damage;
use lock_backends::{Variant, backends};
use tokio::task::JoinSet;
use tokio::time::timeout;

use support::{Bench, Liar, PATIENCE, unique};

/// How many clients each variant has: so many in `make test`, 400 in `make test-long`.
const CLIENTS: &str = "LOCKBENCH_LIED_TO";
const USUAL_CLIENTS: u64 = 12;

/// Side by side: most wait for answers that do not come.
const TOGETHER: usize = 20;

/// So much may a test of a server add to what the process has taken.
const MOST_BYTES: u64 = 512 << 20;

support::of_each_server! { ends_in_time }

/// Lies that once held up a client for ever.
const CAUGHT: [u64; 1] = [202_611_280_000_001];

/// What panicked, in any thread: the tasks of a client do so unheard. A client library may, where that is caught.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn ends_in_time(server: &str) {
    // Side by side they would take each other's processor, and count each other's memory.
    static ONE_SERVER_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_SERVER_AT_A_TIME.lock().unwrap_or_else(|broken| broken.into_inner());
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (clients, first) = (number(CLIENTS).unwrap_or(USUAL_CLIENTS), number(damage::SEED).unwrap_or(0));
    let before = most_memory();
    std::panic::set_hook(Box::new(|panic| {
        PANICS.lock().unwrap().push(panic.to_string().replace('\n', " "));
    }));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (damaged, late) = runtime.block_on(async {
        let Some(running) = support::start(server).await else { return Default::default() };
        let variants = backends::server(server).unwrap().variants;
        let damaged = Arc::new(AtomicU64::new(0));
        let (mut late, mut open) = (Vec::new(), JoinSet::new());
        for seed in (first..first + clients).chain(CAUGHT) {
            for variant in variants {
                if open.len() == TOGETHER {
                    late.extend(
                        open.join_next().await.unwrap().unwrap_or_else(|panic| Some(panic.to_string())),
                    );
                }
                let bench = Arc::new(Bench::new(variant, running.endpoint()));
                open.spawn(lied_to(bench, variant, seed, Arc::clone(&damaged)));
            }
        }
        while let Some(ended) = open.join_next().await {
            late.extend(ended.unwrap_or_else(|panic| Some(panic.to_string())));
        }
        // After all that the server is as it was: who hears the truth gets a lock.
        for variant in variants {
            let bench = Bench::new(variant, running.endpoint());
            support::free_again(&bench, &bench.node().await, &unique("truth")).await;
        }
        running.stop().await.unwrap();
        (damaged.load(Ordering::Relaxed), late)
    });
    drop(std::panic::take_hook());
    let panics = std::mem::take(&mut *PANICS.lock().unwrap());
    let grown = most_memory() - before;
    eprintln!("{server}: {damaged} damaged answers, {} MiB more, from seed {first}", grown >> 20);
    let (ours, libraries): (Vec<_>, Vec<_>) =
        panics.into_iter().partition(|panic| !panic.contains("/registry/"));
    libraries.iter().for_each(|panic| eprintln!("{server}: caught, {panic}"));
    assert!(ours.is_empty(), "{ours:?}");
    assert!(late.is_empty(), "did not end in time ({} = the seed, {CLIENTS}=1): {late:?}", damage::SEED);
    assert!(grown < MOST_BYTES, "{grown} bytes");
}

/// A client connects, tries, waits, keeps and releases, whatever it hears; says so where one of them does not end.
async fn lied_to(
    bench: Arc<Bench>,
    variant: &'static Variant,
    seed: u64,
    damaged: Arc<AtomicU64>,
) -> Option<String> {
    let late = |what: &str| Some(format!("{} seed {seed}: {what}", variant.name));
    let Ok((client, _link)) = timeout(PATIENCE, bench.node_of_a_liar(Liar::new(seed, damaged))).await else {
        return late("connect");
    };
    let Ok(client) = client else { return None };
    let key = unique("lie");
    for _ in 0..3 {
        let Ok(tried) = timeout(PATIENCE, client.try_acquire_request(bench.ask(&key))).await else {
            return late("try");
        };
        if let Ok(Some(guard)) = tried
            && timeout(PATIENCE, guard.release()).await.is_err()
        {
            return late("release");
        }
        let asked = bench.ask_within(&key, Duration::from_millis(200));
        let Ok(asked) = timeout(PATIENCE, client.acquire_request(asked)).await else {
            return late("acquire");
        };
        if let Ok(guard) = asked
            && timeout(PATIENCE, guard.release()).await.is_err()
        {
            return late("release");
        }
    }
    if timeout(PATIENCE, client.close()).await.is_err() {
        return late("close");
    }
    // The last deed of the task that keeps the leases.
    if client.lost().is_cancelled() { None } else { late("the leases: nobody keeps them any more, and") }
}

/// The most memory that the process had at one time, in bytes.
fn most_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
}
