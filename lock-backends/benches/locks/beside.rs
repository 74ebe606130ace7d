//! What stands beside a server's variants in the tables: one line for each server that has something.

use std::process::Command;
use std::sync::Arc;

use futures_util::FutureExt;
use harness::servers::{Server, ServerKind};
use lock_backends::BoxFuture;

use super::bare;
use super::lane::Pairs;

pub(crate) struct Beside {
    /// The server's name.
    server: &'static str,
    /// The variant that the others are shown beside.
    pub(crate) variant: &'static str,
    /// A client that sends the requests of a pair and nothing else.
    pub(crate) bare: fn(&str) -> BoxFuture<'_, Arc<dyn Pairs>>,
    /// A program that everybody knows.
    pub(crate) program: Option<fn(&Server)>,
    /// So many waiters are worth showing where every one goes to the server.
    pub(crate) most_waiters: usize,
}

const ALL: &[Beside] = &[
    Beside {
        server: "redis",
        variant: "redis-poll",
        bare: |endpoint| async move { Arc::new(bare::Redis::connect(endpoint).await) as _ }.boxed(),
        program: Some(redis_benchmark),
        most_waiters: 10_000,
    },
    Beside {
        server: "postgres",
        variant: "pg-mux",
        bare: |endpoint| async move { Arc::new(bare::Postgres::connect(endpoint).await) as _ }.boxed(),
        program: None,
        most_waiters: 4_000,
    },
    Beside {
        server: "etcd",
        variant: "etcd-v3lock",
        bare: |endpoint| async move { Arc::new(bare::Etcd::connect(endpoint).await) as _ }.boxed(),
        program: None,
        most_waiters: 4_000,
    },
    Beside {
        server: "zookeeper",
        variant: "zk-crate",
        bare: |endpoint| async move { Arc::new(bare::Zookeeper::connect(endpoint).await) as _ }.boxed(),
        program: None,
        most_waiters: 4_000,
    },
];

pub(crate) fn of(kind: ServerKind) -> Option<&'static Beside> {
    ALL.iter().find(|beside| beside.server == kind.name())
}

/// The yardstick that everybody knows: 50 connections, no pipelining.
fn redis_benchmark(server: &Server) {
    let port = server.endpoint().rsplit(':').next().unwrap_or_default().to_owned();
    let output = Command::new("redis-benchmark")
        .args(["-p", &port, "-c", "50", "-n", "200000", "-t", "set", "-q"])
        .output();
    match output {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).replace('\r', "\n");
            println!("redis-benchmark -c 50: {}\n", text.trim().lines().last().unwrap_or_default());
        }
        Err(error) => eprintln!("skipped: redis-benchmark: {error}"),
    }
}
