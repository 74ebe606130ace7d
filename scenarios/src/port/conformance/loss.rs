//! Leases that end while their holder stands still.

use std::time::Duration;

use lock_backends::{Grant, ReleaseRet};
use tokio::time::{Instant, sleep};

use super::bench::{Bench, GRACE, Node};
use super::clause::Clause;

/// Two programs, of which the first stood still for so long that the second was granted its key.
async fn robbed(bench: &Bench) -> Result<(Node, Grant, Node, Grant), String> {
    let [one, other] = bench.nodes().await?;
    let key = bench.key();
    let grant = one.must_acquire(&key).await?;
    one.conversation.pause(true).await;
    let within = bench.ttl * 2 + GRACE;
    let begun = Instant::now();
    let robber = loop {
        if let Some(grant) = other.acquire(&key, Duration::from_millis(500)).await? {
            break grant;
        }
        if begun.elapsed() > within {
            return Err(format!(
                "a program has stood still for {:?}, and the key that it holds is granted to nobody else: there is no lease",
                begun.elapsed()
            ));
        }
    };
    one.conversation.pause(false).await;
    Ok((one, grant, other, robber))
}

pub(super) const LEASE: Clause = Clause {
    name: "a release of what was lost is no release",
    expected: "the key of a program that stands still granted to another after its lease, then already-lost for its release, and the other's lock untouched",
    about: Some("lease"),
    run: |bench| {
        Box::pin(async move {
            let (one, grant, other, robber) = robbed(bench).await?;
            match one.release(&grant).await? {
                ReleaseRet::AlreadyLost => {}
                ReleaseRet::Released => {
                    return Err("released, of a lock that another has had meanwhile".to_owned());
                }
            }
            one.must_not_acquire(&robber.keys[0])
                .await
                .map_err(|came| format!("it freed the other's lock: {came}"))?;
            other.must_release(&robber).await
        })
    },
};

pub(super) const REPORTED: Clause = Clause {
    name: "a loss is reported",
    expected: "lost, within LOCKBENCH_TTL_MS and 3 s after a program goes on whose key has gone to another",
    about: Some("reports_loss"),
    run: |bench| {
        Box::pin(async move {
            if !bench.promises().lease {
                // Nothing that could be lost while the program lives.
                return Ok(());
            }
            let (one, grant, other, robber) = robbed(bench).await?;
            let begun = Instant::now();
            while one.stands(grant.clone()).await {
                if begun.elapsed() > bench.ttl + GRACE {
                    return Err(format!("not a word of it for {:?}", begun.elapsed()));
                }
                sleep(Duration::from_millis(20)).await;
            }
            other.must_release(&robber).await
        })
    },
};

pub(super) const KEPT: Clause = Clause {
    name: "what is held stays held",
    expected: "timed-out for others for as long as twice LOCKBENCH_TTL_MS, or lost, or a validity that ended before",
    about: None,
    run: |bench| {
        Box::pin(async move {
            let [one, other] = bench.nodes().await?;
            let key = bench.key();
            let grant = one.must_acquire(&key).await?;
            let until = Instant::now() + bench.ttl * 2;
            while Instant::now() < until {
                if other.acquire(&key, Duration::ZERO).await?.is_none() {
                    sleep(bench.ttl / 20).await;
                    continue;
                }
                // Whoever has said so beforehand has kept his word.
                let told = !matches!(grant.validity, lock_backends::Validity::NoLease)
                    || !one.stands(grant.clone()).await;
                return if told {
                    Ok(())
                } else {
                    Err("another was granted the key of a holder that was told nothing".to_owned())
                };
            }
            one.must_release(&grant).await
        })
    },
};
