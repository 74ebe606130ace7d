//! etcd: a serializable read and a put.

use std::fmt;

use etcd_client::{Client, ConnectOptions, GetOptions, KvClient};

use crate::session::{Bare, BoxFuture, Endpoint, LockError, unavailable};

const KEY: &str = "lockbench/bare";

pub(super) struct Etcd(KvClient);

impl fmt::Debug for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Etcd")
    }
}

impl Etcd {
    pub(super) async fn connect(endpoint: &Endpoint) -> Result<Self, LockError> {
        let cluster = super::url::cluster(endpoint)?;
        let options = cluster.options(ConnectOptions::new())?;
        let client = Client::connect(cluster.urls(), Some(options)).await.map_err(unavailable)?;
        let etcd = Self(client.kv_client());
        // The library connects with the first request.
        etcd.ping().await?;
        Ok(etcd)
    }
}

impl Bare for Etcd {
    fn ping(&self) -> BoxFuture<'_, Result<(), LockError>> {
        Box::pin(async {
            let serializable = GetOptions::new().with_serializable();
            let get = self.0.clone().get(KEY, Some(serializable)).await;
            get.map(drop).map_err(unavailable)
        })
    }

    fn write(&self) -> BoxFuture<'_, Result<(), LockError>> {
        Box::pin(async { self.0.clone().put(KEY, "1", None).await.map(drop).map_err(unavailable) })
    }
}
