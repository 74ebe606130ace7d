//! Names of keys, many requests at once, and counts.

use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::time::sleep;

use super::bench::GRACE;
use super::clause::Clause;

pub(super) const NAMES: Clause = Clause {
    name: "every name is a name, and no two of them are one",
    expected: "each of some odd names granted while all others are held, and to nobody else",
    about: None,
    run: |bench| {
        Box::pin(async move {
            let [one, other] = bench.nodes().await?;
            let key = bench.key();
            let odd = [
                "", " ", "/", "/a", "//", "a b", "#", "##", "#0", ":", "%", "%2F", "*", "?", "'", "\"", "\\",
                "ä", "Ä", "🔒",
            ];
            let mut names: Vec<String> = odd.iter().map(|odd| format!("{key}{odd}")).collect();
            names.push(format!("{key}{}", "x".repeat(200)));
            names.push(format!("{key}{}y", "x".repeat(199)));
            let mut grants = Vec::new();
            for name in &names {
                grants.push(one.must_acquire(name).await?);
            }
            for name in &names {
                other.must_not_acquire(name).await?;
            }
            for grant in &grants {
                one.must_release(grant).await?;
            }
            Ok(())
        })
    },
};

/// Requests at once.
const AT_ONCE: usize = 100;

pub(super) const AT_ONCE_CLAUSE: Clause = Clause {
    name: "a program holds many keys at once",
    expected: "granted for each of 100 keys that are asked for at once by one program, while all others are held",
    about: None,
    run: |bench| {
        Box::pin(async move {
            let node = bench.node().await?;
            let keys: Vec<String> = (0..AT_ONCE).map(|_| bench.key()).collect();
            let grants = try_join_all(keys.iter().map(|key| node.must_acquire(key))).await?;
            try_join_all(grants.iter().map(|grant| node.must_release(grant))).await.map(drop)
        })
    },
};

pub(super) const COUNTS: Clause = Clause {
    name: "requests are counted",
    expected: "counts with at least one request more for each of ten grants",
    about: Some("counts"),
    run: |bench| {
        Box::pin(async move {
            let node = bench.node().await?;
            let before = node.requests();
            for _ in 0..10 {
                let grant = node.must_acquire(&bench.key()).await?;
                node.must_release(&grant).await?;
            }
            for _ in 0..GRACE.as_millis() / 20 {
                if node.requests() >= before + 10 {
                    return Ok(());
                }
                sleep(Duration::from_millis(20)).await;
            }
            Err(format!("{} requests for ten grants", node.requests() - before))
        })
    },
};
