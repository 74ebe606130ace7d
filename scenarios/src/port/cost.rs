//! What the port itself costs: pairs of acquire and release with nothing behind them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use harness::engine::monotonic_ns;
use lock_backends::{
    Endpoint, LockBackend as _, LockError, LockSession, OwnerId, Request, SessionOptions, SinceStart,
};
use tokio::task::JoinSet;

use super::client::Client;
use super::session::Port;

/// Pairs one after the other.
const PAIRS: usize = 2_000;

/// Pairs in batches.
const BATCHED: usize = 20_000;

/// Those under way at once.
const AT_ONCE: usize = 128;

/// What the port costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// From a line to its answer, the median of those one after the other.
    pub round_trip_p50_ns: u64,
    /// Pairs of acquire and release a second, with many under way.
    pub pairs_per_s: f64,
}

/// Measures a program that grants everything at once.
///
/// # Errors
/// When it cannot be started, or breaks off.
pub async fn cost(client: Client) -> anyhow::Result<Cost> {
    let port = Port::new(client, Endpoint::from(""), None);
    let now = Arc::new(SinceStart::default());
    let options = SessionOptions { node: "node-cost".to_owned(), ttl: Duration::from_secs(10), now };
    let session = port.connect(options).await.context("what the port costs cannot be measured")?;
    let mut took_ns = Vec::with_capacity(PAIRS);
    for _ in 0..PAIRS {
        let before_ns = monotonic_ns();
        pair(&*session).await?;
        took_ns.push(monotonic_ns().saturating_sub(before_ns) / 2);
    }
    took_ns.sort_unstable();
    let begun_ns = monotonic_ns();
    let mut callers = JoinSet::new();
    for _ in 0..AT_ONCE {
        let session = Arc::clone(&session);
        callers.spawn(async move {
            for _ in 0..BATCHED / AT_ONCE {
                pair(&*session).await?;
            }
            Ok::<(), LockError>(())
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    let batched_s = monotonic_ns().saturating_sub(begun_ns).max(1) as f64 / 1e9;
    session.close().await;
    Ok(Cost {
        round_trip_p50_ns: took_ns[PAIRS / 2],
        pairs_per_s: (BATCHED / AT_ONCE * AT_ONCE) as f64 / batched_s,
    })
}

async fn pair(session: &dyn LockSession) -> Result<(), LockError> {
    let request = Request::exclusive("k", OwnerId::unique("cost"), u64::MAX);
    let grant = session.acquire(&request).await?;
    session.release(&grant).await.map(drop)
}
