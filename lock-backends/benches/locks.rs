//! What the client costs above its server: each figure beside a yardstick of the same run, on servers that flush
//! nothing (durability profile `memory`).
//!
//! ```text
//! cargo bench -p lock-backends              # all of it
//! cargo bench -p lock-backends -- pair      # an uncontended pair, one caller, beside the bare requests
//! cargo bench -p lock-backends -- distinct  # 512 callers, distinct keys, one session, beside a bare pipelined client
//! cargo bench -p lock-backends -- hot       # 8 sessions with 100 waiters each on one key
//! ```
//!
//! A bare client runs the same scripts or statements on one connection, through the same detour of tasks: the driver of
//! a multiplexed Redis connection, or a task that owns a PostgreSQL connection.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark fails by panicking; criterion writes its own main"
)]

mod bare;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use harness::servers::{Durability, Server, ServerKind, ServerOptions};
use lock_backends::{
    ClientOptions, Endpoint, LockClient, OwnerId, Request, SessionOptions, SinceStart, variant,
};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::Instant;

const CALLERS: u64 = 512;

criterion_group!(benches, pair, distinct, hot);
criterion_main!(benches);

/// One caller, one key: acquire and release, one after the other.
fn pair(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = group(criterion, "pair");
    if let Some(server) = start(&runtime, ServerKind::Redis) {
        let bare = Arc::new(runtime.block_on(bare::Redis::connect(server.endpoint())));
        time(&mut group, &runtime, "redis floor", 1, move |n| Arc::clone(&bare).pairs(n));
        for name in ["redis-fenced", "redis-queue"] {
            let client = Arc::new(client(&runtime, name, &server, true));
            time(&mut group, &runtime, name, 1, move |n| pairs(Arc::clone(&client), n));
        }
    }
    if let Some(server) = start(&runtime, ServerKind::Postgres) {
        let bare = Arc::new(runtime.block_on(bare::Postgres::connect(server.endpoint())));
        time(&mut group, &runtime, "postgres floor", 1, move |n| Arc::clone(&bare).pairs(n));
        for name in ["pg-mux", "pg-session", "pg-xact", "pg-lease"] {
            let client = Arc::new(client(&runtime, name, &server, true));
            time(&mut group, &runtime, name, 1, move |n| pairs(Arc::clone(&client), n));
        }
    }
    for (kind, names) in [
        (ServerKind::Etcd, ["etcd-cas", "etcd-queue", "etcd-v3lock"].as_slice()),
        (ServerKind::Zookeeper, &["zk-seq", "zk-crate"]),
    ] {
        let Some(server) = start(&runtime, kind) else { continue };
        for name in names {
            let client = Arc::new(client(&runtime, name, &server, true));
            time(&mut group, &runtime, name, 1, move |n| pairs(Arc::clone(&client), n));
        }
    }
}

/// Many callers with a key each, on one session.
fn distinct(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = group(criterion, "distinct");
    if let Some(server) = start(&runtime, ServerKind::Redis) {
        redis_benchmark(&server);
        let bare = Arc::new(runtime.block_on(bare::Redis::connect(server.endpoint())));
        time(&mut group, &runtime, "redis bare pipelined", CALLERS, move |n| Arc::clone(&bare).pairs(n));
        for name in ["redis-fenced", "redis-queue"] {
            let client = Arc::new(client(&runtime, name, &server, true));
            time(&mut group, &runtime, name, CALLERS, move |n| pairs(Arc::clone(&client), n));
        }
    }
    if let Some(server) = start(&runtime, ServerKind::Postgres) {
        let bare = Arc::new(runtime.block_on(bare::Postgres::connect(server.endpoint())));
        time(&mut group, &runtime, "postgres one at a time", CALLERS, move |n| Arc::clone(&bare).pairs(n));
        let client = Arc::new(client(&runtime, "pg-mux", &server, true));
        time(&mut group, &runtime, "pg-mux", CALLERS, move |n| pairs(Arc::clone(&client), n));
    }
}

/// Eight nodes, a hundred waiters each, one key. The elements are grants.
fn hot(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = group(criterion, "hot");
    for (kind, names) in [
        (ServerKind::Redis, ["redis-poll", "redis-pubsub", "redis-fenced", "redis-queue"].as_slice()),
        (ServerKind::Postgres, &["pg-mux", "pg-session", "pg-xact", "pg-lease"]),
        (ServerKind::Etcd, &["etcd-cas", "etcd-queue", "etcd-v3lock"]),
        (ServerKind::Zookeeper, &["zk-seq", "zk-crate"]),
    ] {
        let Some(server) = start(&runtime, kind) else { continue };
        for name in names {
            for local_fifo in [true, false] {
                // What the naive way costs is shown where it is named.
                if !local_fifo && *name != "redis-poll" {
                    continue;
                }
                let nodes: Vec<_> =
                    (0..8).map(|_| Arc::new(client(&runtime, name, &server, local_fifo))).collect();
                let sent = || nodes.iter().map(|node| node.counts().operations).sum::<u64>();
                let granted = || nodes.iter().map(|node| node.counts().grants).sum::<u64>();
                let label =
                    if local_fifo { (*name).to_owned() } else { format!("{name} without local line") };
                let crowd = nodes.clone();
                time(&mut group, &runtime, &label, 1, move |n| hot_key(crowd.clone(), n));
                if granted() > 0 {
                    eprintln!("{label}: {:.2} operations per grant\n", sent() as f64 / granted() as f64);
                }
            }
        }
    }
}

fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    group
}

/// Times `work`, which is told how many pairs to do for each of `callers`.
fn time<F>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    runtime: &Runtime,
    name: &str,
    callers: u64,
    work: impl Fn(u64) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    group.throughput(Throughput::Elements(callers));
    group.bench_function(name, |bencher| {
        bencher.to_async(runtime).iter_custom(|rounds| {
            let mut tasks = JoinSet::new();
            let started = Instant::now();
            for _ in 0..callers {
                tasks.spawn(work(rounds));
            }
            async move {
                tasks.join_all().await;
                started.elapsed()
            }
        });
    });
}

async fn pairs(client: Arc<LockClient>, rounds: u64) {
    let key: Arc<str> = format!("bench-{}", number()).into();
    for _ in 0..rounds {
        client.acquire(ask(&key)).await.unwrap().release().await.unwrap();
    }
}

/// So many grants in all, shared among the waiters of all nodes.
async fn hot_key(nodes: Vec<Arc<LockClient>>, grants: u64) {
    let left = Arc::new(AtomicU64::new(grants));
    let key: Arc<str> = format!("hot-{}", number()).into();
    let mut waiters = JoinSet::new();
    for waiter in 0..800 {
        let (client, left, key) =
            (Arc::clone(&nodes[waiter % nodes.len()]), Arc::clone(&left), Arc::clone(&key));
        waiters.spawn(async move {
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
            {
                client.acquire(ask(&key)).await.unwrap().release().await.unwrap();
            }
        });
    }
    waiters.join_all().await;
}

fn ask(key: &Arc<str>) -> Request {
    let owner = OwnerId(format!("bench:{}", number()).into());
    Request { keys: vec![Arc::clone(key)], ..Request::exclusive("", owner, u64::MAX / 2) }
}

fn number() -> u64 {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn client(runtime: &Runtime, name: &str, server: &Server, local_fifo: bool) -> LockClient {
    let session = SessionOptions {
        node: format!("bench-{}", number()),
        ttl: Duration::from_secs(10),
        now: Arc::new(SinceStart::default()),
    };
    let endpoint = Endpoint(server.endpoint().to_owned());
    let options = ClientOptions { local_fifo, ..ClientOptions::default() };
    runtime.block_on(LockClient::connect(variant(name).unwrap(), &endpoint, session, options)).unwrap()
}

/// `None`, with the reason printed: not in this build or not on this machine.
fn start(runtime: &Runtime, kind: ServerKind) -> Option<Server> {
    let built = |name| variant(name).is_some();
    if (kind == ServerKind::Etcd && !built("etcd-cas")) || (kind == ServerKind::Zookeeper && !built("zk-seq"))
    {
        eprintln!("skipped: built without {kind}");
        return None;
    }
    let options = ServerOptions { durability: Durability::Memory, ..ServerOptions::default() };
    runtime.block_on(Server::start(kind, &options)).map_err(|missing| eprintln!("skipped: {missing}")).ok()
}

/// The yardstick that everybody knows: 50 connections, no pipelining.
fn redis_benchmark(server: &Server) {
    let port = server.endpoint().rsplit(':').next().unwrap_or_default().to_owned();
    let output = Command::new("redis-benchmark")
        .args(["-p", &port, "-c", "50", "-n", "200000", "-t", "set", "-q"])
        .output();
    match output {
        Ok(output) => eprintln!(
            "redis-benchmark -c 50: {}",
            String::from_utf8_lossy(&output.stdout)
                .replace('\r', "\n")
                .trim()
                .lines()
                .last()
                .unwrap_or_default()
        ),
        Err(error) => eprintln!("skipped: redis-benchmark: {error}"),
    }
}
