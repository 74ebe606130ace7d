//! The sessions of a variant.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use harness::engine::monotonic_ns;
use lock_backends::{ClientOptions, Endpoint, LockClient, Now, OwnerId, Request, SessionOptions, Variant};

/// Nodes that contend for the hot key, a session each.
pub(super) const SESSIONS: usize = 8;

/// Of sessions and leases.
pub(super) const TTL: Duration = Duration::from_secs(10);

/// The clock of sessions: that of the stamps.
#[derive(Debug)]
struct SinceBoot;

impl Now for SinceBoot {
    fn now_ns(&self) -> u64 {
        monotonic_ns()
    }
}

/// A variant and its sessions.
#[derive(Debug)]
pub(super) struct Nodes {
    pub(super) variant: &'static Variant,
    pub(super) clients: Vec<LockClient>,
}

impl Nodes {
    pub(super) async fn connect(variant: &'static Variant, endpoint: &Endpoint) -> anyhow::Result<Self> {
        let mut clients = Vec::new();
        for _ in 0..SESSIONS {
            clients.push(session(variant, endpoint).await?);
        }
        Ok(Self { variant, clients })
    }

    /// Requests that all of them have sent.
    pub(super) fn operations(&self) -> u64 {
        self.clients.iter().map(|client| client.counts().operations).sum()
    }

    pub(super) async fn close(self) {
        for client in self.clients {
            client.close().await;
        }
    }
}

pub(super) async fn session(variant: &'static Variant, endpoint: &Endpoint) -> anyhow::Result<LockClient> {
    let backend = (variant.open)(endpoint)?;
    let options = SessionOptions { node: format!("floors-{}", number()), ttl: TTL, now: Arc::new(SinceBoot) };
    LockClient::connect_on(&*backend, variant.capabilities, options, ClientOptions::default())
        .await
        .with_context(|| format!("{}: session", variant.name))
}

/// A request of an owner of its own.
pub(super) fn ask(key: &str, deadline_ns: u64) -> Request {
    Request::exclusive(key, OwnerId(format!("floors:{}", number()).into()), deadline_ns)
}

fn number() -> u64 {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}
