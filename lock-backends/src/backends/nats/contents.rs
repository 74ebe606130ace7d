//! NATS: streams of the account.

use async_nats::jetstream::{self, Context};
use futures_util::TryStreamExt as _;

use super::url::servers;
use crate::session::{BoxFuture, Contents, Endpoint, Held, LockError, unavailable};

/// What streams of ours begin with; those of buckets have the library's word before it.
const OURS: [&str; 2] = ["lockbench_", "KV_lockbench_"];

#[derive(Debug)]
pub(super) struct Nats(Context);

impl Nats {
    pub(super) async fn connect(endpoint: &Endpoint) -> Result<Self, LockError> {
        let servers = servers(endpoint)?;
        let client = servers.options().connect(&servers.members[..]).await.map_err(unavailable)?;
        Ok(Self(jetstream::new(client)))
    }

    async fn streams(&self) -> Result<Vec<String>, LockError> {
        self.0.stream_names().try_collect().await.map_err(unavailable)
    }
}

fn is_ours(name: &str) -> bool {
    OURS.iter().any(|beginning| name.starts_with(beginning))
}

impl Contents for Nats {
    fn held(&self) -> BoxFuture<'_, Result<Held, LockError>> {
        Box::pin(async {
            let all = self.streams().await?;
            let ours = all.iter().filter(|name| is_ours(name)).count() as u64;
            Ok(Held { ours, others: Some(all.len() as u64 - ours) })
        })
    }

    fn clear(&self) -> BoxFuture<'_, Result<(), LockError>> {
        Box::pin(async {
            for name in self.streams().await?.iter().filter(|name| is_ours(name)) {
                self.0.delete_stream(name).await.map_err(unavailable)?;
            }
            Ok(())
        })
    }
}
