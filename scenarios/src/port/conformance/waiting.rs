//! Waiting: not at all, until a deadline, in order.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::bench::{GRACE, Node};
use super::clause::Clause;

pub(super) const TRY: Clause = Clause {
    name: "a request with within_ms 0 does not wait",
    expected: "timed-out within a second while the key is held, granted while it is free",
    about: None,
    run: |bench| {
        Box::pin(async move {
            let [one, other] = bench.nodes().await?;
            let key = bench.key();
            let grant = one.acquire(&key, Duration::ZERO).await?.ok_or("timed-out for a free key")?;
            let begun = Instant::now();
            other.must_not_acquire(&key).await?;
            if begun.elapsed() > Duration::from_secs(1) {
                return Err(format!("timed-out only after {:?}", begun.elapsed()));
            }
            one.must_release(&grant).await
        })
    },
};

const WITHIN: Duration = Duration::from_millis(400);

pub(super) const DEADLINE: Clause = Clause {
    name: "a request that timed out leaves nothing behind",
    expected: "timed-out after within_ms, neither long before it nor long after, and the key free for others after its release",
    about: None,
    run: |bench| {
        Box::pin(async move {
            let [one, other, third] = bench.nodes().await?;
            let key = bench.key();
            let grant = one.must_acquire(&key).await?;
            let begun = Instant::now();
            if other.acquire(&key, WITHIN).await?.is_some() {
                return Err("granted for a key that somebody else holds".to_owned());
            }
            let waited = begun.elapsed();
            // Libraries that poll give up where their next try would come too late.
            if waited < WITHIN / 2 || waited > WITHIN + Duration::from_secs(2) {
                return Err(format!(
                    "timed-out after {waited:?}, asked with within_ms = {}",
                    WITHIN.as_millis()
                ));
            }
            one.must_release(&grant).await?;
            sleep(WITHIN).await;
            let grant = third
                .must_acquire(&key)
                .await
                .map_err(|came| format!("whoever timed out seems to hold it: {came}"))?;
            third.must_release(&grant).await
        })
    },
};

pub(super) const HAND_OVER: Clause = Clause {
    name: "a waiter is served when the holder gives back",
    expected: "granted to the one who waits, within 3 s of the release",
    about: Some("waits"),
    run: |bench| {
        Box::pin(async move {
            let [one, other] = bench.nodes().await?;
            let key = bench.key();
            let grant = one.must_acquire(&key).await?;
            let waiting = other.acquire(&key, GRACE * 2);
            let releasing = async {
                sleep(WITHIN).await;
                one.must_release(&grant).await.map(|()| Instant::now())
            };
            let (granted, released) = tokio::join!(waiting, releasing);
            let (granted, released) = (granted?.ok_or("timed-out")?, released?);
            if released.elapsed() > GRACE {
                return Err(format!("granted only {:?} after the release", released.elapsed()));
            }
            other.must_release(&granted).await
        })
    },
};

pub(super) const FAIR: Clause = Clause {
    name: "waiters of different programs are served in the order of their arrival",
    expected: "three programs that ask a fifth of a second apart are granted in that order, three times over",
    about: Some("fair"),
    run: |bench| {
        Box::pin(async move {
            let [holder, first, second, third] = bench.nodes().await?;
            for _ in 0..3 {
                let key = bench.key();
                let grant = holder.must_acquire(&key).await?;
                let (served_first, served_second, served_third, released) = tokio::join!(
                    in_turn(&first, &key, 0),
                    in_turn(&second, &key, 1),
                    in_turn(&third, &key, 2),
                    async {
                        sleep(APART * 4).await;
                        holder.must_release(&grant).await
                    }
                );
                released?;
                let served = [served_first?, served_second?, served_third?];
                if !served.is_sorted() {
                    return Err(format!("served in another order: {served:?} after the first asked"));
                }
            }
            Ok(())
        })
    },
};

/// Between those who ask one after the other.
const APART: Duration = Duration::from_millis(200);

/// Asks in its turn; when it was served, from its first on.
async fn in_turn(node: &Node, key: &str, turn: u32) -> Result<Duration, String> {
    let begun = Instant::now();
    sleep(APART * turn).await;
    let grant = node.acquire(key, GRACE * 2).await?.ok_or("timed-out")?;
    let served = begun.elapsed();
    node.must_release(&grant).await?;
    Ok(served)
}
