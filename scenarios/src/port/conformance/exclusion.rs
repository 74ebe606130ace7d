//! One holder at a time, or as many as there are slots, and tokens that rise.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::bench::{GRACE, shared};
use super::clause::Clause;

pub(super) const ONE_HOLDER: Clause = Clause {
    name: "a held key is granted to nobody else, in the same program or in another",
    expected: "timed-out for whoever else asks while it is held, and granted after its release",
    about: None,
    run: |bench| {
        Box::pin(async move {
            let [one, other] = bench.nodes().await?;
            let key = bench.key();
            let grant = one.must_acquire(&key).await?;
            other.must_not_acquire(&key).await?;
            one.must_not_acquire(&key).await?;
            one.must_acquire(&bench.key()).await?;
            one.must_release(&grant).await?;
            let grant =
                other.must_acquire(&key).await.map_err(|came| format!("after its release: {came}"))?;
            one.must_not_acquire(&key).await?;
            other.must_release(&grant).await
        })
    },
};

/// How long programs are kept busy.
const BUSY: Duration = Duration::from_secs(2);

pub(super) const UNDER_LOAD: Clause = Clause {
    name: "two holders are never inside together while many ask",
    expected: "of the requests of three programs for two keys, one holder each at a time, and each key granted again and again",
    about: None,
    run: |bench| {
        Box::pin(async move {
            let nodes = bench.nodes::<3>().await?.map(Arc::new);
            let inside = Arc::new([const { AtomicU32::new(0) }; 2]);
            let (overlap, grants) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
            let keys = Arc::new([bench.key(), bench.key()]);
            let end = Instant::now() + BUSY;
            let mut callers = JoinSet::new();
            for caller in 0..12 {
                let (node, keys, inside) =
                    (Arc::clone(&nodes[caller % 3]), Arc::clone(&keys), Arc::clone(&inside));
                let (overlap, grants) = (Arc::clone(&overlap), Arc::clone(&grants));
                callers.spawn(async move {
                    let which = caller / 3 % 2;
                    while Instant::now() < end {
                        let Some(grant) = node.acquire(&keys[which], GRACE).await? else { continue };
                        if inside[which].fetch_add(1, Ordering::SeqCst) > 0 {
                            overlap.store(true, Ordering::SeqCst);
                        }
                        sleep(Duration::from_millis(2)).await;
                        inside[which].fetch_sub(1, Ordering::SeqCst);
                        grants.fetch_add(1, Ordering::SeqCst);
                        node.must_release(&grant).await?;
                    }
                    Ok::<(), String>(())
                });
            }
            while let Some(ended) = callers.join_next().await {
                ended.map_err(|error| error.to_string())??;
            }
            if overlap.load(Ordering::SeqCst) {
                return Err("two holders of one key were inside together".to_owned());
            }
            // A library that polls a few times a second has them too.
            match grants.load(Ordering::SeqCst) {
                4.. => Ok(()),
                few => Err(format!("{few} grants in {BUSY:?}")),
            }
        })
    },
};

pub(super) const TOKENS: Clause = Clause {
    name: "tokens rise with every grant of a key",
    expected: "a token with each grant, greater than that of the grant before, whichever program it went to",
    about: Some("token"),
    run: |bench| {
        Box::pin(async move {
            let nodes = bench.nodes::<2>().await?;
            let (key, mut last) = (bench.key(), None);
            for round in 0..10 {
                let node = &nodes[round % 2];
                let grant = node.must_acquire(&key).await?;
                if grant.token <= last {
                    return Err(format!("the token {:?} after {last:?}", grant.token));
                }
                last = grant.token;
                node.must_release(&grant).await?;
            }
            Ok(())
        })
    },
};

pub(super) const LEVELS: Clause = Clause {
    name: "a level is reached and never exceeded",
    expected: "three holders of a key of level 3, each with a slot of its own from 0 to 2, and timed-out for a fourth",
    about: Some("levels"),
    run: |bench| {
        Box::pin(async move {
            let [one, other] = bench.nodes().await?;
            let (key, mut grants, mut slots) = (bench.key(), Vec::new(), Vec::new());
            for node in [&one, &other, &one] {
                let grant = node.ask(&node.request(&key, GRACE).at_level(3)).await?;
                let grant = grant.ok_or("timed-out while a slot is free")?;
                slots.extend(grant.keys.clone());
                grants.push((node, grant));
            }
            slots.sort();
            slots.dedup();
            if slots.len() != 3 {
                return Err(format!("three holders in the slots {slots:?}"));
            }
            if other.ask(&other.request(&key, Duration::ZERO).at_level(3)).await?.is_some() {
                return Err("a fourth holder".to_owned());
            }
            for (node, grant) in &grants {
                node.must_release(grant).await?;
            }
            Ok(())
        })
    },
};

pub(super) const MANY: Clause = Clause {
    name: "several keys are taken all or none",
    expected: "both keys held by one grant, and, while one of two is held, neither by a request for both",
    about: Some("many"),
    run: |bench| {
        Box::pin(async move {
            let [one, other] = bench.nodes().await?;
            let (first, second) = (bench.key(), bench.key());
            let both = |within| {
                let mut request = one.request(&first, within);
                request.keys.push(second.as_str().into());
                request
            };
            let grant = one.ask(&both(GRACE)).await?.ok_or("timed-out for two keys that nobody holds")?;
            other.must_not_acquire(&first).await?;
            other.must_not_acquire(&second).await?;
            one.must_release(&grant).await?;
            let held = other.must_acquire(&second).await?;
            if one.ask(&both(Duration::ZERO)).await?.is_some() {
                return Err("both granted while one of them is held".to_owned());
            }
            let left = other.must_acquire(&first).await.map_err(|came| format!("one was kept: {came}"))?;
            other.must_release(&left).await?;
            other.must_release(&held).await
        })
    },
};

pub(super) const SHARED: Clause = Clause {
    name: "shared holders are inside together and keep others out",
    expected: "two shared holders at once, timed-out for an exclusive request meanwhile, and the other way round",
    about: Some("shared"),
    run: |bench| {
        Box::pin(async move {
            let [one, other] = bench.nodes().await?;
            let key = bench.key();
            let first =
                one.ask(&shared(one.request(&key, GRACE))).await?.ok_or("timed-out for a free key")?;
            let second = other.ask(&shared(other.request(&key, GRACE))).await?;
            let second = second.ok_or("timed-out while another shares it")?;
            one.must_not_acquire(&key).await?;
            one.must_release(&first).await?;
            other.must_not_acquire(&key).await?;
            other.must_release(&second).await?;
            let grant = one.must_acquire(&key).await?;
            if other.ask(&shared(other.request(&key, Duration::ZERO))).await?.is_some() {
                return Err("a shared grant of a key that is held exclusively".to_owned());
            }
            one.must_release(&grant).await
        })
    },
};
