//! Thousands of waiters of one node on one key.

use std::sync::Arc;
use std::time::Duration;

use harness::servers::Server;
use lock_backends::{LocalFifo, LockClient, Now, SinceStart, Variant};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::bare::Yardstick;
use super::lane::{ask, number};
use super::{Asked, client};

/// The largest comes first: it alone finds no memory that others left behind.
const CROWDS: [usize; 3] = [10_000, 4_000, 1_000];

/// How long all of them may take to come, and to be granted.
const PATIENCE: Duration = Duration::from_secs(60);

/// For each variant how fast they join and are granted, with and without local FIFO; for the first, memory for each waiter.
pub(crate) async fn waiters(server: &Server, yardstick: &Yardstick, asked: &Asked) {
    println!(
        "{}: waiters of one session on one key\n\n\
         | | waiters | bytes a waiter | all stand after | granted, 1/s |\n| --- | --: | --: | --: | --: |",
        server.kind().title()
    );
    let mut memory = Memory::Fresh;
    for variant in asked.variants(yardstick) {
        if !yardstick.takes_crowds(variant) {
            continue;
        }
        for local_fifo in [true, false] {
            if !local_fifo && variant.capabilities.local_fifo == LocalFifo::Required {
                continue;
            }
            for waiters in CROWDS {
                if !local_fifo && waiters > yardstick.waiters_max {
                    continue;
                }
                crowd(variant, server, local_fifo, waiters, memory).await;
                memory = Memory::Used;
            }
        }
    }
    println!();
}

/// Whether this process had crowds before, whose memory it keeps.
#[derive(Clone, Copy)]
enum Memory {
    Fresh,
    Used,
}

async fn crowd(variant: &Variant, server: &Server, local_fifo: bool, waiters: usize, memory: Memory) {
    let clock = SinceStart::default();
    let client = client(variant, server, local_fifo).await;
    let key: Arc<str> = format!("crowd-{}", number()).into();
    let holder = client.acquire_request(ask(&key, u64::MAX / 2)).await.unwrap();
    let (empty, sent) = (resident(), client.counts().operations);
    let start_ns = clock.now_ns();
    let mut tasks = JoinSet::new();
    for _ in 0..waiters {
        let (client, key) = (client.clone(), Arc::clone(&key));
        tasks.spawn(async move {
            match client.acquire_request(ask(&key, u64::MAX / 2)).await {
                Ok(guard) => guard.release().await.is_ok(),
                Err(_) => false,
            }
        });
    }
    let wanted = if local_fifo { sent } else { sent + waiters as u64 };
    let standing_ns = all_stand(&client, &clock, waiters as u64 + 1, wanted).await - start_ns;
    let bytes = match memory {
        Memory::Fresh => (resident().saturating_sub(empty) / waiters as u64).to_string(),
        Memory::Used => "–".to_owned(),
    };
    let from_ns = clock.now_ns();
    let released = holder.release().await;
    let drained = tokio::time::timeout(PATIENCE, async {
        let mut granted = 0;
        while let Some(ended) = tasks.join_next().await {
            granted += u32::from(ended.unwrap());
        }
        granted
    });
    let speed = match drained.await {
        _ if released.is_err() => "the server did not answer the release".to_owned(),
        Ok(granted) if granted as usize == waiters => {
            format!("{:.0}", f64::from(granted) * 1e9 / (clock.now_ns() - from_ns) as f64)
        }
        Ok(granted) => format!("{granted} granted, the others failed"),
        Err(_) => format!("{} left after {PATIENCE:?}", tasks.len()),
    };
    tasks.shutdown().await;
    let line = if local_fifo { "" } else { ", no local FIFO" };
    let name = variant.name;
    println!("| {name}{line} | {waiters} | {bytes} | {:.2} s | {speed} |", standing_ns as f64 / 1e9);
    client.close().await;
}

/// When every waiter had called and its first requests were sent.
async fn all_stand(client: &LockClient, clock: &SinceStart, attempts: u64, operations: u64) -> u64 {
    let until_ns = clock.now_ns() + PATIENCE.as_nanos() as u64;
    let mut sent = client.counts().operations;
    let mut still_ns = clock.now_ns();
    while clock.now_ns() < until_ns {
        sleep(Duration::from_millis(5)).await;
        let counts = client.counts();
        if counts.operations != sent {
            (sent, still_ns) = (counts.operations, clock.now_ns());
        }
        let quiet = clock.now_ns() - still_ns > 200_000_000;
        if counts.attempts >= attempts && sent >= operations && quiet {
            break;
        }
    }
    still_ns
}

/// Bytes of memory in use by this process.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}
