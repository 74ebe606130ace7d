//! What a lock costs that is held and not used.

use std::time::Duration;

use lock_backends::LockError;

use super::nodes::{Nodes, TTL, ask};

/// Twice the ttl, so that renewals, due every third of it, are counted to a sixth.
pub(super) const HELD: Duration = Duration::from_secs(2 * TTL.as_secs());

/// One session of each variant holds a key and asks for nothing else: requests in an hour.
pub(super) async fn requests_per_holder_hour(nodes: &[Nodes]) -> Result<Vec<f64>, LockError> {
    let mut held = Vec::new();
    for nodes in nodes {
        let client = &nodes.clients[0];
        let guard = client.acquire_request(ask(&format!("idle {}", nodes.variant.name), u64::MAX)).await?;
        held.push((client, guard, client.counts().operations));
    }
    tokio::time::sleep(HELD).await;
    let mut requests = Vec::new();
    for (client, guard, before) in held {
        let sent = client.counts().operations - before;
        requests.push(sent as f64 * 3600.0 / HELD.as_secs_f64());
        guard.release().await?;
    }
    Ok(requests)
}
