//! A server whose disk lets it wait: it answers nobody for a while, then all at once, and its clock has gone on.

use std::time::Duration;

use futures_util::future::join_all;
use harness::servers::Server;
use lock_backends::{Guard, LockClient, LockError};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::support::{Bench, PATIENCE, TTL, free_again, unique};

/// Renewals that are sent every third of a lease are late by so much, and in time.
const SHORT: Duration = Duration::from_millis(600);

/// Between two waits, for what is late to arrive.
const WORKS: Duration = Duration::from_millis(100);

/// A disk is slow, and renewals wait for it with all else: a lease outlasts that. Then the disk takes longer than a lease.
/// Somebody waits for the key all the time; whenever it is granted to him, its holder has been told that it is lost. All
/// variants at once, since they have one server; what is broken, by variant.
pub(crate) async fn a_lease_outlasts_a_slow_disk_or_its_loss_is_told_before_another_has_the_key(
    benches: &[Bench],
    server: &mut Server,
) -> Vec<String> {
    let holders: Vec<Holder> = join_all(benches.iter().map(Holder::hold)).await;
    let lost: Vec<CancellationToken> = holders.iter().map(|holder| holder.guard.lost()).collect();
    let over = CancellationToken::new();
    let slow = async {
        let (mut early, mut in_time) = (Vec::new(), true);
        for _ in 0..4 {
            let began = Instant::now();
            server.pause().await.unwrap();
            sleep(SHORT).await;
            server.resume().unwrap();
            in_time &= began.elapsed() < TTL / 2;
            sleep(WORKS).await;
        }
        // Nothing can be said where the machine let them wait longer.
        for (bench, lost) in benches.iter().zip(&lost).filter(|_| in_time) {
            if lost.is_cancelled() {
                early.push(format!("{}: lost within {SHORT:?}, a lease is {TTL:?}", bench.variant.name));
            }
        }
        server.pause().await.unwrap();
        sleep(TTL * 3 / 2).await;
        server.resume().unwrap();
        sleep(TTL / 2).await;
        over.cancel();
        early
    };
    let (mut broken, ends) =
        tokio::join!(slow, join_all(holders.into_iter().map(|holder| holder.until(&over))));
    broken.extend(ends.into_iter().filter_map(Result::err));
    broken
}

/// Who holds a key, and who waits for it.
struct Holder<'a> {
    bench: &'a Bench,
    key: String,
    guard: Guard,
    waiter: LockClient,
    _holder: LockClient,
}

impl<'a> Holder<'a> {
    async fn hold(bench: &'a Bench) -> Self {
        let key = unique("slow disk");
        let (holder, waiter) = (bench.node().await, bench.node().await);
        let guard = holder.acquire_request(bench.ask(&key)).await.unwrap();
        Self { bench, key, guard, waiter, _holder: holder }
    }

    /// Holds it until it is lost, or the disk is as it was.
    async fn until(self, over: &CancellationToken) -> Result<(), String> {
        let Self { bench, key, guard, waiter, _holder } = self;
        let lost = guard.lost();
        let granted = async {
            let next = wait_for(bench, waiter, &key).await;
            (next, lost.is_cancelled())
        };
        tokio::pin!(granted);
        let overtaken = tokio::select! {
            biased;
            granted = &mut granted => Some(granted),
            () = over.cancelled() => None,
        };
        let name = bench.variant.name;
        let next = match overtaken {
            Some((_, false)) => return Err(format!("{name}: granted to another before its holder was told")),
            Some((next, true)) => next,
            None => {
                let released = guard.release().await;
                let (next, told) =
                    timeout(PATIENCE, granted).await.map_err(|_| format!("{name}: never free"))?;
                if released.is_err() && !told {
                    return Err(format!("{name}: {released:?}, and its holder was not told"));
                }
                next
            }
        };
        match next.release().await {
            // Asked for before the disk took so long, and granted when that lease was over: he was told, too.
            Ok(()) | Err(LockError::AlreadyLost) => {}
            Err(error) => return Err(format!("{name}: {error}")),
        }
        free_again(bench, &bench.node().await, &key).await;
        Ok(())
    }
}

/// Waits for a key, over as many sessions as it takes: the waiter's own may end while the server answers nobody.
async fn wait_for(bench: &Bench, mut node: LockClient, key: &str) -> Guard {
    loop {
        match node.acquire_request(bench.ask(key)).await {
            Ok(next) => return next,
            Err(LockError::SessionLost(_)) => {
                if let Ok(again) = bench.try_node().await {
                    node = again;
                }
            }
            Err(_) => {}
        }
        sleep(WORKS).await;
    }
}
