//! ZooKeeper: a look at a node and a write of its data.

use std::fmt;

use zookeeper_client::{Client, CreateMode, Error};

use crate::session::{Bare, BoxFuture, Endpoint, LockError, ServerTime, unavailable};

const NODE: &str = "/lockbench-bare";

pub(super) struct Zookeeper(Client);

impl fmt::Debug for Zookeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Zookeeper")
    }
}

impl Zookeeper {
    pub(super) async fn connect(endpoint: &Endpoint) -> Result<Self, LockError> {
        let ensemble = super::url::ensemble(endpoint)?;
        let client = ensemble.connect(Client::connector()).await?;
        let options = CreateMode::Persistent.with_acls(ensemble.acls());
        match client.create(NODE, b"", &options).await {
            Ok(_) | Err(Error::NodeExists) => Ok(Self(client)),
            Err(error) => Err(unavailable(error)),
        }
    }
}

impl Bare for Zookeeper {
    fn ping(&self) -> BoxFuture<'_, Result<(), LockError>> {
        Box::pin(async { self.0.check_stat(NODE).await.map(drop).map_err(unavailable) })
    }

    fn write(&self) -> BoxFuture<'_, Result<(), LockError>> {
        Box::pin(async { self.0.set_data(NODE, b"1", None).await.map(drop).map_err(unavailable) })
    }

    /// Of the member that leads, which dates each write, in ms.
    fn clock(&self) -> BoxFuture<'_, Result<Option<ServerTime>, LockError>> {
        Box::pin(async {
            let written = self.0.set_data(NODE, b"1", None).await.map_err(unavailable)?;
            Ok(Some(ServerTime { unix_us: written.mtime.saturating_mul(1000), step_us: 1000 }))
        })
    }
}
