//! etcd: keys, ours below one prefix.

use std::fmt;

use etcd_client::{Client, ConnectOptions, DeleteOptions, GetOptions};

use crate::session::{BoxFuture, Contents, Endpoint, Held, LockError, unavailable};

const OURS: &str = "lockbench/";

pub(super) struct Etcd(Client);

impl fmt::Debug for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Etcd")
    }
}

impl Etcd {
    pub(super) async fn connect(endpoint: &Endpoint) -> Result<Self, LockError> {
        let cluster = super::url::cluster(endpoint)?;
        let options = cluster.options(ConnectOptions::new())?;
        Client::connect(cluster.urls(), Some(options)).await.map(Self).map_err(unavailable)
    }

    async fn count(&self, key: &str, of: GetOptions) -> Result<u64, etcd_client::Error> {
        let counted = self.0.kv_client().get(key, Some(of.with_count_only())).await?;
        Ok(counted.count().unsigned_abs())
    }
}

impl Contents for Etcd {
    fn held(&self) -> BoxFuture<'_, Result<Held, LockError>> {
        Box::pin(async {
            let ours = self.count(OURS, GetOptions::new().with_prefix()).await.map_err(unavailable)?;
            // An account may be let see its own keys alone.
            let all = self.count("", GetOptions::new().with_all_keys()).await.ok();
            Ok(Held { ours, others: all.map(|all| all.saturating_sub(ours)) })
        })
    }

    fn clear(&self) -> BoxFuture<'_, Result<(), LockError>> {
        Box::pin(async {
            let all = DeleteOptions::new().with_prefix();
            self.0.kv_client().delete(OURS, Some(all)).await.map(drop).map_err(unavailable)
        })
    }
}
